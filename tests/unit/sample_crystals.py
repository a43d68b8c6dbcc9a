"""Structures that tests make up."""

import numpy as np

from hinpaint.crystal import Crystal

BRUCITE_CELL = """\
_chemical_formula_sum 'H2 Mg O2'
_cell_length_a 3.147
_cell_length_b 3.147
_cell_length_c 4.769
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
"""


def random_crystal(seed: int, n_host: int = 5, n_unknown: int = 3) -> Crystal:
    """A skewed cell with sites anywhere."""
    rng = np.random.default_rng(seed)
    lattice = np.diag(rng.uniform(3.5, 7.0, 3)) + rng.uniform(-1.0, 1.0, (3, 3))
    species = [str(s) for s in rng.choice(["Mg", "O", "Na", "Si"], n_host)] + ["H"] * n_unknown
    frac = rng.random((n_host + n_unknown, 3))
    return Crystal.build(lattice, species, frac, known=[True] * n_host + [False] * n_unknown)
