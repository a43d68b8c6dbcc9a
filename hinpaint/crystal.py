"""The one structure type inside stages, and its conversions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
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

    The search runs over every lattice translation that can hold the minimum, so it is right for skewed cells too.

    Args:
        lattice: (3, 3) rows, ångström.
        first: (n, 3) fractional coordinates.
        second: (m, 3) fractional coordinates.

    Returns:
        (n, m) distances in ångström.
    """
    cell = np.asarray(lattice, dtype=np.float64).reshape(3, 3)
    a = np.asarray(first, dtype=np.float64).reshape(-1, 3)
    b = np.asarray(second, dtype=np.float64).reshape(-1, 3)
    delta = a[:, None, :] - b[None, :, :]
    delta -= np.round(delta)
    # A folded difference lies within half of each edge; its minimum image is at most `reach` translations away.
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    longest = 0.5 * np.linalg.norm(cell, axis=1).sum()
    reach = np.minimum(np.ceil(longest / heights - 0.5).astype(int), 4)
    steps = [np.arange(-r, r + 1) for r in np.maximum(reach, 1)]
    shifts = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float64)
    best = np.full(delta.shape[:2], np.inf)
    for shift in shifts:
        distance = np.linalg.norm((delta + shift) @ cell, axis=-1)
        np.minimum(best, distance, out=best)
    return best


def shortest_distance(crystal: Crystal) -> float:
    """Shortest distance in ångström between two sites, or between a site and its own image (inf without sites)."""
    if crystal.n_sites == 0:
        return float("inf")
    distances = minimum_image_distances(crystal.lattice, crystal.frac, crystal.frac)
    np.fill_diagonal(distances, np.inf)
    return float(min(distances.min(initial=np.inf), _shortest_translation(crystal.lattice)))


def _shortest_translation(lattice: FloatArray) -> float:
    steps = np.arange(-2, 3)
    shifts = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = np.linalg.norm(shifts @ lattice, axis=1)
    return float(lengths[lengths > 1e-9].min())
