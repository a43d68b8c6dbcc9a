"""Random placement: the chance and search baseline, without a network."""

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from hinpaint.crystal import Crystal, FloatArray, minimum_image_distances
from hinpaint.diffusion.samplers.jobs import Placement, PlacementJob
from hinpaint.rng import stream
from hinpaint.whynot import Reason, Stop

_RADII_SHARE = 0.8  # of the sum of covalent radii: shorter contacts are not chemistry
_PLACEMENT_TRIES = 500


def place_at_random(job: PlacementJob, seed: int) -> Placement:
    """Place the sites one by one, uniformly among the positions that keep minimum distances.

    The minimum is 0.8 times the sum of covalent radii; it shrinks gradually while no position is found.

    Args:
        job: what to place.
        seed: seed of the run.

    Returns:
        Coordinates, or ``no_room``.
    """
    rng = stream(seed, job.key, job.trial, "random")
    crystal = job.host
    for _ in range(job.n_unknown):
        position = _free_position(crystal, job.element, rng)
        if position is None:
            return Placement(job, None, Stop(Reason.NO_ROOM, f"no free position for {job.element}"))
        crystal = crystal.add_unknown(job.element, position)
    return Placement(job, crystal.frac[job.host.n_sites :])


def _free_position(crystal: Crystal, element: str, rng: np.random.Generator) -> FloatArray | None:
    radii = np.array([covalent_radii[atomic_numbers[s]] for s in crystal.species])
    limit = _RADII_SHARE * (radii + covalent_radii[atomic_numbers[element]])
    for shrink in (1.0, 0.9, 0.8, 0.7):
        candidates: FloatArray = rng.random((_PLACEMENT_TRIES, 3))
        if crystal.n_sites == 0:
            return candidates[:1]
        distances = minimum_image_distances(crystal.lattice, candidates, crystal.frac)
        free = np.flatnonzero((distances >= shrink * limit).all(axis=1))
        if free.size:
            return candidates[free[:1]]
    return None
