"""Placed sites beside their nearest host sites: what a picture and a histogram are made of."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from hinpaint.crystal import Crystal, FloatArray, IntArray

REACH_A = 3.5
"""Neighbours are found exactly up to here: no hydrogen is further from the nearest other site."""


@dataclass(frozen=True)
class Neighbours:
    """Nearest host site of each of m sites.

    Attributes:
        index: (m,) number of the host site.
        offset: (m, 3) fractional vector from its nearest image.
    """

    index: IntArray
    offset: FloatArray


def nearest_host(host: Crystal, element: str, frac: FloatArray) -> Neighbours:
    """Find the nearest host site of other elements for each site.

    Args:
        host: the sites that stay.
        element: the element of the placed sites; its sites in the host are no partners unless there are no others.
        frac: (m, 3) fractional coordinates of the placed sites.
    """
    if not len(frac):
        return Neighbours(np.zeros(0, dtype=np.int64), np.zeros((0, 3)))
    others = np.flatnonzero(~host.is_element(element))
    candidates = others if others.size else np.arange(host.n_sites)
    spacing = 1.0 / np.linalg.norm(np.linalg.inv(host.lattice), axis=0)  # of lattice planes
    reach = np.ceil(REACH_A / spacing).astype(int)
    shifts = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), axis=-1).reshape(-1, 3)
    images = (host.frac[candidates] % 1.0)[:, None] + shifts
    points = frac % 1.0
    _, nearest = cKDTree(images.reshape(-1, 3) @ host.lattice).query(points @ host.lattice)
    return Neighbours(candidates[nearest // len(shifts)], points - images.reshape(-1, 3)[nearest])
