"""Relax the trials of a shard, and the reference where there is one: first the placed sites, then everything."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.config import Config
from hinpaint.crystal import Crystal
from hinpaint.jobs import Job, job
from hinpaint.relaxation import canary
from hinpaint.relaxation.batch import Level, RelaxJob
from hinpaint.relaxation.engine import Progress, RelaxOutcome
from hinpaint.relaxation.levels import relax_levels
from hinpaint.relaxation.potentials import LoadedPotential, load_potential
from hinpaint.store import read_table, write_table
from hinpaint.tables import REFERENCE, RELAXED, TASKS, TRIALS
from hinpaint.whynot import Reason

_SECONDS_BETWEEN_LINES = 15.0


def run(config: Config, shard: int, tasks: Path, trials: Path, relaxed: Path, runs: Path, device: str = "cpu") -> None:
    """Relax one shard.

    Args:
        config: the configuration.
        shard: number of the shard.
        tasks: ``tasks`` table of the shard.
        trials: ``trials`` table of the shard.
        relaxed: ``relaxed`` table to write.
        runs: ``runs`` table to write.
        device: ``cpu`` or ``cuda``.

    Raises:
        StoreError: an input is absent or damaged.
        PotentialError: the potential cannot be loaded, or fails its checks.
    """
    with job("relax", shard, config.run, runs) as current:
        task_rows = read_table(tasks, TASKS).to_pylist()
        trial_rows = read_table(trials, TRIALS).to_pylist()
        jobs = relax_jobs(task_rows, trial_rows)
        rows, settings = _relax(config, jobs, current, device) if jobs else ([], {})
        write_table(relaxed, RELAXED, rows, config.run, provenance=settings)
        current.n_in, current.n_out = len(trial_rows), len(rows)


def _relax(
    config: Config, jobs: Sequence[RelaxJob], current: Job, device: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of ``relaxed`` and their provenance."""
    potential = load_potential(config.potential, device)
    current.device, current.potential_sha256 = device, potential.sha256
    n_structures = len(canary.check(potential))
    current.say(f"{potential.name} passed its checks on {n_structures} structures, {len(jobs)} structures to relax")
    started = time.monotonic()
    outcomes = relax_levels(potential, jobs, config.relax, partial(_reporter, current))
    current.compute_s = time.monotonic() - started
    settings = config.relax.model_dump(exclude={"max_atoms"})
    provenance = {"relax": settings, "potential": potential.name, "sha256": potential.sha256}
    return [_row(level, outcome, potential) for level, outcome in outcomes], provenance


def relax_jobs(tasks: Iterable[Mapping[str, Any]], trials: Iterable[Mapping[str, Any]]) -> list[RelaxJob]:
    """Build what is to be relaxed: trials that were placed, and references as trial -1.

    Sites are the host's in the source's order, then the placed ones; only these may move at level ``h_only``.

    Args:
        tasks: rows of ``tasks``.
        trials: rows of ``trials``; those with a reason are left out, as inpainting has already accounted for them.
    """
    hosts = {task["entry_key"]: task for task in tasks}
    placed = [
        (trial["entry_key"], trial["trial"], trial["frac_unknown"])
        for trial in trials
        if trial["reason"] is None and trial["frac_unknown"] is not None and trial["entry_key"] in hosts
    ]
    references = [
        (key, REFERENCE, task["reference_frac"]) for key, task in hosts.items() if task["reference_frac"] is not None
    ]
    jobs = []
    for key, trial, frac in sorted(references + placed, key=lambda each: each[:2]):
        task = hosts[key]
        host = Crystal.build(task["lattice"], task["host_species"], task["host_frac"])
        crystal = host.add_unknown(task["element"], frac)
        jobs.append(RelaxJob((key, trial), crystal, ~crystal.known))
    return jobs


def _reporter(current: Job, level: Level) -> Progress:
    """Print progress with the time that is left, a line every few seconds and one at the end."""
    started = time.monotonic()
    last = started

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            left = (now - started) / done * (total - done)
            current.say(f"{level}: {done} of {total} structures, about {left:.0f} s left")

    return report


def _row(level: Level, outcome: RelaxOutcome, potential: LoadedPotential) -> dict[str, Any]:
    if outcome.reason not in (None, Reason.NOT_CONVERGED):
        entry_key, trial = outcome.key
        logging.getLogger(__name__).info("%s trial %d: %s %s", entry_key, trial, outcome.reason, outcome.detail)
    return {
        "entry_key": outcome.key[0],
        "trial": outcome.key[1],
        "level": level,
        "potential": potential.name,
        "potential_sha256": potential.sha256,
        "energy_start_ev": outcome.energy_start_ev,
        "energy_ev": outcome.energy_ev,
        "fmax_ev_per_a": outcome.fmax_ev_per_a,
        "n_steps": outcome.n_steps,
        "converged": outcome.converged,
        "lattice": np.asarray(outcome.crystal.lattice).ravel().tolist(),
        "frac": outcome.crystal.frac.ravel().tolist(),
        "volume_change": outcome.volume_change,
        "reason": None if outcome.reason is None else outcome.reason.value,
        "detail": outcome.detail or None,
    }
