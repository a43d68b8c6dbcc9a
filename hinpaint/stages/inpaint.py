"""Stage inpaint: tasks -> trials."""

import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.config import Config
from hinpaint.crystal import Crystal, FloatArray, minimum_image_distances
from hinpaint.diffusion.checkpoints import LoadedModel, load_model
from hinpaint.diffusion.samplers import Placement, PlacementJob, place_batches
from hinpaint.jobs import Job, job
from hinpaint.journal import Journal, digest_of, fingerprint
from hinpaint.sampling import Sampler
from hinpaint.store import read_table, write_table
from hinpaint.tables import FIRST_CONTROL, TASKS, TRIALS

# What computes a trial: rows that other code made are not taken from the journal.
_CODE = ("crystal.py", "rng.py", "sampling.py", "diffusion", "stages/inpaint.py")


def run(
    config: Config, shard: int, tasks: Path, trials: Path, runs: Path, device: str = "cpu", journal: Path | None = None
) -> None:
    """Sample every trial of a shard's tasks, and the random-placement controls of tasks that have a reference.

    Args:
        config: the run's configuration.
        shard: number of the shard.
        tasks: Parquet of the shard's tasks.
        trials: Parquet to write.
        runs: Parquet for the job's row.
        device: torch device of the network.
        journal: folder for finished rows; with it the job goes on where an earlier one stopped.
    """
    with job("inpaint", shard, config.run, runs, resumable=journal is not None) as current:
        rows = read_table(tasks, TASKS).to_pylist()
        current.n_in, current.device = len(rows), device
        with Journal(journal, TRIALS, fingerprint(config, "inpaint", _CODE), config.run) as kept:
            made = _sample(config, rows, kept, current)
            write_table(trials, TRIALS, made, config.run, {"sampler": config.sampler.model_dump()})
            kept.compact()
        current.n_out = len(made)
        current.model_sha256 = next((row["model_sha256"] for row in made if row["model_sha256"]), None)


def placement_jobs(config: Config, task: Mapping[str, Any]) -> tuple[list[PlacementJob], list[PlacementJob]]:
    """Model trials and random-placement controls of one row of ``tasks``."""
    host = Crystal.build(task["lattice"], task["host_species"], task["host_frac"])

    def make(trial: int) -> PlacementJob:
        return PlacementJob(task["host_sha256"], trial, host, task["element"], task["n_unknown"])

    n_controls = config.les.chance_trials if task["reference_frac"] is not None else 0
    return [make(i) for i in range(config.trials)], [make(FIRST_CONTROL - i) for i in range(n_controls)]


@dataclass
class _Plan:
    """What a shard has to sample; tasks with the same host share their trials.

    Attributes:
        trials: model trials of distinct hosts.
        controls: random placements of distinct hosts.
        digests: what each wanted row, (entry key, trial), is computed from.
        owners: entries that want the outcome of a job, by (key, trial).
    """

    trials: list[PlacementJob] = field(default_factory=list)
    controls: list[PlacementJob] = field(default_factory=list)
    digests: dict[tuple[str, int], str] = field(default_factory=dict)
    owners: dict[tuple[str, int], list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, tasks: Iterable[Mapping[str, Any]]) -> "_Plan":
        plan = cls()
        for task in tasks:
            of_model, of_chance = placement_jobs(config, task)
            digest = digest_of(of_model[0].host, task["element"], task["n_unknown"])
            for made, jobs in ((of_model, plan.trials), (of_chance, plan.controls)):
                for each in made:
                    owners = plan.owners.setdefault((each.key, each.trial), [])
                    if not owners:
                        jobs.append(each)
                    owners.append(task["entry_key"])
                    plan.digests[task["entry_key"], each.trial] = digest
        return plan

    def finished(self, rows: Container[tuple[str, int]]) -> frozenset[tuple[str, int]]:
        """Jobs all of whose rows are there."""
        return frozenset(
            (key, trial) for (key, trial), owners in self.owners.items() if all((o, trial) in rows for o in owners)
        )


def _sample(config: Config, tasks: list[dict[str, Any]], kept: Journal, current: Job) -> list[dict[str, Any]]:
    """Rows of ``trials``: those the journal holds, and the others from the network."""
    plan = _Plan.of(config, tasks)
    rows = {key: row for key, digest in plan.digests.items() if (row := kept.take(digest, *key))}
    finished = plan.finished(rows)
    current.n_reused, current.n_planned, current.n_kept = len(rows), len(plan.digests), len(rows)
    current.n_computed = len([each for each in plan.trials if (each.key, each.trial) not in finished])
    reused = f", {len(rows)} rows in the journal" if rows else ""
    current.say(f"{len(tasks)} tasks: {len(plan.trials)} trials, {len(plan.controls)} controls{reused}")
    needs_model = current.n_computed and config.sampler.name != "random"
    model = load_model(config.model, current.device) if needs_model else None

    def progress(step: int, total: int) -> None:
        current.stop_if_asked()
        if step == total or step % 20 == 0:
            current.say(f"{current.n_kept}/{current.n_planned} rows done; evaluation {step}/{total} of the batch")

    def keep(batches: Iterable[list[Placement]], sampler: Sampler, weights: LoadedModel | None) -> None:
        for batch in batches:
            for placement in batch:
                trial = placement.job.trial
                for owner in plan.owners[placement.job.key, trial]:
                    rows[owner, trial] = trial_row(config, owner, placement, sampler, weights)
                    kept.add(plan.digests[owner, trial], rows[owner, trial])
            current.n_kept = len(rows)
            kept.write_if_due()
            current.stop_if_asked()

    started = time.monotonic()
    keep(place_batches(plan.trials, config.sampler, config.seed, model, progress, finished), config.sampler, model)
    current.compute_s = time.monotonic() - started
    chance = config.sampler.model_copy(update={"name": "random"})
    keep(place_batches(plan.controls, chance, config.seed, None, finished=finished), chance, None)
    return list(rows.values())


def trial_row(
    config: Config, entry_key: str, placement: Placement, sampler: Sampler, model: LoadedModel | None
) -> dict[str, Any]:
    """One row of ``trials``."""
    frac = placement.frac_unknown
    return {
        "entry_key": entry_key,
        "trial": placement.job.trial,
        "seed": config.seed,
        "sampler": sampler.name,
        "n_steps": sampler.n_steps if model else 0,
        "n_evaluations": placement.n_evaluations,
        "model_sha256": model.sha256 if model else None,
        "frac_unknown": None if frac is None else frac.ravel().tolist(),
        "d_min_a": None if frac is None else _shortest_contact(placement.job, frac),
        "reason": placement.stop.reason.value if placement.stop else None,
    }


def _shortest_contact(job: PlacementJob, frac: FloatArray) -> float:
    """Shortest distance between a placed site and any other site, ångström."""
    others = np.concatenate([job.host.frac, frac])
    distances = minimum_image_distances(job.host.lattice, frac, others)
    n_host = job.host.n_sites
    distances[np.arange(job.n_unknown), n_host + np.arange(job.n_unknown)] = np.inf
    return float(distances.min())
