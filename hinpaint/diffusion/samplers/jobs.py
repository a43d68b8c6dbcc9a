"""What a sampler is asked for and what it answers."""

from dataclasses import dataclass

from hinpaint.crystal import Crystal, FloatArray
from hinpaint.whynot import Stop


@dataclass(frozen=True)
class PlacementJob:
    """One trial to sample.

    Attributes:
        key: what is sampled, the hash of the task's host in a run; part of the random stream's name.
        trial: trial number; part of the random stream's name.
        host: the known sites.
        element: element to place.
        n_unknown: number of sites to place, at least 1.
    """

    key: str
    trial: int
    host: Crystal
    element: str
    n_unknown: int

    @property
    def n_sites(self) -> int:
        """Sites of the completed crystal."""
        return self.host.n_sites + self.n_unknown


@dataclass(frozen=True)
class Placement:
    """Outcome of one trial: coordinates, or the reason why there are none.

    The host is not part of it: no sampler can change a known site.

    Attributes:
        job: what was asked for.
        frac_unknown: (n_unknown, 3) fractional coordinates within [0, 1), or None.
        stop: the reason when there are none.
        n_evaluations: network evaluations that the coordinates took.
    """

    job: PlacementJob
    frac_unknown: FloatArray | None
    stop: Stop | None = None
    n_evaluations: int = 0
