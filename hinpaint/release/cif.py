"""Completed CIFs: the source's own text with the sites added."""

import gemmi
from gemmi import cif

from hinpaint.release.blocks import (
    header,
    listed_operators,
    replace_symmetry,
    set_repeats_aside,
    site_block,
    style,
    write_angles,
)
from hinpaint.release.completion import Completion, write_provenance
from hinpaint.release.formula import close_formula, released_counts
from hinpaint.release.sites import edit_sites, read_site_table, sites_given_way, write_site_table
from hinpaint.release.symmetry import Placement, to_operators
from hinpaint.sources.records import ParsedRecord
from hinpaint.sources.symmetry import read_symmetry, value_of

__all__ = ["Completion", "complete_cif", "site_symbol", "source_operators"]


def source_operators(source_text: str) -> list[gemmi.Op]:
    """Operators of a source CIF, in its order.

    Raises:
        RefusedError: they cannot be understood.
        ValueError: no block has a cell.
    """
    block = site_block(cif.read_string(source_text, 0))
    angles = [value_of(block, f"_cell_angle_{name}") for name in ("alpha", "gamma")]
    alpha, gamma = (90.0 if angle is None else float(cif.as_number(angle)) for angle in angles)
    symmetry = read_symmetry(block, alpha, gamma)
    return to_operators(symmetry.rotations, symmetry.translations)


def complete_cif(source_text: str, record: ParsedRecord, completion: Completion, placement: Placement) -> str:
    """Write the source's CIF with the placed sites in its atom-site loop.

    Every item of the source is kept as written, in all its blocks. Rows of the element that are disordered or without
    coordinates (and, where the action is ``replaced``, all its rows) give way to the placed sites and stand in
    ``_hinpaint_original_*``; so do operators, names of the space group and host rows where the placed sites lower the
    symmetry.

    Args:
        source_text: the source's CIF.
        record: what ``parse_cif`` made of it.
        completion: what is said about the completion.
        placement: the placed sites and their symmetry.

    Returns:
        The text of the CIF.

    Raises:
        ValueError: the text is no CIF or has no atom sites.
    """
    document = cif.read_string(source_text, 0)
    for each in document:
        set_repeats_aside(each)
    block = site_block(document)
    table = read_site_table(block)
    symbol = site_symbol(record, completion.element)
    given_way = sites_given_way(record, completion.element, completion.action == "replaced")
    edited = edit_sites(table, record, placement, completion.element, symbol, given_way)
    write_site_table(block, edited)
    if placement.kind != "kept" or listed_operators(block) != len(placement.operators):
        replace_symmetry(block, placement)
    write_angles(block)
    counts = released_counts(record, given_way, completion.element, len(placement.frac))
    close_formula(block, record, counts, {completion.element: symbol}, given_way)
    write_provenance(block, completion, placement)
    return header(source_text) + document.as_string(style())


def site_symbol(record: ParsedRecord, element: str) -> str:
    """How placed sites are typed: ``D`` where the formula writes deuterium and no other hydrogen."""
    if element != "H" or record.formula is None or not record.formula.has_deuterium:
        return element
    text = "".join(c if c.isalpha() else " " for c in record.formula.text)
    symbols = {word[i : i + 1] + "".join(c for c in word[i + 1 : i + 2] if c.islower())
               for word in text.split() for i in range(len(word)) if word[i].isupper()}  # fmt: skip
    return "D" if "D" in symbols and "H" not in symbols and "T" not in symbols else element
