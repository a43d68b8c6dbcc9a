"""Write hinpaint/release/cif_hinpaint.dic and the table of docs/cif.md from the definitions of the items."""

import re
from pathlib import Path

from hinpaint.release.dictionary import NAME, dictionary_text, items_markdown

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "cif.md"
TABLE = re.compile(r"(<!-- items: begin -->\n).*?(\n<!-- items: end -->)", re.DOTALL)

(ROOT / "hinpaint" / "release" / NAME).write_text(dictionary_text(), encoding="utf-8")
text = TABLE.sub(lambda found: found[1] + items_markdown() + found[2], DOCUMENT.read_text(encoding="utf-8"))
DOCUMENT.write_text(text, encoding="utf-8")
