import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hinpaint.crystal import Crystal, minimum_image_distances, shortest_distance
from hinpaint.deciding.matching import compare, host_fixed_distances, matcher_settings
from hinpaint.placements import host_operations


def brucite(z_h: float = 0.42) -> Crystal:
    """Mg(OH)2, P-3m1; Catti et al. 1995 cell rounded."""
    a, c = 3.15, 4.77
    lattice = [[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]]
    frac = [[0, 0, 0], [1 / 3, 2 / 3, 0.22], [2 / 3, 1 / 3, -0.22], [1 / 3, 2 / 3, z_h], [2 / 3, 1 / 3, -z_h]]
    return Crystal.build(lattice, ["Mg", "O", "O", "H", "H"], frac, known=[True] * 3 + [False] * 2)


def with_placed(crystal: Crystal, placed: np.ndarray) -> Crystal:
    return crystal.with_frac(np.concatenate([crystal.frac[crystal.known], placed]))


def test_order_and_images_of_placed_sites_do_not_matter() -> None:
    reference = brucite()
    swapped = with_placed(reference, reference.frac[[4, 3]] + [[1, 0, -2], [0, 3, 0]])
    match = compare(swapped, reference, host_operations(reference.take(reference.known)))
    assert match.matched
    assert match.h_max_a == pytest.approx(0.0, abs=1e-9)


def test_displacement_is_measured_in_angstrom() -> None:
    reference = brucite()
    moved = with_placed(reference, reference.frac[3:] + [[0, 0, 0.2 / 4.77], [0, 0, 0]])
    match = compare(moved, reference, [(np.eye(3), np.zeros(3))])
    assert match.h_max_a == pytest.approx(0.2, abs=1e-6)
    assert match.h_rmsd_a == pytest.approx(0.2 / np.sqrt(2), abs=1e-6)
    assert match.matched


def test_wrong_place_does_not_match() -> None:
    reference = brucite()
    wrong = with_placed(reference, np.array([[0, 0, 0.5], [0.5, 0.5, 0.5]]))
    match = compare(wrong, reference, None)
    assert not match.matched
    assert match.rms is None
    assert match.h_max_a is None


def test_symmetry_of_the_host_makes_arrangements_equal() -> None:
    host = Crystal.build(4 * np.eye(3), ["O"], [[0, 0, 0]])
    along_x, along_z = np.array([[0.24, 0, 0]]), np.array([[0, 0, 0.24]])
    operations = host_operations(host)
    assert len(operations) == 48
    assert host_fixed_distances(host.lattice, along_x, along_z).max() > 1.0
    assert host_fixed_distances(host.lattice, along_x, along_z, operations).max() == pytest.approx(0.0, abs=1e-9)


def test_settings_travel_with_verdicts() -> None:
    settings = json.loads(matcher_settings())
    assert settings["ltol"] == 0.2
    assert settings["stol"] == 0.3
    assert settings["version"]


@given(st.integers(0, 10_000))
def test_minimum_image_is_the_minimum_over_many_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lattice = np.diag(rng.uniform(2, 6, 3)) + rng.uniform(-1.5, 1.5, (3, 3))
    if abs(np.linalg.det(lattice)) < 4:
        return
    a, b = rng.random((3, 3)) * 4 - 2, rng.random((2, 3))
    steps = np.arange(-7, 8)
    images = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    expected = np.linalg.norm((a[:, None, None] - b[None, :, None] + images) @ lattice, axis=-1).min(axis=2)
    assert np.allclose(minimum_image_distances(lattice, a, b), expected)


def test_minimum_image_in_a_badly_chosen_cell() -> None:
    lattice = [[4, 0, 0], [60, 4, 0], [0, 0, 4]]  # the same cubic cell, seen along a long diagonal
    assert minimum_image_distances(lattice, [[0, 0, 0]], [[0.5, 0.0, 0]])[0, 0] == pytest.approx(2.0)
    assert minimum_image_distances(lattice, [[0, 0, 0]], [[0.25, 0.5, 0]])[0, 0] == pytest.approx(np.hypot(1, 2))


def test_shortest_distance_counts_own_images() -> None:
    lonely = Crystal.build(np.diag([2.0, 5.0, 5.0]), ["H"], [[0.1, 0, 0]])
    assert shortest_distance(lonely) == pytest.approx(2.0)
    assert shortest_distance(brucite()) == pytest.approx(0.2 * 4.77)
