"""Write the corrected database."""

from hinpaint.scripting import parse_arguments, plain_errors, table_files
from hinpaint.stages.release import run

arguments, config = parse_arguments(__doc__, files=("catalog", "results", "release", "runs"))
with plain_errors():
    source_text = table_files(config, arguments.results)["source_text"]
    run(config, arguments.catalog, source_text, arguments.release, arguments.runs)
