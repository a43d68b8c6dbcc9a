"""Compare hinpaint's relaxation with ASE, one structure at a time: same potential, starts and thresholds, both levels.

python tests/bench/relaxation.py --run results/mc3d-dev --n 128
python tests/bench/relaxation.py --run results/mc3d-dev --n 128 --device cuda --max-atoms 4096

The starts are raw model trials of a run, all those of an entry together, as jobs have them. Ours comes twice: as it
is, where trials of one arrangement share a full relaxation, and each trial by itself (``unshared``). ASE takes FIRE and
BFGS with FixAtoms, then the Fréchet filter of the cell.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hinpaint.relaxation.batch import RelaxJob
from hinpaint.relaxation.levels import relax_levels
from hinpaint.relaxation.potentials import LoadedPotential, load_potential
from hinpaint.relaxing import Potential, Relax
from hinpaint.stages.relax import relax_jobs
from hinpaint.store import read_tables
from hinpaint.tables import TASKS, TRIALS

METHODS = ("hinpaint", "unshared", "FIRE", "BFGS")


@dataclass(frozen=True)
class Result:
    """Energies after the full level (eV, nan when there is none), steps of both levels, seconds for the whole set.

    Seconds are processor time, which other programs do not change; on a GPU those of the clock.
    """

    energies: np.ndarray
    steps: int
    seconds: float


def read_jobs(run: Path, n: int) -> list[RelaxJob]:
    """Take n model trials of a run, whole entries evenly spaced (the last one may be cut)."""
    tasks = read_tables(sorted((run / "tasks").glob("*.parquet")), TASKS).to_pylist()
    trials = read_tables(sorted((run / "trials").glob("*.parquet")), TRIALS).to_pylist()
    jobs = [job for job in relax_jobs(tasks, trials) if job.key[1] >= 0]
    keys = sorted({job.key[0] for job in jobs})
    wanted = max(1, len(keys) * min(n, len(jobs)) // len(jobs))
    chosen = {keys[index] for index in np.linspace(0, len(keys) - 1, wanted + 1).astype(int)}
    return sorted((job for job in jobs if job.key[0] in chosen), key=lambda job: job.key)[:n]


def share_of(jobs: list[RelaxJob], first: int, of: int) -> list[RelaxJob]:
    """What one of several workers takes: whole entries, in turn."""
    keys = sorted({job.key[0] for job in jobs})
    mine = set(keys[first::of])
    return [job for job in jobs if job.key[0] in mine]


def ours(potential: LoadedPotential, jobs: list[RelaxJob], settings: Relax) -> Result:
    """Relax with hinpaint's engine."""
    clock = _clock(str(potential.device))
    started = clock()
    outcomes = relax_levels(lambda: potential, jobs, settings, lambda _level: lambda _done, _total: None)
    seconds = clock() - started
    energies = [o.energy_ev if o.converged and o.energy_ev is not None else np.nan for level, o in outcomes if level == "full"]  # fmt: skip  # noqa: E501
    return Result(np.array(energies), sum(outcome.n_steps for _, outcome in outcomes), seconds)


def ase(name: str, jobs: list[RelaxJob], settings: Relax, device: str) -> Result:
    """Relax with one of ASE's optimisers, one structure at a time."""
    from ase import optimize
    from ase.constraints import FixAtoms
    from ase.filters import FrechetCellFilter
    from sevenn.calculator import SevenNetCalculator

    calculator: Any = SevenNetCalculator("7net-0", device=device)
    energies, steps = [], 0
    clock = _clock(device)
    started = clock()
    for job in jobs:
        atoms = job.crystal.to_ase()
        atoms.calc = calculator
        atoms.set_constraint(FixAtoms(mask=~job.movable))
        optimizer = getattr(optimize, name)(atoms, logfile=None)
        optimizer.run(fmax=settings.fmax_ev_per_a, steps=settings.max_steps_h_only)
        steps += optimizer.nsteps
        atoms.set_constraint()
        optimizer = getattr(optimize, name)(FrechetCellFilter(atoms), logfile=None)
        converged = optimizer.run(fmax=settings.fmax_ev_per_a, steps=settings.max_steps_full)
        steps += optimizer.nsteps
        energies.append(float(atoms.get_potential_energy()) if converged else np.nan)
    return Result(np.array(energies), steps, clock() - started)


def _clock(device: str) -> Callable[[], float]:
    return time.process_time if device == "cpu" else time.perf_counter


def half(arguments: tuple[str, Path, int, int, int, Relax, str]) -> Result:
    """One worker's share, by one of the methods, on one thread."""
    name, run, n, first, of, settings, device = arguments
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    jobs = share_of(read_jobs(run, n), first, of)
    if name in {"FIRE", "BFGS"}:
        return ase(name, jobs, settings, device)
    if name == "unshared":
        settings = settings.model_copy(update={"share_within_a": 0.0})
    return ours(load_potential(Potential(name="sevennet-0"), device), jobs, settings)


def main() -> None:
    """Read the arguments, relax with each method, print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a run with tasks and trials")
    parser.add_argument("--n", type=int, default=128, help="number of trials to relax")
    parser.add_argument("--fmax", type=float, default=0.05, help="force threshold in eV/Å")
    parser.add_argument("--max-atoms", type=int, default=512, help="atoms in a batch")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="workers, one thread each")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="the first is compared with")
    options = parser.parse_args()
    settings = Relax(fmax_ev_per_a=options.fmax, max_atoms=options.max_atoms)
    jobs = read_jobs(options.run, options.n)
    n_sites = np.array([job.crystal.n_sites for k in range(options.processes)
                        for job in share_of(jobs, k, options.processes)])  # fmt: skip
    entries = len({job.key[0] for job in jobs})
    print(f"{len(n_sites)} raw trials of {entries} entries, {n_sites.mean():.1f} sites on average")
    print(f"{'':10}{'s':>9}{'structures/s':>14}{'steps':>8}{'converged':>11}{'ratio':>8}  meV/atom against the first")
    first: Result | None = None
    for name in options.methods:
        shares = [(name, options.run, options.n, k, options.processes, settings, options.device)
                  for k in range(options.processes)]  # fmt: skip
        with ProcessPoolExecutor(options.processes) as pool:
            parts = list(pool.map(half, shares))
        result = Result(
            np.concatenate([part.energies for part in parts]),
            sum(part.steps for part in parts),
            sum(part.seconds for part in parts) / len(parts),
        )
        first = first or result
        difference = 1000 * (result.energies - first.energies) / n_sites
        both = np.isfinite(difference)
        note = f"within 2: {np.mean(np.abs(difference[both]) < 2):.0%}, lower: {np.mean(difference[both] < -2):.0%}"
        converged, rate = int(np.isfinite(result.energies).sum()), len(n_sites) / result.seconds
        ratio = result.seconds / first.seconds
        print(
            f"{name:10}{result.seconds:9.1f}{rate:14.3f}{result.steps:8}{converged:11}{ratio:8.2f}  {note}", flush=True
        )


if __name__ == "__main__":
    main()
