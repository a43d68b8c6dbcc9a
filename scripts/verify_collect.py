"""Put DFT's verdicts into the catalog."""

from hinpaint.scripting import parse_arguments, plain_errors, verify_files
from hinpaint.stages.verify import collect

arguments, config = parse_arguments(__doc__, files=("before", "results", "catalog", "runs"))
with plain_errors():
    collect(config, arguments.before, verify_files(config, arguments.results), arguments.catalog, arguments.runs)
