"""Samplers: one family, one interface.

Every trial draws its noise from its own stream (:mod:`hinpaint.rng`), and nothing in a step mixes crystals, so a trial
does not depend on what shares its batch. A sampler returns the sites it placed and nothing else: the host it was given
cannot change.
"""

from hinpaint.diffusion.samplers.chance import place_at_random
from hinpaint.diffusion.samplers.driver import make_batches, place, place_batches
from hinpaint.diffusion.samplers.family import denoise, n_evaluations
from hinpaint.diffusion.samplers.jobs import Placement, PlacementJob
from hinpaint.diffusion.samplers.trajectory import write_trajectory

__all__ = [
    "Placement",
    "PlacementJob",
    "denoise",
    "make_batches",
    "n_evaluations",
    "place",
    "place_at_random",
    "place_batches",
    "write_trajectory",
]
