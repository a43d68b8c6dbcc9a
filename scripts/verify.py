"""Compute one shard's picks by DFT."""

from hinpaint.scripting import parse_arguments, plain_errors
from hinpaint.stages.verify import run

files = ("tasks", "verifications", "runs", "work", "journal")
arguments, config = parse_arguments(__doc__, files=files, shard=True, workers=True)
with plain_errors():
    run(config, arguments.shard, arguments.tasks, arguments.verifications, arguments.runs, arguments.work,
        arguments.threads, arguments.journal)  # fmt: skip
