"""CIF records with gemmi alone: lenient where files are sloppy, strict where a guess would invent atoms.

AMCSD files repeat tags, so gemmi's semantic checks are off (``check_level=0``: 99.9 % of AMCSD reads, against 87 %);
the first occurrence of a tag counts.
"""

import math
import re
from typing import NamedTuple

import gemmi
import numpy as np
from gemmi import cif

from hinpaint.sources.chemistry import (
    charge_of_type,
    element_of_site,
    hint_of_label,
    is_metal_site,
    parse_formula,
    parse_moiety,
)
from hinpaint.sources.geometry import MAX_IMAGES, expand, snap_thirds
from hinpaint.sources.records import Formula, Note, ParsedRecord, RefusedError, Site
from hinpaint.sources.symmetry import read_symmetry, space_group_name, value_of
from hinpaint.whynot import Reason, Stop

_LENGTHS = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
_ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
# COD keeps the published formula aside where it changed or dropped the sum (all re-symmetrised entries).
_FORMULA_TAGS = (
    "_chemical_formula_sum", "_[local]_cod_chemical_formula_sum_orig", "_cod_chemical_formula_sum_orig",
    "_cod_original_formula_sum",
)  # fmt: skip
_OTHER_FORMULAE = (
    ("_chemical_formula_moiety", Note.FORMULA_FROM_MOIETY),
    ("_chemical_formula_structural", Note.FORMULA_FROM_STRUCTURAL),
)
_MAX_LENGTH_A = 2000.0
_MAX_FRAC = 100.0
_CALCULATED = frozenset({"calc", "c"})
_DUMMY = "dum"
_MAX_ATTACHED = 8
_MEASURED_TAGS = (
    "_diffrn_radiation_type", "_diffrn_radiation_probe", "_diffrn_radiation_wavelength",
    "_refine_ls_R_factor_gt", "_refine_ls_R_factor_obs", "_refine_ls_R_factor_all",
)  # fmt: skip
_PROGRAMS = re.compile(r"\b(vasp|castep|quantum ?espresso|siesta|abinit|crystal0[69]|crystal1[47]|cp2k|wien2k|dmol)\b", re.IGNORECASE)  # fmt: skip  # noqa: E501


def parse_cif(text: str) -> ParsedRecord | Stop:
    """Read one CIF.

    Args:
        text: the whole file; of several data blocks the first with a cell and atom sites is read.

    Returns:
        The parsed record with its expanded cell, or the reason why it cannot be read.
    """
    try:
        return _parse(text)
    except RefusedError as refused:
        return refused.stop


def _parse(text: str) -> ParsedRecord:
    try:
        document = cif.read_string(text, 0)
    except (ValueError, RuntimeError) as error:
        raise RefusedError(Reason.UNREADABLE, " ".join(str(error).split())[:200]) from error
    block = choose_block(document)
    if block is None:
        raise RefusedError(Reason.NO_CELL, f"none of {len(document)} data blocks has a cell")
    parameters = _cell_parameters(block)
    lattice = np.array(gemmi.UnitCell(*parameters).orth.mat, dtype=np.float64).T.copy()
    symmetry = read_symmetry(block, parameters[3], parameters[5])
    written = ((value_of(block, tag), note) for tag, note in _OTHER_FORMULAE)
    others = tuple((each, note) for each, note in written if each is not None)
    formula, origin = _read_formula(block, others)
    sites, inferred = _read_sites(block, formula)
    placed = [(i, site.frac) for i, site in enumerate(sites) if site.frac is not None]
    n_operators = len(symmetry.rotations)
    if not placed:
        raise RefusedError(Reason.NO_SITES, f"{len(sites)} atom sites, none with coordinates")
    if len(placed) * n_operators > MAX_IMAGES:
        detail = f"{len(placed)} sites x {n_operators} operators exceed {MAX_IMAGES}"
        raise RefusedError(Reason.TOO_MANY_SITES, detail)
    index, frac = expand(lattice, symmetry.rotations, symmetry.translations, np.array([f for _, f in placed]))
    with_cell = sum(1 for b in document if b.find_value(_LENGTHS[0]) is not None)
    return ParsedRecord(
        lattice=lattice,
        sites=sites,
        n_operators=n_operators,
        cell_site=np.array([i for i, _ in placed], dtype=np.int64)[index],
        cell_frac=frac,
        formula=formula,
        z=_positive(value_of(block, "_cell_formula_units_Z")),
        space_group=space_group_name(block),
        is_theoretical=_is_theoretical(block),
        notes=symmetry.notes + ((Note.MULTIPLE_BLOCKS,) if with_cell > 1 else ()) + origin + inferred,
        other_formulae=tuple(other for other, note in others if note not in origin),
        density_g_cm3=_positive(value_of(block, "_exptl_crystal_density_diffrn", "_exptl_crystal_density_meas")),
    )


def _read_formula(block: cif.Block, others: tuple[tuple[str, Note], ...]) -> tuple[Formula | None, tuple[Note, ...]]:
    """First readable formula; one that is written but unreadable does not hide a later one, sum or not."""
    for tag in _FORMULA_TAGS:
        formula = parse_formula(value_of(block, tag))
        if formula is not None:
            return formula, ()
    for text, note in others:
        formula = parse_moiety(text)
        if formula is not None:
            return formula, (note,)
    return None, ()


def choose_block(document: cif.Document) -> cif.Block | None:
    """The block that is read: the first with cell and sites, else the first with a cell, else None."""
    with_cell = [block for block in document if block.find_value(_LENGTHS[0]) is not None]
    with_sites = [block for block in with_cell if len(block.find_values("_atom_site_fract_x"))]
    return next(iter(with_sites or with_cell), None)


def _number(text: str | None) -> float:
    """Number with or without standard uncertainty; NaN when it is none."""
    return float(cif.as_number(text)) if text is not None else math.nan


def _positive(text: str | None) -> float | None:
    value = _number(text)
    return value if math.isfinite(value) and value > 0 else None


def _cell_parameters(block: cif.Block) -> tuple[float, ...]:
    lengths = [_number(value_of(block, tag)) for tag in _LENGTHS]
    # The core dictionary gives the angles a default of 90 degrees; a value of "?" counts as left out.
    angles = [90.0 if (text := value_of(block, tag)) is None else _number(text) for tag in _ANGLES]
    if not all(0.1 < length < _MAX_LENGTH_A for length in lengths) or not all(0 < angle < 180 for angle in angles):
        raise RefusedError(Reason.NO_CELL, f"cell parameters {lengths} {angles}")
    alpha, beta, gamma = np.cos(np.radians(angles))
    # 1 - cos^2 ... is the square of the volume of a cell with unit edges.
    if not 1 - alpha**2 - beta**2 - gamma**2 + 2 * alpha * beta * gamma > 1e-6:
        raise RefusedError(Reason.NO_CELL, f"angles {angles} span no volume")
    return (*lengths, *angles)


def _column(block: cif.Block, tag: str, n_rows: int) -> list[str | None]:
    """Values of one tag, unquoted; None for ``.``, ``?`` and for a tag that is absent or of other length."""
    values = list(block.find_values(tag))
    return [_unquoted(value) for value in values] if len(values) == n_rows else [None] * n_rows


def _unquoted(value: str) -> str | None:
    if value in {".", "?"}:
        return None
    return value if value[0] not in "'\";" else str(cif.as_string(value))


class _Row(NamedTuple):
    """One row of the atom sites as text; the names are those of the tags behind ``_atom_site_``."""

    label: str | None
    type_symbol: str | None
    occupancy: str | None
    fract_x: str | None
    fract_y: str | None
    fract_z: str | None
    calc_flag: str | None
    refinement_flags: str | None
    refinement_flags_posn: str | None
    disorder_group: str | None
    disorder_assembly: str | None
    attached_hydrogens: str | None
    symmetry_multiplicity: str | None
    site_symmetry_multiplicity: str | None


def _site_columns(block: cif.Block, n_sites: int) -> list[list[str | None]]:
    """Columns of the atom sites in the order of :class:`_Row`; of a tag that a loop repeats, the first one."""
    tags = [f"_atom_site_{name}" for name in _Row._fields]
    loop = block.find_loop("_atom_site_fract_x").get_loop()
    if loop is None:  # a single site may be written as pairs
        return [_column(block, tag, n_sites) for tag in tags]
    values, width = loop.values, loop.width()
    places: dict[str, int] = {}
    for place, tag in enumerate(loop.tags):
        places.setdefault(tag.lower(), place)
    absent: list[str | None] = [None] * n_sites
    return [[_unquoted(v) for v in values[places[tag] :: width]] if tag in places else absent for tag in tags]


def _read_sites(block: cif.Block, formula: Formula | None) -> tuple[tuple[Site, ...], tuple[Note, ...]]:
    n_sites = len(block.find_values("_atom_site_fract_x"))
    if n_sites == 0:
        raise RefusedError(Reason.NO_SITES, "no _atom_site_fract_x")
    if n_sites > MAX_IMAGES:
        raise RefusedError(Reason.TOO_MANY_SITES, f"{n_sites} atom sites, more than {MAX_IMAGES}")
    columns = _site_columns(block, n_sites)
    rows = [_Row(*values) for values in zip(*columns, strict=True)]
    alternatives = _alternative_sites([row.disorder_assembly for row in rows], [row.disorder_group for row in rows])
    # SHELX: "constr" says that every hydrogen parameter follows from other atoms.
    treatment = value_of(block, "_refine_ls_hydrogen_treatment")
    constrained = treatment == "constr" and not any(row.calc_flag for row in rows)
    charges = _type_charges(block)
    sites = []
    for row, alternative in zip(rows, alternatives, strict=True):
        site = _read_site(row, formula, alternative, constrained, _charge(row.type_symbol, charges))
        if site is not None:
            sites.append(site)
    metal_sites = any(r.label is not None and r.type_symbol is None and is_metal_site(r.label) for r in rows)
    return tuple(sites), (Note.ELEMENT_FROM_FORMULA,) if metal_sites else ()


def _type_charges(block: cif.Block) -> dict[str, float]:
    """Oxidation states by type symbol."""
    symbols = _column(block, "_atom_type_symbol", len(block.find_values("_atom_type_symbol")))
    numbers = _column(block, "_atom_type_oxidation_number", len(symbols))
    found = {s: _number(n) for s, n in zip(symbols, numbers, strict=True) if s is not None and n is not None}
    return {symbol: number for symbol, number in found.items() if math.isfinite(number)}


def _charge(type_symbol: str | None, charges: dict[str, float]) -> float | None:
    if type_symbol is None:
        return None
    return charges.get(type_symbol, charge_of_type(type_symbol))


def _read_site(
    row: _Row, formula: Formula | None, alternative: bool, constrained: bool, charge: float | None
) -> Site | None:
    label = row.label or row.type_symbol or ""
    calc_flag = (row.calc_flag or "").lower()
    is_dummy = calc_flag == _DUMMY
    found = element_of_site(row.type_symbol, label, formula)
    if found is None:
        # A dummy that is no element (a ring's centroid) and a row of nothing but question marks are no atoms.
        if is_dummy or (not label and row.fract_x is None):
            return None
        raise RefusedError(Reason.UNKNOWN_ELEMENT, f"site {label[:40]!r}, type {row.type_symbol!r}")
    texts = row.fract_x, row.fract_y, row.fract_z
    frac = None if is_dummy else _read_frac(label, texts)
    occupancy = _number(row.occupancy) if row.occupancy is not None else 1.0
    if not 0 <= occupancy <= 1e3:
        raise RefusedError(Reason.UNREADABLE, f"site {label[:40]!r}: occupancy {row.occupancy!r}")
    flags = (row.refinement_flags_posn or row.refinement_flags or "").upper()
    attached = _number(row.attached_hydrogens)
    declared = _number(row.symmetry_multiplicity or row.site_symmetry_multiplicity)
    return Site(
        label=label,
        element=found[0],
        occupancy=occupancy,
        frac=frac,
        calculated=calc_flag in _CALCULATED or "R" in flags or constrained,
        is_isotope=found[1],
        alternative=alternative,
        attached=round(attached) if 0 <= attached <= _MAX_ATTACHED else None,
        multiplicity=round(declared) if 1 <= declared <= 192 else None,
        hint=hint_of_label(label, found[0]),
        refined=frac is not None and any("(" in (text or "") for text in texts),
        charge=charge,
    )


def _read_frac(label: str, texts: tuple[str | None, ...]) -> tuple[float, float, float] | None:
    values = []
    for text in texts:
        if text is None:
            return None
        value = _number(text)
        if not abs(value) <= _MAX_FRAC:
            raise RefusedError(Reason.UNREADABLE, f"site {label[:40]!r}: coordinate {text[:40]!r}")
        # A coordinate with a standard uncertainty was refined and is not a cut-off third.
        values.append(value if "(" in text else snap_thirds(value, len(text.partition(".")[2])))
    return values[0], values[1], values[2]


def _alternative_sites(assemblies: list[str | None], groups: list[str | None]) -> list[bool]:
    """Say which sites belong to an assembly that has more than one group (groups of sign only differ in symmetry)."""
    members: dict[str | None, set[str]] = {}
    for assembly, group in zip(assemblies, groups, strict=True):
        if group is not None and group != "0":
            members.setdefault(assembly, set()).add(group)
    return [
        group is not None and group != "0" and len(members[assembly]) > 1
        for assembly, group in zip(assemblies, groups, strict=True)
    ]


def _is_theoretical(block: cif.Block) -> bool | None:
    if (value_of(block, "_cod_struct_determination_method") or "").lower() == "theoretical":
        return True
    programs = " ".join(
        value_of(block, tag) or "" for tag in ("_computing_structure_refinement", "_computing_structure_solution")
    )
    if _PROGRAMS.search(programs[:2000]):
        return True
    return False if value_of(block, *_MEASURED_TAGS) else None
