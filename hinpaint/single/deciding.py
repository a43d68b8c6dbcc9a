"""The decision on one structure: what a run over a database would decide from the same trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hinpaint.config import Grades
from hinpaint.deciding.confidence import shipped
from hinpaint.deciding.decision import ACTIONS, Decisions, Geometries, Subjects, decide
from hinpaint.deciding.les import Verdicts
from hinpaint.reduction import expand_sites
from hinpaint.single.reading import CannotCompleteError, Read
from hinpaint.single.trials import Candidate
from hinpaint.whynot import Reason

_MODE = "reconstruct"
_GATES = (Reason.GATED, Reason.COLLAPSED, Reason.EXPLODED)


@dataclass(frozen=True)
class Chosen:
    """The candidate that is written.

    Attributes:
        candidate: the trial.
        row: its row as in the table ``decisions``.
    """

    candidate: Candidate
    row: dict[str, Any]


def choose(
    read: Read, candidates: Sequence[Candidate], n_trials: int, tol_mev_per_atom: float, grades: Grades,
    potential: str, model_sha256: str,
) -> Chosen:  # fmt: skip
    """Decide which candidate is written, and how sure that is.

    Args:
        read: the structure.
        candidates: trials that could be placed.
        n_trials: trials in all.
        tol_mev_per_atom: energy tolerance.
        grades: thresholds of the grades.
        potential: name of the potential.
        model_sha256: SHA-256 of the diffusion weights.

    Raises:
        CannotCompleteError: no candidate converged at both levels and passed the gates.
    """
    n_sites = read.primitive_host.n_sites + read.n_placed
    subjects = Subjects(
        mode=[_MODE],
        element=[read.element],
        n_sites=np.array([n_sites]),
        n_unknown=np.array([read.n_placed]),
        count_unsure=np.array([read.count_unsure]),
    )
    verdicts, geometries = _columns(candidates, n_sites, n_trials)
    decided = decide(verdicts, geometries, subjects, tol_mev_per_atom, grades, shipped())
    if decided.stops[0] is not None:
        reasons = sorted({each.stop.reason.value for each in candidates if each.stop is not None})
        raise CannotCompleteError(f"{decided.stops[0].detail} ({', '.join(reasons)}); try more --trials")
    candidate = candidates[decided.found.chosen[0]]
    origin = {"entry_key": read.name, "potential": potential, "model_sha256": model_sha256}
    return Chosen(candidate, _row(read, candidate, decided) | origin)


def _columns(candidates: Sequence[Candidate], n_sites: int, n_trials: int) -> tuple[Verdicts, Geometries]:
    """Candidates as columns; trials that could not be placed follow as failed ones."""
    lost = n_trials - len(candidates)
    nan, false = [np.nan] * lost, [False] * lost
    columns: dict[str, Any] = {name: [False] * n_trials for name in ("match_raw", "match_h_only", "match_full")}
    columns |= {name: [np.nan] * n_trials for name in ("h_max_raw_a", "h_max_h_only_a", "delta_e_mev_per_atom")}
    columns |= {
        "entry": [0] * n_trials,
        "trial": [each.trial for each in candidates] + list(range(n_trials, n_trials + lost)),
        "passed": [each.full.converged and each.stop is None for each in candidates] + false,
        "settled": [each.h_only.converged for each in candidates] + false,
        "gated": [each.stop is not None and each.stop.reason in _GATES for each in candidates] + false,
        "energy_ev": [each.full.energy_ev for each in candidates] + nan,
    }
    geometries = Geometries(
        arrangement=np.array([each.member.arrangement if each.member else -1 for each in candidates] + [-1] * lost),
        strain_mev_per_atom=np.array([_strain(each, n_sites) for each in candidates] + nan),
        delta_h_only=np.full(n_trials, np.nan),
        doubts=[each.appraisal.doubts if each.appraisal else () for each in candidates] + [()] * lost,
    )
    return Verdicts.build(columns), geometries


def _strain(candidate: Candidate, n_sites: int) -> float:
    if candidate.h_only.energy_ev is None or candidate.full.energy_ev is None:
        return float("nan")
    return 1000.0 * (candidate.h_only.energy_ev - candidate.full.energy_ev) / n_sites


def _row(read: Read, candidate: Candidate, decided: Decisions) -> dict[str, Any]:
    found = decided.found
    gap = float(found.gap_mev_per_atom[0])
    appraisal = candidate.appraisal
    distances = ("shift_a", "d_xh_min_a", "d_xh_max_a", "d_hh_min_a")
    return {
        "mode": _MODE,
        "action": ACTIONS[_MODE],
        "trial": candidate.trial,
        "element": read.element,
        "frac_unknown": expand_sites(candidate.placed, read.supercell).ravel().tolist(),
        "energy_ev": candidate.full.energy_ev,
        "delta_e_mev_per_atom": None,
        "confidence": float(decided.confidence[0]),
        "confidence_strict": float(decided.confidence_strict[0]),
        "grade": decided.grades[0],
        "doubts": decided.doubts[0],
        **{name: int(getattr(found, name)[0]) for name in ("n_trials", "n_passed", "n_agree", "n_arrangements")},
        "gap_mev_per_atom": gap if np.isfinite(gap) else None,
        **{name: getattr(appraisal, name) for name in distances},
        "strain_mev_per_atom": _strain(candidate, read.primitive_host.n_sites + read.n_placed),
    }
