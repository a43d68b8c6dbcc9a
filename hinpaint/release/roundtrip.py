"""Read a written CIF back, with three readers, and compare it with the structure it should hold."""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import gemmi
import numpy as np
from gemmi import cif

from hinpaint.crystal import Crystal, FloatArray
from hinpaint.release.blocks import CELL_TAGS, OPERATOR_TAGS, site_block
from hinpaint.release.symmetry import short_lengths
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.geometry import MERGE_A, expand
from hinpaint.whynot import Stop

TOLERANCE_A = 1e-3
_SITE_TAGS = tuple(f"_atom_site_{name}" for name in ("label", "type_symbol", "fract_x", "fract_y", "fract_z"))


@dataclass(frozen=True)
class ReadBack:
    """What a reader found: elements and fractional coordinates (n, 3) of the cell, and its lattice (3, 3)."""

    species: list[str]
    frac: FloatArray
    lattice: FloatArray


def check_round_trip(text: str, expected: Crystal, host_tolerance_a: float = MERGE_A) -> str | None:
    """Say whether a CIF reads back to the structure it was written for.

    Read by hinpaint's own reader, by gemmi and by pymatgen. Placed sites must lie within 0.001 Å for each reader, and
    host sites too for hinpaint's; the others differ from it on special positions that the source rounded (0.333), so
    for them a host site may lie as far away as images are merged. pymatgen is given the cell, the operators and the
    sites alone: the rest of the text came from a database.

    Args:
        text: a CIF written by this package.
        expected: the structure; ``known`` is false for the placed sites.
        host_tolerance_a: how far a host site may lie for gemmi and pymatgen, ångström.

    Returns:
        None when it does; otherwise the reader and what differs.
    """
    for name, read in READERS.items():
        try:
            found = read(text)
        except Exception as error:  # noqa: BLE001 - whatever breaks a reader is a reason, never an accident of the run
            return f"{name} cannot read it: {type(error).__name__}: {' '.join(str(error).split())[:150]}"
        difference = _difference(found, expected, TOLERANCE_A if name == "hinpaint" else host_tolerance_a)
        if difference is not None:
            return f"{name}: {difference}"
    return None


def _difference(found: ReadBack, expected: Crystal, host_tolerance: float) -> str | None:
    if not np.allclose(found.lattice @ found.lattice.T, expected.lattice @ expected.lattice.T, rtol=1e-4, atol=1e-3):
        return "the cell differs"
    counts, asked = Counter(found.species), Counter(expected.species)
    if counts != asked:
        return "; ".join(f"{e}: {counts[e]} sites, not {asked[e]}" for e in sorted(counts | asked))[:150]
    for element in sorted(asked):
        ours = np.flatnonzero(expected.is_element(element))
        theirs = np.array([s == element for s in found.species], dtype=bool)
        distances = short_lengths(expected.frac[ours][:, None] - found.frac[theirs][None], expected.lattice)
        limits = np.where(expected.known[ours], host_tolerance, TOLERANCE_A)
        worst = int(np.argmax(distances.min(axis=1) - limits))
        if distances[worst].min() > limits[worst]:
            kind = "host" if expected.known[ours[worst]] else "placed"
            return f"a {kind} site of {element} is {distances[worst].min():.4f} Å away"
        if len(set(distances.argmin(axis=1).tolist())) < len(ours):
            return f"two sites of {element} fall together"
    return None


def _by_hinpaint(text: str) -> ReadBack:
    record = parse_cif(text)
    if isinstance(record, Stop):
        raise ValueError(f"{record.reason}: {record.detail}")  # noqa: TRY004 - a value that says why, not a wrong type
    return ReadBack(list(record.species), record.cell_frac, record.lattice)


def _by_gemmi(text: str) -> ReadBack:
    """Read by gemmi, strictly: repeated tags are errors."""
    block = site_block(cif.read_string(text))
    structure = gemmi.make_small_structure_from_block(block)
    lattice = np.array(structure.cell.orth.mat, dtype=np.float64).T
    if structure.spacegroup is not None:
        structure.setup_cell_images()
        sites = list(structure.get_all_unit_cell_sites())
        frac = [site.fract.tolist() for site in sites]
    else:
        # gemmi expands named settings only; operators of others it reads as well as any.
        operators = [gemmi.Op(str(cif.as_string(v))) for tag in OPERATOR_TAGS for v in block.find_values(tag)]
        asymmetric = list(structure.sites)
        rotations = np.array([op.rot for op in operators], dtype=np.float64) / gemmi.Op.DEN
        translations = np.array([op.tran for op in operators], dtype=np.float64) / gemmi.Op.DEN
        points = np.array([site.fract.tolist() for site in asymmetric])
        index, expanded = expand(lattice, rotations, translations, points)
        sites, frac = [asymmetric[i] for i in index], expanded.tolist()
    # Element X, of number 0, is a dummy.
    kept = [i for i, point in enumerate(frac) if np.isfinite(point).all() and sites[i].element.atomic_number]
    species = [_as_hydrogen(sites[i].element.name) for i in kept]
    return ReadBack(species, np.array([frac[i] for i in kept], dtype=np.float64).reshape(-1, 3), lattice)


def _by_pymatgen(text: str) -> ReadBack:
    from pymatgen.io.cif import CifParser

    reduced = _reduced(site_block(cif.read_string(text)))
    longest = max(float(cif.as_number(reduced.sole_block().find_value(tag))) for tag in CELL_TAGS[:3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser = CifParser.from_str(
            reduced.as_string(), site_tolerance=MERGE_A / longest, frac_tolerance=0.0, check_cif=False
        )
        structure = parser.parse_structures(primitive=False)[0]
    species = [_as_hydrogen(site.specie.symbol) for site in structure]
    return ReadBack(species, np.asarray(structure.frac_coords), np.asarray(structure.lattice.matrix))


def _reduced(block: cif.Block) -> cif.Document:
    """Cell, operators and sites with coordinates, and nothing else."""
    document = cif.Document()
    small = document.add_new_block("reduced")
    for tag in CELL_TAGS:
        small.set_pair(tag, block.find_value(tag) or "90")
    for tag in OPERATOR_TAGS:
        operators = list(block.find_values(tag))
        if operators:
            small.init_loop("", [OPERATOR_TAGS[0]]).set_all_values([operators])
            break
    rows = [list(row) for row in block.find(list(_SITE_TAGS)) if not any(cif.is_null(v) for v in list(row)[2:])]
    small.init_loop("", list(_SITE_TAGS)).set_all_values([list(column) for column in zip(*rows, strict=True)])
    return document


def _as_hydrogen(symbol: str) -> str:
    return "H" if symbol in ("D", "T") else str(symbol)


READERS: Mapping[str, Callable[[str], ReadBack]] = {
    "hinpaint": _by_hinpaint,
    "gemmi": _by_gemmi,
    "pymatgen": _by_pymatgen,
}
"""Readers that a released CIF must satisfy, by name."""
