"""Weighing: counts, formula, disorder, distances and hints become one verdict on what is missing."""

import math

from hinpaint.codes import Code, confidence
from hinpaint.evidence.counting import (
    WHOLE_TOLERANCE,
    Counts,
    check_host_order,
    check_overlaps,
    check_target,
    count,
    note,
)
from hinpaint.evidence.declared import Demand, demand, other_demands
from hinpaint.evidence.geometry import measure
from hinpaint.evidence.hints import bond_valence_missing, charge_balance
from hinpaint.evidence.model import Evidence, Findings
from hinpaint.sources.records import ParsedRecord
from hinpaint.whynot import Reason


def weigh(record: ParsedRecord, element: str = "H") -> Evidence:
    """Weigh what a record says about one element.

    Args:
        record: the parsed record.
        element: target element; deuterium and tritium count as ``H``.

    Returns:
        Counts, codes and confidence; a record that cannot be used carries its reason in ``conflict``.
    """
    findings = Findings()
    counts = count(record, element)
    note(record, element, counts, findings)
    check_target(record, element, counts, findings)
    disordered_host = check_host_order(record, element, findings)
    asked = demand(record, element, disordered_host, findings)
    declared = _whole(asked.asked)
    dropped = _dropped(declared, asked, counts, element, disordered_host, findings)
    if findings.conflict is None:
        check_overlaps(record.without(dropped), findings)
    present = round(counts.ordered if dropped else counts.sites)
    missing = _missing(declared, present, asked, counts, element, findings)
    missing, low, high = _settle(missing, present, asked, counts, record, element, findings)
    distances = measure(record, element, findings)
    balance, valence = _hints(record, element, present, missing, findings)
    return Evidence(
        n_declared_per_formula=asked.per_formula,
        n_declared=declared,
        n_sites=round(counts.sites),
        n_dummy=round(counts.dummy),
        n_attached=counts.attached,
        n_calculated=round(counts.calculated),
        n_refined=round(counts.refined),
        n_missing=missing,
        n_missing_low=low,
        n_missing_high=high,
        d_xh_min_a=distances.xh_min_a,
        d_xh_max_a=distances.xh_max_a,
        d_hh_min_a=distances.hh_min_a,
        charge_balance=balance,
        bond_valence_missing=valence,
        z=asked.z,
        confidence=0.0 if missing is None else confidence(findings.codes),
        codes=tuple(findings.codes),
        conflict=findings.conflict,
        dropped=dropped,
    )


def _hints(
    record: ParsedRecord, element: str, present: int, missing: int | None, findings: Findings
) -> tuple[float | None, float | None]:
    """Charge balance of the completed cell, and hydrogens by bond valence where some are missing."""
    if missing is None or present + missing == 0:
        return None, None
    balance = charge_balance(record, element, present + missing, findings)
    return balance, bond_valence_missing(record, element, present, missing, findings) if missing else None


def _whole(asked: float | None) -> int | None:
    return round(asked) if asked is not None and abs(asked - round(asked)) <= WHOLE_TOLERANCE else None


def _dropped(
    declared: int | None, asked: Demand, counts: Counts, element: str, disordered_host: bool, findings: Findings
) -> tuple[int, ...]:
    """Disordered sites of the element that are placed anew; a stop where no formula says how many there are."""
    if asked.asked is not None and declared is None:
        findings.add(Code.FRACTIONAL_COUNT)
        findings.stop(Reason.DISORDERED_HYDROGEN, f"the formula asks for {asked.asked:.2f} {element} in the cell")
    if not counts.disordered or disordered_host:
        return ()
    if declared is None or not asked.reliable or counts.sites > declared + 0.5:
        detail = f"{len(counts.disordered)} {element} sites not fully occupied, and no formula says how many there are"
        findings.stop(Reason.DISORDERED_HYDROGEN, detail)
        return ()
    findings.add(Code.DISORDERED_TARGET_REPLACED)
    return counts.disordered


def _missing(
    declared: int | None, present: int, asked: Demand, counts: Counts, element: str, findings: Findings
) -> int | None:
    """Sites that are missing, from the formula or, without one, from what the record lists as absent."""
    absent = counts.attached > 0 or counts.dummy > 0
    some = asked.per_formula > 0 if asked.per_formula is not None else absent
    findings.add(Code.MISSING_ALL, bool(some) and counts.sites == 0)
    if declared is None or not asked.reliable:
        findings.add(Code.MISSING_SOME, asked.per_formula is None and absent and counts.sites > 0)
        return (counts.listed or None) if asked.per_formula is None else None
    lacking = declared - round(counts.sites)
    findings.add(Code.MISSING_SOME, lacking > 0 and counts.sites > 0)
    findings.add(Code.COMPLETE, lacking == 0 and counts.sites > 0)
    if lacking < 0:
        findings.add(Code.EXCESS)
        detail = f"the formula asks for {declared} {element}, {round(counts.sites)} are present"
        findings.stop(Reason.CONFLICTING_EVIDENCE, detail)
        return None
    _compare(declared, lacking, counts, element, findings)
    return declared - present


def _compare(declared: int, missing: int, counts: Counts, element: str, findings: Findings) -> None:
    dummy, attached = round(counts.dummy), counts.attached
    findings.add(Code.LABELS_CONFIRM, missing > 0 and missing == counts.promised)
    fewer = not counts.dummy_exact and missing <= dummy + attached
    findings.add(Code.DUMMY_DISAGREES, dummy > 0 and missing not in (dummy, dummy + attached) and not fewer)
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


def _settle(
    missing: int | None, present: int, asked: Demand, counts: Counts, record: ParsedRecord, element: str,
    findings: Findings,
) -> tuple[int | None, int | None, int | None]:  # fmt: skip
    """The count, and the least and greatest that the record's statements give; the count only where they agree."""
    others = [max(0, round(other) - present) for other in other_demands(record, element)] if missing != 0 else []
    if missing is not None and any(other != missing for other in others):
        findings.add(Code.FORMULAE_DISAGREE)
        findings.stop(
            Reason.CONFLICTING_EVIDENCE, f"{missing} {element} missing by one formula, {others[0]} by another"
        )
    if missing is not None and not findings.count_open:
        return missing, missing, missing
    if asked.per_formula is None:
        return None, (max(counts.listed, counts.promised) or None), None
    readings = others
    if asked.asked is not None:
        lacking = asked.asked - present
        readings += [max(0, math.floor(lacking + WHOLE_TOLERANCE)), max(0, math.ceil(lacking - WHOLE_TOLERANCE))]
    if Code.ATTACHED_DISAGREES in findings.codes:
        readings.append(counts.attached)
    return None, min(readings, default=None), max(readings, default=None)
