"""Build the catalog from all tables."""

from hinpaint.scripting import parse_arguments, plain_errors, shard_files
from hinpaint.stages.aggregate import FROM_STAGES, run

arguments, config = parse_arguments(__doc__, files=("results", "catalog", "runs"))
with plain_errors():
    run(config, {name: shard_files(arguments.results, name) for name in FROM_STAGES}, arguments.catalog, arguments.runs)
