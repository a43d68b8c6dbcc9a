"""Write the corrected database."""

from hinpaint.scripting import parse_arguments, plain_errors, shard_files
from hinpaint.stages.release import run

arguments, config = parse_arguments(__doc__, files=("catalog", "results", "release", "runs"))
with plain_errors():
    run(config, arguments.catalog, shard_files(arguments.results, "source_text"), arguments.release, arguments.runs)
