"""Primitive cells and the way back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hinpaint.crystal import Crystal, minimum_image_distances
from hinpaint.reduction import IDENTITY, expand_sites, find_supercell, lattice_points, reduce_sites

SUPERCELLS = st.lists(st.integers(-3, 3), min_size=9, max_size=9).filter(
    lambda values: 1 <= abs(np.linalg.det(np.reshape(values, (3, 3)))) <= 9.5
)


def primitive(seed: int) -> Crystal:
    rng = np.random.default_rng(seed)
    lattice = 5.0 * np.eye(3) + rng.uniform(-1, 1, (3, 3))
    return Crystal.build(lattice, ["O", "Ca", "O", "H"], rng.random((4, 3)))


def build_supercell(crystal: Crystal, matrix: np.ndarray, noise: float = 0.0) -> Crystal:
    """Repeat a primitive crystal the plain way: all lattice points whose images fall into the larger cell."""
    lattice = matrix @ crystal.lattice
    shifts = np.stack(np.meshgrid(*[np.arange(-20, 21)] * 3, indexing="ij"), -1).reshape(-1, 3)
    inside = shifts @ np.linalg.inv(matrix)
    kept = shifts[np.all((inside > -1e-9) & (inside < 1 - 1e-9), axis=1)]
    frac = ((crystal.frac[:, None] + kept[None]) @ np.linalg.inv(matrix)).reshape(-1, 3)
    frac = frac + noise * np.random.default_rng(0).uniform(-1, 1, frac.shape)
    species = [name for name in crystal.species for _ in kept]
    order = np.random.default_rng(1).permutation(len(species))
    return Crystal.build(lattice, [species[i] for i in order], frac[order] % 1.0)


@settings(max_examples=40)
@given(SUPERCELLS, st.integers(0, 1000))
def test_a_supercell_is_found_reduced_and_built_again(values: list[int], seed: int) -> None:
    matrix = np.reshape(values, (3, 3))
    n_cells = abs(round(float(np.linalg.det(matrix))))
    large = build_supercell(primitive(seed), matrix)
    assert large.n_sites == 4 * n_cells
    supercell = find_supercell(large)
    assert round(float(np.linalg.det(np.reshape(supercell, (3, 3))))) == n_cells
    reduced = reduce_sites(large, supercell)
    assert sorted(reduced.species) == ["Ca", "H", "O", "O"]
    np.testing.assert_allclose(np.reshape(supercell, (3, 3)) @ reduced.lattice, large.lattice, atol=1e-9)
    for element in ("O", "Ca", "H"):
        back = expand_sites(reduced.frac[reduced.is_element(element)], supercell)
        distances = minimum_image_distances(large.lattice, back, large.frac[large.is_element(element)])
        assert distances.shape[0] == distances.shape[1]
        assert distances.min(axis=0).max() < 1e-6
        assert distances.min(axis=1).max() < 1e-6


def test_small_noise_does_not_hide_the_translations() -> None:
    large = build_supercell(primitive(3), np.diag([2, 1, 2]), noise=1e-4)
    assert find_supercell(large) != IDENTITY


def test_what_must_divide_decides() -> None:
    large = build_supercell(primitive(3), np.diag([2, 1, 1]))
    assert find_supercell(large, divides=4) != IDENTITY
    assert find_supercell(large, divides=3) == IDENTITY


def test_a_distorted_copy_is_no_copy() -> None:
    large = build_supercell(primitive(3), np.diag([2, 1, 1]))
    frac = large.frac.copy()
    frac[0, 0] += 0.02
    assert find_supercell(large.with_frac(frac)) == IDENTITY
    with pytest.raises(ValueError, match="not copies"):
        reduce_sites(large.with_frac(frac), [2, 0, 0, 0, 1, 0, 0, 0, 1])


def test_sites_on_top_of_each_other_leave_the_cell_as_it_is() -> None:
    large = build_supercell(primitive(3), np.diag([2, 1, 1]))
    double = large.add_unknown("O", [large.frac[large.is_element("O")][0] + 0.001])
    both = double.add_unknown("O", [double.frac[-1] + np.array([0.5, 0, 0])])
    assert find_supercell(both) == IDENTITY


def test_a_primitive_cell_keeps_its_sites_to_the_last_bit() -> None:
    points = np.random.default_rng(0).uniform(-1, 2, (3, 3))
    assert np.array_equal(expand_sites(points, IDENTITY), points)
    assert find_supercell(primitive(1)) == IDENTITY


def test_centred_cells() -> None:
    # halite: the face-centred cell holds four primitive cells
    shifts = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    frac = np.concatenate([shifts, shifts + [0.5, 0.5, 0.5]])
    halite = Crystal.build(5.64 * np.eye(3), ["Na"] * 4 + ["Cl"] * 4, frac)
    reduced = reduce_sites(halite, find_supercell(halite))
    assert reduced.species == ("Na", "Cl")
    np.testing.assert_allclose(np.linalg.norm(reduced.lattice, axis=1), 5.64 / np.sqrt(2))


@given(SUPERCELLS)
def test_lattice_points_fill_the_cell(values: list[int]) -> None:
    matrix = np.reshape(values, (3, 3))
    if np.linalg.det(matrix) < 0:
        matrix = -matrix
    points = lattice_points(matrix)
    assert len(points) == round(float(np.linalg.det(matrix)))
    assert not points[0].any()
    inside = points @ np.linalg.inv(matrix)
    assert np.all((inside > -1e-9) & (inside < 1 - 1e-9))
