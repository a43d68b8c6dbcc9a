"""Training structures in compact form, and the choice of what is hidden in each of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow.parquet as pq
from ase.data import chemical_symbols
from numpy.typing import NDArray

from hinpaint.crystal import Crystal
from hinpaint.files import write_atomic

HYDROGEN = 1


@dataclass(frozen=True)
class TrainingSet:
    """Structures as flat arrays.

    Attributes:
        lattice: (n, 3, 3) ångström.
        start: (n + 1,) offsets of each structure's sites.
        numbers: (total sites,) atomic numbers.
        frac: (total sites, 3) fractional coordinates.
        digest: SHA-256 over all arrays.
    """

    lattice: NDArray[np.float32]
    start: NDArray[np.int64]
    numbers: NDArray[np.uint8]
    frac: NDArray[np.float32]
    digest: str

    @classmethod
    def from_arrays(
        cls, lattice: NDArray[np.float32], start: NDArray[np.int64], numbers: NDArray[np.uint8],
        frac: NDArray[np.float32],
    ) -> Self:  # fmt: skip
        """Bundle the arrays and hash them."""
        digest = hashlib.sha256()
        for array in (lattice, start, numbers, frac):
            digest.update(np.ascontiguousarray(array).tobytes())
        return cls(lattice, start, numbers, frac, digest.hexdigest())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the compact file that :func:`prepare` writes."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls.from_arrays(arrays["lattice"], arrays["start"], arrays["numbers"], arrays["frac"])

    def __len__(self) -> int:
        return len(self.lattice)

    def sites(self, index: int) -> slice:
        """Slice of the flat arrays that holds one structure."""
        return slice(int(self.start[index]), int(self.start[index + 1]))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of sites of each structure, (n,)."""
        return np.diff(self.start)

    def with_element(self, number: int) -> NDArray[np.bool_]:
        """True for the structures that hold an element, (n,)."""
        owner = np.repeat(np.arange(len(self)), self.sizes)
        found = np.zeros(len(self), dtype=bool)
        found[owner[self.numbers == number]] = True
        return found

    def crystal(self, index: int, unknown: NDArray[np.bool_]) -> Crystal:
        """One structure with the given sites (n_sites,) hidden."""
        sites = self.sites(index)
        species = [chemical_symbols[z] for z in self.numbers[sites]]
        return Crystal.build(self.lattice[index], species, self.frac[sites], known=~unknown)


def prepare(parquet: Path, output: Path, max_sites: int) -> TrainingSet:
    """Write the compact training file.

    Args:
        parquet: structures with columns ``lattice``, ``atomic_numbers``, ``frac_coords``.
        output: ``.npz`` file.
        max_sites: larger structures are left out.

    Returns:
        The training set as written.
    """
    table = pq.read_table(parquet, columns=["lattice", "atomic_numbers", "frac_coords"])
    counts = np.diff(table["atomic_numbers"].combine_chunks().offsets.to_numpy())
    table = table.filter(counts <= max_sites)
    numbers = table["atomic_numbers"].combine_chunks()
    offsets = numbers.offsets.to_numpy()
    data = TrainingSet.from_arrays(
        lattice=table["lattice"].combine_chunks().flatten().to_numpy().reshape(-1, 3, 3).astype(np.float32),
        start=(offsets - offsets[0]).astype(np.int64),
        numbers=numbers.flatten().to_numpy().astype(np.uint8),
        frac=(table["frac_coords"].combine_chunks().flatten().to_numpy().reshape(-1, 3) % 1.0).astype(np.float32),
    )
    write_atomic(
        output,
        lambda handle: np.savez_compressed(
            handle, lattice=data.lattice, start=data.start, numbers=data.numbers, frac=data.frac
        ),
    )
    return data


@dataclass(frozen=True)
class BatchSampler:
    """Draws training batches; batch ``step`` is a pure function of (seed, step), so a resumed run sees the same ones.

    Attributes:
        data: the structures.
        hydrogen_share: fraction of draws from structures with hydrogen.
        max_sites: sites in a batch at most.
        max_structure_sites: larger structures are not drawn.
        seed: seed of all draws.
    """

    data: TrainingSet
    hydrogen_share: float
    max_sites: int
    max_structure_sites: int
    seed: int

    def pools(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of the structures with and without hydrogen that may be drawn."""
        small = self.data.sizes <= self.max_structure_sites
        hydrogen = self.data.with_element(HYDROGEN)
        return np.flatnonzero(small & hydrogen), np.flatnonzero(small & ~hydrogen)

    def draw(
        self, step: int, pools: tuple[NDArray[np.int64], NDArray[np.int64]]
    ) -> tuple[list[Crystal], np.random.Generator]:
        """Draw the batch of a step.

        Args:
            step: number of the optimiser step.
            pools: what :meth:`pools` returned.

        Returns:
            Crystals with at least one hidden site each, and the generator to go on with (noise, times).
        """
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, step], dtype=np.uint64)))
        crystals: list[Crystal] = []
        total = 0
        while True:
            wanted, other = pools if rng.random() < self.hydrogen_share else pools[::-1]
            pool = wanted if len(wanted) else other
            index = int(pool[rng.integers(len(pool))])
            size = int(self.data.sizes[index])
            if crystals and total + size > self.max_sites:
                return crystals, rng
            hidden = choose_hidden(self.data.numbers[self.data.sites(index)], rng)
            crystals.append(self.data.crystal(index, hidden))
            total += size


def choose_hidden(numbers: Sequence[int] | NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose the sites to hide as inference meets them: all sites of one element, the rest known.

    Hydrogen is chosen in nine of ten structures that hold it; an element that fills the whole cell hides half of it.

    Args:
        numbers: (n,) atomic numbers.
        rng: source of randomness.

    Returns:
        (n,) true for hidden sites, at least one.
    """
    array = np.asarray(numbers)
    elements = np.unique(array)
    prefer_hydrogen = HYDROGEN in elements and rng.random() < 0.9
    chosen = HYDROGEN if prefer_hydrogen else int(elements[rng.integers(len(elements))])
    hidden = np.asarray(array == chosen)
    if hidden.all():
        hidden = rng.permutation(len(array)) < max(1, len(array) // 2)
    return hidden
