import numpy as np
import pytest

from hinpaint.crystal import Crystal, close_distances, minimum_image_distances
from hinpaint.deciding.arrangements import SAME_ARRANGEMENT_A, End, group
from hinpaint.deciding.matching import host_fixed_distances, kept_operations
from hinpaint.placements import host_operations, images, same_within

CUBIC = Crystal.build(4 * np.eye(3), ["O"], [[0, 0, 0]])
BRUCITE_HOST = Crystal.build(
    [[3.15, 0, 0], [-1.575, 3.15 * np.sqrt(3) / 2, 0], [0, 0, 4.77]],
    ["Mg", "O", "O"],
    [[0, 0, 0], [1 / 3, 2 / 3, 0.22], [2 / 3, 1 / 3, -0.22]],
)


def numbers(host: Crystal, ends: list[End]) -> dict[int, int]:
    return {m.trial: m.arrangement for m in group(host.lattice, ends, host_operations(host))}


def test_what_the_host_carries_into_each_other_is_one_arrangement() -> None:
    ends = [End(0, -1.0, np.array([[0.24, 0, 0]])), End(1, -1.001, np.array([[0, 0, -0.24]]))]
    ends += [End(2, -0.999, np.array([[0.17, 0.17, 0]]))]
    assert numbers(CUBIC, ends) == {1: 0, 0: 0, 2: 1}


def test_members_are_the_same_whatever_their_numbers_and_order() -> None:
    rng = np.random.default_rng(0)
    bases = [rng.random((3, 3)) for _ in range(4)]
    frac = [bases[i % 4] + rng.normal(0, 0.01, (3, 3)) for i in range(12)]
    energy = [-5.0 + 0.01 * (i % 4) + 1e-4 * i for i in range(12)]
    forwards = numbers(CUBIC, [End(i, energy[i], frac[i]) for i in range(12)])
    backwards = numbers(CUBIC, [End(11 - i, energy[i], frac[i]) for i in reversed(range(12))])
    assert forwards == {i: i % 4 for i in range(12)}
    assert {11 - trial: number for trial, number in backwards.items()} == forwards


def test_another_energy_is_another_minimum() -> None:
    same = np.array([[0.24, 0, 0]])
    assert numbers(CUBIC, [End(0, -1.0, same), End(1, -0.95, same), End(2, -0.8, same)]) == {0: 0, 1: 0, 2: 1}


def test_distance_is_that_of_the_exact_search() -> None:
    rng = np.random.default_rng(2)
    operations = host_operations(BRUCITE_HOST)
    reference = np.array([[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, -0.42]])
    for _ in range(20):
        rotation, translation = operations[rng.integers(len(operations))]
        moved = (reference + rng.normal(0, 0.02, (2, 3)))[::-1] @ rotation.T + translation + rng.integers(-2, 3, (2, 3))
        exact = host_fixed_distances(BRUCITE_HOST.lattice, moved, reference, operations).max()
        found = same_within(BRUCITE_HOST.lattice, images(moved, operations), reference, SAME_ARRANGEMENT_A)
        assert found == pytest.approx(exact, abs=0.02) if exact < SAME_ARRANGEMENT_A else found is None


def test_two_sites_on_one_are_not_the_arrangement() -> None:
    pair = np.array([[0.2, 0.2, 0.2], [0.7, 0.7, 0.7]])
    both = np.array([[0.2, 0.2, 0.2], [0.21, 0.2, 0.2]])
    assert same_within(CUBIC.lattice, both[None], pair, 0.3) is None


def test_symmetry_that_placed_sites_keep() -> None:
    operations = host_operations(CUBIC)
    octahedron = np.concatenate([0.24 * np.eye(3), -0.24 * np.eye(3)])
    assert kept_operations(CUBIC.lattice, octahedron, operations) == len(operations) == 48
    assert kept_operations(CUBIC.lattice, np.array([[0.24, 0, 0]]), operations) == 8


def test_short_distances_are_exact() -> None:
    rng = np.random.default_rng(3)
    lattice = [[4, 0, 0], [13, 4, 0], [0.5, 1, 4]]
    first, second = rng.random((30, 3)) * 4 - 2, rng.random((30, 3))
    exact, close = minimum_image_distances(lattice, first, second), close_distances(lattice, first, second)
    assert np.allclose(close[exact < 1.5], exact[exact < 1.5])
    assert (close >= exact - 1e-9).all()
