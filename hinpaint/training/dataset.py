"""Structures for training in compact form."""

import hashlib
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from hinpaint.crystal import Crystal

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
        """Read the compact file that :func:`hinpaint.training.preparing.prepare` writes.

        Raises:
            ValueError: it is no such file.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls.from_arrays(arrays["lattice"], arrays["start"], arrays["numbers"], arrays["frac"])
        except (OSError, KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is no file of hinpaint prepare-training: {error}") from error

    def __len__(self) -> int:
        return len(self.lattice)

    def sites(self, index: int) -> slice:
        """Slice of the flat arrays that holds one structure."""
        return slice(int(self.start[index]), int(self.start[index + 1]))

    @cached_property
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
