"""Sites of two structures paired one to one: what was added, removed, moved."""

from dataclasses import dataclass

import numpy as np

from hinpaint.crystal import Crystal, FloatArray
from hinpaint.deciding.matching import host_fixed_distances

MOVED_A = 1e-3
"""A site that lies further from where it was has moved, ångström."""
_SAME_CELL_A = 1e-6


@dataclass(frozen=True)
class SourceDiff:
    """How a released structure differs from its source; the attributes are columns of ``holdings``.

    Attributes:
        n_added: sites the release has and the source has not.
        n_removed: sites the source has and the release has not.
        n_moved: sites of both that lie more than :data:`MOVED_A` apart.
        max_move_a: largest of these distances, ångström.
        cell_unchanged: whether the lattice vectors agree to 1e-6 Å.
    """

    n_added: int
    n_removed: int
    n_moved: int
    max_move_a: float
    cell_unchanged: bool


def source_diff(source: Crystal, released: Crystal) -> SourceDiff:
    """Compare a released structure with its source, element by element, sites paired to the smallest sum of squares."""
    moves = [np.zeros(0)]
    n_added = n_removed = 0
    for element in sorted({*source.species, *released.species}):
        old, new = source.frac[source.is_element(element)], released.frac[released.is_element(element)]
        moves.append(paired_distances(released.lattice, old, new))
        n_added += max(len(new) - len(old), 0)
        n_removed += max(len(old) - len(new), 0)
    moved = np.concatenate(moves)
    return SourceDiff(
        n_added=n_added,
        n_removed=n_removed,
        n_moved=int((moved > MOVED_A).sum()),
        max_move_a=round(float(moved.max(initial=0.0)), 6),
        cell_unchanged=bool(np.abs(source.lattice - released.lattice).max() <= _SAME_CELL_A),
    )


def paired_distances(lattice: FloatArray, old: FloatArray, new: FloatArray) -> FloatArray:
    """Distances, (min(n, m),) in ångström, of sites (n, 3) and (m, 3) paired one to one.

    Sites in the same order within :data:`MOVED_A` need no search: that is nearly always so.
    """
    if not len(old) or not len(new):
        return np.zeros(0)
    if len(old) == len(new):
        delta = new - old
        straight = np.linalg.norm((delta - np.round(delta)) @ lattice, axis=1)
        if straight.max() <= MOVED_A:
            return np.asarray(straight, dtype=np.float64)
    return host_fixed_distances(lattice, old, new)
