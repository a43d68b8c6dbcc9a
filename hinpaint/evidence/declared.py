"""What the formula asks for: formula units in the cell, and sites of the element."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import gemmi
import numpy as np

from hinpaint.codes import Code
from hinpaint.evidence.model import Findings
from hinpaint.sources.chemistry import parse_moiety
from hinpaint.sources.records import Formula, ParsedRecord
from hinpaint.whynot import Reason

HOST_TOLERANCE = 0.02
"""Relative difference of formula and sites that passes as rounding."""
_DENSITY_TOLERANCE = 0.05
_MASS_IN_1_A3 = 0.602214076
"""Atomic mass units in 1 Å³ at 1 g/cm³."""


@dataclass(frozen=True)
class Demand:
    """What the formula asks for.

    Attributes:
        z: formula units in the cell, None when nothing says.
        per_formula: atoms of the element in a formula unit, None without a formula.
        reliable: the host fits the formula, or is disordered and its occupancies cannot be expected to.
    """

    z: float | None
    per_formula: float | None
    reliable: bool

    @property
    def asked(self) -> float | None:
        """Sites of the element in the cell."""
        return None if self.z is None or self.per_formula is None else self.z * self.per_formula


def demand(record: ParsedRecord, element: str, disordered_host: bool, findings: Findings) -> Demand:
    """Compare the formula with the host's sites and find Z."""
    formula = record.formula
    if formula is None:
        return Demand(record.z, None, reliable=False)
    per_formula = formula.counts.get(element, 0.0)
    present = _host(record.cell_counts(), element)
    host = _host(formula.counts, element)
    fitted = _units(host, present)
    if fitted is None and Code.HOST_ORDERED in findings.codes:  # some formulae leave the vacancies out
        fitted = _units(host, _host(Counter(record.species), element))
    if fitted is not None:
        return Demand(_settle(record, fitted, findings), per_formula, reliable=True)
    if host and present:
        findings.add(Code.HOST_MISMATCH)
        if not disordered_host:
            findings.stop(Reason.FORMULA_MISMATCH, _difference(host, present))
    z = record.z or _majority_units(host, present)
    if z is None and (z := _units_by_density(record, formula)) is not None:
        findings.add(Code.Z_FROM_DENSITY)
    return Demand(z, per_formula, reliable=disordered_host or not (host and present))


def other_demands(record: ParsedRecord, element: str) -> list[float]:
    """Sites of the element that the record's other formulae ask for; those that do not fit the host are passed over."""
    found = []
    present = _host(record.cell_counts(), element)
    for text in record.other_formulae:
        formula = parse_moiety(text)
        units = _units(_host(formula.counts, element), present) if formula is not None else None
        if formula is not None and units is not None:
            found.append(formula.counts.get(element, 0.0) * units)
    return found


def _host(counts: Mapping[str, float], element: str) -> dict[str, float]:
    return {name: count for name, count in counts.items() if name != element}


def _units(host: Mapping[str, float], present: Mapping[str, float]) -> float | None:
    """Formula units in the sites; None when they are not proportional to the formula."""
    if not host or host.keys() != present.keys():
        return None
    units = sum(present.values()) / sum(host.values())
    return units if all(_close(host[name] * units, present[name]) for name in host) else None


def _close(first: float, second: float) -> bool:
    return abs(first - second) <= 0.01 + HOST_TOLERANCE * abs(second)


def _nearest(units: float) -> float:
    """Z is a multiple of a small fraction; rounding it keeps 3.999 out of the counts."""
    nearest = round(units * 12) / 12
    return nearest if nearest and _close(nearest, units) else units


def _settle(record: ParsedRecord, fitted: float, findings: Findings) -> float:
    findings.add(Code.Z_DERIVED, record.z is None)
    if record.z is not None and _close(record.z, fitted):
        return _nearest(record.z)
    if record.z is not None:
        findings.add(Code.Z_DISAGREES)
        if Code.SYMMETRY_DISAGREES in findings.codes:
            detail = f"Z declared {record.z:g}, from the sites {fitted:.2f}; operators and space group disagree too"
            findings.stop(Reason.CONFLICTING_EVIDENCE, detail)
    return _nearest(fitted)


def _difference(host: Mapping[str, float], present: Mapping[str, float]) -> str:
    units = sum(present.values()) / sum(host.values())
    unlike = [
        f"{name}: formula {host.get(name, 0.0) * units:.2f}, sites {present.get(name, 0.0):.2f}"
        for name in sorted(host.keys() | present.keys())
        if not _close(host.get(name, 0.0) * units, present.get(name, 0.0))
    ]
    return "; ".join(unlike[:4])


def _majority_units(host: Mapping[str, float], present: Mapping[str, float]) -> float | None:
    """Z on which the elements of more than half of the host's atoms agree: a site or two may be left out or wrong."""
    ratios = {name: present[name] / host[name] for name in host.keys() & present.keys()}
    for ratio in ratios.values():
        agreeing = sum(host[name] for name, other in ratios.items() if _close(other, ratio))
        if 2 * agreeing > sum(host.values()):
            return _nearest(ratio)
    return None


def _units_by_density(record: ParsedRecord, formula: Formula) -> float | None:
    if record.density_g_cm3 is None:
        return None
    mass = sum(count * gemmi.Element(name).weight for name, count in formula.counts.items())
    volume = abs(float(np.linalg.det(record.lattice)))
    units = record.density_g_cm3 * volume * _MASS_IN_1_A3 / mass
    return float(round(units)) if units > 0.5 and abs(round(units) / units - 1) < _DENSITY_TOLERANCE else None
