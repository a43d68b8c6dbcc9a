"""Where a proton has its lowest energy: wells of a potential on a periodic grid, and which to fill next."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates, spline_filter
from scipy.optimize import minimize

from hinpaint.crystal import Crystal, FloatArray, IntArray, minimum_image_distances
from hinpaint.deciding.matching import Operations, images

SNAP_A = 0.2
"""Images of a well this near each other are one: the well lies on the symmetry element between them."""

_MERGE_A = 0.5
"""Wells nearer than this to a deeper one are ripples of the grid."""

_CEILING_EV = 10.0
"""So far above the deepest well the energy counts as flat: no spline follows the walls around nuclei."""


@dataclass(frozen=True)
class Well:
    """A local minimum of a proton's energy.

    Attributes:
        frac: (3,) fractional coordinates within [0, 1).
        energy_ev: the energy there, against the cell's mean potential.
    """

    frac: FloatArray
    energy_ev: float


@dataclass(frozen=True)
class Distances:
    """Shortest distances at which a well is filled, ångström.

    Attributes:
        host: from a site of the host; no bond of hydrogen is shorter than 0.9 Å.
        placed: between placed sites. Water has 1.5 Å, metal hydrides 1.8 Å and more; H2 (0.74 Å) is not looked for.
    """

    host: float = 0.6
    placed: float = 1.4


def find_wells(lattice: FloatArray, energy_ev: FloatArray) -> tuple[Well, ...]:
    """Find the local minima of an energy on a periodic grid, refined between its points, deepest first.

    Args:
        lattice: (3, 3) rows, ångström.
        energy_ev: (a, b, c) energy at the fractional coordinates (i / a, j / b, k / c).

    Returns:
        The wells up to 10 eV above the deepest; of those within 0.5 Å of each other only the deepest.

    Raises:
        ValueError: the grid has fewer than 3 points along an axis, or an energy is not finite.
    """
    if energy_ev.ndim != 3 or min(energy_ev.shape) < 3 or not np.isfinite(energy_ev).all():
        raise ValueError(f"no periodic grid of finite energies: shape {energy_ev.shape}")
    ceiling = energy_ev.min() + _CEILING_EV
    lowest = energy_ev
    for axis in range(3):
        lowest = np.minimum(np.minimum(lowest, np.roll(lowest, 1, axis)), np.roll(lowest, -1, axis))
    smooth = spline_filter(np.minimum(energy_ev, ceiling), mode="grid-wrap")
    bottoms = [_refined(smooth, point) for point in np.argwhere((energy_ev == lowest) & (energy_ev < ceiling))]
    kept: list[Well] = []
    for well in sorted(bottoms, key=lambda each: each.energy_ev):
        others = np.array([each.frac for each in kept]).reshape(-1, 3)
        if minimum_image_distances(lattice, well.frac, others).min(initial=np.inf) > _MERGE_A:
            kept.append(well)
    return tuple(kept)


def _refined(smooth: FloatArray, point: IntArray) -> Well:
    """The minimum of the periodic cubic spline with coefficients ``smooth`` that is reached from a grid point."""

    def energy(at: FloatArray) -> float:
        return float(map_coordinates(smooth, at[:, None], mode="grid-wrap", prefilter=False)[0])

    steps = np.vstack([np.zeros(3), 0.5 * np.eye(3)])
    found = minimize(energy, point, method="Nelder-Mead", options={"initial_simplex": point + steps, "xatol": 0.01, "fatol": 1e-6})  # fmt: skip  # noqa: E501
    return Well(found.x / np.array(smooth.shape) % 1.0, float(found.fun))


def orbit(lattice: FloatArray, frac: FloatArray, operations: Operations) -> FloatArray:
    """All images of a point under a crystal's symmetry.

    Args:
        lattice: (3, 3) rows, ångström.
        frac: (3,) fractional coordinates.
        operations: of the crystal, the identity among them.

    Returns:
        (n, 3) fractional coordinates, the point first; it has been moved onto the symmetry elements within 0.1 Å.
    """
    moved = images(frac[None], operations)[:, 0]
    near = minimum_image_distances(lattice, frac, moved)[0] < SNAP_A
    shifts = moved[near] - frac
    special = frac + (shifts - np.round(shifts)).mean(axis=0)
    found: list[FloatArray] = []
    for image in np.concatenate([special[None], images(special[None], operations)[:, 0]]):
        others = np.array(found).reshape(-1, 3)
        if minimum_image_distances(lattice, image, others).min(initial=np.inf) > SNAP_A:
            found.append(image % 1.0)
    return np.array(found)


def next_sites(
    crystal: Crystal, wells: Sequence[Well], operations: Operations, n_left: int, distances: Distances,
) -> FloatArray | None:  # fmt: skip
    """Choose the sites to fill next: the deepest well that is free, with all its images where there is one for each.

    A whole orbit is filled when it has no more sites than are missing and its sites keep their distance: one
    calculation then places them all, and the crystal keeps its symmetry. Otherwise only the first one is, and the
    next calculation knows of it.

    Args:
        crystal: the host and what has been placed so far (not ``known``).
        wells: of a proton in this crystal, deepest first.
        operations: symmetry of the crystal.
        n_left: how many sites are still missing, at least 1.
        distances: which wells are free.

    Returns:
        (n, 3) fractional coordinates, 1 <= n <= ``n_left``; None when no well is free.
    """
    limits = np.where(crystal.known, distances.host, distances.placed)
    for well in wells:
        sites = orbit(crystal.lattice, well.frac, operations)
        if (minimum_image_distances(crystal.lattice, sites[:1], crystal.frac) < limits).any():
            continue
        apart = minimum_image_distances(crystal.lattice, sites, sites)
        np.fill_diagonal(apart, np.inf)
        whole = len(sites) <= n_left and apart.min(initial=np.inf) >= distances.placed
        return sites if whole else sites[:1]
    return None
