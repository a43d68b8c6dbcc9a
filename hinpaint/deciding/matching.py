"""Is a completed structure the reference? Published matcher, and a strict distance on the fixed host."""

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from hinpaint.crystal import Crystal, FloatArray, close_distances, minimum_image_distances
from hinpaint.placements import Operations, images

KEPT_A = 0.25
"""An operation is kept where every placed site has an image this near: half of it is about what relaxation leaves
undecided. A release moves sites by so much to where an operation wants them."""


@dataclass(frozen=True)
class Match:
    """Comparison of one structure with the reference.

    Attributes:
        matched: the published matcher's verdict.
        rms: its normalised root mean square displacement, None without a match.
        h_rmsd_a: root mean square distance of assigned sites on the fixed host, ångström; None when not comparable.
        h_max_a: largest of these distances.
    """

    matched: bool
    rms: float | None
    h_rmsd_a: float | None
    h_max_a: float | None


@lru_cache(maxsize=1)
def _matcher() -> Any:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher()


@lru_cache(maxsize=1)
def matcher_settings() -> str:
    """The matcher with its version and settings, as JSON: stored beside every verdict."""
    matcher = _matcher()
    settings = {"ltol": matcher.ltol, "stol": matcher.stol, "angle_tol": matcher.angle_tol}
    flags = {"primitive_cell": True, "scale": True}
    return json.dumps({"matcher": "pymatgen StructureMatcher", "version": version("pymatgen"), **settings, **flags})


def structure_match(first: Crystal, second: Crystal) -> tuple[bool, float | None]:
    """Ask pymatgen's ``StructureMatcher()`` with its defaults, as the paper does.

    Args:
        first: one structure.
        second: another of the same composition.

    Returns:
        The verdict, and the normalised root mean square displacement when they match.
    """
    result = _matcher().get_rms_dist(first.to_pymatgen(), second.to_pymatgen())
    return (False, None) if result is None else (True, float(result[0]))


def host_fixed_distances(
    lattice: FloatArray, placed: FloatArray, reference: FloatArray,
    operations: Operations | None = None,
) -> FloatArray:  # fmt: skip
    """Distances of placed sites from the reference sites they are assigned to, on a host that does not move.

    Args:
        lattice: (3, 3) rows, ångström.
        placed: (n, 3) fractional coordinates.
        reference: (n, 3) fractional coordinates.
        operations: symmetry of the host; the one that brings the sites closest is used. None: identity only.

    Returns:
        (n,) distances in ångström of the assignment with the smallest sum of squares.
    """
    best: FloatArray | None = None
    for rotation, translation in operations or [(np.eye(3), np.zeros(3))]:
        distances = minimum_image_distances(lattice, placed @ rotation.T + translation, reference)
        rows, columns = linear_sum_assignment(distances**2)
        assigned = distances[rows, columns]
        if best is None or (assigned**2).sum() < (best**2).sum() - 1e-12:
            best = assigned
        if best.max(initial=0.0) < 1e-3:
            break
    assert best is not None  # noqa: S101 - the loop runs at least once
    return best


def kept_operations(lattice: FloatArray, placed: FloatArray, operations: Operations) -> int:
    """How many of the operations carry placed sites (n, 3) into themselves, every site to within 0.25 Å."""
    near = close_distances(lattice, images(placed, operations), placed) < KEPT_A
    return int(near.any(axis=2).all(axis=1).sum())


def compare(candidate: Crystal, reference: Crystal, operations: Operations | None) -> Match:
    """Compare a candidate with the reference, both with the placed sites marked as unknown.

    Args:
        candidate: host and placed sites.
        reference: host and the source's sites.
        operations: symmetry of the common host; None when the host has moved, so that only the matcher can say.
    """
    matched, rms = structure_match(candidate, reference)
    if operations is None:
        return Match(matched, rms, None, None)
    distances = host_fixed_distances(
        reference.lattice, candidate.frac[~candidate.known], reference.frac[~reference.known], operations
    )
    return Match(matched, rms, float(np.sqrt((distances**2).mean())), float(distances.max()))
