"""Whether every item of a source CIF is still in a released one, under its own tag or in ``_hinpaint_original_*``."""

from collections import Counter
from collections.abc import Sequence

from gemmi import cif

from hinpaint.release.items import ORIGINAL, REPEATED

SITES = "_atom_site_fract_x"
Rows = list[tuple[str, ...]]


def lost_items(source: cif.Document, released: cif.Document) -> list[str]:
    """Tags or rows of the source that the released document lacks; values count with quotes and uncertainties."""
    lost = []
    for before, after in zip(source, released, strict=True):
        if before.name != after.name:
            lost.append(f"block {before.name}")
        lost += _lost_of_block(before, after)
    return lost


def _lost_of_block(before: cif.Block, after: cif.Block) -> list[str]:
    lost = []
    loops = {tag.lower(): (tags, rows) for tags, rows in _loops(after) for tag in tags}
    seen: Counter[str] = Counter()
    for tags, rows in _loops(before):
        names = []
        for tag in tags:
            seen[tag.lower()] += 1
            count = seen[tag.lower()]
            names.append(tag.lower() if count == 1 else f"{REPEATED}_{count}{tag}".lower())
        if SITES in names:
            present = _rows_under(loops, names) + _rows_under(loops, [ORIGINAL + name for name in names])
            lost += [f"row {row}" for row in rows if not any(_same(row, other) for other in present)]
            continue
        for i, name in enumerate(names):
            column = [row[i] for row in rows]
            kept = [_column(loops, each)[: len(column)] for each in (name, ORIGINAL + name)]
            if not any(_same(column, other) for other in kept):
                lost.append(f"{name} {column[:3]}")
    return lost


def _loops(block: cif.Block) -> list[tuple[list[str], Rows]]:
    """All items of a block as loops; a run of single atom-site items is one loop of one row."""
    found: list[tuple[list[str], Rows]] = []
    pairs: dict[str, str] = {}
    for item in block:
        if item.loop is not None:
            width, values = item.loop.width(), [_one_line_end(value) for value in item.loop.values]
            rows = [tuple(values[i : i + width]) for i in range(0, len(values), width)]
            found.append((list(item.loop.tags), rows))
        elif item.pair is not None and item.pair[0].lower().startswith("_atom_site_"):
            pairs[item.pair[0]] = _one_line_end(item.pair[1])
        elif item.pair is not None:
            found.append(([item.pair[0]], [(_one_line_end(item.pair[1]),)]))
    return [*found, (list(pairs), [tuple(pairs.values())])] if pairs else found


def _same(before: Sequence[str], after: Sequence[str]) -> bool:
    """Equal, where a value that was unknown may have been filled in."""
    return len(before) == len(after) and all(b in (a, "?") for a, b in zip(after, before, strict=True))


def _one_line_end(value: str) -> str:
    return value.replace("\r\n", "\n")


def _rows_under(loops: dict[str, tuple[list[str], Rows]], names: list[str]) -> Rows:
    if any(name not in loops for name in names):
        return []
    tags, rows = loops[names[0]]
    places = [[tag.lower() for tag in tags].index(name) for name in names]
    return [tuple(row[i] for i in places) for row in rows]


def _column(loops: dict[str, tuple[list[str], Rows]], name: str) -> list[str]:
    return [row[0] for row in _rows_under(loops, [name])]
