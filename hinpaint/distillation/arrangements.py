"""Structures around a host: what a potential meets when trials are relaxed, without any potential.

Each function takes a crystal with hydrogen marked as not known, and a stream of random numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from hinpaint.crystal import Crystal, FloatArray, shortest_distance
from hinpaint.distillation.hosts import Host
from hinpaint.distillation.settings import LabelSettings
from hinpaint.rng import stream

_STRAIN = 0.04
_SMALL_STRAIN = 0.015
_RATTLE_A = 0.1
_SHORT_SHARE = (0.55, 0.95)  # of the sum of covalent radii
_RADII_A = {symbol: float(covalent_radii[number]) for symbol, number in atomic_numbers.items() if number < 97}


def displaced(crystal: Crystal, rng: np.random.Generator, longest_a: float) -> Crystal:
    """Displace every hydrogen in a direction of its own, by up to a length drawn once between 0 and ``longest_a``."""
    n_unknown = int((~crystal.known).sum())
    reach = rng.uniform(0.0, longest_a)
    moves = np.zeros((crystal.n_sites, 3))
    moves[~crystal.known] = rng.uniform(0.0, reach, (n_unknown, 1)) * _directions(rng, n_unknown)
    return moved(crystal, moves)


def rattled(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Displace every site by a normal deviate of up to 0.1 Å, and strain the cell a little."""
    moves = rng.uniform(0.0, _RATTLE_A) * rng.standard_normal((crystal.n_sites, 3))
    return moved(strained(crystal, rng, _SMALL_STRAIN), moves)


def strained(crystal: Crystal, rng: np.random.Generator, size: float = _STRAIN) -> Crystal:
    """Strain the cell: a symmetric deformation whose entries are normal deviates of the given size."""
    strain = size * rng.standard_normal((3, 3))
    return replace(crystal, lattice=crystal.lattice @ (np.eye(3) + (strain + strain.T) / 2))


def shortened(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Bring one hydrogen too close to another site: to 0.55 to 0.95 of the sum of their covalent radii."""
    hydrogen = int(rng.choice(np.flatnonzero(~crystal.known)))
    others = np.delete(np.arange(crystal.n_sites), hydrogen)
    if not len(others):
        return crystal
    other = int(rng.choice(others))
    length = rng.uniform(*_SHORT_SHARE) * (_RADII_A["H"] + _RADII_A[crystal.species[other]])
    frac = crystal.frac.copy()
    frac[hydrogen] = frac[other] + length * _directions(rng, 1)[0] @ np.linalg.inv(crystal.lattice)
    return crystal.with_frac(frac)


def moved(crystal: Crystal, moves: FloatArray) -> Crystal:
    """Add Cartesian displacements (n, 3) in ångström."""
    return crystal.with_frac(crystal.frac + moves @ np.linalg.inv(crystal.lattice))


def around(host: Host, settings: LabelSettings) -> Iterator[tuple[str, Crystal]]:
    """Every arrangement that needs neither a network nor a potential.

    Args:
        host: a structure, with or without hydrogen.
        settings: how many of each kind; the seed decides them together with the host's name.

    Yields:
        (kind, structure); those with a distance that is too short are left out.
    """
    makers: dict[str, tuple[int, Callable[[Crystal, np.random.Generator], Crystal]]] = {
        "rattled": (settings.n_rattled, rattled),
        "strained": (settings.n_strained, strained),
    }
    if not host.crystal.known.all():
        makers["displaced"] = (settings.n_displaced, lambda c, rng: displaced(c, rng, settings.max_displacement_a))
        makers["short"] = (settings.n_short, shortened)
    yield "reference", host.crystal
    for kind, (count, make) in makers.items():
        for number in range(count):
            made = make(host.crystal, stream(settings.seed, host.name, number, kind))
            if shortest_distance(made) >= settings.min_distance_a:
                yield kind, made


def _directions(rng: np.random.Generator, count: int) -> FloatArray:
    """Unit vectors (count, 3), uniform on the sphere."""
    vectors = rng.standard_normal((count, 3))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
