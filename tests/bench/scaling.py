"""How long a database takes on 1, 16 and 256 GPUs: real sizes, real shards, measured seconds, a simulated queue.

    python tests/bench/scaling.py --measured results/timing --population mc3d=results/mc3d:2720

A run that is `--measured` went through relax, from an empty folder. A `--population` is a run whose plan exists: its
tasks are drawn again, with replacement, up to the number given.
"""

import argparse
import csv
import heapq
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hinpaint.planning import assign_shards

Costs = np.ndarray


@dataclass(frozen=True)
class Speed:
    """Seconds of one stage on one core: start-up of a job, and a structure's seconds for each unit of its cost."""

    startup_s: float
    per_cost_s: float

    def seconds(self, cost: Costs, structures: float, faster: float) -> Costs:
        """Seconds of shards of the given costs on a device that computes so many times faster; start-up stays."""
        return self.startup_s + cost * structures * self.per_cost_s / faster


@dataclass(frozen=True)
class Queue:
    """What stands between a shard and a GPU: the profile's figures."""

    at_once: int
    submit_s: float = 1.0
    notice_s: float = 30.0


@dataclass(frozen=True)
class Outcome:
    """Wall time, GPU seconds reserved, and the seconds that the longest shard alone would take."""

    wall_s: float
    reserved_s: float
    longest_s: float


def costs_of(results: Path) -> dict[int, list[float]]:
    """Predicted costs of a planned run's tasks, by shard."""
    found: dict[int, list[float]] = {}
    for path in sorted((results / "tasks").glob("shard=*.parquet")):
        table = pq.read_table(path, columns=["cost"], partitioning=None)
        found[int(path.stem.removeprefix("shard="))] = table["cost"].to_pylist()
    return found


def fit(results: Path, stage: str, structures: int) -> Speed:
    """Start-up a job and seconds a structure and unit of cost, summed over the filled shards of a run.

    Wall seconds count by the share of a core that the job had (its benchmark file), so that other work on the machine
    disturbs little.

    Args:
        results: folder of a run with `runs`, `benchmarks` and `tasks`.
        stage: inpaint or relax.
        structures: structures the stage handles for each task.
    """
    computing, starting, cost = 0.0, [], 0.0
    for shard, costs in costs_of(results).items():
        if not costs:
            continue
        (row,) = pq.read_table(results / f"runs/{stage}-shard={shard:04d}.parquet", partitioning=None).to_pylist()
        with (results / f"benchmarks/{stage}/shard={shard:04d}.tsv").open() as lines:
            measured = next(csv.DictReader(lines, delimiter="\t"))
        share = min(1.0, float(measured["cpu_time"]) / float(measured["s"]))
        computing += row["compute_s"] * share
        starting.append((float(measured["s"]) - row["compute_s"]) * share)
        cost += sum(costs) * structures
    speed = Speed(float(np.mean(starting)), computing / cost)
    print(f"{stage}: {speed.startup_s:.1f} s a job + {1000 * speed.per_cost_s:.2f} ms a structure and unit of cost")
    return speed


def shard_costs(costs: Costs, shards: int) -> Costs:
    """Cost of every shard, as plan spreads the tasks."""
    assigned = assign_shards([f"{i:07d}" for i in range(len(costs))], costs.tolist(), shards)
    return np.bincount(assigned, weights=costs, minlength=shards)


def simulate(inpaint_s: Costs, relax_s: Costs, gpus: int, queue: Queue) -> Outcome:
    """Jobs of all shards through a queue: relax of a shard is submitted once its inpaint was seen to be done."""
    free = [0.0] * min(gpus, queue.at_once)
    ready = [(0.0, 0, shard) for shard in range(len(inpaint_s))]
    heapq.heapify(ready)
    next_submission, end = 0.0, 0.0
    while ready:
        since, stage, shard = heapq.heappop(ready)
        begin = max(since, next_submission, free[0])
        next_submission = max(since, next_submission) + queue.submit_s
        done = begin + float((relax_s if stage else inpaint_s)[shard])
        heapq.heapreplace(free, done)
        end = max(end, done + queue.notice_s)
        if stage == 0:
            heapq.heappush(ready, (done + queue.notice_s, 1, shard))
    return Outcome(end, float(inpaint_s.sum() + relax_s.sum()), float((inpaint_s + relax_s).max()))


def bound(outcome: Outcome, shards: int, gpus: int, queue: Queue, startup_s: float) -> str:
    """The term that alone comes nearest to the wall time."""
    used = min(gpus, queue.at_once)
    terms = {
        "computing": (outcome.reserved_s - shards * startup_s) / used,
        "start-up of jobs": shards * startup_s / used,
        "the longest shard": outcome.longest_s,
        "submitting": 2 * shards * queue.submit_s,
    }
    return max(terms, key=lambda name: terms[name])


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--measured", type=Path, required=True, help="results folder of the timed run")
parser.add_argument("--measured-trials", type=int, default=1)
parser.add_argument("--population", action="append", required=True, metavar="NAME=FOLDER:COUNT")
parser.add_argument("--trials", type=int, default=30)
parser.add_argument("--shards", type=int, nargs="+", default=[64, 256, 1024, 4096])
parser.add_argument("--gpus", type=int, nargs="+", default=[1, 16, 256])
parser.add_argument("--faster", type=float, nargs="+", default=[1, 30, 100], help="a GPU against one measured core")
parser.add_argument("--jobs", type=int, default=100, help="jobs of the profile")
arguments = parser.parse_args()

# Every task of a timed run has its reference relaxed beside its trials; nothing is sampled for it.
inpaint = fit(arguments.measured, "inpaint", arguments.measured_trials)
relax = fit(arguments.measured, "relax", arguments.measured_trials + 1)
for population in arguments.population:
    name, _, rest = population.partition("=")
    folder, _, count = rest.rpartition(":")
    known = np.array([cost for costs in costs_of(Path(folder)).values() for cost in costs])
    costs = np.random.default_rng(2026).choice(known, int(count))
    print(f"\n## {name}: {count} tasks drawn from {len(known)}, {arguments.trials} trials each\n")
    print("| a GPU against a core | GPUs | shards | wall (h) | GPU-hours | fullest shard / mean | bound by |")
    print("|---|---|---|---|---|---|---|")
    for faster in arguments.faster:
        for gpus in arguments.gpus:
            found = []
            for shards in arguments.shards:
                cost = shard_costs(costs, shards)
                inpaint_s = inpaint.seconds(cost, arguments.trials, faster)
                relax_s = relax.seconds(cost, arguments.trials + 1, faster)
                queue = Queue(max(arguments.jobs, gpus))
                outcome = simulate(inpaint_s, relax_s, gpus, queue)
                why = bound(outcome, shards, gpus, queue, inpaint.startup_s + relax.startup_s)
                found.append((shards, outcome, cost.max() / cost.mean(), why))
            shards, outcome, balance, why = min(found, key=lambda each: each[1].wall_s)
            print(f"| {faster:g} | {gpus} | {shards} | {outcome.wall_s / 3600:.2f} | {outcome.reserved_s / 3600:.1f} |"
                  f" {balance:.3f} | {why} |")  # fmt: skip
