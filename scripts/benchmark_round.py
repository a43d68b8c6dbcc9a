"""Relax and match one round of trials of one shard of a benchmark's system."""

import argparse

from hinpaint.benchmark.rounds import run_round
from hinpaint.scripting import parse_arguments, plain_errors

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--end", type=int, required=True, help="the round has the trials below this number")
parser.add_argument("--earlier", type=int, nargs="*", default=[], help="ends of the earlier rounds")
arguments, config = parse_arguments(parser, files=("system", "references"), shard=True, compute=True)
with plain_errors():
    run_round(config, arguments.shard, arguments.end, arguments.earlier, arguments.system, arguments.references,
              arguments.device)  # fmt: skip
