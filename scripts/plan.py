"""Turn entries into tasks and spread them over shards."""

from hinpaint.scripting import parse_arguments, plain_errors
from hinpaint.stages.plan import run

arguments, config = parse_arguments(__doc__, files=("tasks", "whynot", "runs"), lists=("entries", "evidence"))
tasks = [arguments.tasks / f"shard={shard:04d}.parquet" for shard in range(config.shards)]
with plain_errors():
    run(config, arguments.entries, arguments.evidence, tasks, arguments.whynot, arguments.runs)
