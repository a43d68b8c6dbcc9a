"""Place the missing sites of one shard's tasks."""

from hinpaint.scripting import parse_arguments, plain_errors
from hinpaint.stages.inpaint import run

files = ("tasks", "trials", "runs", "journal")
arguments, config = parse_arguments(__doc__, files=files, shard=True, compute=True)
with plain_errors():
    run(config, arguments.shard, arguments.tasks, arguments.trials, arguments.runs, arguments.device, arguments.journal)
