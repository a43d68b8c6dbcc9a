import numpy as np
import pytest

from hinpaint.crystal import Crystal
from hinpaint.relaxation.batch import Answer, RelaxJob
from hinpaint.relaxation.descent import Descent, Lbfgs

_LATTICE = np.array([[3.0, 0.2, 0.0], [0.1, 3.3, 0.4], [0.0, 0.3, 2.8]])
_FRAC = [[0.05, 0.0, 0.1], [0.45, 0.55, 0.5]]
# Springs: site, site, whole cells between them, length at rest (Å).
_SPRINGS = [(0, 1, (0, 0, 0), 2.1), (1, 0, (1, 1, 0), 2.6), (1, 0, (0, 1, 1), 2.4), (0, 0, (1, 0, 0), 3.1),
            (0, 0, (0, 1, 0), 3.2), (1, 1, (0, 0, 1), 2.9), (0, 1, (0, -1, 0), 2.5)]  # fmt: skip


def springs(positions: np.ndarray, cell: np.ndarray) -> Answer:
    """A crystal of springs, 2 eV/Å² each: energy, forces and stress in closed form."""
    energy, forces, virial = 0.0, np.zeros_like(positions), np.zeros((3, 3))
    for i, j, cells, rest in _SPRINGS:
        bond = positions[j] + np.array(cells) @ cell - positions[i]
        length = np.linalg.norm(bond)
        energy += (length - rest) ** 2
        pull = 2 * (length - rest) * bond / length
        forces[i] += pull
        forces[j] -= pull
        virial += np.outer(bond, pull)
    return Answer(float(energy), forces, virial / abs(np.linalg.det(cell)))


def descent(level: str, sign: int = 1) -> Descent:
    """Two sites; with sign -1 the same places in a left-handed cell."""
    crystal = Crystal.build(sign * _LATTICE, ["O", "H"], sign * np.array(_FRAC), [1, 0])
    return Descent(RelaxJob(("x", 0), crystal, ~crystal.known), level)  # type: ignore[arg-type]


def relaxed(one: Descent, limit: int) -> Descent:
    for _ in range(limit):
        reading = one.read(springs(one.positions, one.cell))
        if max(reading.fmax_ev_per_a, reading.cell_fmax_ev) < 1e-6:
            return one
        one.step()
    pytest.fail("not relaxed")


def test_a_full_relaxation_of_springs_ends_where_no_force_and_no_stress_is_left() -> None:
    one = relaxed(descent("full"), 80)
    answer = springs(one.positions, one.cell)
    assert np.abs(answer.forces).max() < 1e-5
    assert np.abs(answer.stress).max() < 1e-5
    assert one.energy_start_ev is not None
    assert answer.energy < one.energy_start_ev - 0.1
    crystal = one.crystal()
    assert np.allclose(crystal.lattice, one.cell)
    assert springs(crystal.frac @ crystal.lattice, crystal.lattice).energy == pytest.approx(answer.energy)


def test_the_gradient_is_the_slope_in_a_deformed_cell_too() -> None:
    """A wrong chain rule would still converge to the right place, only slowly: compare with differences."""
    one = descent("full")
    for _ in range(3):
        one.read(springs(one.positions, one.cell))
        one.step()
    one.read(springs(one.positions, one.cell))
    gradient, deformation = one._gradient, one._deformation
    undeformed = one.positions @ np.linalg.inv(deformation.T)
    coordinates = np.concatenate([undeformed, 2 * deformation])

    def energy(at: np.ndarray) -> float:
        turned = at[2:] / 2
        return springs(at[:2] @ turned.T, _LATTICE @ turned.T).energy

    for row, column in np.ndindex(5, 3):
        step = np.zeros((5, 3))
        step[row, column] = 1e-5
        slope = (energy(coordinates + step) - energy(coordinates - step)) / 2e-5
        assert gradient[row, column] == pytest.approx(slope, abs=1e-6)


def test_hydrogen_alone_moves_in_a_cell_and_a_host_that_keep_every_bit() -> None:
    one = relaxed(descent("h_only"), 60)
    crystal = one.crystal()
    assert (crystal.lattice == one.job.crystal.lattice).all()
    assert (crystal.frac[0] == one.job.crystal.frac[0]).all()
    assert np.abs(crystal.frac[1] - one.job.crystal.frac[1]).max() > 0.01
    assert np.abs(springs(one.positions, one.cell).forces[1]).max() < 1e-5


def test_a_left_handed_crystal_comes_back_left_handed() -> None:
    one = relaxed(descent("full", -1), 80)
    assert np.linalg.det(one.cell) > 0
    assert np.linalg.det(one.crystal().lattice) < 0


def test_steps_are_downhill_and_no_longer_than_allowed() -> None:
    optimiser, generator = Lbfgs(), np.random.default_rng(3)
    coordinates = generator.normal(size=(4, 3))
    stiffness = np.geomspace(1.0, 50.0, 12).reshape(4, 3)
    for _ in range(60):
        gradient = stiffness * coordinates
        step = optimiser.step(coordinates, gradient)
        assert (step * gradient).sum() < 0
        assert np.linalg.norm(step, axis=1).max() <= 0.2 + 1e-12
        coordinates = coordinates + step
    assert np.abs(stiffness * coordinates).max() < 1e-2


def test_a_memory_of_another_valley_is_dropped() -> None:
    optimiser = Lbfgs()
    optimiser.step(np.array([[0.0, 0.0, 0.0]]), np.array([[1.0, 0.0, 0.0]]))
    optimiser.step(np.array([[-0.1, 0.0, 0.0]]), np.array([[5.0, 0.0, 0.0]]))  # curves downwards: no pair is kept
    step = optimiser.step(np.array([[-0.2, 0.0, 0.0]]), np.array([[2.0, 0.0, 0.0]]))
    assert step[0, 0] < 0


def test_no_force_no_step() -> None:
    assert (Lbfgs().step(np.zeros((2, 3)), np.zeros((2, 3))) == 0).all()
