"""Relax the trials of a shard, and the reference where there is one: first the placed sites, then everything."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.config import Config
from hinpaint.crystal import Crystal
from hinpaint.gates import Gate
from hinpaint.jobs import Job, job
from hinpaint.journal import Journal, digest_of, fingerprint
from hinpaint.relaxation import canary
from hinpaint.relaxation.batch import Key, Level, RelaxJob
from hinpaint.relaxation.compiling import load_compiled
from hinpaint.relaxation.engine import Progress, RelaxOutcome
from hinpaint.relaxation.levels import relax_levels
from hinpaint.relaxation.potentials import LoadedPotential, load_potential
from hinpaint.shipped import POTENTIALS, potential_card
from hinpaint.store import read_table, write_table
from hinpaint.tables import REFERENCE, RELAXED, TASKS, TRIALS
from hinpaint.whynot import Reason

_SECONDS_BETWEEN_LINES = 15.0
# What computes a relaxation: rows that other code made are not taken from the journal.
_CODE = ("crystal.py", "placements.py", "gates.py", "relaxation", "stages/relax.py")


def run(
    config: Config, shard: int, tasks: Path, trials: Path, relaxed: Path, runs: Path, device: str = "cpu",
    journal: Path | None = None,
) -> None:  # fmt: skip
    """Relax one shard.

    Args:
        config: the configuration.
        shard: number of the shard.
        tasks: ``tasks`` table of the shard.
        trials: ``trials`` table of the shard.
        relaxed: ``relaxed`` table to write.
        runs: ``runs`` table to write.
        device: ``cpu`` or ``cuda``.
        journal: folder for finished rows; with it the job goes on where an earlier one stopped.

    Raises:
        StoreError: an input is absent or damaged.
        PotentialError: the potential cannot be loaded, or fails its checks.
    """
    with job("relax", shard, config.run, runs, resumable=journal is not None) as current:
        task_rows = read_table(tasks, TASKS).to_pylist()
        trial_rows = read_table(trials, TRIALS).to_pylist()
        jobs = relax_jobs(task_rows, trial_rows)
        current.n_in, current.device = len(trial_rows), device
        with Journal(journal, RELAXED, fingerprint(config, "relax", _CODE), config.run) as kept:
            rows = _relax(config, jobs, kept, current)
            write_table(relaxed, RELAXED, rows, config.run, _provenance(config, rows))
            kept.compact()
        current.n_out = len(rows)
        current.potential_sha256 = rows[0]["potential_sha256"] if rows else None


def _provenance(config: Config, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not rows:
        return {}
    settings = config.relax.model_dump(exclude={"max_atoms"})
    return {"relax": settings, "potential": rows[0]["potential"], "sha256": rows[0]["potential_sha256"]}


def _relax(config: Config, jobs: Sequence[RelaxJob], kept: Journal, current: Job) -> list[dict[str, Any]]:
    """Rows of ``relaxed``: those the journal holds, and the others from the potential."""
    levels: tuple[Level, ...] = ("h_only", "full") if config.relax.max_steps_full else ("h_only",)
    work = _Work(jobs, levels, kept)
    record = config.results / "potential" if kept.lasting else None
    current.n_kept, current.n_planned, current.compute_s = len(work.rows), len(levels) * len(jobs), 0.0
    current.say(f"{len(jobs)} structures, {current.n_kept} of {current.n_planned} rows in the journal")
    reporter = _Reporter(current)
    began: list[float] = []

    @cache
    def load() -> LoadedPotential:
        settings, device = config.potential, current.device
        compiled = load_compiled(settings, config.results / "potential", device, current.say)
        potential = compiled or load_potential(settings, device)
        current.say(f"{potential.name} passed its checks on {len(canary.check(potential, record))} structures")
        if potential.name in POTENTIALS and not potential_card(potential.name)["default"]:
            current.say(f"{potential.name} is not accurate enough for curation, see docs/potentials.md")
        current.stop_if_asked()
        began.append(time.monotonic())
        return potential

    def ended(level: Level, outcome: RelaxOutcome) -> None:
        work.add(level, outcome, load)
        current.n_kept = len(work.rows)

    def stepped() -> None:
        current.stop_if_asked()
        kept.write_if_due()
        reporter.say_if_due()

    relax_levels(load, work.todo, config.relax, reporter.of, work.known, ended, stepped)
    current.compute_s = time.monotonic() - began[0] if began else 0.0
    current.n_computed, current.n_reused = len(work.computed), len(work.reused)
    rows = list(work.rows.values())
    current.n_shared = sum(row["shared_from"] is not None for row in rows)
    current.n_cut = sum(row["reason"] == Reason.TOO_HIGH for row in rows)
    return rows


class _Work:
    """The rows of a shard while they come in.

    Records of one structure have the same trials: twins. They are relaxed once and have a row each.

    Attributes:
        todo: one job of each set of twins.
        known: outcomes that the journal holds, for these jobs.
        rows: rows by entry, trial and level.
        reused: keys of the rows that come from the journal.
        computed: keys of the jobs that were relaxed.
    """

    def __init__(self, jobs: Sequence[RelaxJob], levels: Sequence[Level], kept: Journal) -> None:
        self._kept = kept
        self._twins: dict[str, list[Key]] = {}
        for each in jobs:
            self._twins.setdefault(digest_of(each.crystal, each.key[1]), []).append(each.key)
        self._digests = {keys[0]: digest for digest, keys in self._twins.items()}
        self.todo = [each for each in jobs if each.key in self._digests]
        self.known: dict[tuple[Key, Level], RelaxOutcome] = {}
        self.rows: dict[tuple[str, int, Level], dict[str, Any]] = {}
        self.reused: set[tuple[str, int, Level]] = set()
        self.computed: set[Key] = set()
        for each in self.todo:
            for level in levels:
                row = self._take(each.key, level)
                if row is None:
                    break
                self.known[each.key, level] = outcome_of(row, each)
                self.reused.update(self._spread(each.key, level, row))

    def add(self, level: Level, outcome: RelaxOutcome, load: Callable[[], LoadedPotential]) -> None:
        """Take an outcome that has just come; what follows from those of other trials is not kept in the journal."""
        found = next(iter(self.rows.values()), None)
        row = _row(level, outcome, found or {"potential": load().name, "potential_sha256": load().sha256})
        keys = self._spread(outcome.key, level, row)
        self.reused.difference_update(keys)
        if outcome.shared_from is None and outcome.reason is not Reason.TOO_HIGH:
            self.computed.add(outcome.key)
            for key in keys:
                self._kept.add(self._digests[outcome.key], self.rows[key])

    def _take(self, key: Key, level: Level) -> dict[str, Any] | None:
        digest = self._digests[key]
        rows = (self._kept.take(digest, *twin, level) for twin in self._twins[digest])
        return next((row for row in rows if row is not None), None)

    def _spread(self, key: Key, level: Level, row: Mapping[str, Any]) -> list[tuple[str, int, Level]]:
        """Give every twin its row, and return their keys."""
        twins = self._twins[self._digests[key]]
        self.rows.update({(*twin, level): {**row, "entry_key": twin[0], "trial": twin[1]} for twin in twins})
        return [(*twin, level) for twin in twins]


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


class _Reporter:
    """Print progress with the time that is left, a line every few seconds and one at the end of a level."""

    def __init__(self, current: Job) -> None:
        self._current = current
        self._said = self._started = time.monotonic()
        self._level, self._done, self._total = "", 0, 0

    def of(self, level: Level) -> Progress:
        """Begin a level."""
        self._said = self._started = time.monotonic()
        self._level, self._done, self._total = level, 0, 0
        return self._report

    def _report(self, done: int, total: int) -> None:
        self._done, self._total = done, total
        if done == total:
            self._say()

    def say_if_due(self) -> None:
        """Say where the level is when the last line was a while ago: a silent log would look like a dead job."""
        if time.monotonic() - self._said >= _SECONDS_BETWEEN_LINES:
            self._say()

    def _say(self) -> None:
        self._said = time.monotonic()
        left = ""
        if 0 < self._done < self._total:
            left = f", about {(self._said - self._started) / self._done * (self._total - self._done):.0f} s left"
        done = f"{self._done} of {self._total} structures{left}" if self._total else "none finished yet"
        self._current.say(f"{self._level}: {done}")


def outcome_of(row: Mapping[str, Any], job: RelaxJob) -> RelaxOutcome:
    """The outcome that :func:`_row` made this row of."""
    lattice, frac = np.reshape(row["lattice"], (3, 3)), np.reshape(row["frac"], (-1, 3))
    return RelaxOutcome(
        key=job.key,
        energy_start_ev=row["energy_start_ev"],
        energy_ev=row["energy_ev"],
        fmax_ev_per_a=row["fmax_ev_per_a"],
        n_steps=row["n_steps"],
        converged=row["converged"],
        crystal=replace(job.crystal, lattice=lattice, frac=frac),
        volume_change=row["volume_change"],
        reason=Reason(row["reason"]) if row["reason"] else None,
        detail=row["detail"] or "",
        gate=Gate(row["gate"]) if row["gate"] else None,
        shared_from=row["shared_from"],
    )


def _row(level: Level, outcome: RelaxOutcome, potential: Mapping[str, Any]) -> dict[str, Any]:
    if outcome.reason not in (None, Reason.NOT_CONVERGED):
        entry_key, trial = outcome.key
        logging.getLogger(__name__).info("%s trial %d: %s %s", entry_key, trial, outcome.reason, outcome.detail)
    return {
        "entry_key": outcome.key[0],
        "trial": outcome.key[1],
        "level": level,
        "potential": potential["potential"],
        "potential_sha256": potential["potential_sha256"],
        "energy_start_ev": outcome.energy_start_ev,
        "energy_ev": outcome.energy_ev,
        "fmax_ev_per_a": outcome.fmax_ev_per_a,
        "n_steps": outcome.n_steps,
        "converged": outcome.converged,
        "lattice": np.asarray(outcome.crystal.lattice).ravel().tolist(),
        "frac": outcome.crystal.frac.ravel().tolist(),
        "volume_change": outcome.volume_change,
        "shared_from": outcome.shared_from,
        "reason": None if outcome.reason is None else outcome.reason.value,
        "gate": None if outcome.gate is None else outcome.gate.value,
        "detail": outcome.detail or None,
    }
