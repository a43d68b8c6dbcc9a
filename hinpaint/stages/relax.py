"""Relax the trials of a shard, and the reference where there is one: first the placed sites, then everything."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.config import Config, Relax
from hinpaint.crystal import Crystal
from hinpaint.gates import failed_gate
from hinpaint.jobs import Job, job
from hinpaint.relaxation import canary
from hinpaint.relaxation.batch import Level, RelaxJob
from hinpaint.relaxation.engine import Progress, RelaxOutcome, failed, relax
from hinpaint.relaxation.potentials import LoadedPotential, load_potential
from hinpaint.store import read_table, write_table
from hinpaint.tables import RELAXED, TASKS, TRIALS
from hinpaint.whynot import Reason

REFERENCE = -1
_SECONDS_BETWEEN_LINES = 15.0
# With one of these the end of the first level is the start of the second; otherwise the trial is lost.
_GOES_ON = (None, Reason.NOT_CONVERGED)


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
        potential = load_potential(config.potential, device)
        current.device, current.potential_sha256 = device, potential.sha256
        started = time.monotonic()
        n_structures = len(canary.check(potential))
        current.say(f"{potential.name} passed its checks on {n_structures} structures, {len(jobs)} structures to relax")
        outcomes = relax_levels(config, potential, jobs, current)
        current.compute_s = time.monotonic() - started
        rows = [_row(level, outcome, potential) for level, outcome in outcomes]
        settings = {
            "relax": config.relax.model_dump(exclude={"max_atoms"}),
            "potential": potential.name,
            "sha256": potential.sha256,
        }
        write_table(relaxed, RELAXED, rows, config.run, provenance=settings)
        current.n_in, current.n_out = len(trial_rows), len(rows)


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


def relax_levels(
    config: Config, potential: LoadedPotential, jobs: Sequence[RelaxJob], current: Job
) -> list[tuple[Level, RelaxOutcome]]:
    """Relax jobs at both levels; the full level starts where the first one ended.

    A job that cannot go on has a row at the full level too, with the same reason, so that every job has equally many.

    Args:
        config: the configuration.
        potential: what evaluates.
        jobs: what is to be relaxed.
        current: the running job, for its progress lines.
    """
    settings = config.relax
    able = [each for each in jobs if potential.knows(each.crystal.species)]
    first = relax(potential, able, settings, "h_only", _reporter(current, "h_only"))
    outcomes = {outcome.key: outcome for outcome in first}
    for each in jobs:
        if each.key not in outcomes:
            unknown = sorted(set(each.crystal.species) - potential.elements)
            outcomes[each.key] = failed(each, Reason.UNSUPPORTED_ELEMENT, f"{potential.name}: {', '.join(unknown)}")
    levels: list[tuple[Level, RelaxOutcome]] = [("h_only", outcomes[each.key]) for each in jobs]
    if settings.max_steps_full == 0:
        return levels
    going_on = [each for each in jobs if outcomes[each.key].reason in _GOES_ON]
    starts = [RelaxJob(each.key, outcomes[each.key].crystal, each.movable) for each in going_on]
    ends = relax(potential, starts, settings, "full", _reporter(current, "full"))
    second = {end.key: _gated(start, end, settings) for start, end in zip(starts, ends, strict=True)}
    for each in jobs:
        lost = outcomes[each.key]
        reason = lost.reason or Reason.NOT_CONVERGED  # only lost ones use it, and those have a reason
        levels.append(("full", second.get(each.key) or failed(each, reason, lost.detail)))
    return levels


def _gated(start: RelaxJob, end: RelaxOutcome, settings: Relax) -> RelaxOutcome:
    """The outcome, with a reason when it fails a plausibility gate; the reference is never gated."""
    gate = failed_gate(start.crystal, end.crystal, settings) if end.reason is None else None
    if gate is None or start.key[1] == REFERENCE:
        return end
    return replace(end, reason=Reason.GATED, detail=gate)


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
    if outcome.reason not in _GOES_ON:
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
