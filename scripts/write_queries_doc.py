"""Write docs/queries.md from the questions in hinpaint/catalog/queries.py, or --check that it is up to date."""

import argparse
import sys
from pathlib import Path

from hinpaint.catalog.queries import queries_markdown

TARGET = Path(__file__).parents[1] / "docs" / "queries.md"

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--check", action="store_true")
if parser.parse_args().check:
    sys.exit(0 if TARGET.read_text(encoding="utf-8") == queries_markdown() else f"{TARGET} is stale")
TARGET.write_text(queries_markdown(), encoding="utf-8")
