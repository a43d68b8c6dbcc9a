"""Compare one shard's trials with their references and with each other."""

from hinpaint.scripting import parse_arguments, plain_errors
from hinpaint.stages.match import run

files = ("tasks", "trials", "relaxed", "matches", "arrangements", "runs")
arguments, config = parse_arguments(__doc__, files=files, shard=True)
with plain_errors():
    run(config, arguments.shard, *(getattr(arguments, name) for name in files))
