"""Build the catalog from all tables."""

from hinpaint.scripting import parse_arguments, plain_errors, table_files
from hinpaint.stages.aggregate import run

arguments, config = parse_arguments(__doc__, files=("results", "catalog", "runs"))
with plain_errors():
    run(config, table_files(config, arguments.results), arguments.catalog, arguments.runs)
