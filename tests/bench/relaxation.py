"""Compare the batched engine with ASE, one structure at a time: same potential, starts, thresholds and optimiser.

python tests/bench/relaxation.py --n 8 --level h_only
python tests/bench/relaxation.py --structures export.jsonl.gz --max-sites 40 --n 32 --device cuda
"""

import argparse
import gzip
import json
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.config import Potential, Relax
from hinpaint.crystal import Crystal
from hinpaint.relaxation import canary
from hinpaint.relaxation.batch import Level, RelaxJob
from hinpaint.relaxation.engine import relax
from hinpaint.relaxation.potentials import LoadedPotential, load_potential


@dataclass(frozen=True)
class Result:
    """Energies (eV, nan when there is none), steps, and seconds for the whole set."""

    energies: list[float]
    converged: int
    steps: int
    seconds: float


def read_optimade(path: Path, max_sites: int, limit: int) -> list[Crystal]:
    """Read ordered structures with hydrogen from OPTIMADE JSON Lines, in the file's order."""
    crystals: list[Crystal] = []
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            attributes = json.loads(line).get("attributes", {})
            species = attributes.get("species_at_sites", [])
            if "H" in species and set(species) != {"H"} and len(species) <= max_sites:
                lattice = np.array(attributes["lattice_vectors"])
                frac = np.array(attributes["cartesian_site_positions"]) @ np.linalg.inv(lattice)
                crystals.append(Crystal.build(lattice, species, frac))
            if len(crystals) == limit:
                break
    return crystals


def built_in(potential: LoadedPotential, limit: int) -> list[Crystal]:
    """Repeat the canary's structures with hydrogen until there are ``limit``."""
    library = [crystal for crystal in canary.structures(potential).values() if "H" in crystal.species]
    return [library[number % len(library)] for number in range(limit)]


def displace(crystals: list[Crystal], distance_a: float) -> list[RelaxJob]:
    """Move every hydrogen by a random vector with this standard deviation along each axis; hydrogen is movable."""
    stream = np.random.default_rng(0)
    jobs = []
    for number, crystal in enumerate(crystals):
        movable = crystal.is_element("H")
        moves = distance_a * stream.standard_normal((crystal.n_sites, 3)) * movable[:, None]
        start = crystal.with_frac(crystal.frac + moves @ np.linalg.inv(crystal.lattice))
        jobs.append(RelaxJob(("bench", number), replace(start, known=~movable), movable))
    return jobs


def batched(potential: LoadedPotential, jobs: list[RelaxJob], settings: Relax, level: Level) -> Result:
    """Relax with hinpaint's engine."""
    started = time.monotonic()
    outcomes = relax(potential, jobs, settings, level)
    seconds = time.monotonic() - started
    energies = [float("nan") if outcome.energy_ev is None else outcome.energy_ev for outcome in outcomes]
    steps = sum(outcome.n_steps for outcome in outcomes)
    return Result(energies, sum(outcome.converged for outcome in outcomes), steps, seconds)


def one_by_one(calculator: Any, jobs: list[RelaxJob], settings: Relax, level: Level) -> Result:
    """Relax with ASE's FIRE, as is usual."""
    from ase.constraints import FixAtoms
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE

    energies, converged, steps = [], 0, 0
    started = time.monotonic()
    for job in jobs:
        atoms = job.crystal.to_ase()
        atoms.calc = calculator
        if level == "h_only":
            atoms.set_constraint(FixAtoms(mask=~job.movable))
        optimizer = FIRE(atoms if level == "h_only" else FrechetCellFilter(atoms), logfile=None)
        limit = settings.max_steps_h_only if level == "h_only" else settings.max_steps_full
        converged += bool(optimizer.run(fmax=settings.fmax_ev_per_a, steps=limit))
        energies.append(float(atoms.get_potential_energy()))
        steps += optimizer.nsteps
    return Result(energies, converged, steps, time.monotonic() - started)


def report(jobs: list[RelaxJob], level: Level, ours: Result, ase: Result) -> None:
    """Print one small table."""
    sizes = np.array([job.crystal.n_sites for job in jobs])
    difference = 1000 * np.abs(np.array(ours.energies) - np.array(ase.energies)) / sizes
    print(f"\nlevel {level}, {len(jobs)} structures, {sizes.mean():.1f} sites on average")
    print(f"{'':12}{'s':>10}{'structures/s':>14}{'steps':>8}{'ms/step':>9}{'converged':>11}")
    for name, result in (("batched", ours), ("one by one", ase)):
        rate, step = len(jobs) / result.seconds, 1000 * result.seconds / max(result.steps, 1)
        print(f"{name:12}{result.seconds:10.1f}{rate:14.3f}{result.steps:8}{step:9.1f}{result.converged:11}")
    print(f"ratio {ase.seconds / ours.seconds:.2f}; energies differ by median {np.nanmedian(difference):.3f}, "
          f"largest {np.nanmax(difference):.3f} meV/atom")  # fmt: skip


def main() -> None:
    """Read the arguments, relax twice, print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=Path, help="OPTIMADE JSON Lines, plain or .gz; built-in ones without it")
    parser.add_argument("--n", type=int, default=8, help="number of structures")
    parser.add_argument("--max-sites", type=int, default=40, help="largest structure to take")
    parser.add_argument("--level", choices=("h_only", "full"), default="h_only")
    parser.add_argument("--displace-a", type=float, default=0.1, help="displacement of the hydrogens")
    parser.add_argument("--max-atoms", type=int, default=512, help="atoms in a batch")
    parser.add_argument("--fmax", type=float, default=0.05, help="force threshold in eV/Å")
    parser.add_argument("--potential", choices=("sevennet-0", "sevennet-l3i5"), default="sevennet-0")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    from sevenn.calculator import SevenNetCalculator

    potential = load_potential(Potential(name=options.potential), options.device)
    crystals = (
        read_optimade(options.structures, options.max_sites, options.n)
        if options.structures
        else built_in(potential, options.n)
    )
    jobs = displace(crystals, options.displace_a)
    settings = Relax(fmax_ev_per_a=options.fmax, max_atoms=options.max_atoms)
    calculator = SevenNetCalculator(options.potential.replace("sevennet", "7net"), device=options.device)
    for warm_up in (relax(potential, jobs[:1], settings.model_copy(update={"max_steps_h_only": 1}), "h_only"),):
        assert warm_up
    one_by_one(calculator, jobs[:1], settings.model_copy(update={"max_steps_h_only": 1}), "h_only")
    ours = batched(potential, jobs, settings, options.level)
    report(jobs, options.level, ours, one_by_one(calculator, jobs, settings, options.level))


if __name__ == "__main__":
    main()
