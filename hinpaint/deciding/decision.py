"""What a release does with an entry, how sure that is, and what speaks against it.

One function decides for a million entries of a catalog and for the one structure of ``hinpaint inpaint``. The candidate
is the lowest in energy among the trials that converged and passed every gate. It changes the entry only where something
was missing, or where it is better than what an audited record says; never is a release worse than its source.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hinpaint.config import Grades
from hinpaint.crystal import BoolArray, FloatArray, IntArray
from hinpaint.deciding.confidence import Agreement, ConfidenceModel, agreement, features, grade
from hinpaint.deciding.les import NO_TRIAL, Verdicts
from hinpaint.doubts import Doubt, needs_review
from hinpaint.whynot import Reason, Stop

CLOSE_RIVAL_MEV_PER_ATOM = 5.0
HOST_STRAINED_MEV_PER_ATOM = 20.0
COUNT_UNSURE = 0.9
"""Evidence of the number of missing sites below this is a doubt."""

ACTIONS = {"reconstruct": "completed", "audit": "replaced", "benchmark": "unchanged"}


@dataclass(frozen=True)
class Geometries:
    """What is known of the trials' geometries, (n,) in the order of the verdicts.

    Attributes:
        arrangement: number of the arrangement; -1 where the hydrogen-only relaxation has no end.
        strain_mev_per_atom: energy the full relaxation gains over the hydrogen-only one; NaN without it.
        delta_h_only: energy above the reference after the hydrogen-only relaxation, meV per atom; NaN without one.
        doubts: doubts about each geometry.
    """

    arrangement: IntArray
    strain_mev_per_atom: FloatArray
    delta_h_only: FloatArray
    doubts: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Subjects:
    """What is known of the entries beside their trials, (entries,).

    Attributes:
        mode: reconstruct, benchmark or audit.
        element: element that was placed.
        n_sites: sites in the task's cell.
        n_unknown: of these, placed ones.
        count_unsure: the evidence of their number is below ``COUNT_UNSURE``.
    """

    mode: Sequence[str]
    element: Sequence[str]
    n_sites: IntArray
    n_unknown: IntArray
    count_unsure: BoolArray


@dataclass(frozen=True)
class Decisions:
    """Decisions, (entries,).

    Attributes:
        found: what the trials say together, the candidates among it.
        stops: why the source stands; None where the candidate is taken.
        confidence: that the candidate is the true structure by the published match.
        confidence_strict: that every placed site lies within 0.3 Å of its true place.
        grades: accept, review or reject.
        doubts: what speaks against each candidate.
    """

    found: Agreement
    stops: list[Stop | None]
    confidence: FloatArray
    confidence_strict: FloatArray
    grades: list[str]
    doubts: list[list[str]]


def decide(
    verdicts: Verdicts, geometries: Geometries, subjects: Subjects, tol_mev_per_atom: float, grades: Grades,
    model: ConfidenceModel,
) -> Decisions:  # fmt: skip
    """Decide what a release does with each entry.

    Args:
        verdicts: one a trial, controls included.
        geometries: of the same trials.
        subjects: the entries.
        tol_mev_per_atom: energy tolerance.
        grades: thresholds of the grades.
        model: gives the confidence.
    """
    found = agreement(verdicts, geometries.arrangement, subjects.n_sites)
    values = features(found, geometries.strain_mev_per_atom[found.chosen], subjects.n_unknown)
    confidence = model.predict(values)
    doubts = _doubts(found, geometries, subjects, model)
    reviewed = np.array([needs_review(each) for each in doubts], dtype=bool)
    return Decisions(
        found=found,
        stops=_stops(found, verdicts, geometries, subjects, tol_mev_per_atom),
        confidence=confidence[:, 0],
        confidence_strict=confidence[:, 1],
        grades=grade(confidence[:, 0], reviewed, grades),
        doubts=doubts,
    )


def _stops(
    found: Agreement, verdicts: Verdicts, geometries: Geometries, subjects: Subjects, tol_mev_per_atom: float
) -> list[Stop | None]:
    """Why the source stands: no candidate, or an audited one that is not better at both levels."""
    delta, delta_h_only = verdicts.delta_e_mev_per_atom[found.chosen], geometries.delta_h_only[found.chosen]
    better = (delta < -tol_mev_per_atom) & (delta_h_only < -tol_mev_per_atom)
    stops: list[Stop | None] = [None] * len(found.chosen)
    for entry in np.flatnonzero(found.chosen == NO_TRIAL):
        detail = f"none of {found.n_trials[entry]} trials converged at both levels and passed the gates"
        stops[entry] = Stop(Reason.NO_CANDIDATE, detail)
    is_audit = np.array([mode == "audit" for mode in subjects.mode], dtype=bool)
    for entry in np.flatnonzero(is_audit & (found.chosen != NO_TRIAL) & ~better):
        stops[entry] = Stop(Reason.NOT_BETTER, _compared(float(delta[entry]), float(delta_h_only[entry])))
    return stops


def _compared(delta: float, delta_h_only: float) -> str:
    """How an audited entry's candidate compares with its source at both levels."""
    if not np.isfinite(delta):
        return "the source structure did not relax, so nothing can be said"
    placed = f"{delta_h_only:+.1f} meV/atom" if np.isfinite(delta_h_only) else "not comparable"
    return f"best candidate against the source: {delta:+.1f} meV/atom fully relaxed, {placed} on the fixed host"


def _doubts(found: Agreement, geometries: Geometries, subjects: Subjects, model: ConfidenceModel) -> list[list[str]]:
    """Doubts of each candidate: those about its geometry, then those that only all trials give."""
    flags = {
        Doubt.ONE_TRIAL_ONLY: found.n_passed == 1,
        Doubt.NO_AGREEMENT: (found.n_passed > 1) & (found.n_agree == 1),
        Doubt.CLOSE_RIVAL: found.gap_mev_per_atom < CLOSE_RIVAL_MEV_PER_ATOM,
        Doubt.MOST_FAILED: 2 * found.n_passed < found.n_trials,
        Doubt.HOST_STRAINED: geometries.strain_mev_per_atom[found.chosen] > HOST_STRAINED_MEV_PER_ATOM,
        Doubt.COUNT_UNSURE: subjects.count_unsure,
        Doubt.BEYOND_CALIBRATION: subjects.n_sites > model.max_sites,
        Doubt.OTHER_ELEMENT: np.array([name != model.element for name in subjects.element], dtype=bool),
    }
    doubts: list[list[str]] = [list(geometries.doubts[row]) if row != NO_TRIAL else [] for row in found.chosen]
    for doubt, flagged in flags.items():
        for entry in np.flatnonzero(flagged & (found.chosen != NO_TRIAL)):
            doubts[entry].append(doubt.value)
    return doubts
