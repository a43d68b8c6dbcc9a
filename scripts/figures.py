"""Draw the catalog in pictures, for Snakemake's report."""

from hinpaint.scripting import parse_arguments, plain_errors
from hinpaint.stages.figures import run

arguments, config = parse_arguments(__doc__, files=("catalog", "folder", "runs"))
with plain_errors():
    run(config, arguments.catalog, arguments.folder, arguments.runs)
