"""Wells of a proton on a grid, from potentials in closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proton_model import BOND_A, ProtonModel, on_grid

from hinpaint.crystal import Crystal, minimum_image_distances
from hinpaint.placements import host_operations
from hinpaint.verification.wells import Distances, Well, find_wells, next_sites, orbit

CUBE = 4.0 * np.eye(3)
SKEWED = np.array([[4.0, 0.0, 0.0], [-1.6, 4.2, 0.0], [1.3, -1.1, 4.5]])


def gaussians(lattice: np.ndarray, centres: np.ndarray, depths: list[float], shape: tuple[int, ...]) -> np.ndarray:
    """Wells of 0.5 Å around the centres, (a, b, c)."""

    def energy(frac: np.ndarray) -> np.ndarray:
        distances = minimum_image_distances(lattice, frac, centres)
        return np.asarray(-(np.array(depths) * np.exp(-2.0 * distances**2)).sum(axis=1))

    return on_grid(energy, shape)


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_wells_are_found_between_grid_points_deepest_first(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.random(3)
    centres = np.stack([first, first + [0.5, 0.5, 0.0], first + [0.0, 0.5, 0.5]])
    wells = find_wells(SKEWED, gaussians(SKEWED, centres, [3.0, 2.0, 1.0], (20, 22, 24)))
    found = np.array([well.frac for well in wells[:3]])
    assert np.diag(minimum_image_distances(SKEWED, found, centres)).max() < 0.03
    assert [well.energy_ev for well in wells[:3]] == pytest.approx([-3.0, -2.0, -1.0], abs=0.05)
    assert all(well.energy_ev > -1.0 for well in wells[3:])


def test_a_well_does_not_depend_on_where_the_grid_begins() -> None:
    grid = gaussians(SKEWED, np.array([[0.01, 0.98, 0.5]]), [1.0], (24, 24, 24))
    (well, *_), (moved, *_) = find_wells(SKEWED, grid), find_wells(SKEWED, np.roll(grid, (5, 7, 11), (0, 1, 2)))
    shift = np.array([5, 7, 11]) / 24
    assert minimum_image_distances(SKEWED, well.frac + shift, moved.frac)[0, 0] < 1e-9
    assert moved.energy_ev == pytest.approx(well.energy_ev)


def test_no_grid_of_finite_energies_is_refused() -> None:
    with pytest.raises(ValueError, match="grid"):
        find_wells(CUBE, np.zeros((2, 8, 8)))
    with pytest.raises(ValueError, match="finite"):
        find_wells(CUBE, np.full((8, 8, 8), np.nan))


def test_orbit_of_a_general_and_of_a_nearly_special_point() -> None:
    host = Crystal.build(CUBE, ["O"], [[0, 0, 0]])
    operations = host_operations(host)
    assert len(orbit(CUBE, np.array([0.1, 0.2, 0.35]), operations)) == 48
    nearly = orbit(CUBE, np.array([0.49, 0.505, 0.51]), operations)
    assert nearly == pytest.approx(np.array([[0.5, 0.5, 0.5]]), abs=1e-9)
    along = orbit(CUBE, np.array([0.25, 0.01, -0.01]), operations)
    assert len(along) == 6
    assert along[0] == pytest.approx([0.25, 0.0, 0.0], abs=1e-9)


def test_an_orbit_is_filled_whole_only_where_it_fits() -> None:
    host = Crystal.build(CUBE, ["Na", "Na"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    well = [Well(np.array([0.5, 0.0, 0.0]), -1.0)]
    operations = host_operations(host)
    n_orbit = len(orbit(CUBE, well[0].frac, operations))
    assert n_orbit == 6
    for n_left, n_placed in [(6, 6), (7, 6), (5, 1), (1, 1)]:
        sites = next_sites(host, well, operations, n_left, Distances())
        assert sites is not None
        assert len(sites) == n_placed
    crowded = next_sites(host, well, operations, 6, Distances(placed=2.1))
    assert crowded is not None
    assert len(crowded) == 1


def test_filled_wells_and_wells_at_nuclei_are_passed_over() -> None:
    crystal = Crystal.build(CUBE, ["Na"], [[0, 0, 0]]).add_unknown("H", [[0.5, 0.5, 0.5]])
    identity = [(np.eye(3), np.zeros(3))]
    wells = [Well(np.array(frac), energy) for frac, energy in
             [([0.1, 0.0, 0.0], -9.0), ([0.5, 0.5, 0.75], -5.0), ([0.5, 0.0, 0.0], -1.0)]]  # fmt: skip
    sites = next_sites(crystal, wells, identity, 1, Distances())
    assert sites == pytest.approx(np.array([[0.5, 0.0, 0.0]]))
    assert next_sites(crystal, wells[:2], identity, 1, Distances()) is None


def test_the_model_has_its_deepest_well_at_the_anion() -> None:
    host = Crystal.build(SKEWED, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    grid = ProtonModel().settle(host, -1).proton_energy_ev
    assert grid is not None
    to_oxygen = minimum_image_distances(SKEWED, find_wells(SKEWED, grid)[0].frac, host.frac)[0, 1]
    assert to_oxygen == pytest.approx(BOND_A, abs=0.1)
