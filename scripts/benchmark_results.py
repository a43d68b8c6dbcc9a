"""Gather a benchmark's results and draw its figures."""

import argparse
import json
import sys
from pathlib import Path

from hinpaint.benchmark.figures import draw_all
from hinpaint.benchmark.results import gather, write_results
from hinpaint.benchmark.settings import load_benchmark
from hinpaint.scripting import plain_errors

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--benchmark", type=Path, required=True, help="results/<name>/benchmark.json")
parser.add_argument("--systems", nargs="+", required=True, help="names of the systems")
parser.add_argument("--results", type=Path, required=True, help="JSON to write")
parser.add_argument("--figures", type=Path, required=True, help="folder for the figures")
arguments = parser.parse_args()
with plain_errors():
    benchmark = load_benchmark(arguments.benchmark)
    systems = [benchmark.system(name) for name in arguments.systems]
    write_results(gather(benchmark, systems, lambda line: print(line, file=sys.stderr)), arguments.results)
    # From the file, as documents and later figures are.
    draw_all(json.loads(arguments.results.read_text(encoding="utf-8")), arguments.figures)
