"""Relax one shard's trials and references."""

from hinpaint.scripting import parse_arguments, plain_errors
from hinpaint.stages.relax import run

files = ("tasks", "trials", "relaxed", "runs", "journal")
arguments, config = parse_arguments(__doc__, files=files, shard=True, compute=True)
with plain_errors():
    run(config, arguments.shard, arguments.tasks, arguments.trials, arguments.relaxed, arguments.runs,
        arguments.device, arguments.journal)  # fmt: skip
