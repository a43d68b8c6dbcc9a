"""Stage match: trials against the reference and against each other -> matches, arrangements."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.config import Config
from hinpaint.crystal import Crystal
from hinpaint.deciding.appraisal import survey
from hinpaint.deciding.arrangements import End
from hinpaint.deciding.matching import compare, matcher_settings
from hinpaint.jobs import Job, job
from hinpaint.placements import Operations, host_operations
from hinpaint.store import read_table, write_table
from hinpaint.tables import ARRANGEMENTS, MATCHES, REFERENCE, RELAXED, TASKS, TRIALS

Row = Mapping[str, Any]


def run(
    config: Config, shard: int, tasks: Path, trials: Path, relaxed: Path, matches: Path, arrangements: Path, runs: Path
) -> None:
    """Compare the trials of every task with each other and, at each level, with the reference where there is one.

    Args:
        config: the run's configuration.
        shard: number of the shard.
        tasks: Parquet of the shard's tasks.
        trials: Parquet of its trials.
        relaxed: Parquet of its relaxed structures.
        matches: Parquet to write.
        arrangements: Parquet to write.
        runs: Parquet for the job's row.
    """
    with job("match", shard, config.run, runs) as current:
        raw = read_table(trials, TRIALS).to_pylist()
        levels = read_table(relaxed, RELAXED).to_pylist()
        current.n_in = len(raw) + len(levels)
        compared, grouped = _match_tasks(read_table(tasks, TASKS).to_pylist(), raw, levels, current)
        n_grouped = write_table(arrangements, ARRANGEMENTS, grouped, config.run).num_rows
        current.n_out = n_grouped + write_table(matches, MATCHES, compared, config.run).num_rows


def _match_tasks(
    tasks: list[dict[str, Any]], raw: list[Row], levels: list[Row], current: Job
) -> tuple[list[Row], list[Row]]:
    raw_of: dict[str, list[Row]] = {}
    for trial in raw:
        if trial["frac_unknown"] is not None:
            raw_of.setdefault(trial["entry_key"], []).append(trial)
    relaxed_of: dict[str, dict[tuple[int, str], Row]] = {}
    for row in levels:
        relaxed_of.setdefault(row["entry_key"], {})[row["trial"], row["level"]] = row
    compared: list[Row] = []
    grouped: list[Row] = []
    for number, task in enumerate(tasks, start=1):
        trials, relaxed = raw_of.get(task["entry_key"], []), relaxed_of.get(task["entry_key"], {})
        host = Crystal.build(task["lattice"], task["host_species"], task["host_frac"])
        operations = host_operations(host) if trials else []
        grouped += group_task(task, host, operations, trials, relaxed)
        if task["reference_frac"] is not None:
            compared += match_task(task, host, operations, trials, relaxed)
        if number % 20 == 0 or number == len(tasks):
            current.say(f"{number}/{len(tasks)} tasks matched")
    return compared, grouped


def group_task(
    task: Row, host: Crystal, operations: Operations, trials: Sequence[Row], relaxed: Mapping[tuple[int, str], Row]
) -> list[dict[str, Any]]:
    """Rows of ``arrangements`` of one task: which of its trials are the same, and how each of them looks.

    Args:
        task: row of ``tasks``.
        host: its host.
        operations: symmetry of the host.
        trials: its rows of ``trials`` that have sites.
        relaxed: its rows of ``relaxed`` by (trial, level).
    """
    starts = {trial["trial"]: np.reshape(trial["frac_unknown"], (-1, 3)) for trial in trials}
    ends = []
    for number in starts:
        row = relaxed.get((number, "h_only"))
        if row is not None and row["energy_ev"] is not None:
            ends.append(End(number, row["energy_ev"], np.reshape(row["frac"], (-1, 3))[host.n_sites :]))
    return [
        {"entry_key": task["entry_key"], **asdict(member), "energy_ev": end.energy_ev, **asdict(appraisal)}
        for end, member, appraisal in survey(host, task["element"], starts, ends, operations)
    ]


def match_task(
    task: Row, host: Crystal, operations: Operations, trials: Sequence[Row], relaxed: Mapping[tuple[int, str], Row]
) -> Iterator[dict[str, Any]]:
    """Compare the trials of one task with its reference.

    The raw and hydrogen-only levels are compared with the source's own structure on its fixed host; the full level,
    where host and cell have moved, with the source's structure as well, by the matcher alone.

    Args:
        task: row of ``tasks`` with a reference.
        host: its host.
        operations: symmetry of the host.
        trials: its rows of ``trials`` that have sites.
        relaxed: its rows of ``relaxed`` by (trial, level).
    """
    reference = host.add_unknown(task["element"], task["reference_frac"])
    for trial in trials:
        number = trial["trial"]
        candidate = host.add_unknown(task["element"], trial["frac_unknown"])
        yield _row(task, number, "raw", compare(candidate, reference, operations), None)
        for level in ("h_only", "full"):
            row, base = relaxed.get((number, level)), relaxed.get((REFERENCE, level))
            if row is None or row["energy_ev"] is None:
                continue
            candidate = Crystal.build(row["lattice"], reference.species, row["frac"], reference.known)
            fixed = operations if level == "h_only" else None
            yield _row(task, number, level, compare(candidate, reference, fixed), _delta(row, base, reference.n_sites))


def _delta(row: Row, base: Row | None, n_sites: int) -> float | None:
    """Energy above the reference in meV per atom, when both relaxations of that level converged."""
    if base is None or not (base["converged"] and row["converged"]):
        return None
    return float(1000.0 * (row["energy_ev"] - base["energy_ev"]) / n_sites)


def _row(task: Row, trial: int, level: str, match: Any, delta: float | None) -> dict[str, Any]:
    return {
        "entry_key": task["entry_key"],
        "trial": trial,
        "level": level,
        "matched": match.matched,
        "rms": match.rms,
        "h_rmsd_a": match.h_rmsd_a,
        "h_max_a": match.h_max_a,
        "delta_e_mev_per_atom": delta,
        "matcher": matcher_settings(),
    }
