"""Structures that tests make up."""

import numpy as np

from hinpaint.crystal import Crystal


def random_crystal(seed: int, n_host: int = 5, n_unknown: int = 3) -> Crystal:
    """A skewed cell with sites anywhere."""
    rng = np.random.default_rng(seed)
    lattice = np.diag(rng.uniform(3.5, 7.0, 3)) + rng.uniform(-1.0, 1.0, (3, 3))
    species = [str(s) for s in rng.choice(["Mg", "O", "Na", "Si"], n_host)] + ["H"] * n_unknown
    frac = rng.random((n_host + n_unknown, 3))
    return Crystal.build(lattice, species, frac, known=[True] * n_host + [False] * n_unknown)
