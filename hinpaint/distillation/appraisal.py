"""How far a distilled potential says what its teacher says: on held-out labels and on relaxed pairs of a run.

Everything here works on numbers that are already there; nothing evaluates a potential.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from hinpaint.crystal import FloatArray
from hinpaint.deciding.matching import host_fixed_distances
from hinpaint.relaxation.batch import Answer
from hinpaint.tables import REFERENCE

DEFAULT_AGREEMENT = 0.95
"""Share of `lower` verdicts that must be the teacher's before a distilled potential may be the default."""
DEFAULT_DISTANCE_A = 0.03
"""Median distance of hydrogen from where the teacher relaxes it, at most, for the same."""
Rows = Mapping[tuple[str, int, str], Mapping[str, Any]]


def label_errors(teacher: Sequence[Answer], student: Sequence[Answer]) -> dict[str, float]:
    """Mean absolute errors over structures (energy, stress) and over components (forces, stress)."""
    pairs = list(zip(teacher, student, strict=True))
    energy = [abs(s.energy - t.energy) / len(t.forces) for t, s in pairs]
    forces = np.concatenate([np.abs(s.forces - t.forces).ravel() for t, s in pairs])
    stress = np.concatenate([np.abs(s.stress - t.stress).ravel() for t, s in pairs])
    return {
        "energy_mae_mev_per_atom": 1e3 * float(np.mean(energy)),
        "energy_median_mev_per_atom": 1e3 * float(np.median(energy)),
        "forces_mae_ev_per_a": float(forces.mean()),
        "stress_mae_ev_per_a3": float(stress.mean()),
    }


def relative_energies(
    hosts: Sequence[Hashable], teacher: Sequence[Answer], student: Sequence[Answer], nearer_ev_per_atom: float = 0.1
) -> dict[str, float]:
    """Energy differences between two arrangements of one host, as LES compares them.

    Args:
        hosts: what each structure was made from.
        teacher: its answers.
        student: the answers that are judged.
        nearer_ev_per_atom: pairs that the teacher finds further apart than this are not hard to tell, and left out.

    Returns:
        Number of pairs, mean absolute error of their differences in meV/atom, and the share that is ordered as the
        teacher orders them.
    """
    by_host = defaultdict(list)
    for host, t, s in zip(hosts, teacher, student, strict=True):
        by_host[host].append((t.energy / len(t.forces), s.energy / len(s.forces)))
    differences = [
        (first[0] - second[0], first[1] - second[1])
        for energies in by_host.values()
        for first, second in combinations(energies, 2)
        if abs(first[0] - second[0]) <= nearer_ev_per_atom
    ]
    if not differences:
        return {"n_pairs": 0, "mae_mev_per_atom": float("nan"), "same_order": float("nan")}
    of_teacher, of_student = np.array(differences).T
    return {
        "n_pairs": len(differences),
        "mae_mev_per_atom": 1e3 * float(np.abs(of_student - of_teacher).mean()),
        "same_order": float((np.sign(of_student) == np.sign(of_teacher)).mean()),
    }


def by_key(rows: Iterable[Mapping[str, Any]]) -> Rows:
    """Rows of ``relaxed`` by entry, trial and level."""
    return {(row["entry_key"], row["trial"], row["level"]): row for row in rows}


def lower_verdicts(rows: Rows, sizes: Mapping[str, int], tol_mev_per_atom: float) -> dict[tuple[str, int], bool]:
    """Tell for every trial of an entry with a relaxed reference whether it is lower in energy.

    Args:
        rows: relaxed by one potential; a trial that failed is not lower.
        sizes: sites of each entry's cell.
        tol_mev_per_atom: by more than this.
    """
    verdicts = {}
    for (entry, trial, level), row in rows.items():
        reference = rows.get((entry, REFERENCE, "full"))
        if level != "full" or trial == REFERENCE or reference is None or reference["energy_ev"] is None:
            continue
        sane = row["energy_ev"] is not None and row["reason"] in (None, "not_converged")
        verdicts[entry, trial] = sane and 1e3 * (row["energy_ev"] - reference["energy_ev"]) / sizes[entry] < (
            -tol_mev_per_atom
        )
    return verdicts


def agreement(teacher: Mapping[Any, bool], student: Mapping[Any, bool]) -> dict[str, float]:
    """Compare verdicts on the trials that both have.

    Returns:
        Number of trials, share with the same verdict, and the shares that each of the two calls lower: where these are
        small, agreement comes for nothing.
    """
    common = sorted(teacher.keys() & student.keys())
    if not common:
        return {"n_trials": 0, "agreement": float("nan"), "lower_teacher": float("nan"), "lower_student": float("nan")}
    of_teacher = np.array([teacher[key] for key in common])
    of_student = np.array([student[key] for key in common])
    return {
        "n_trials": len(common),
        "n_entries": len({entry for entry, _ in common}),
        "agreement": float((of_teacher == of_student).mean()),
        "lower_teacher": float(of_teacher.mean()),
        "lower_student": float(of_student.mean()),
        "lower_both": float((of_teacher & of_student).mean()),
    }


def hydrogen_distances(teacher: Rows, student: Rows, n_host: Mapping[str, int]) -> FloatArray:
    """Distances between where the two relax each placed site from the same start, hydrogen-only level.

    Args:
        teacher: rows relaxed by the teacher.
        student: rows relaxed by the student.
        n_host: host sites of each entry, which come first.

    Returns:
        (placed sites of all trials that both relaxed,) ångström.
    """
    found = [np.zeros(0)]
    for (entry, trial, level), row in student.items():
        other = teacher.get((entry, trial, level))
        if level != "h_only" or other is None or row["energy_ev"] is None or other["energy_ev"] is None:
            continue
        lattice = np.reshape(row["lattice"], (3, 3))
        first, second = (np.reshape(each["frac"], (-1, 3))[n_host[entry] :] for each in (row, other))
        found.append(host_fixed_distances(lattice, first, second))
    return np.concatenate(found)


def may_be_default(verdicts: Mapping[str, float], median_distance_a: float) -> tuple[bool, str]:
    """Decide by the project's bars whether the potential may relax by default, and say why in one sentence."""
    agrees = verdicts["agreement"] >= DEFAULT_AGREEMENT
    near = median_distance_a <= DEFAULT_DISTANCE_A
    said = (
        f"{100 * verdicts['agreement']:.1f} % of {verdicts['n_trials']} verdicts are the teacher's "
        f"(bar {100 * DEFAULT_AGREEMENT:.0f} %), hydrogen ends {median_distance_a:.3f} Å from the teacher's place "
        f"(median; bar {DEFAULT_DISTANCE_A} Å)"
    )
    return agrees and near, said
