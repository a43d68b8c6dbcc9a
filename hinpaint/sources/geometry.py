"""Symmetry expansion of the asymmetric unit, and sites that lie too close."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hinpaint.crystal import FloatArray
from hinpaint.sources.records import IntArray

MERGE_A = 0.1
"""Images of one site closer than this are one site on a special position: coordinates are rounded to 0.001 or worse,
while real split sites lie further apart (and are partially occupied)."""

_DENOMINATOR = 24
"""Translations of all space groups, in any usual setting, are multiples of 1/24."""

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
    n_operators = len(rotations)
    images = (frac @ rotations.reshape(-1, 3).T).reshape(-1, n_operators, 3) + translations
    images[:, 1:] -= np.floor(images[:, 1:])
    images[:, 1:][images[:, 1:] > 1 - 1e-9] = 0.0
    keep = np.ones(images.shape[:2], dtype=bool)
    fixing = short_squares(images - images[:, :1], lattice) < MERGE_A**2
    special = np.flatnonzero(np.count_nonzero(fixing, axis=1) > 1)
    if special.size:
        products = _products(rotations.tobytes(), translations.tobytes())
        # Operators that keep a site where it is: two images coincide when these lead from one operator to the other.
        for i in special:
            keep[i] = products[:, fixing[i]].min(axis=1) == np.arange(n_operators)
    site = np.repeat(np.arange(len(frac), dtype=np.int64), keep.sum(axis=1))
    return site, images[keep]


@lru_cache(maxsize=1024)
def _products(rotations: bytes, translations: bytes) -> NDArray[np.int16]:
    """(m, m) number of the operator that is the product of two; computed once a group, from 64-bit floats."""
    turns = np.rint(np.frombuffer(rotations).reshape(-1, 3, 3))
    shifts = np.rint(np.frombuffer(translations).reshape(-1, 3) * _DENOMINATOR)
    n_operators = len(turns)
    # Each operator as one number: entries of rotations (-1, 0, 1) and shifts (0 to 23) are its digits. The entries of a
    # product are bilinear in the factors, so the numbers of all products are one matrix product.
    digits = 3.0 ** np.arange(9).reshape(3, 3)
    places = 3.0**9 * _DENOMINATOR ** np.arange(3.0)
    numbers = np.einsum("aij,ij->a", turns, digits) + shifts % _DENOMINATOR @ places
    left = np.einsum("aij,ik->ajk", turns, digits).reshape(n_operators, 9)
    shifted = (turns.reshape(-1, 3) @ shifts.T).reshape(n_operators, 3, n_operators) + shifts[:, :, None]
    wanted = left @ turns.reshape(n_operators, 9).T + np.einsum("aib,i->ab", shifted % _DENOMINATOR, places)
    order = np.argsort(numbers)
    products: NDArray[np.int16] = order[np.searchsorted(numbers[order], wanted)].astype(np.int16)
    return products


def short_squares(delta: FloatArray, lattice: FloatArray) -> FloatArray:
    """Squared lengths of periodic differences (..., 3); exact below half the cell's smallest height, never too small.

    Args:
        delta: (..., 3) differences of fractional coordinates.
        lattice: (3, 3) rows, ångström.

    Returns:
        (...) squares in square ångström.
    """
    cartesian = (delta - np.rint(delta)) @ lattice
    squares: FloatArray = np.einsum("...i,...i->...", cartesian, cartesian)
    return squares


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
        distance = np.sqrt(short_squares(frac[first] - frac[second], lattice))
        excess = distance - np.minimum(reach_a[first], reach_a[second])
        if (excess < 0).any():
            found = int(np.argmin(np.where(excess < 0, distance, np.inf)))
            i, j = sorted((int(first[found]), int(second[found])))
            return i, j, float(distance[found])
    return None
