"""Which trials of an entry are the same arrangement on the fixed host."""

from collections.abc import Sequence
from dataclasses import dataclass

from hinpaint.crystal import FloatArray
from hinpaint.placements import Operations, images, same_within

SAME_ARRANGEMENT_A = 0.3
"""Sites this near are the same arrangement: the bound of the strict rate, so agreeing and being right mean the same."""
SAME_ENERGY_EV = 0.1
"""Ends further apart than this in energy per placed site are different minima, whatever their distance: an O-H bond
displaced by only 0.06 Å costs as much, and relaxations end closer than that to their minimum."""


@dataclass(frozen=True)
class End:
    """The end of one hydrogen-only relaxation.

    Attributes:
        trial: number of the trial.
        energy_ev: its energy.
        frac: (n, 3) fractional coordinates of the placed sites.
    """

    trial: int
    energy_ev: float
    frac: FloatArray


@dataclass(frozen=True)
class Member:
    """Where one trial belongs.

    Attributes:
        trial: number of the trial.
        arrangement: number of its arrangement, 0 for the lowest in energy.
        distance_a: largest distance of its sites from those of the arrangement's lowest trial.
    """

    trial: int
    arrangement: int
    distance_a: float


def group(lattice: FloatArray, ends: Sequence[End], operations: Operations) -> list[Member]:
    """Group the ends of one entry's relaxations.

    In the order of their energy, each end joins the nearest arrangement whose lowest end lies within
    ``SAME_ARRANGEMENT_A`` under an operation of the host, or begins one. Numbers of trials only break ties.

    Args:
        lattice: (3, 3) rows, ångström.
        ends: ends with equally many sites.
        operations: symmetry of the host.

    Returns:
        One member an end, in the order of their energy.
    """
    lowest: list[End] = []
    members: list[Member] = []
    for end in sorted(ends, key=lambda each: (each.energy_ev, each.trial)):
        moved = images(end.frac, operations)
        window = SAME_ENERGY_EV * len(end.frac)
        found = [
            (distance, number)
            for number, first in enumerate(lowest)
            if end.energy_ev - first.energy_ev <= window
            and (distance := same_within(lattice, moved, first.frac, SAME_ARRANGEMENT_A)) is not None
        ]
        distance, number = min(found, default=(0.0, len(lowest)))
        if number == len(lowest):
            lowest.append(end)
        members.append(Member(end.trial, number, distance))
    return members
