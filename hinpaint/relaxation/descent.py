"""One structure on its way down: the coordinates that may change, and the steps they take."""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from ase.data import atomic_numbers

from hinpaint.crystal import Crystal, FloatArray
from hinpaint.relaxation.batch import Answer, Frame, Level, RelaxJob
from hinpaint.relaxation.symmetry import averaged, space_group

# ASE's bound on a step: no site moves farther, whatever the force.
_MAX_STEP_A = 0.2
_MEMORY = 20
# A pair of steps along which the energy does not curve upwards says nothing about a minimum.
_MIN_CURVATURE = 1e-10


class Lbfgs:
    """L-BFGS (Liu and Nocedal, Math. Program. 1989, 45, 503) without a line search: one evaluation a step.

    The step is scaled down so that no row is longer than 0.2 Å. Each structure has a memory of its own, so its path
    does not depend on what else is in the batch.
    """

    def __init__(self) -> None:
        self._pairs: deque[tuple[FloatArray, FloatArray, float]] = deque(maxlen=_MEMORY)
        self._last: tuple[FloatArray, FloatArray] | None = None

    def step(self, coordinates: FloatArray, gradient: FloatArray) -> FloatArray:
        """Propose a displacement.

        Args:
            coordinates: (m, 3) where the gradient was evaluated.
            gradient: (m, 3) slope of the energy there.

        Returns:
            (m, 3) what to add to the coordinates.
        """
        if self._last is not None:
            moved, change = coordinates - self._last[0], gradient - self._last[1]
            curvature = float((moved * change).sum())
            if curvature > _MIN_CURVATURE * np.linalg.norm(moved) * np.linalg.norm(change):
                self._pairs.append((moved, change, curvature))
        self._last = (coordinates, gradient)
        direction = self._direction(gradient)
        if (direction * gradient).sum() >= 0.0:  # not downhill: the memory is of another valley
            self._pairs.clear()
            direction = self._direction(gradient)
        longest = float(np.linalg.norm(direction, axis=1).max(initial=0.0))
        return direction * min(1.0, _MAX_STEP_A / longest) if longest > 0.0 else direction

    def _direction(self, gradient: FloatArray) -> FloatArray:
        """Minus the inverse Hessian times the gradient, by the two loops over the memory."""
        rest, weights = gradient.copy(), []
        for moved, change, curvature in reversed(self._pairs):
            weights.append(float((moved * rest).sum()) / curvature)
            rest -= weights[-1] * change
        if self._pairs:
            _, change, curvature = self._pairs[-1]
            rest *= curvature / float((change * change).sum())
        for (moved, change, curvature), weight in zip(self._pairs, reversed(weights), strict=True):
            rest += (weight - float((change * rest).sum()) / curvature) * moved
        return -rest


@dataclass(frozen=True)
class Reading:
    """Where a structure stands.

    Attributes:
        energy_ev: energy in eV.
        fmax_ev_per_a: largest force on a free site in eV/Å, averaged over the space group where that is kept.
        cell_fmax_ev: largest row of the force on the deformation, eV, as ASE's cell filters define it; zero for a fixed
            cell.
        volume_a3: cell volume.
        finite: energy, forces, stress and sites are all finite.
    """

    energy_ev: float
    fmax_ev_per_a: float
    cell_fmax_ev: float
    volume_a3: float
    finite: bool


class Descent:
    """A job in flight.

    At level ``h_only`` the coordinates are the positions of the movable sites. At level ``full`` they are all
    positions in the undeformed cell, and the deformation gradient F times the number of sites (Tadmor et al., Phys.
    Rev. B 1999, 59, 235; ASE's ``UnitCellFilter``), so that sites and cell move on one scale. Everything is kept in
    double precision, whatever the potential computes in.

    With ``fix_symmetry`` forces and stress are averaged over the space group of the start. Steps are made of them
    alone, so they are symmetric too. At level ``h_only`` these are the operations of the whole crystal that carry
    movable sites to movable ones.

    Attributes:
        job: what is relaxed.
        numbers: (n,) atomic numbers.
        positions: (n, 3) Cartesian, ångström.
        cell: (3, 3) rows.
        n_steps: steps done.
        energy_start_ev: energy of the start, once it was evaluated.
    """

    def __init__(self, job: RelaxJob, level: Level, *, fix_symmetry: bool = False) -> None:
        self.job, self._level = job, level
        self._frame = Frame.of(job.crystal)
        self.numbers = np.array([atomic_numbers[symbol] for symbol in job.crystal.species])
        self.positions, self.cell = self._frame.positions.copy(), self._frame.cell.copy()
        self._deformation = np.eye(3)
        self._group = space_group(job.crystal, job.movable if level == "h_only" else None) if fix_symmetry else None
        self._optimiser = Lbfgs()
        self._gradient: FloatArray = np.zeros((0, 3))
        self.n_steps = 0
        self.energy_start_ev: float | None = None

    def read(self, answer: Answer) -> Reading:
        """Take what the potential says about the structure where it stands."""
        if self.energy_start_ev is None:
            self.energy_start_ev = answer.energy
        if self._group is not None:
            answer = averaged(answer, self._group)
        volume = float(abs(np.linalg.det(self.cell)))
        if self._level == "h_only":
            forces, cell_forces = answer.forces[self.job.movable], np.zeros((0, 3))
            self._gradient = -forces
        else:
            forces = answer.forces
            virial = -volume * answer.stress
            cell_forces = np.linalg.solve(self._deformation, virial.T).T / len(self.numbers)
            self._gradient = -np.concatenate([forces @ self._deformation, cell_forces])
        largest, largest_cell = (float(np.linalg.norm(f, axis=1).max(initial=0.0)) for f in (forces, cell_forces))
        finite = all(np.isfinite(each).all() for each in (answer.energy, answer.forces, answer.stress, self.positions))
        return Reading(answer.energy, largest, largest_cell, volume, finite)

    def step(self) -> None:
        """Move once, downhill from where the last reading was taken."""
        self.n_steps += 1
        if self._level == "h_only":
            movable = self.job.movable
            self.positions[movable] += self._optimiser.step(self.positions[movable], self._gradient)
            return
        n_sites = len(self.numbers)
        undeformed = self.positions @ np.linalg.inv(self._deformation.T)
        coordinates = np.concatenate([undeformed, n_sites * self._deformation])
        coordinates = coordinates + self._optimiser.step(coordinates, self._gradient)
        self._deformation = coordinates[n_sites:] / n_sites
        self.positions = coordinates[:n_sites] @ self._deformation.T
        self.cell = self._frame.cell @ self._deformation.T

    def crystal(self) -> Crystal:
        """The structure where it stands, in the frame and order of its start.

        Coordinates come back unwrapped: the difference to the start is the displacement, whichever cell the record
        placed a site in. At level ``h_only`` the fixed sites and the cell are the very numbers that went in.
        """
        start = self.job.crystal
        found = self._frame.frac(self.positions, self.cell)
        if self._level == "h_only":
            return start.with_frac(np.where(self.job.movable[:, None], found, start.frac))
        return replace(start, lattice=self._frame.sign * self.cell, frac=found)
