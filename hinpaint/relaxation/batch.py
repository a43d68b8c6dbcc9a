"""Many structures as one torch-sim state, and what the potential says about each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch

from hinpaint.crystal import BoolArray, Crystal, FloatArray
from hinpaint.relaxation.potentials import LoadedPotential, PotentialError

Level = Literal["h_only", "full"]
Key = tuple[str, int]
"""(entry key, trial number) of a job."""


@dataclass(frozen=True)
class Answer:
    """What a potential says about one structure: energy (eV), forces (n, 3) (eV/Å), stress (3, 3) (eV/Å³)."""

    energy: float
    forces: FloatArray
    stress: FloatArray


@dataclass(frozen=True)
class RelaxJob:
    """One structure to relax.

    Attributes:
        key: (entry key, trial number).
        crystal: the start.
        movable: (n,) true for the sites that move at level ``h_only``; level ``full`` moves every site.
        answer: what the potential says about the start, where that is known.

    Raises:
        ValueError: the mask has another length than the crystal.
    """

    key: Key
    crystal: Crystal
    movable: BoolArray
    answer: Answer | None = None

    def __post_init__(self) -> None:
        if self.movable.shape != (self.crystal.n_sites,):
            raise ValueError(f"{self.key}: {self.crystal.n_sites} sites, but a movable mask of {self.movable.shape}")


@dataclass(frozen=True)
class Frame:
    """How a crystal is laid out for the potential: right-handed, every site inside the cell.

    Single precision keeps 1e-6 Å only near the origin, and a record may place sites many cells away. Potentials divide
    by the signed determinant of the cell, so a left-handed one would give them a negative volume; the negated vectors
    with negated coordinates are the same structure in the same place.

    Attributes:
        sign: 1, or -1 for a left-handed crystal.
        cell: (3, 3) rows, ångström, right-handed.
        shift: (n, 3) whole cells that each site was moved by.
        positions: (n, 3) Cartesian, ångström.
    """

    sign: float
    cell: FloatArray
    shift: FloatArray
    positions: FloatArray

    @classmethod
    def of(cls, crystal: Crystal) -> Self:
        """Lay a crystal out."""
        sign = 1.0 if np.linalg.det(crystal.lattice) > 0 else -1.0
        cell, frac = sign * crystal.lattice, sign * crystal.frac
        shift = np.floor(frac)
        return cls(sign, cell, shift, (frac - shift) @ cell)

    def frac(self, positions: FloatArray, cell: FloatArray) -> FloatArray:
        """Fractional coordinates in the crystal's own frame, (n, 3), not wrapped."""
        inside: FloatArray = positions @ np.linalg.inv(cell)
        return self.sign * (inside + self.shift)


def crystal_state(potential: LoadedPotential, crystals: Sequence[Crystal]) -> Any:
    """Build a torch-sim ``SimState`` of several crystals, right-handed and with every site inside its cell."""
    from ase.data import atomic_numbers

    frames = [Frame.of(crystal) for crystal in crystals]
    numbers = [np.array([atomic_numbers[symbol] for symbol in crystal.species]) for crystal in crystals]
    return batch_state(potential, numbers, [frame.positions for frame in frames], [frame.cell for frame in frames])


def batch_state(
    potential: LoadedPotential, numbers: Sequence[Any], positions: Sequence[FloatArray], cells: Sequence[FloatArray]
) -> Any:
    """Build a torch-sim ``SimState`` of several structures.

    Args:
        potential: for its device and precision.
        numbers: (n,) atomic numbers of each structure.
        positions: (n, 3) Cartesian positions of each, ångström.
        cells: (3, 3) lattice vectors of each as rows, right-handed.
    """
    import torch_sim as ts
    from ase.data import atomic_masses

    joined = np.concatenate(numbers)
    options: dict[str, Any] = {"device": potential.device, "dtype": potential.dtype}
    system = np.repeat(np.arange(len(numbers)), [len(each) for each in numbers])
    return ts.SimState(
        positions=torch.tensor(np.concatenate(positions), **options),
        masses=torch.tensor(atomic_masses[joined], **options),
        # torch-sim keeps lattice vectors as columns.
        cell=torch.tensor(np.stack([cell.T for cell in cells]), **options).contiguous(),
        pbc=True,
        atomic_numbers=torch.tensor(joined, device=potential.device),
        system_idx=torch.tensor(system, device=potential.device),
    )


def evaluate(potential: LoadedPotential, state: Any) -> list[Answer]:
    """Evaluate a batch once.

    Returns:
        One answer a system, in double precision.

    Raises:
        PotentialError: what the potential returns has not the shape of the batch.
    """
    output = potential.model(state)
    sizes = state.n_atoms_per_system.tolist()
    shapes = {"energy": (len(sizes),), "forces": (sum(sizes), 3), "stress": (len(sizes), 3, 3)}
    for key, shape in shapes.items():
        found = tuple(output[key].shape) if key in output else None
        if found != shape:
            raise PotentialError(
                f"{potential.name} returns {key} of shape {found} instead of {shape}: it does not treat a batch as "
                "separate systems (NequIP: compile with --target batch)"
            )
    energy, forces, stress = (output[key].detach().double().cpu().numpy() for key in shapes)
    parts = np.split(forces, np.cumsum(sizes)[:-1])
    return [Answer(float(e), f, s) for e, f, s in zip(energy, parts, stress, strict=True)]
