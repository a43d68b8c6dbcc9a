"""A proton's energy in closed form, in place of DFT: bonds to oxygen, repulsion from all else."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from scipy.optimize import minimize

from hinpaint.crystal import Crystal
from hinpaint.verification.reconstruction import Settled

BOND_A = 0.97
_IMAGES = np.array(list(product((-1, 0, 1), repeat=3)))


def on_grid(energy: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """A function of fractional coordinates (n, 3) at the points of a grid (a, b, c)."""
    points = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"), axis=-1)
    return energy(points.reshape(-1, 3)).reshape(shape)


@dataclass
class ProtonModel:
    """Morse bonds of 4 eV to oxygen, exponential repulsion from cations and from other protons.

    Attributes:
        spacing_a: distance of grid points.
        charges: charges of the cells that it was asked about, in order.
    """

    spacing_a: float = 0.15
    charges: list[int] = field(default_factory=list)

    def settle(self, crystal: Crystal, charge: int) -> Settled:
        self.charges.append(charge)
        host, placed = crystal.take(crystal.known), crystal.take(~crystal.known)

        def total(flat: np.ndarray) -> float:
            moved = placed.with_frac(flat)
            return float(energy(host, moved.frac).sum() + energy(moved, moved.frac, own=False).sum() / 2)

        found = minimize(total, placed.frac.ravel(), method="BFGS", options={"gtol": 1e-3}) if placed.n_sites else None
        frac = np.zeros((0, 3)) if found is None else found.x.reshape(-1, 3)
        settled = crystal.with_frac(np.concatenate([host.frac, frac]))
        shape = tuple(int(n) for n in np.ceil(np.linalg.norm(crystal.lattice, axis=1) / self.spacing_a))
        grid = on_grid(lambda points: energy(settled, points), shape) if charge else None
        return Settled(settled, 0.0 if found is None else float(found.fun), converged=True, proton_energy_ev=grid)


def energy(crystal: Crystal, frac: np.ndarray, *, own: bool = True) -> np.ndarray:
    """Energy in eV of a proton at each of the points (n, 3); without ``own`` a point is no neighbour of itself."""
    delta = (frac[:, None] - crystal.frac) % 1.0
    delta -= np.round(delta)
    distances = np.linalg.norm((delta[:, :, None] + _IMAGES) @ crystal.lattice, axis=3)
    if not own:
        distances[distances < 1e-9] = np.inf
    bound = 4.0 * ((1 - np.exp(-3.0 * (distances - BOND_A))) ** 2 - 1)
    scale = np.where(crystal.is_element("H"), 10.0, 100.0)[:, None]
    each = np.where(crystal.is_element("O")[:, None], bound, scale * np.exp(-distances / 0.5))
    return np.asarray(each.sum(axis=(1, 2)))
