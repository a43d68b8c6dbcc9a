"""New CIFs of entries whose source is no CIF."""

import numpy as np
import pytest
from gemmi import cif

from hinpaint.crystal import Crystal
from hinpaint.release.completion import Completion
from hinpaint.release.entry import Changed, Released, release_entry
from hinpaint.release.fresh import fresh_cif, host_operators
from hinpaint.release.roundtrip import check_round_trip
from hinpaint.release.symmetry import find_placement, short_lengths

COMPLETION = Completion(
    "mc3d|1|a/b ~ü", "completed", "H", -12.5, 7, 9, "sevennet-0", "ab" * 32, "cd" * 32, "CC0", "0.1.0"
)
HEXAGONAL = [[3.147, 0, 0], [-1.5735, 2.72538194, 0], [0, 0, 4.769]]
BRUCITE = Crystal.build(HEXAGONAL, ["O", "Mg", "O"], [[1 / 3, 2 / 3, 0.22], [0, 0, 0], [2 / 3, 1 / 3, 0.78]])
ON_AXIS = np.array([[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, 0.58]])


def _release(host: Crystal, frac: np.ndarray) -> Released:
    released = release_entry(Changed(COMPLETION, host, frac, "x", "x"), "optimade", "{}")
    assert isinstance(released, Released), released
    return released


def test_the_symmetry_of_the_host_is_found_and_written() -> None:
    released = _release(BRUCITE, ON_AXIS)
    assert released.symmetry == "found"
    block = cif.read_string(released.cif)[0]
    assert cif.as_string(block.find_value("_space_group_name_H-M_alt")) == "P -3 m 1"
    assert block.find_value("_space_group_IT_number") == "164"
    assert cif.as_string(block.find_value("_chemical_formula_sum")) == "H2 Mg O2"
    assert block.find_value("_hinpaint_symmetry") == "found"
    assert block.find_value("_hinpaint_symmetry_reason") is None
    rows = [list(row) for row in block.find("_atom_site_", ["label", "symmetry_multiplicity", "calc_flag"])]
    assert rows == [["O1", "2", "."], ["Mg1", "1", "."], ["H_hp1", "2", "calc"]]


@pytest.mark.parametrize(
    ("frac", "symmetry", "reason", "number"),
    [
        ([[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, 0.70]], "found", "placed_sites", "156"),
        ([[0.40, 0.60, 0.42], [0.60, 0.30, 0.60]], "P1", "placed_sites", "1"),
    ],
)
def test_what_the_placed_sites_break_is_said(frac: list[list[float]], symmetry: str, reason: str, number: str) -> None:
    released = _release(BRUCITE, np.array(frac))
    assert released.symmetry == symmetry
    block = cif.read_string(released.cif)[0]
    assert block.find_value("_hinpaint_symmetry_reason") == reason
    assert "operators of the host" in str(block.find_value("_hinpaint_symmetry_detail"))
    assert block.find_value("_space_group_IT_number") == number


def test_a_cell_without_symmetry_reads_back() -> None:
    lattice = [[0.0, 4.0, 4.1], [4.2, 0.0, 4.0], [4.0, 4.3, 0.0]]
    host = Crystal.build(lattice, ["Mg", "O", "S"], [[0, 0, 0], [-0.25, 1.25, 0.26], [0.4, 0.1, 0.7]])
    released = _release(host, np.array([[0.6, 0.61, 0.62]]))
    assert released.symmetry == "P1"
    block = cif.read_string(released.cif)[0]
    assert block.find_value("_hinpaint_symmetry_reason") == "no_symmetry"
    assert cif.as_string(block.find_value("_chemical_formula_sum")) == "H Mg O S"


def test_a_primitive_cell_of_a_centred_lattice_keeps_its_operators() -> None:
    lattice = (np.ones((3, 3)) - np.eye(3)) * 2.5
    host = Crystal.build(lattice, ["Na"], [[0, 0, 0]])
    released = _release(host, np.array([[0.5, 0.5, 0.5]]))
    assert released.symmetry == "found"
    block = cif.read_string(released.cif)[0]
    assert block.find_value("_space_group_IT_number") == "225"
    assert len(block.find_values("_space_group_symop_operation_xyz")) == 48
    assert block.find_value("_cell_angle_alpha") == "60.000000"


def test_an_origin_beside_the_symmetry_elements_costs_the_operators_only() -> None:
    shifted = BRUCITE.with_frac(BRUCITE.frac + [0.0137, 0.0211, 0.0333])
    operators = host_operators(shifted)
    assert len(operators) < 12
    assert _release(shifted, ON_AXIS + [0.0137, 0.0211, 0.0333]).symmetry in {"found", "P1"}


@pytest.mark.parametrize("noise_a", [1e-4, 0.05])
def test_a_noisy_host_is_symmetric_only_within_the_tolerance(noise_a: float) -> None:
    noise = np.random.default_rng(0).normal(0, noise_a / 5, (3, 3))
    host = BRUCITE.with_frac(BRUCITE.frac + noise @ np.linalg.inv(BRUCITE.lattice))
    placement = find_placement(host_operators(host), host.lattice, ON_AXIS)
    text = fresh_cif(host, COMPLETION, placement)
    assert check_round_trip(text, host.add_unknown("H", placement.frac), 1e-3) is None
    assert (len(placement.operators) == 12) is (noise_a < 1e-3)


def test_averaged_sites_stay_within_the_tolerance() -> None:
    released = _release(BRUCITE, ON_AXIS + [[0.01, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert released.symmetry == "found"
    shift = float(str(cif.read_string(released.cif)[0].find_value("_hinpaint_symmetry_shift_A")))
    assert 0.01 < shift < 0.06
    assert short_lengths(np.zeros(3), BRUCITE.lattice) == 0
