"""Stage inpaint: tasks -> trials."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.config import Config, Sampler
from hinpaint.crystal import Crystal, FloatArray, minimum_image_distances
from hinpaint.diffusion.checkpoints import LoadedModel, load_model
from hinpaint.diffusion.samplers import Placement, PlacementJob, place
from hinpaint.jobs import Job, job
from hinpaint.store import read_table, write_table
from hinpaint.tables import FIRST_CONTROL, TASKS, TRIALS


def run(config: Config, shard: int, tasks: Path, trials: Path, runs: Path, device: str = "cpu") -> None:
    """Sample every trial of a shard's tasks, and the random-placement controls of tasks that have a reference.

    Args:
        config: the run's configuration.
        shard: number of the shard.
        tasks: Parquet of the shard's tasks.
        trials: Parquet to write.
        runs: Parquet for the job's row.
        device: torch device of the network.
    """
    with job("inpaint", shard, config.run, runs) as current:
        rows = read_table(tasks, TASKS).to_pylist()
        current.n_in, current.device = len(rows), device
        model = load_model(config.model, device) if rows and config.sampler.name != "random" else None
        current.model_sha256 = model.sha256 if model else None
        started = time.monotonic()
        made = list(_sample(config, rows, model, current))
        current.compute_s = time.monotonic() - started
        written = write_table(trials, TRIALS, made, config.run, {"sampler": config.sampler.model_dump()})
        current.n_out = written.num_rows


def placement_jobs(config: Config, task: Mapping[str, Any]) -> tuple[list[PlacementJob], list[PlacementJob]]:
    """Model trials and random-placement controls of one row of ``tasks``."""
    host = Crystal.build(task["lattice"], task["host_species"], task["host_frac"])

    def make(trial: int) -> PlacementJob:
        return PlacementJob(task["entry_key"], trial, host, task["element"], task["n_unknown"])

    n_controls = config.les.chance_trials if task["reference_frac"] is not None else 0
    return [make(i) for i in range(config.trials)], [make(FIRST_CONTROL - i) for i in range(n_controls)]


def _sample(
    config: Config, rows: list[dict[str, Any]], model: LoadedModel | None, current: Job
) -> Iterator[dict[str, Any]]:
    trials: list[PlacementJob] = []
    controls: list[PlacementJob] = []
    for row in rows:
        of_model, of_chance = placement_jobs(config, row)
        trials += of_model
        controls += of_chance
    current.say(f"{len(rows)} tasks: {len(trials)} trials, {len(controls)} controls")
    done = 0

    def progress(step: int, total: int) -> None:
        if step == total or step % 20 == 0:
            current.say(f"{done}/{len(trials)} trials done; evaluation {step}/{total} of the current batch")

    for placement in place(trials, config.sampler, config.seed, model, progress):
        done += 1
        yield trial_row(config, placement, config.sampler, model)
    chance = config.sampler.model_copy(update={"name": "random"})
    for placement in place(controls, chance, config.seed, None):
        yield trial_row(config, placement, chance, None)


def trial_row(config: Config, placement: Placement, sampler: Sampler, model: LoadedModel | None) -> dict[str, Any]:
    """One row of ``trials``."""
    frac = placement.frac_unknown
    return {
        "entry_key": placement.job.entry_key,
        "trial": placement.job.trial,
        "seed": config.seed,
        "sampler": sampler.name,
        "n_steps": sampler.n_steps if model else 0,
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
