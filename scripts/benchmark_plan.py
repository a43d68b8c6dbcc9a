"""Choose the tasks of one system of a benchmark."""

import argparse
from pathlib import Path

from hinpaint.benchmark.planning import plan_system
from hinpaint.benchmark.settings import load_benchmark
from hinpaint.scripting import plain_errors

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--benchmark", type=Path, required=True, help="results/<name>/benchmark.json")
parser.add_argument("--system", required=True, help="name of the system, or `references`")
parser.add_argument("--tasks", type=Path, nargs="+", required=True, help="the shards' tasks")
parser.add_argument("--folder", type=Path, required=True, help="folder of the system")
arguments = parser.parse_args()
with plain_errors():
    plan_system(load_benchmark(arguments.benchmark), arguments.system, arguments.tasks, arguments.folder)
