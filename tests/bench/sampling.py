"""Batched against one-by-one sampling: same weights, steps and random streams, in one run."""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from hinpaint.config import Sampler
from hinpaint.crystal import Crystal
from hinpaint.diffusion.checkpoints import LoadedModel, load_model
from hinpaint.diffusion.samplers import PlacementJob, place
from hinpaint.sources import parse_record

ROOT = Path(__file__).parents[2]


def structures(path: Path, count: int, max_sites: int) -> list[PlacementJob]:
    """Jobs that strip hydrogen from the first structures of an OPTIMADE file."""
    import gzip

    opener = gzip.open if path.suffix == ".gz" else open
    jobs = []
    with opener(path, "rt", encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            record = parse_record("optimade", line)
            crystal = Crystal.build(record.lattice, record.species, record.cell_frac)
            hydrogen = crystal.is_element("H")
            if crystal.n_sites <= max_sites and hydrogen.any() and not hydrogen.all():
                host = crystal.take(~hydrogen)
                jobs.append(PlacementJob(f"bench|1|{len(jobs)}", 0, host, "H", int(hydrogen.sum())))
            if len(jobs) == count:
                break
    return jobs


def measure(jobs: list[PlacementJob], settings: Sampler, model: LoadedModel) -> tuple[float, dict[str, np.ndarray]]:
    """Seconds and coordinates."""
    began = time.perf_counter()
    placed = {p.job.key: p.frac_unknown for p in place(jobs, settings, 1, model)}
    return time.perf_counter() - began, placed


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--structures", type=Path, default=ROOT / "examples/mc3d/structures.jsonl")
parser.add_argument("--count", type=int, default=32)
parser.add_argument("--max-sites", type=int, default=19)
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--model", default="td-small")
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
parser.add_argument("--threads", type=int, default=1)
arguments = parser.parse_args()

torch.set_num_threads(arguments.threads)
model = load_model(arguments.model, arguments.device)
jobs = structures(arguments.structures, arguments.count, arguments.max_sites)
alone = Sampler(n_steps=arguments.steps, max_atoms=1)
measure(jobs[:1], alone, model)  # warm-up
seconds, reference = measure(jobs, alone, model)
evaluations = 2 * arguments.steps * len(jobs)
print(f"{len(jobs)} structures, {arguments.steps} steps, {arguments.device}, {arguments.threads} thread(s)")
print("| batch (atoms) | structures/s | ms per structure and evaluation | ratio | largest difference (fractional) |")
print("|---|---|---|---|---|")
print(f"| one by one | {len(jobs) / seconds:.3f} | {1000 * seconds / evaluations:.2f} | 1.00 | |")
for atoms in (64, 128, 256, 512):
    taken, placed = measure(jobs, Sampler(n_steps=arguments.steps, max_atoms=atoms), model)
    delta = max(np.abs(placed[k] - f - np.round(placed[k] - f)).max() for k, f in reference.items())
    rate, per = len(jobs) / taken, 1000 * taken / evaluations
    print(f"| {atoms} | {rate:.3f} | {per:.2f} | {seconds / taken:.2f} | {delta:.1e} |")
