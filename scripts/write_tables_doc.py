"""Write docs/tables.md from the table definitions, or --check that it is up to date."""

import argparse
import sys
from pathlib import Path

from hinpaint.tabledoc import tables_markdown

TARGET = Path(__file__).parents[1] / "docs" / "tables.md"

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--check", action="store_true")
if parser.parse_args().check:
    sys.exit(0 if TARGET.read_text(encoding="utf-8") == tables_markdown() else f"{TARGET} is stale")
TARGET.write_text(tables_markdown(), encoding="utf-8")
