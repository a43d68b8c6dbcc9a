"""Write docs/results.md, its figures and the README's table from a benchmark, or --check that they are up to date."""

import argparse
import json
import sys
from pathlib import Path

from hinpaint.benchmark.figures import draw_all
from hinpaint.benchmark.text import results_markdown, with_headline
from hinpaint.files import sha256_file

ROOT = Path(__file__).parents[1]
RESULTS, PAGE, README = ROOT / "docs/results.json", ROOT / "docs/results.md", ROOT / "README.md"

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("results", type=Path, nargs="?", help="results/<name>/results.json; empty: the one in docs/")
parser.add_argument("--check", action="store_true")
arguments = parser.parse_args()
if arguments.results and not arguments.check:
    RESULTS.write_bytes(arguments.results.read_bytes())
found, digest = json.loads(RESULTS.read_text(encoding="utf-8")), sha256_file(RESULTS)
readme = README.read_text(encoding="utf-8")
texts = {PAGE: results_markdown(found, digest), README: with_headline(readme, found, digest)}
if arguments.check:
    sys.exit(next((f"{p} is stale" for p, t in texts.items() if p.read_text(encoding="utf-8") != t), 0))
for path, text in texts.items():
    path.write_text(text, encoding="utf-8")
draw_all(found, ROOT / "docs/figures/benchmark")
