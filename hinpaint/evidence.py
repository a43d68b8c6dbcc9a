"""What a record says about its sites of the target element: how many are missing, on what evidence, how sure.

Counting follows one rule: sites missing = sites the formula asks for (formula x Z) - sites present. Everything else a
record says (attached hydrogens, dummy sites, labels such as ``Wat``) confirms that number, replaces it where there is
no formula, or contradicts it; a contradiction is never averaged away.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hinpaint.codes import CODE_EXPLANATIONS, Code, confidence
from hinpaint.config import Mode
from hinpaint.sources.geometry import first_overlap
from hinpaint.sources.records import Hint, Note, ParsedRecord
from hinpaint.whynot import Reason, Stop

__all__ = ["CODE_EXPLANATIONS", "Code", "Evidence", "choose_mode", "weigh"]

HOST_TOLERANCE = 0.02
"""Relative difference of formula and sites that passes as rounding."""
WHOLE_TOLERANCE = 0.1
"""A number of atoms this close to an integer is that integer; formulae are rounded (H1.667 in a cell of three)."""
MIN_DISTANCE_A, MIN_DISTANCE_H_A = 0.5, 0.4
"""No two ordered atoms lie closer; with hydrogen the bound is lower, as X-ray bonds to hydrogen are short."""

_COUNT_UNKNOWN = (Reason.CONFLICTING_EVIDENCE, Reason.FORMULA_MISMATCH, Reason.DISORDERED_HYDROGEN)
"""Conflicts that leave the count itself open; the others (a disordered host, say) stop an entry of known count."""
_HYDROGENS = {Hint.WATER: 2, Hint.HYDROXYL: 1}


@dataclass(frozen=True)
class Evidence:
    """What a record says about its sites of the target element, counted in the cell.

    Attributes:
        n_declared: sites the formula asks for, None without a usable formula.
        n_sites: sites with coordinates (occupancies summed and rounded).
        n_dummy: sites listed without coordinates.
        n_attached: hydrogens declared as attached.
        n_calculated: sites whose positions were calculated.
        n_missing: what inpainting has to place, None when it cannot be said.
        z: formula units in the cell that were used.
        confidence: 0 to 1, how sure ``n_missing`` is.
        codes: what was seen.
        conflict: why the record is refused whatever is asked of it, None when it is usable.
    """

    n_declared: int | None
    n_sites: int
    n_dummy: int
    n_attached: int
    n_calculated: int
    n_missing: int | None
    z: float | None
    confidence: float
    codes: tuple[Code, ...]
    conflict: Stop | None


@dataclass(frozen=True)
class _Counts:
    """Raw counts in the cell, before they are compared."""

    sites: float
    dummy: float
    attached: int
    attached_complete: bool
    calculated: float
    promised: int


@dataclass
class _Findings:
    """Codes and the first conflict while the rules run."""

    codes: list[Code] = field(default_factory=list)
    conflict: Stop | None = None

    def add(self, code: Code, when: bool = True) -> None:
        if when and code not in self.codes:
            self.codes.append(code)

    def stop(self, reason: Reason, detail: str) -> None:
        if self.conflict is None:
            self.conflict = Stop(reason, detail)


def weigh(record: ParsedRecord, element: str = "H") -> Evidence:
    """Weigh what a record says about one element.

    Args:
        record: the parsed record.
        element: target element; deuterium and tritium count as ``H``.

    Returns:
        Counts, codes and confidence; a record that cannot be used carries its reason in ``conflict``.
    """
    findings = _Findings()
    counts = _count(record, element)
    _note(record, element, counts, findings)
    _check_target(record, element, counts, findings)
    _check_order(record, element, findings)
    z, asked = _declared(record, element, findings)
    declared = round(asked) if asked is not None and abs(asked - round(asked)) <= WHOLE_TOLERANCE else None
    if asked is not None and declared is None:
        findings.add(Code.FRACTIONAL_COUNT)
        findings.stop(Reason.DISORDERED_HYDROGEN, f"the formula asks for {asked:.2f} {element} in the cell")
    missing = _missing(declared, counts, element, findings)
    if findings.conflict is not None and findings.conflict.reason in _COUNT_UNKNOWN:
        missing = None
    return Evidence(
        n_declared=declared,
        n_sites=round(counts.sites),
        n_dummy=round(counts.dummy),
        n_attached=counts.attached,
        n_calculated=round(counts.calculated),
        n_missing=missing,
        z=z,
        confidence=0.0 if missing is None else confidence(findings.codes),
        codes=tuple(findings.codes),
        conflict=findings.conflict,
    )


def choose_mode(modes: Sequence[Mode], evidence: Evidence) -> Mode | Stop:
    """Choose what to do with an entry: the first wish of its source that fits the evidence.

    Args:
        modes: the source's wishes in order.
        evidence: what the record says.

    Returns:
        ``reconstruct`` when sites are missing; ``audit`` when none is and all were only calculated; ``benchmark`` when
        none is and some are present; otherwise why nothing is to be done.
    """
    if evidence.conflict is not None:
        return evidence.conflict
    missing = evidence.n_missing
    if missing is None:
        return Stop(Reason.FORMULA_UNREADABLE, f"{evidence.n_sites} sites present, but nothing says how many there are")
    complete = missing == 0 and evidence.n_sites > 0
    fits: dict[Mode, bool] = {
        "reconstruct": missing > 0,
        "audit": complete and evidence.n_calculated >= evidence.n_sites,
        "benchmark": complete,
    }
    for mode in modes:
        if fits[mode]:
            return mode
    if missing > 0:
        return Stop(Reason.NOT_SELECTED, f"{missing} sites missing, but the source's mode is {', '.join(modes)}")
    if evidence.n_sites == 0:
        return Stop(Reason.NO_TARGET_ELEMENT, "")
    return Stop(Reason.NOTHING_MISSING, f"all {evidence.n_sites} sites present")


def _count(record: ParsedRecord, element: str) -> _Counts:
    sites = [(site, int(m)) for site, m in zip(record.sites, record.multiplicities, strict=True)]
    target = [(s, m) for s, m in sites if s.element == element]
    attached = 0.0
    promised = 0
    if element == "H":
        attached = sum(m * s.occupancy * s.attached for s, m in sites if s.attached is not None)
        promised = sum(m * _HYDROGENS[s.hint] for s, m in sites if s.hint is not None)
    bearing = [s for s in record.sites if s.element in ("O", "N", "C", "B", "S", "P")]
    return _Counts(
        sites=sum(m * s.occupancy for s, m in target if s.frac is not None),
        dummy=sum(m * s.occupancy for s, m in target if s.frac is None),
        attached=round(attached),
        attached_complete=bool(bearing) and all(s.attached is not None for s in bearing),
        calculated=sum(m * s.occupancy for s, m in target if s.frac is not None and s.calculated),
        promised=promised,
    )


def _note(record: ParsedRecord, element: str, counts: _Counts, findings: _Findings) -> None:
    for note in record.notes:
        findings.add({
            Note.MULTIPLE_BLOCKS: Code.MULTIPLE_BLOCKS,
            Note.SYMMETRY_FROM_NAME: Code.SYMMETRY_FROM_NAME,
            Note.SYMMETRY_DISAGREES: Code.SYMMETRY_DISAGREES,
        }[note])  # fmt: skip
    findings.add(Code.NO_FORMULA, record.formula is None)
    if element == "H":
        isotopes = any(s.is_isotope for s in record.sites) or bool(record.formula and record.formula.has_deuterium)
        findings.add(Code.DEUTERIUM, isotopes)
        findings.add(Code.WATER_LABEL, any(s.hint is Hint.WATER for s in record.sites))
        findings.add(Code.HYDROXYL_LABEL, any(s.hint is Hint.HYDROXYL for s in record.sites))
    findings.add(Code.DUMMY, counts.dummy > 0)
    findings.add(Code.ATTACHED, counts.attached > 0)
    findings.add(Code.ALL_CALCULATED, counts.sites > 0 and counts.calculated >= counts.sites - WHOLE_TOLERANCE)


def _check_target(record: ParsedRecord, element: str, counts: _Counts, findings: _Findings) -> None:
    in_formula = record.formula is not None and element in record.formula.counts
    if not in_formula and counts.sites + counts.dummy + counts.attached == 0:
        promised = f"; but labels promise {counts.promised}" if counts.promised else ""
        if record.formula is None and counts.promised:
            findings.stop(Reason.FORMULA_UNREADABLE, f"no {element} sites and no formula{promised}")
        findings.stop(Reason.NO_TARGET_ELEMENT, f"no {element} in formula and sites{promised}")
    if set(record.species) == {element}:
        findings.stop(Reason.NO_HOST, f"all sites are {element}")


def _check_order(record: ParsedRecord, element: str, findings: _Findings) -> None:
    if host := [s for s in record.sites if s.element != element and not s.is_full]:
        names = ", ".join(s.label[:20] for s in host[:3])
        findings.stop(Reason.DISORDERED_HOST, f"{len(host)} host sites not fully occupied: {names}")
    # A site without coordinates cannot be disordered in space; its occupancy only says how many there are.
    if target := [s for s in record.sites if s.element == element and not s.is_full and s.frac is not None]:
        findings.add(Code.DISORDERED_TARGET)
        names = ", ".join(s.label[:20] for s in target[:3])
        findings.stop(Reason.DISORDERED_HYDROGEN, f"{len(target)} {element} sites not fully occupied: {names}")
    if findings.conflict is None:
        _check_distances(record, findings)


def _check_distances(record: ParsedRecord, findings: _Findings) -> None:
    reach = np.array([MIN_DISTANCE_H_A if name == "H" else MIN_DISTANCE_A for name in record.species])
    overlap = first_overlap(record.lattice, record.cell_frac, reach)
    if overlap is not None:
        first, second = (record.sites[record.cell_site[k]].label[:20] for k in overlap[:2])
        findings.stop(Reason.OVERLAPPING_SITES, f"{first} and {second} are {overlap[2]:.2f} Å apart")


def _declared(record: ParsedRecord, element: str, findings: _Findings) -> tuple[float | None, float | None]:
    """Return Z and the number of sites the formula asks for in the cell."""
    if record.formula is None:
        return record.z, None
    host = {name: count for name, count in record.formula.counts.items() if name != element}
    present = {name: count for name, count in record.cell_counts().items() if name != element}
    fitted = sum(present.values()) / sum(host.values()) if host else None
    unlike = [
        f"{name}: formula {host.get(name, 0.0) * (fitted or 0.0):.2f}, sites {present.get(name, 0.0):.2f}"
        for name in sorted(host.keys() | present.keys())
        if not _close(host.get(name, 0.0) * (fitted or 0.0), present.get(name, 0.0))
    ]
    if unlike:
        findings.add(Code.HOST_MISMATCH)
        findings.stop(Reason.FORMULA_MISMATCH, "; ".join(unlike[:4]))
        return record.z, None
    if not fitted:
        return record.z, record.formula.counts.get(element, 0.0) * record.z if record.z else None
    findings.add(Code.Z_DERIVED, record.z is None)
    if record.z is not None and _close(record.z, fitted):
        fitted = record.z
    elif record.z is not None:
        findings.add(Code.Z_DISAGREES)
        if Code.SYMMETRY_DISAGREES in findings.codes:
            detail = f"Z declared {record.z:g}, from the sites {fitted:.2f}; operators and space group disagree too"
            findings.stop(Reason.CONFLICTING_EVIDENCE, detail)
    # Z is a multiple of a small fraction; rounding it keeps 3.999 out of the counts.
    nearest = round(fitted * 12) / 12
    z = nearest if nearest and _close(nearest, fitted) else fitted
    return z, record.formula.counts.get(element, 0.0) * z


def _close(first: float, second: float) -> bool:
    return bool(np.isclose(first, second, rtol=HOST_TOLERANCE, atol=0.01))


def _missing(declared: int | None, counts: _Counts, element: str, findings: _Findings) -> int | None:
    sites, dummy, attached = round(counts.sites), round(counts.dummy), counts.attached
    if declared is None:
        # Without a formula only what the record lists as absent can be missing; dummies may be the attached ones.
        absent = max(attached, dummy)
        if absent == 0 or Code.NO_FORMULA not in findings.codes:
            return None
        missing = absent
    else:
        missing = declared - sites
    findings.add(Code.MISSING_ALL, missing > 0 and sites == 0)
    findings.add(Code.MISSING_SOME, missing > 0 and sites > 0)
    findings.add(Code.COMPLETE, missing == 0 and sites > 0)
    if missing < 0:
        findings.add(Code.EXCESS)
        findings.stop(Reason.CONFLICTING_EVIDENCE, f"the formula asks for {declared} {element}, {sites} are present")
        return None
    if declared is not None:
        _compare(declared, missing, counts, element, findings)
    findings.add(Code.LABELS_CONFIRM, missing > 0 and missing == counts.promised)
    return missing


def _compare(declared: int, missing: int, counts: _Counts, element: str, findings: _Findings) -> None:
    dummy, attached = round(counts.dummy), counts.attached
    findings.add(Code.DUMMY_DISAGREES, dummy > 0 and missing not in (dummy, dummy + attached))
    if attached == 0:
        return
    # Some records count every hydrogen as attached, those with coordinates too, whatever the dictionary says.
    if attached in (missing, declared) or attached + dummy == missing:
        findings.add(Code.ATTACHED_CONFIRMS)
    elif missing == 0:
        findings.add(Code.ATTACHED_DISAGREES)
    elif attached < missing and not counts.attached_complete:
        findings.add(Code.ATTACHED_INCOMPLETE)
    else:
        findings.add(Code.ATTACHED_DISAGREES)
        detail = f"{missing} {element} missing by formula, {attached} attached, {dummy} without coordinates"
        findings.stop(Reason.CONFLICTING_EVIDENCE, detail)
