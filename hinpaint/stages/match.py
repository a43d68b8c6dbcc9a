"""Stage match: trials and relaxed structures against the reference -> matches."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hinpaint.config import Config
from hinpaint.crystal import Crystal
from hinpaint.jobs import Job, job
from hinpaint.matching import compare, host_operations, matcher_settings
from hinpaint.store import read_table, write_table
from hinpaint.tables import MATCHES, REFERENCE, RELAXED, TASKS, TRIALS

Row = Mapping[str, Any]


def run(config: Config, shard: int, tasks: Path, trials: Path, relaxed: Path, matches: Path, runs: Path) -> None:
    """Compare every trial of the tasks that have a reference, at each level.

    Args:
        config: the run's configuration.
        shard: number of the shard.
        tasks: Parquet of the shard's tasks.
        trials: Parquet of its trials.
        relaxed: Parquet of its relaxed structures.
        matches: Parquet to write.
        runs: Parquet for the job's row.
    """
    with job("match", shard, config.run, runs) as current:
        with_reference = [t for t in read_table(tasks, TASKS).to_pylist() if t["reference_frac"] is not None]
        raw = read_table(trials, TRIALS).to_pylist()
        levels = read_table(relaxed, RELAXED).to_pylist()
        current.n_in = len(raw) + len(levels)
        rows = list(_match_tasks(with_reference, raw, levels, current))
        current.n_out = write_table(matches, MATCHES, rows, config.run).num_rows


def _match_tasks(tasks: list[dict[str, Any]], raw: list[Row], levels: list[Row], current: Job) -> Iterator[Row]:
    raw_of: dict[str, list[Row]] = {}
    for trial in raw:
        raw_of.setdefault(trial["entry_key"], []).append(trial)
    relaxed_of: dict[str, dict[tuple[int, str], Row]] = {}
    for row in levels:
        relaxed_of.setdefault(row["entry_key"], {})[row["trial"], row["level"]] = row
    for number, task in enumerate(tasks, start=1):
        key = task["entry_key"]
        yield from match_task(task, raw_of.get(key, []), relaxed_of.get(key, {}))
        if number % 20 == 0 or number == len(tasks):
            current.say(f"{number}/{len(tasks)} tasks matched")


def match_task(task: Row, trials: list[Row], relaxed: Mapping[tuple[int, str], Row]) -> Iterator[dict[str, Any]]:
    """Compare the trials of one task with its reference.

    The raw and hydrogen-only levels are compared with the source's own structure on its fixed host; the full level,
    where host and cell have moved, with the source's structure as well, by the matcher alone.

    Args:
        task: row of ``tasks`` with a reference.
        trials: its rows of ``trials``.
        relaxed: its rows of ``relaxed`` by (trial, level).
    """
    host = Crystal.build(task["lattice"], task["host_species"], task["host_frac"])
    reference = host.add_unknown(task["element"], task["reference_frac"])
    operations = host_operations(host)
    for trial in trials:
        if trial["frac_unknown"] is None:
            continue
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
