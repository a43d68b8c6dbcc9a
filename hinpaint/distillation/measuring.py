"""Measures a distilled potential against its teacher: held-out labels, relaxed pairs of a run, time."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.config import Config
from hinpaint.crystal import Crystal
from hinpaint.distillation.appraisal import (
    agreement,
    by_key,
    hydrogen_distances,
    label_errors,
    lower_verdicts,
    relative_energies,
)
from hinpaint.distillation.labelling import answer_all
from hinpaint.relaxation.batch import Answer
from hinpaint.relaxation.potentials import LoadedPotential
from hinpaint.relaxing import Potential
from hinpaint.stages import relax
from hinpaint.store import read_table, write_table
from hinpaint.tables import RELAXED, TASKS, TRIALS, Table

_TIMED = 40  # structures


def read_labels(path: Path) -> tuple[list[str], list[Crystal], list[Answer]]:
    """Hosts, structures and answers in a file of labels."""
    from ase.io import iread

    hosts, crystals, answers = [], [], []
    for image in iread(path, parallel=False):
        hosts.append(image.info["host"])
        crystals.append(Crystal.build(image.cell.array, image.get_chemical_symbols(), image.get_scaled_positions()))
        stress = image.get_stress(voigt=False)
        answers.append(Answer(float(image.get_potential_energy()), image.get_forces(), stress))
    return hosts, crystals, answers


def on_labels(student: LoadedPotential, path: Path) -> dict[str, Any]:
    """Errors on labels of hosts whose formulas were held out; hosts with elements it does not know are left out."""
    hosts, crystals, answers = read_labels(path)
    known = [index for index, crystal in enumerate(crystals) if student.knows(crystal.species)]
    chosen = [crystals[index] for index in known]
    found, wanted = answer_all(student, chosen), [answers[index] for index in known]
    names = [hosts[index] for index in known]
    counted = {"n_hosts": len(set(names)), "n_structures": len(names)}
    return {**counted, **label_errors(wanted, found), "within_host": relative_energies(names, wanted, found)}


def seconds_per_evaluation(potential: LoadedPotential, crystals: Sequence[Crystal]) -> float:
    """CPU seconds a structure, in the batches that a relaxation makes; the first batch is not counted."""
    answer_all(potential, crystals[:2])
    started = time.process_time()
    answer_all(potential, crystals)
    return (time.process_time() - started) / len(crystals)


def speed(student: LoadedPotential, teacher: LoadedPotential, path: Path) -> dict[str, float]:
    """Evaluations a CPU second of both on the same held-out structures."""
    crystals = [crystal for crystal in read_labels(path)[1] if student.knows(crystal.species)][:_TIMED]
    own, other = (seconds_per_evaluation(each, crystals) for each in (student, teacher))
    return {
        "n_structures": len(crystals),
        "mean_sites": float(np.mean([crystal.n_sites for crystal in crystals])),
        "evaluations_per_cpu_s": 1.0 / own,
        "evaluations_per_cpu_s_teacher": 1.0 / other,
    }


def on_run(
    config: Config, student: Potential, teacher_sha256: str, tasks: Sequence[Path], trials: Sequence[Path],
    relaxed: Sequence[Path], folder: Path, max_trials: int,
) -> dict[str, Any]:  # fmt: skip
    """Relax trials of a run with the student and compare with what the teacher made of them.

    Args:
        config: configuration of the run; its thresholds and step limits hold for both.
        student: the student's block of the configuration.
        teacher_sha256: weights that the run must have been relaxed with.
        tasks: the tasks of some shards.
        trials: their trials.
        relaxed: their structures as the teacher relaxed them.
        folder: receives the student's tables, from which an interrupted call goes on.
        max_trials: model trials an entry that are compared; controls are always.

    Returns:
        Agreement of verdicts, and distances of hydrogen at the hydrogen-only level.

    Raises:
        ValueError: the run was relaxed by another potential than the teacher.
    """
    task_rows, teacher_rows = _rows(tasks, TASKS), _rows(relaxed, RELAXED)
    if others := {row["potential"] for row in teacher_rows if row["potential_sha256"] != teacher_sha256}:
        raise ValueError(f"{config.run} was relaxed by {', '.join(sorted(others))}, which is not the teacher")
    trial_rows = [row for row in _rows(trials, TRIALS) if row["trial"] < max_trials]
    chosen, placed, found, jobs = (folder / f"pairs-{name}.parquet" for name in ("tasks", "trials", "relaxed", "runs"))
    write_table(chosen, TASKS, task_rows, config.run)
    write_table(placed, TRIALS, trial_rows, config.run)
    own = config.model_copy(update={"potential": student})
    relax.run(own, 0, chosen, placed, found, jobs, "cpu", folder / "pairs-journal")
    of_student, of_teacher = by_key(_rows([found], RELAXED)), by_key(teacher_rows)
    n_host = {row["entry_key"]: len(row["host_species"]) for row in task_rows}
    sizes = {row["entry_key"]: len(row["host_species"]) + row["n_unknown"] for row in task_rows}
    tol = config.les.tol_mev_per_atom
    verdicts = agreement(lower_verdicts(of_teacher, sizes, tol), lower_verdicts(of_student, sizes, tol))
    distances = hydrogen_distances(of_teacher, of_student, n_host)
    near = float(np.median(distances)) if len(distances) else float("nan")
    return {
        "run": config.run,
        "relax": config.relax.model_dump(),
        "verdicts": {**verdicts, "tol_mev_per_atom": tol},
        "hydrogen_h_only": {
            "n_sites": len(distances),
            "median_distance_a": near,
            "within_0.1_a": float((distances <= 0.1).mean()) if len(distances) else float("nan"),
        },
    }


def _rows(paths: Sequence[Path], table: Table) -> list[dict[str, Any]]:
    return [row for path in paths for row in read_table(path, table).to_pylist()]
