"""Plausibility gates: a relaxed trial that fails one does not count, however low its energy.

A potential can be wrong where nothing like it was ever trained on, and a wrong low energy would count as a success.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from hinpaint.crystal import Crystal, minimum_image_distances, shortest_distance
from hinpaint.relaxing import Relax


class Gate(StrEnum):
    """The rules, a closed list: the values of ``relaxed.gate``."""

    H_H = "h_h"
    SHORT_CONTACT = "short_contact"
    HOST_SHIFT = "host_shift"
    VOLUME = "volume"
    STRETCH = "stretch"


@dataclass(frozen=True)
class Breach:
    """A gate that an end fails, with one line that says by how much."""

    gate: Gate
    detail: str


def failed_contact(crystal: Crystal, settings: Relax) -> Breach | None:
    """Say whether two sites are too near to each other: placed ones, or any."""
    placed = crystal.frac[~crystal.known]
    distances = minimum_image_distances(crystal.lattice, placed, placed)
    nearest = float(distances[~np.eye(len(placed), dtype=bool)].min(initial=np.inf))
    if nearest < settings.min_hh_a:
        return Breach(Gate.H_H, f"two placed sites are {nearest:.2f} Å apart")
    nearest = shortest_distance(crystal)
    if nearest < settings.min_distance_a:
        return Breach(Gate.SHORT_CONTACT, f"shortest distance {nearest:.2f} Å")
    return None


def failed_gate(start: Crystal, end: Crystal, settings: Relax) -> Breach | None:
    """Say which gate a full relaxation fails.

    The host's shift is measured after the common drift of the host is taken out, in the start's cell: the cell's own
    change has gates of its own, in volume and, as a cell can change its shape at one volume, in any length.

    Args:
        start: crystal before the relaxation; its coordinates and those of the end are the same images.
        end: crystal after it.
        settings: thresholds.

    Returns:
        The first gate that fails, or None when all are passed.
    """
    change = end.volume / start.volume - 1.0
    if abs(change) > settings.max_volume_change:
        return Breach(Gate.VOLUME, f"volume changed by {change:+.0%}")
    stretches = np.linalg.svd(np.linalg.solve(start.lattice, end.lattice), compute_uv=False) - 1.0
    largest = stretches[np.abs(stretches).argmax()]
    if abs(largest) > settings.max_stretch:
        return Breach(Gate.STRETCH, f"the cell was stretched by {largest:+.0%} in one direction")
    shift = (end.frac - start.frac)[start.known]
    if len(shift):
        moved = np.linalg.norm((shift - shift.mean(axis=0)) @ start.lattice, axis=1).max()
        if moved > settings.max_host_shift_a:
            return Breach(Gate.HOST_SHIFT, f"a host site moved by {moved:.2f} Å")
    return None
