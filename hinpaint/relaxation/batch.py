"""Many crystals as one torch-sim state, and the way back to crystals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import torch

from hinpaint.crystal import BoolArray, Crystal, FloatArray
from hinpaint.relaxation.potentials import LoadedPotential

Level = Literal["h_only", "full"]

# ASE's FIRE starts with 0.1. torch-sim halves the time step of a system whose velocity is zero, so this is twice that.
_FIRE_TIME_STEP = 0.2


@dataclass(frozen=True)
class RelaxJob:
    """One structure to relax.

    Attributes:
        key: (entry key, trial number).
        crystal: the start.
        movable: (n,) true for the sites that move at level ``h_only``; level ``full`` moves every site.

    Raises:
        ValueError: the mask has another length than the crystal.
    """

    key: tuple[str, int]
    crystal: Crystal
    movable: BoolArray

    def __post_init__(self) -> None:
        if self.movable.shape != (self.crystal.n_sites,):
            raise ValueError(f"{self.key}: {self.crystal.n_sites} sites, but a movable mask of {self.movable.shape}")


@dataclass(frozen=True)
class Readings:
    """Numbers of each system of a state, on the CPU.

    Attributes:
        energy: (b,) energy in eV.
        fmax: (b,) largest force on a free site in eV/Å.
        cell_fmax: (b,) largest row of the cell force in eV, as ASE's cell filters define it; zero for a fixed cell.
        volume: (b,) cell volume in cubic ångström.
        finite: (b,) true when energy, forces, positions and cell are all finite.
    """

    energy: FloatArray
    fmax: FloatArray
    cell_fmax: FloatArray
    volume: FloatArray
    finite: BoolArray


@dataclass(frozen=True)
class _Frame:
    """How a crystal is laid out for the potential: right-handed, every site inside the cell.

    Single precision keeps 1e-6 Å only near the origin, and a record may place sites many cells away. Potentials divide
    by the signed determinant of the cell, so a left-handed one would give them a negative volume; the negated vectors
    with negated coordinates are the same structure in the same place.
    """

    sign: float
    cell: FloatArray
    shift: FloatArray
    positions: FloatArray

    @classmethod
    def of(cls, crystal: Crystal) -> Self:
        sign = 1.0 if np.linalg.det(crystal.lattice) > 0 else -1.0
        cell, frac = sign * crystal.lattice, sign * crystal.frac
        shift = np.floor(frac)
        return cls(sign, cell, shift, (frac - shift) @ cell)

    def frac(self, positions: FloatArray, cell: FloatArray) -> FloatArray:
        """Fractional coordinates in the crystal's own frame, (n, 3), not wrapped."""
        inside: FloatArray = positions @ np.linalg.inv(cell)
        return self.sign * (inside + self.shift)


def start_state(potential: LoadedPotential, jobs: Sequence[RelaxJob], level: Level) -> Any:
    """Build the FIRE state of a batch and evaluate it once.

    Args:
        potential: what evaluates.
        jobs: at least one structure.
        level: ``h_only`` fixes the sites that are not movable and the cell; ``full`` fixes nothing.

    Returns:
        ``FireState`` (h_only) or ``CellFireState`` with ASE's Fréchet cell filter (full).
    """
    import torch_sim as ts

    state = bare_state(potential, [job.crystal for job in jobs])
    if level == "h_only":
        fixed = np.flatnonzero(~np.concatenate([job.movable for job in jobs]))
        if len(fixed):
            state.constraints = [ts.constraints.FixAtoms(atom_idx=torch.as_tensor(fixed, device=potential.device))]
        state = ts.fire_init(state, potential.model, dt_start=_FIRE_TIME_STEP)
    else:
        state = ts.fire_init(state, potential.model, dt_start=_FIRE_TIME_STEP, cell_filter=ts.CellFilter.frechet)
        state.cell_velocities = torch.zeros_like(state.cell_velocities)
    # torch-sim marks new systems by NaN velocities and treats a batch of only new ones differently from a mixed one.
    # Zero velocities take the same path always, so that a trajectory does not depend on its batch mates.
    state.velocities = torch.zeros_like(state.velocities)
    return state


def bare_state(potential: LoadedPotential, crystals: Sequence[Crystal]) -> Any:
    """Build a torch-sim ``SimState`` of several crystals, right-handed and with every site inside its cell."""
    import torch_sim as ts
    from ase.data import atomic_masses, atomic_numbers

    numbers = np.array([atomic_numbers[symbol] for crystal in crystals for symbol in crystal.species])
    frames = [_Frame.of(crystal) for crystal in crystals]
    positions = np.concatenate([frame.positions for frame in frames])
    # torch-sim keeps lattice vectors as columns.
    cells = np.stack([frame.cell.T for frame in frames])
    system = np.repeat(np.arange(len(crystals)), [crystal.n_sites for crystal in crystals])
    options: dict[str, Any] = {"device": potential.device, "dtype": potential.dtype}
    return ts.SimState(
        positions=torch.tensor(positions, **options),
        masses=torch.tensor(atomic_masses[numbers], **options),
        cell=torch.tensor(cells, **options).contiguous(),
        pbc=True,
        atomic_numbers=torch.tensor(numbers, device=potential.device),
        system_idx=torch.tensor(system, device=potential.device),
    )


def read(state: Any) -> Readings:
    """Read energy, forces and volume of every system of a FIRE state."""
    n_systems = state.n_systems
    force = state.forces.norm(dim=1)
    zeros = torch.zeros(n_systems, dtype=force.dtype, device=force.device)
    # amax carries NaN through, as it should.
    fmax = zeros.scatter_reduce(0, state.system_idx, force, "amax", include_self=True)
    cell_forces = getattr(state, "cell_forces", None) if hasattr(state, "cell_filter") else None
    cell_fmax = zeros if cell_forces is None else cell_forces.norm(dim=2).amax(dim=1)
    moved = zeros.scatter_reduce(0, state.system_idx, state.positions.abs().amax(dim=1), "amax", include_self=True)
    volume = torch.linalg.det(state.cell).abs()
    table = torch.stack([state.energy.to(force.dtype), fmax, cell_fmax, volume, moved]).double().cpu().numpy()
    finite = np.isfinite(table).all(axis=0)
    return Readings(table[0], table[1], table[2], table[3], finite)


def crystal_of(state: Any, index: int, job: RelaxJob, level: Level) -> Crystal:
    """Take one system out of a state, in the frame and order of its start.

    Coordinates come back unwrapped: the difference to the start is the displacement, whichever cell the record placed
    a site in. At level ``h_only`` the fixed sites and the cell are the very numbers that went in.

    Args:
        state: FIRE state.
        index: number of the system in it.
        job: the job that the system came from.
        level: level of the state.
    """
    crystal, frame = job.crystal, _Frame.of(job.crystal)
    positions = state.positions[state.system_idx == index].double().cpu().numpy()
    if level == "h_only":
        frac = crystal.frac.copy()
        frac[job.movable] = frame.frac(positions, frame.cell)[job.movable]
        return crystal.with_frac(frac)
    cell = state.cell[index].double().cpu().numpy().T
    return replace(crystal, lattice=frame.sign * cell, frac=frame.frac(positions, cell))
