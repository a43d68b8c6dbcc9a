"""The declared formula of a completed CIF: left alone where it closes with the sites, else written anew."""

import math
from collections.abc import Mapping
from functools import reduce

import gemmi
from gemmi import cif

from hinpaint.release.blocks import quoted, replace_value
from hinpaint.sources.chemistry import hill_formula
from hinpaint.sources.records import ParsedRecord

SUM, WEIGHT, UNITS = "_chemical_formula_sum", "_chemical_formula_weight", "_cell_formula_units_Z"
_ABSOLUTE, _RELATIVE = 0.01, 0.02
"""Difference of a count that still closes: refined occupancies are written 0.985. Evidence is weighed so too."""


def released_counts(record: ParsedRecord, given_way: frozenset[int], element: str, n_placed: int) -> dict[str, float]:
    """Atoms in the released cell by element: the source's sites that stay, by their occupancy, and the placed ones.

    Args:
        record: the source.
        given_way: indices of ``record.sites`` that left.
        element: element of the placed sites.
        n_placed: placed sites in the cell.
    """
    counts = record.without(given_way).cell_counts()
    counts[element] = counts.get(element, 0.0) + n_placed
    return {name: count for name, count in counts.items() if count > 0}


def _deuterium_count(record: ParsedRecord, given_way: frozenset[int]) -> float:
    """Deuterium atoms among the sites of the cell that stay; none where the record has tritium, which counts alike."""
    if record.formula is not None and record.formula.has_tritium:
        return 0.0
    others = {i for i, site in enumerate(record.sites) if not site.is_isotope}
    return record.without(given_way | others).cell_counts().get("H", 0.0)


def close_formula(
    block: cif.Block, record: ParsedRecord, counts: Mapping[str, float], symbols: Mapping[str, str],
    given_way: frozenset[int],
) -> None:  # fmt: skip
    """Make formula and number of formula units agree with the sites.

    A formula that closes stays as the source wrote it. What is replaced, the weight included, is kept in
    ``_hinpaint_original_*``. Density and F(000) stay the source's statements.

    Args:
        block: the block that holds the sites.
        record: the source.
        counts: atoms in the released cell by element.
        symbols: how elements are written where not by their own symbol: ``{"H": "D"}``.
        given_way: sites of the source that placed ones replace; the deuterium among the others stays deuterium.
    """
    declared = record.formula.counts if record.formula is not None else {}
    units = formula_units(declared, counts)
    if units is None:
        units = record.z or _largest_divisor(counts)
        n_deuterium = _deuterium_count(record, given_way)
        if n_deuterium and "H" in counts and symbols.get("H", "H") == "H":
            counts = {**counts, "H": counts["H"] - n_deuterium, "D": n_deuterium}
        unit = {name: count / units for name, count in counts.items()}
        _write_sum(block, unit, symbols)
        if block.find_pair(WEIGHT) is not None:
            weight = sum(count * gemmi.Element(symbols.get(name, name)).weight for name, count in unit.items())
            replace_value(block, WEIGHT, f"{weight:.3f}")
    elif _is_absent(block, SUM):
        _write_sum(block, declared, symbols)
    if record.z is None or not _is_close(record.z, units):
        replace_value(block, UNITS, f"{units:.6g}")


def formula_units(declared: Mapping[str, float], counts: Mapping[str, float]) -> float | None:
    """Formula units that make up the counts of a cell; None when the two are not proportional."""
    if not declared or {name for name, count in declared.items() if count > 0} != counts.keys():
        return None
    units = sum(counts.values()) / sum(declared.values())
    whole = round(units)
    units = float(whole) if whole and _is_close(units, whole) else units
    return units if all(_is_close(counts[name], declared[name] * units) for name in counts) else None


def _is_close(first: float, second: float) -> bool:
    return abs(first - second) <= _ABSOLUTE + _RELATIVE * abs(second)


def _largest_divisor(counts: Mapping[str, float]) -> float:
    whole = {name: round(count) for name, count in counts.items()}
    if any(not number or abs(number - counts[name]) > _ABSOLUTE for name, number in whole.items()):
        return 1.0
    return float(reduce(math.gcd, whole.values()))


def _is_absent(block: cif.Block, tag: str) -> bool:
    value = block.find_value(tag)
    return value is None or cif.is_null(value)


def _write_sum(block: cif.Block, unit: Mapping[str, float], symbols: Mapping[str, str]) -> None:
    text = hill_formula({symbols.get(name, name): count for name, count in unit.items()})
    replace_value(block, SUM, quoted(text))
