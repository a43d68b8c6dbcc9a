"""Placed sites on a fixed host: the host's symmetry, and whether two placements are one."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from hinpaint.crystal import Crystal, FloatArray, close_distances

Operations = list[tuple[FloatArray, FloatArray]]
"""Symmetry operations: rotations (3, 3) and translations (3,) in fractional coordinates."""

_HOST_SYMPREC_A = 0.1


def host_operations(host: Crystal) -> Operations:
    """Symmetry operations of the host alone: rotations (3, 3) and translations (3,) in fractional coordinates.

    Two arrangements that such an operation carries into each other are the same structure. The identity is always
    among them; where the host's symmetry cannot be found it is the only one.
    """
    import spglib

    identity = [(np.eye(3), np.zeros(3))]
    kinds = {s: i for i, s in enumerate(dict.fromkeys(host.species))}
    cell = (host.lattice, host.frac, [kinds[s] for s in host.species])
    try:
        found = spglib.get_symmetry(cell, symprec=_HOST_SYMPREC_A)
    except spglib.SpglibError:
        return identity
    if found is None:
        return identity
    pairs = zip(found["rotations"], found["translations"], strict=True)
    return identity + [(r.astype(float), t) for r, t in pairs if not (np.allclose(r, np.eye(3)) and np.allclose(t, 0))]


def images(placed: FloatArray, operations: Operations) -> FloatArray:
    """Fractional coordinates (n, 3) under every operation, (operations, n, 3)."""
    rotations = np.stack([rotation for rotation, _ in operations])
    translations = np.stack([translation for _, translation in operations])
    return np.asarray(np.einsum("oij,nj->oni", rotations, placed) + translations[:, None])


def same_within(lattice: FloatArray, moved: FloatArray, reference: FloatArray, bound_a: float) -> float | None:
    """Largest distance of assigned sites under the best operation, if that is below a bound.

    Most operations fall out by their first site alone, so that comparing thirty trials with each other is cheap.

    Args:
        lattice: (3, 3) rows, ångström.
        moved: (operations, n, 3), from :func:`images`.
        reference: (n, 3) fractional coordinates.
        bound_a: bound in ångström, at most 0.5.

    Returns:
        The distance, or None when no operation brings every site within the bound of one of its own.
    """
    first = close_distances(lattice, moved[:, :1], reference)
    moved = moved[(first < bound_a).any(axis=(1, 2))]
    distances = close_distances(lattice, moved, reference)
    near = distances < bound_a
    distances = distances[near.any(axis=1).all(axis=1) & near.any(axis=2).all(axis=1)]
    largest = [each[linear_sum_assignment(each**2)].max() for each in distances]
    best = float(min(largest, default=np.inf))
    return best if best < bound_a else None
