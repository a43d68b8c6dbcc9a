"""The one structure type inside stages, and its conversions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Crystal:
    """A periodic structure with fully occupied sites.

    Attributes:
        lattice: (3, 3) lattice vectors as rows, in ångström.
        species: element symbol of each site; deuterium and tritium are ``H`` here.
        frac: (n, 3) fractional coordinates, kept exactly as given (not wrapped).
        known: (n,) true for the host, false for the sites that are to be found.

    Raises:
        ValueError: the shapes disagree or the cell has no volume.
    """

    lattice: FloatArray
    species: tuple[str, ...]
    frac: FloatArray
    known: BoolArray

    def __post_init__(self) -> None:
        n_sites = len(self.species)
        if self.lattice.shape != (3, 3) or self.frac.shape != (n_sites, 3) or self.known.shape != (n_sites,):
            raise ValueError(
                f"shapes disagree: lattice {self.lattice.shape}, {n_sites} species, "
                f"frac {self.frac.shape}, known {self.known.shape}"
            )
        if not abs(np.linalg.det(self.lattice)) > 1e-6:
            raise ValueError("the lattice vectors span no volume")

    @classmethod
    def build(cls, lattice: ArrayLike, species: Sequence[str], frac: ArrayLike, known: ArrayLike | None = None) -> Self:
        """Build from anything array-like; without ``known`` every site is known."""
        n_sites = len(species)
        return cls(
            lattice=np.asarray(lattice, dtype=np.float64).reshape(3, 3),
            species=tuple(species),
            frac=np.asarray(frac, dtype=np.float64).reshape(n_sites, 3),
            known=np.ones(n_sites, dtype=bool) if known is None else np.asarray(known, dtype=bool),
        )

    @property
    def n_sites(self) -> int:
        """Number of sites in the cell."""
        return len(self.species)

    @property
    def volume(self) -> float:
        """Cell volume in cubic ångström."""
        return float(abs(np.linalg.det(self.lattice)))

    def with_frac(self, frac: ArrayLike) -> Self:
        """Return the same crystal with other fractional coordinates, (n, 3)."""
        return replace(self, frac=np.asarray(frac, dtype=np.float64).reshape(self.n_sites, 3))

    def take(self, mask: ArrayLike) -> Self:
        """Return the sites where ``mask`` (n,) is true, in their order."""
        chosen = np.asarray(mask, dtype=bool)
        species = tuple(s for s, keep in zip(self.species, chosen, strict=True) if keep)
        return replace(self, species=species, frac=self.frac[chosen], known=self.known[chosen])

    def add_unknown(self, element: str, frac: ArrayLike) -> Self:
        """Return the crystal with sites of ``element`` appended behind the host, marked as not known; frac (m, 3)."""
        added = np.asarray(frac, dtype=np.float64).reshape(-1, 3)
        return replace(
            self,
            species=self.species + (element,) * len(added),
            frac=np.concatenate([self.frac, added]),
            known=np.concatenate([self.known, np.zeros(len(added), dtype=bool)]),
        )

    def is_element(self, element: str) -> BoolArray:
        """Return (n,) true where the site is ``element``."""
        return np.array([s == element for s in self.species], dtype=bool)

    def to_pymatgen(self) -> Any:
        """Return a ``pymatgen.core.Structure`` (imported here, as it is slow to load)."""
        from pymatgen.core import Lattice, Structure

        return Structure(Lattice(self.lattice), list(self.species), self.frac)

    def to_ase(self) -> Any:
        """Return an ``ase.Atoms`` with periodic boundaries and wrapped positions left as they are."""
        from ase import Atoms

        return Atoms(symbols=list(self.species), scaled_positions=self.frac, cell=self.lattice, pbc=True)


def minimum_image_distances(lattice: ArrayLike, first: ArrayLike, second: ArrayLike) -> FloatArray:
    """Shortest periodic distances between two sets of points.

    The search runs in the Minkowski-reduced cell, so it is right for any choice of cell.

    Args:
        lattice: (3, 3) rows, ångström.
        first: (n, 3) fractional coordinates.
        second: (m, 3) fractional coordinates.

    Returns:
        (n, m) distances in ångström.
    """
    cell, to_reduced = _reduced(np.asarray(lattice, dtype=np.float64).reshape(3, 3).tobytes())
    a = np.asarray(first, dtype=np.float64).reshape(-1, 3) @ to_reduced
    b = np.asarray(second, dtype=np.float64).reshape(-1, 3) @ to_reduced
    delta = a[:, None, :] - b[None, :, :]
    delta -= np.round(delta)
    best = np.full(delta.shape[:2], np.inf)
    for shift in _NEIGHBOURS:
        np.minimum(best, np.linalg.norm((delta + shift) @ cell, axis=-1), out=best)
    return best


def close_distances(lattice: ArrayLike, first: ArrayLike, second: ArrayLike) -> FloatArray:
    """Periodic distances that are exact where they are short, at a thirtieth of the cost of the exact ones.

    Each difference is folded once into the Minkowski-reduced cell. What comes out is the distance to some image, and
    to the nearest one wherever that is below half the smallest spacing of lattice planes: above 0.5 Å in any crystal.

    Args:
        lattice: (3, 3) rows, ångström.
        first: (..., n, 3) fractional coordinates.
        second: (m, 3) fractional coordinates.

    Returns:
        (..., n, m) distances in ångström.
    """
    cell, to_reduced = _reduced(np.asarray(lattice, dtype=np.float64).reshape(3, 3).tobytes())
    a, b = np.asarray(first, dtype=np.float64) @ to_reduced, np.asarray(second, dtype=np.float64) @ to_reduced
    delta = a[..., :, None, :] - b
    delta -= np.round(delta)
    return np.asarray(np.linalg.norm(delta @ cell, axis=-1))


# In a Minkowski-reduced cell the nearest image of a folded difference is at most one translation away.
_NEIGHBOURS = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


@lru_cache(maxsize=256)
def _reduced(lattice: bytes) -> tuple[FloatArray, FloatArray]:
    """Minkowski-reduced lattice (3, 3), and the matrix that takes fractional rows of the given one to it."""
    from ase.geometry import minkowski_reduce

    cell = np.frombuffer(lattice, dtype=np.float64).reshape(3, 3)
    reduced, operation = minkowski_reduce(cell, pbc=True)
    return np.asarray(reduced), np.linalg.inv(operation)


def shortest_distance(crystal: Crystal) -> float:
    """Shortest distance in ångström between two sites, or between a site and its own image (inf without sites)."""
    if crystal.n_sites == 0:
        return float("inf")
    distances = minimum_image_distances(crystal.lattice, crystal.frac, crystal.frac)
    np.fill_diagonal(distances, np.inf)
    return float(min(distances.min(initial=np.inf), _shortest_translation(crystal.lattice)))


def _shortest_translation(lattice: FloatArray) -> float:
    cell, _ = _reduced(lattice.tobytes())
    return float(np.linalg.norm(cell, axis=1).min())
