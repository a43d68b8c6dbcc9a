"""Raw counts of the target element in the cell, and which sites are disordered."""

from dataclasses import dataclass

import numpy as np

from hinpaint.codes import Code
from hinpaint.evidence.model import Findings
from hinpaint.sources.geometry import first_overlap
from hinpaint.sources.records import Hint, Note, ParsedRecord, Site
from hinpaint.whynot import Reason

WHOLE_TOLERANCE = 0.1
"""A number of atoms this close to an integer is that integer; formulae are rounded (H1.667 in a cell of three)."""
NEARLY_FULL = 0.95
"""A host site with at least this occupancy and no alternative is taken as full: its vacancies are too few to order."""
MIN_DISTANCE_A, MIN_DISTANCE_H_A = 0.5, 0.4
"""No two ordered atoms lie closer; with hydrogen the bound is lower, as X-ray bonds to hydrogen are short."""

_HYDROGENS = {Hint.WATER: 2, Hint.HYDROXYL: 1}
_BEARING = ("O", "N", "C", "B", "S", "P")


@dataclass(frozen=True)
class Counts:
    """Raw counts in the cell, before they are compared; occupancies are summed.

    Attributes:
        sites: with coordinates.
        ordered: of these, on fully occupied sites without alternative.
        dummy: without coordinates.
        dummy_exact: each of these says its multiplicity; else `dummy` is the most they can stand for.
        attached: hydrogens declared as attached.
        attached_complete: every site that could bear hydrogen says how many it bears.
        calculated: with coordinates that were calculated.
        refined: with coordinates that carry a standard uncertainty.
        promised: hydrogens that labels promise.
        disordered: numbers of the asymmetric sites with coordinates that are partial or alternative.
    """

    sites: float
    ordered: float
    dummy: float
    dummy_exact: bool
    attached: int
    attached_complete: bool
    calculated: float
    refined: float
    promised: int
    disordered: tuple[int, ...]

    @property
    def listed(self) -> int:
        """Sites that are absent and that the record counts; dummies may be the attached ones."""
        return max(self.attached, round(self.dummy) if self.dummy_exact else 0)


def count(record: ParsedRecord, element: str) -> Counts:
    """Count what the record lists of one element."""
    sites = list(zip(record.sites, record.multiplicities.tolist(), strict=True))
    target = [(s, m) for s, m in sites if s.element == element]
    placed = [(s, m) for s, m in target if s.frac is not None]
    attached = promised = 0.0
    if element == "H":
        attached = sum(m * s.occupancy * s.attached for s, m in sites if s.attached is not None)
        promised = sum(m * s.occupancy * _HYDROGENS[s.hint] for s, m in sites if s.hint is not None)
    bearing = [s for s in record.sites if s.element in _BEARING]
    return Counts(
        sites=sum(m * s.occupancy for s, m in placed),
        ordered=sum(m * s.occupancy for s, m in placed if s.is_full),
        dummy=sum(m * s.occupancy for s, m in target if s.frac is None),
        dummy_exact=record.n_operators == 1 or all(s.multiplicity for s, _ in target if s.frac is None),
        attached=round(attached),
        attached_complete=bool(bearing) and all(s.attached is not None for s in bearing),
        calculated=sum(m * s.occupancy for s, m in placed if s.calculated),
        refined=sum(m * s.occupancy for s, m in placed if s.refined),
        promised=round(promised),
        disordered=tuple(
            i for i, s in enumerate(record.sites) if s.element == element and s.frac is not None and not s.is_full
        ),
    )


def note(record: ParsedRecord, element: str, counts: Counts, findings: Findings) -> None:
    """Codes that need no comparison."""
    for each in record.notes:
        findings.add(_CODES_OF_NOTES[each])
    findings.add(Code.NO_FORMULA, record.formula is None)
    if element == "H":
        isotopes = [s for s in record.sites if s.is_isotope]
        formula = record.formula
        tritium = any(s.label[:1] == "T" for s in isotopes) or bool(formula and formula.has_tritium)
        findings.add(Code.TRITIUM, tritium)
        findings.add(Code.DEUTERIUM, not tritium and (bool(isotopes) or bool(formula and formula.has_deuterium)))
        findings.add(Code.WATER_LABEL, any(s.hint is Hint.WATER for s in record.sites))
        findings.add(Code.HYDROXYL_LABEL, any(s.hint is Hint.HYDROXYL for s in record.sites))
    findings.add(Code.DUMMY, counts.dummy > 0)
    findings.add(Code.ATTACHED, counts.attached > 0)
    findings.add(Code.ALL_CALCULATED, counts.sites > 0 and counts.calculated >= counts.sites - WHOLE_TOLERANCE)
    findings.add(Code.DISORDERED_TARGET, bool(counts.disordered))


_CODES_OF_NOTES = {
    Note.MULTIPLE_BLOCKS: Code.MULTIPLE_BLOCKS,
    Note.SYMMETRY_FROM_NAME: Code.SYMMETRY_FROM_NAME,
    Note.SYMMETRY_DISAGREES: Code.SYMMETRY_DISAGREES,
    Note.FORMULA_FROM_MOIETY: Code.FORMULA_FROM_MOIETY,
    Note.FORMULA_FROM_STRUCTURAL: Code.FORMULA_FROM_STRUCTURAL,
    Note.ELEMENT_FROM_FORMULA: Code.ELEMENT_FROM_FORMULA,
}


def check_target(record: ParsedRecord, element: str, counts: Counts, findings: Findings) -> None:
    """Stop records without the element, and those without anything else."""
    in_formula = record.formula is not None and element in record.formula.counts
    if not in_formula and counts.sites + counts.dummy + counts.attached == 0:
        promised = f"; but labels promise {counts.promised}" if counts.promised else ""
        if record.formula is None:
            findings.stop(Reason.FORMULA_UNREADABLE, f"no {element} sites and no formula{promised}")
        findings.stop(Reason.NO_TARGET_ELEMENT, f"no {element} in formula and sites{promised}")
    if set(record.species) == {element}:
        findings.stop(Reason.NO_HOST, f"all sites are {element}")


def check_host_order(record: ParsedRecord, element: str, findings: Findings) -> bool:
    """Say whether the host is disordered beyond what can be taken as full."""
    partial = [s for s in record.sites if s.element != element and not s.is_full]
    if not partial:
        return False
    if all(_nearly_full(site) for site in partial):
        findings.add(Code.HOST_ORDERED)
        return False
    names = ", ".join(s.label[:20] for s in partial[:3])
    findings.stop(Reason.DISORDERED_HOST, f"{len(partial)} host sites not fully occupied: {names}")
    return True


def _nearly_full(site: Site) -> bool:
    return NEARLY_FULL <= site.occupancy <= 1 and not site.alternative


def check_overlaps(record: ParsedRecord, findings: Findings) -> None:
    """Stop a record whose ordered sites lie closer than any chemistry allows."""
    reach = np.array([MIN_DISTANCE_H_A if name == "H" else MIN_DISTANCE_A for name in record.species])
    overlap = first_overlap(record.lattice, record.cell_frac, reach)
    if overlap is not None:
        first, second = (record.sites[record.cell_site[k]].label[:20] for k in overlap[:2])
        findings.stop(Reason.OVERLAPPING_SITES, f"{first} and {second} are {overlap[2]:.2f} Å apart")
