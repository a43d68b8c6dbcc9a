"""Symmetry expansion of the asymmetric unit, and sites that lie too close."""

import numpy as np

from hinpaint.crystal import FloatArray
from hinpaint.sources.records import IntArray

MERGE_A = 0.1
"""Images of one site closer than this are one site on a special position: coordinates are rounded to 0.001 or worse,
while real split sites lie further apart (and are partially occupied)."""

MAX_IMAGES = 50_000
"""Largest number of sites times operators that is expanded; far above what any stage accepts."""


def snap_thirds(value: float, decimals: int) -> float:
    """Replace a rounded or cut third, sixth or twelfth (0.3333, 0.667, 0.6666) by the exact fraction.

    Args:
        value: fractional coordinate.
        decimals: decimals it was written with; fewer than three prove nothing, so the value stays.
    """
    if decimals < 3:
        return value
    exact = round(value * 12) / 12
    scale = 10.0 ** min(decimals, 15)
    return exact if round(value * scale) in (round(exact * scale), int(exact * scale)) else value


def expand(lattice: FloatArray, rotations: FloatArray, translations: FloatArray, frac: FloatArray) -> tuple[IntArray, FloatArray]:  # fmt: skip  # noqa: E501
    """Apply all operators to all sites and merge coinciding images of each site.

    Args:
        lattice: (3, 3) rows, ångström.
        rotations: (m, 3, 3) of the operators, a group with the identity first.
        translations: (m, 3).
        frac: (n, 3) asymmetric sites.

    Returns:
        (k,) index of the asymmetric site and (k, 3) fractional coordinates, site by site in the source's order; the
        identity's image is kept as given, the others lie in [0, 1).
    """
    images = np.einsum("mij,nj->nmi", rotations, frac) + translations
    images[:, 1:] -= np.floor(images[:, 1:])
    images[:, 1:][images[:, 1:] > 1 - 1e-9] = 0.0
    keep = np.ones(images.shape[:2], dtype=bool)
    # In a group, a site is special exactly when another image falls on its first one.
    from_first = _short_lengths(images - images[:, :1], lattice)
    for i in np.flatnonzero((from_first < MERGE_A).sum(axis=1) > 1):
        close = _short_lengths(images[i, :, None] - images[i, None, :], lattice) < MERGE_A
        keep[i] = ~np.tril(close, -1).any(axis=1)
    site = np.repeat(np.arange(len(frac), dtype=np.int64), keep.sum(axis=1))
    return site, images[keep]


def _short_lengths(delta: FloatArray, lattice: FloatArray) -> FloatArray:
    """Lengths of periodic differences; exact for lengths below half the cell's smallest height, which is all we ask."""
    folded = delta - np.round(delta)
    return np.asarray(np.linalg.norm(folded @ lattice, axis=-1), dtype=np.float64)


def first_overlap(lattice: FloatArray, frac: FloatArray, reach_a: FloatArray) -> tuple[int, int, float] | None:
    """Find two sites that lie closer than the smaller of their reaches.

    A sweep along the longest axis that ends at the first pair: memory grows with the number of sites, and time is
    bounded by how many sites fit into a thin slab without overlapping, so hostile input exhausts neither.

    Args:
        lattice: (3, 3) rows, ångström.
        frac: (n, 3) fractional coordinates.
        reach_a: (n,) distances in ångström, small against the cell.

    Returns:
        (i, j, distance in ångström) of the closest of the pairs met first, i < j; None when no two sites overlap.
    """
    n_sites = len(frac)
    if n_sites < 2:
        return None
    heights = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    axis = int(np.argmax(heights))
    window = float(reach_a.max()) / heights[axis]
    wrapped = frac - np.floor(frac)
    order = np.argsort(wrapped[:, axis], kind="stable")
    along = np.concatenate([wrapped[order, axis], wrapped[order, axis] + 1.0])
    doubled = np.concatenate([order, order])
    for step in range(1, n_sites):
        near = np.flatnonzero(along[step : step + n_sites] - along[:n_sites] <= window)
        if not near.size:
            break
        first, second = doubled[near], doubled[near + step]
        distance = _short_lengths(frac[first] - frac[second], lattice)
        excess = distance - np.minimum(reach_a[first], reach_a[second])
        if (excess < 0).any():
            found = int(np.argmin(np.where(excess < 0, distance, np.inf)))
            i, j = sorted((int(first[found]), int(second[found])))
            return i, j, float(distance[found])
    return None
