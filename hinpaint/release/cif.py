"""Completed CIFs: the source's own text with the sites added, or a new file where the source is no CIF."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import gemmi
import numpy as np
from gemmi import cif

from hinpaint.crystal import Crystal, FloatArray
from hinpaint.ids import EntryKey
from hinpaint.release.blocks import (
    CELL_TAGS,
    OPERATOR_TAGS,
    header,
    listed_operators,
    quoted,
    replace_symmetry,
    set_repeats_aside,
    style,
    write_angles,
)
from hinpaint.release.roundtrip import check_round_trip
from hinpaint.release.sites import edit_sites, format_frac, read_site_table, write_site_table
from hinpaint.release.symmetry import Placement, to_operators
from hinpaint.sources.chemistry import hill_formula
from hinpaint.sources.cif import choose_block
from hinpaint.sources.records import ParsedRecord
from hinpaint.sources.symmetry import read_symmetry, value_of

__all__ = [
    "Completion", "check_round_trip", "complete_cif", "fresh_cif", "site_symbol", "source_operators",
]  # fmt: skip

METHOD = "TD-Paint inpainting"
METHOD_DOI = "10.1038/s41524-026-02090-1"


@dataclass(frozen=True)
class Completion:
    """What a released file says about how it was made.

    Attributes:
        entry_key: ``database|version|id``.
        action: ``completed`` or ``replaced``.
        element: element of the placed sites.
        energy_ev: energy of the candidate after the full relaxation, eV a cell.
        n_agree: trials that agree with the candidate.
        n_passed: trials that passed the gates.
        potential: potential that decided.
        model_sha256: SHA-256 of the diffusion weights.
        source_sha256: SHA-256 of the source record.
        licence: licence of the source record.
        version: version of hinpaint.
    """

    entry_key: str
    action: str
    element: str
    energy_ev: float | None
    n_agree: int
    n_passed: int
    potential: str
    model_sha256: str | None
    source_sha256: str
    licence: str
    version: str

    @classmethod
    def from_rows(cls, decision: Mapping[str, Any], entry: Mapping[str, Any], version: str) -> Self:
        """Build from a row of ``decisions`` and the same entry's row of ``entries``."""
        names = ("entry_key", "action", "element", "energy_ev", "n_agree", "n_passed", "potential", "model_sha256")
        taken = {name: decision[name] for name in names}
        return cls(**taken, source_sha256=entry["source_sha256"], licence=entry["licence"], version=version)


def source_operators(source_text: str) -> list[gemmi.Op]:
    """Operators of a source CIF, in its order.

    Raises:
        RefusedError: they cannot be understood.
        ValueError: no block has a cell.
    """
    block = _site_block(cif.read_string(source_text, 0))
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
    block = _site_block(document)
    table = read_site_table(block)
    symbol = site_symbol(record, completion.element)
    edited = edit_sites(table, record, placement, completion.element, symbol, completion.action == "replaced")
    write_site_table(block, edited)
    if placement.kind != "kept" or listed_operators(block) != len(placement.operators):
        replace_symmetry(block, placement)
    write_angles(block)
    items = _items(completion, len(placement.frac)) | _symmetry_items(placement)
    for tag, value in items.items():
        block.set_pair(tag, value)
    return header(source_text) + document.as_string(style())


def fresh_cif(crystal: Crystal, completion: Completion) -> str:
    """Write a new CIF in P 1 for an entry whose source is no CIF.

    Args:
        crystal: the host, then the placed sites (``known`` is false for these).
        completion: what is said about the completion.

    Returns:
        The text of the CIF.
    """
    document = cif.Document()
    block = document.add_new_block(EntryKey.parse(completion.entry_key).file_name[:75])
    counts: dict[str, float] = {}
    for element in crystal.species:
        counts[element] = counts.get(element, 0.0) + 1.0
    block.set_pair("_chemical_formula_sum", quoted(hill_formula(counts)))
    for tag, number in zip(CELL_TAGS, _cell(crystal.lattice), strict=True):
        block.set_pair(tag, f"{number:.6f}")
    block.set_pair("_cell_formula_units_Z", "1")
    block.set_pair("_space_group_name_H-M_alt", "'P 1'")
    block.set_pair("_space_group_IT_number", "1")
    block.init_loop("", [OPERATOR_TAGS[0]]).add_row(["x,y,z"])
    names = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy", "calc_flag")
    loop = block.init_loop("_atom_site_", list(names))
    for i, (element, frac, known) in enumerate(zip(crystal.species, crystal.frac, crystal.known, strict=True)):
        label = f"{element}{i + 1}" if known else f"{element}_hp{i + 1 - int(crystal.known.sum())}"
        loop.add_row([label, element, *format_frac(frac), "1", "." if known else "calc"])
    items = _items(completion, int((~crystal.known).sum()))
    for tag, value in (items | {"_hinpaint_symmetry": "none"}).items():
        block.set_pair(tag, value)
    return str(document.as_string(style()))


def site_symbol(record: ParsedRecord, element: str) -> str:
    """How placed sites are typed: ``D`` where the formula writes deuterium and no other hydrogen."""
    if element != "H" or record.formula is None or not record.formula.has_deuterium:
        return element
    text = "".join(c if c.isalpha() else " " for c in record.formula.text)
    symbols = {word[i : i + 1] + "".join(c for c in word[i + 1 : i + 2] if c.islower())
               for word in text.split() for i in range(len(word)) if word[i].isupper()}  # fmt: skip
    return "D" if "D" in symbols and "H" not in symbols and "T" not in symbols else element


def _cell(lattice: FloatArray) -> list[float]:
    lengths = np.linalg.norm(lattice, axis=1)
    cosines = (lattice @ lattice.T) / np.outer(lengths, lengths)
    angles = np.degrees(np.arccos(np.clip([cosines[1, 2], cosines[0, 2], cosines[0, 1]], -1.0, 1.0)))
    return [*lengths.tolist(), *angles.tolist()]


def _items(completion: Completion, n_added: int) -> dict[str, str]:
    values: dict[str, str | int | float | None] = {
        "version": completion.version,
        "entry_key": completion.entry_key,
        "action": completion.action,
        "element": completion.element,
        "sites_added": n_added,
        "method": METHOD,
        "method_doi": METHOD_DOI,
        "model_sha256": completion.model_sha256,
        "potential": completion.potential,
        "energy_eV": None if completion.energy_ev is None else f"{completion.energy_ev:.6f}",
        "trials_agreeing": completion.n_agree,
        "trials_passed": completion.n_passed,
        "source_sha256": completion.source_sha256,
        "source_licence": completion.licence,
    }
    return {f"_hinpaint_{name}": "?" if value is None else quoted(str(value)) for name, value in values.items()}


def _symmetry_items(placement: Placement) -> dict[str, str]:
    items = {"_hinpaint_symmetry": placement.kind, "_hinpaint_symmetry_shift_A": f"{placement.shift_a:.4f}"}
    if placement.kind == "kept":
        return items
    name = (placement.group.symbol or f"number {placement.group.number}") if placement.group else "without a name"
    detail = (
        f"the placed sites keep {len(placement.operators)} of {len(placement.source_operators)} operators; the group "
        f"is {name}, of index {placement.index}; anisotropic and geometry items refer to the original operators"
    )
    return items | {"_hinpaint_symmetry_detail": quoted(detail)}


def _site_block(document: cif.Document) -> cif.Block:
    block = choose_block(document)
    if block is None:
        raise ValueError("no data block has a cell")
    return block
