"""Edits of a CIF block as a whole: repeated tags, symmetry, dictionaries, right angles. Values stay as written."""

from collections.abc import Iterable
from typing import Literal, cast

import gemmi
from gemmi import cif

from hinpaint.release.items import ORIGINAL, REPEATED
from hinpaint.release.symmetry import Placement
from hinpaint.sources.cif import choose_block

CELL_TAGS = (
    "_cell_length_a", "_cell_length_b", "_cell_length_c", "_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma",
)  # fmt: skip
OPERATOR_TAGS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz", "_space_group_symop.operation_xyz")
CONFORM_TAGS = ("_audit_conform_dict_name", "_audit_conform_dict_version", "_audit_conform_dict_location")
_SYMMETRY_ITEMS: dict[str, Literal["symbol", "hall", "number", "crystal_system"]] = {
    "_space_group_name_h-m_alt": "symbol",
    "_space_group_name_h-m_full": "symbol",
    "_symmetry_space_group_name_h-m": "symbol",
    "_space_group_name_hall": "hall",
    "_symmetry_space_group_name_hall": "hall",
    "_space_group_it_number": "number",
    "_symmetry_int_tables_number": "number",
    "_space_group_crystal_system": "crystal_system",
    "_symmetry_cell_setting": "crystal_system",
}


def site_block(document: cif.Document) -> cif.Block:
    """The block that holds cell and sites, as the reader chooses it.

    Raises:
        ValueError: there is none.
    """
    block = choose_block(document)
    if block is None:
        raise ValueError("no data block has a cell")
    return block


def set_repeats_aside(block: cif.Block) -> None:
    """Rename repeated tags, which no strict reader accepts; the first occurrence is the one that counts."""
    seen: dict[str, int] = {}
    moved: list[tuple[list[str], list[list[str]]]] = []
    for item in block:
        if item.pair is None and item.loop is None:
            continue
        tags, columns = _content(item)
        names = []
        for tag in tags:
            count = seen[tag.lower()] = seen.get(tag.lower(), 0) + 1
            names.append(tag if count == 1 else f"{REPEATED}_{count}{tag}")
        if names != tags:
            moved.append((names, columns))
            item.erase()
    # Only now: adding items moves the ones that the loop above still looks at.
    for names, columns in moved:
        if len(columns[0]) == 1:
            for name, column in zip(names, columns, strict=True):
                block.set_pair(name, column[0])
        else:
            block.init_loop("", names).set_all_values(columns)


def _content(item: cif.Item) -> tuple[list[str], list[list[str]]]:
    """Tags and raw columns of a single item or a loop."""
    if item.loop is None:
        tag, value = cast("list[str]", item.pair)
        return [tag], [[value]]
    tags, values = list(item.loop.tags), list(item.loop.values)
    return tags, [values[i :: len(tags)] for i in range(len(tags))]


def pairs_of(block: cif.Block) -> list[tuple[str, str]]:
    """Tag and raw value of the single items, as values: items move when others are added."""
    pairs = [cast("list[str]", item.pair) for item in block if item.pair is not None]
    return [(tag, value) for tag, value in pairs]


def tags_of(block: cif.Block) -> list[str]:
    """All tags of a block, as written."""
    return [tag for item in block if item.pair is not None or item.loop is not None for tag in _content(item)[0]]


def listed_operators(block: cif.Block) -> int:
    """Operators the block lists for every reader.

    None where only a name is given, which readers understand in more than one way, or only the tag with a dot, which
    gemmi and pymatgen pass over.
    """
    found = ([v for v in block.find_values(tag) if not cif.is_null(v)] for tag in OPERATOR_TAGS[:2])
    return len({gemmi.Op(str(cif.as_string(v)).lower()).wrap().triplet() for v in next(filter(None, found), [])})


def write_angles(block: cif.Block) -> None:
    """Write right angles that the source left to the dictionary's default, which not every reader applies."""
    for tag in CELL_TAGS[3:]:
        value = block.find_value(tag)
        if value is None or cif.is_null(value):
            replace_value(block, tag, "90")


def replace_symmetry(block: cif.Block, placement: Placement) -> None:
    """Put the group's operators and name where the source's were; the source's go to ``_hinpaint_original_*``.

    What stands there already is the source's: the operators at hand are then those of an earlier completion.
    """
    completed_before = any(len(block.find_values(ORIGINAL + tag)) for tag in OPERATOR_TAGS)
    for tag in OPERATOR_TAGS:
        item = block.find_loop_item(tag) or block.find_pair_item(tag)
        if item is not None:
            tags, columns = _content(item)
            item.erase()
            if not completed_before:
                block.init_loop("", [ORIGINAL + t for t in tags]).set_all_values(columns)
    renamed = placement.kind != "kept"
    for tag, _ in pairs_of(block):
        name = _SYMMETRY_ITEMS.get(tag.lower())
        if name is not None and renamed:
            value = getattr(placement.group, name) if placement.group is not None else None
            replace_value(block, tag, "?" if value is None else quoted(str(value)))
    block.init_loop("", [OPERATOR_TAGS[0]]).set_all_values([[quoted(t) for t in placement.operators]])


def replace_value(block: cif.Block, tag: str, value: str) -> None:
    """Give a single item a raw value; what the source has there, unless unknown, goes to ``_hinpaint_original_*``.

    What stands there already stays: it is the source's, and the value at hand that of an earlier completion.
    """
    original = cast("list[str] | None", block.find_pair(tag))
    if original is not None and original[1] != value and not cif.is_null(original[1]):
        aside = ORIGINAL + original[0]
        block.set_pair(aside, block.find_value(aside) or original[1])
    block.set_pair(tag if original is None else original[0], value)


def name_dictionaries(block: cif.Block, dictionaries: Iterable[tuple[str, str, str]]) -> None:
    """Name dictionaries beside those that the block names already; single items become a loop.

    Args:
        block: the block.
        dictionaries: name, version and location of each.
    """
    item = block.find_loop_item(CONFORM_TAGS[0])
    if item is None:
        pairs: list[list[str]] = [block.find_pair(tag) or [tag, "?"] for tag in CONFORM_TAGS]
        for tag in CONFORM_TAGS:
            pair = block.find_pair_item(tag)
            if pair is not None:
                pair.erase()
        loop = block.init_loop("", [tag for tag, _ in pairs])
        if not all(cif.is_null(value) for _, value in pairs):
            loop.add_row([value for _, value in pairs])
    else:
        loop = item.loop
        present = {tag.lower() for tag in loop.tags}
        loop.add_columns([tag for tag in CONFORM_TAGS if tag not in present], "?")
    place = [tag.lower() for tag in loop.tags].index(CONFORM_TAGS[0])
    named = {str(cif.as_string(value)) for value in list(loop.values)[place :: loop.width()]}
    for row in dictionaries:
        if row[0] not in named:
            values = dict(zip(CONFORM_TAGS, map(quoted, row), strict=True))
            loop.add_row([values.get(tag.lower(), "?") for tag in loop.tags])


def quoted(text: str) -> str:
    """Quote text as one value on one line, whatever it holds; blanks count, as in keys."""
    return str(cif.quote(" ".join(text.splitlines())))


def header(text: str) -> str:
    """Comments at the head of the file, where databases state their terms; a parser drops them."""
    lines = []
    for line in text.split("\n"):
        if line.strip() and not line.startswith("#"):
            break
        # A lone carriage return would end the comment for some readers.
        lines.append(line.replace("\r", " ").rstrip())
    return "\n".join(lines).strip("\n") + "\n" if any(lines) else ""


def style() -> cif.WriteOptions:
    """Layout of released CIFs: values of single items in one column."""
    options = cif.WriteOptions()
    options.align_pairs = 33
    return options
