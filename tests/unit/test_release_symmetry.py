import gemmi
import numpy as np
import pytest

from hinpaint.release.symmetry import find_placement, host_orbits, name_group, short_lengths, without_symmetry

HEXAGONAL = np.array(gemmi.UnitCell(3.147, 3.147, 4.769, 90, 90, 120).orth.mat.tolist()).T
CUBIC = np.eye(3) * 5.0


def _group(name: str) -> list[gemmi.Op]:
    return list(gemmi.find_spacegroup_by_name(name).operations())


def test_sites_on_the_threefold_axis_keep_the_whole_group() -> None:
    placed = np.array([[0.34, 0.66, 0.42], [0.667, 0.333, 0.57]])
    placement = find_placement(_group("P -3 m 1"), HEXAGONAL, placed)
    assert placement.kind == "kept"
    assert placement.index == 1
    assert placement.asymmetric == [(0, 2)]
    assert placement.group is not None
    assert placement.group.symbol == "P -3 m 1"
    np.testing.assert_allclose(placement.frac, [[1 / 3, 2 / 3, 0.425], [2 / 3, 1 / 3, 0.575]], atol=1e-9)
    assert 0.02 < placement.shift_a < 0.1


def test_losing_the_inversion_lowers_to_a_subgroup_of_index_two() -> None:
    placement = find_placement(_group("P -3 m 1"), HEXAGONAL, np.array([[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, 0.75]]))
    assert placement.kind == "lowered"
    assert placement.index == 2
    assert placement.group is not None
    assert placement.group.symbol == "P 3 m 1"
    assert placement.asymmetric == [(0, 1), (1, 1)]


def test_general_positions_leave_the_identity() -> None:
    placed = np.array([[0.14, 0.66, 0.42], [0.36, 0.33, 0.7]])
    placement = find_placement(_group("P -3 m 1"), HEXAGONAL, placed)
    assert placement.kind == "P1"
    assert placement.operators == ("x,y,z",)
    np.testing.assert_array_equal(placement.frac, placed)


def test_a_source_without_symmetry_keeps_it() -> None:
    placement = find_placement([gemmi.Op("x,y,z")], CUBIC, np.array([[0.1, 0.2, 0.3]]))
    assert placement.kind == "kept"
    assert placement.shift_a == 0


def test_centring_can_be_lost() -> None:
    placement = find_placement(_group("I m -3 m"), CUBIC, np.array([[0.5, 0.5, 0.5]]))
    assert placement.group is not None
    assert placement.group.symbol == "P m -3 m"
    assert placement.index == 2


@pytest.mark.parametrize("name", ["P 1 21/c 1", "P -3 m 1", "R -3 m:H", "I 41/a m d:2", "P a -3"])
def test_a_noisy_orbit_is_recovered_and_exact(name: str) -> None:
    group = gemmi.find_spacegroup_by_name(name)
    operators = list(group.operations())
    angles = (90, 90, 120) if group.crystal_system_str() == "trigonal" else (90, 90, 90)
    lattice = np.array(gemmi.UnitCell(9, 9, 9, *angles).orth.mat.tolist()).T
    orbit = np.array([op.apply_to_xyz([0.13, 0.41, 0.37]) for op in operators])
    noisy = orbit + np.random.default_rng(1).normal(0, 0.003, orbit.shape)
    placement = find_placement(operators, lattice, noisy)
    assert placement.kind == "kept"
    assert placement.asymmetric == [(0, len(operators))]
    first = placement.frac[0]
    images = np.array([op.apply_to_xyz(first.tolist()) for op in operators])
    distances = short_lengths(images[:, None] - placement.frac[None], lattice)
    assert distances.min(axis=1).max() < 1e-9
    assert len(set(distances.argmin(axis=1).tolist())) == len(operators)


def test_operators_that_do_not_close_are_cut_back_to_a_group() -> None:
    # Only half of a fourfold axis is within the tolerance: the square is stretched.
    placed = np.array([[0.6, 0.5, 0.0], [0.5, 0.56, 0.0], [0.4, 0.5, 0.0], [0.5, 0.44, 0.0]]) - [0.5, 0.5, 0.0]
    for tolerance in np.linspace(0.01, 0.5, 12):
        placement = find_placement(_group("P 4/m m m"), CUBIC, placed, float(tolerance))
        chosen = {gemmi.Op(t).triplet() for t in placement.operators}
        products = {(gemmi.Op(a) * gemmi.Op(b)).wrap().triplet() for a in chosen for b in chosen}
        assert products == chosen
        assert placement.kind == ("kept" if tolerance >= 0.2 else "lowered")


def test_operators_that_are_no_group_leave_the_identity() -> None:
    broken = [gemmi.Op("x,y,z"), gemmi.Op("-y,x,z")]
    assert find_placement(broken, CUBIC, np.array([[0.0, 0.0, 0.3]])).operators == ("x,y,z",)


def test_two_images_on_one_site_do_not_count() -> None:
    placed = np.array([[0.01, 0.0, 0.2], [0.02, 0.0, 0.2]])
    assert find_placement(_group("P -1"), CUBIC, placed).operators == ("x,y,z",)


def test_host_orbits_split_under_a_subgroup() -> None:
    cell_frac = np.array([[0.0, 0.0, 0.0], [1 / 3, 2 / 3, 0.22], [2 / 3, 1 / 3, 0.78]])
    site = np.array([0, 1, 1])
    assert host_orbits(["x,y,z", "-x,-y,-z"], HEXAGONAL, site, cell_frac) == {0: [(0, 1)], 1: [(1, 2)]}
    assert host_orbits(["x,y,z"], HEXAGONAL, site, cell_frac) == {0: [(0, 1)], 1: [(1, 1), (2, 1)]}


def test_settings_without_a_name_have_their_number() -> None:
    found = name_group(("x,y,z", "-x+1/4,-y,-z"), CUBIC)
    assert found is not None
    assert (found.symbol, found.number) == (None, 2)


def test_no_placed_sites() -> None:
    assert find_placement(_group("P -1"), CUBIC, np.zeros((0, 3))).kind == "kept"
    assert without_symmetry(_group("P -1"), CUBIC, np.zeros((0, 3))).asymmetric == []
