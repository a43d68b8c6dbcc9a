import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hinpaint.sources.chemistry import element_of_site, hill_formula, hint_of_label, parse_formula
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.geometry import expand, first_overlap, snap_thirds
from hinpaint.sources.optimade import parse_optimade
from hinpaint.sources.records import Hint, Note, ParsedRecord
from hinpaint.whynot import Reason, Stop

CELL = "_cell_length_a 4\n_cell_length_b 5\n_cell_length_c 6.0(2)\n_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"  # fmt: skip
P1 = "loop_\n_space_group_symop_operation_xyz\nx,y,z\n"
PMINUS1 = "loop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'\n'-x, -y, -z'\n"


# Rows are easier to compare on one line.
# ruff: noqa: E501
def cif(
    sites: str, columns: str = "label fract_x fract_y fract_z", cell: str = CELL, symmetry: str = P1, more: str = ""
) -> str:
    loop = "loop_\n" + "".join(f"_atom_site_{name}\n" for name in columns.split()) + sites + "\n"
    return f"data_test\n{cell}{more}{symmetry}{loop}"


def read(text: str) -> ParsedRecord:
    record = parse_cif(text)
    assert isinstance(record, ParsedRecord), record
    return record


def refused(text: str) -> Reason:
    stop = parse_cif(text)
    assert isinstance(stop, Stop), stop
    return stop.reason


def test_special_positions_are_not_doubled_and_order_is_kept() -> None:
    record = read(cif("O1 0.1 0.2 0.3\nFe1 0 0 0\nN1 .5 0.5 0.5001", symmetry=PMINUS1))
    assert record.species == ("O", "O", "Fe", "N")
    assert record.cell_frac[:2].tolist() == [[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]]
    assert record.multiplicities.tolist() == [2, 1, 1]


def test_rounded_thirds_find_their_special_position() -> None:
    cell = "_cell_length_a 30\n_cell_length_b 30\n_cell_length_c 5\n_cell_angle_gamma 120\n"
    for third, two in (("0.3333", "0.6667"), ("0.333", "0.667"), ("0.33333", "0.66667")):
        record = read(cif(f"O1 {third} {two} 0.25", cell=cell, symmetry="_symmetry_space_group_name_H-M 'P 3'\n"))
        assert record.multiplicities.tolist() == [1]
        assert record.cell_frac[0, 0] == pytest.approx(1 / 3, abs=1e-15)
    assert snap_thirds(0.33, 2) == 0.33
    assert snap_thirds(0.334, 3) == 0.334


def test_symmetry_sources() -> None:
    site = "O1 0.1 0.2 0.3"
    assert len(read(cif(site, symmetry="_symmetry_space_group_name_Hall '-P 2ybc'\n")).cell_frac) == 4
    assert len(read(cif(site, symmetry="_space_group_name_H-M_alt 'P 1 21/c 1'\n")).cell_frac) == 4
    named = read(cif(site, symmetry="_space_group_IT_number 2\n"))
    assert (len(named.cell_frac), named.notes) == (2, (Note.SYMMETRY_FROM_NAME,))
    without_identity = "_symmetry_space_group_name_H-M 'P -1'\nloop_\n_symmetry_equiv_pos_as_xyz\n-x,-y,-z\n"
    assert len(read(cif(site, symmetry=without_identity)).cell_frac) == 2
    conflicting = "_symmetry_space_group_name_H-M 'P 1 21/c 1'\n" + PMINUS1
    assert read(cif(site, symmetry=conflicting)).notes == (Note.SYMMETRY_DISAGREES,)
    # One line of four is missing: the name fills the gap, and without it nothing is guessed.
    gap = "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,-y,-z\n'-x,1/2+y,1/2-z'\n"
    filled = read(cif(site, symmetry="_symmetry_space_group_name_H-M 'P 1 21/c 1'\n" + gap))
    assert (len(filled.cell_frac), filled.notes) == (4, (Note.SYMMETRY_DISAGREES,))
    assert refused(cif(site, symmetry=gap)) is Reason.UNKNOWN_SYMMETRY
    assert (
        refused(cif(site, symmetry="_symmetry_space_group_name_H-M 'P b c a'\n" + gap.replace("1/2-z", "z")))
        is Reason.UNKNOWN_SYMMETRY
    )
    for symmetry in ("", "_symmetry_space_group_name_H-M 'X4bm'\n_space_group_IT_number 100\n",
                     "loop_\n_symmetry_equiv_pos_as_xyz\nx,y\n", "loop_\n_symmetry_equiv_pos_as_xyz\n-x,-y,-z\n"):  # fmt: skip
        assert refused(cif(site, symmetry=symmetry)) is Reason.UNKNOWN_SYMMETRY


def test_lenient_where_files_are_sloppy() -> None:
    doubled = "_journal_volume 1\n_journal_volume 2\n"
    assert read(cif("O1 0 0 0", more=doubled)).species == ("O",)
    blocks = (
        "data_global\n_publ_section_title 'x'\n" + cif("O1 0 0 0") + cif("Fe1 0 0 0").replace("data_test", "data_two")
    )
    record = read(blocks)
    assert record.species == ("O",)
    assert Note.MULTIPLE_BLOCKS in record.notes


def test_columns_of_a_site() -> None:
    columns = "label type_symbol fract_x fract_y fract_z occupancy calc_flag attached_hydrogens disorder_group"
    sites = ("O1 O2- 0.1(3) 0.1 0.1 1.0 d 2 .\nH1 H1+ . . . 1 dum 0 .\nH2 D 0.5 0.5 0.5 0.5(1) calc . 1\n"
             "H3 H 0.6 0.6 0.6 0.5 c ? 2\nCnt X 0 0 0 1 dum 0 .")  # fmt: skip
    oxygen, dummy, first, second = read(cif(sites, columns)).sites
    assert (oxygen.element, oxygen.attached, oxygen.calculated, oxygen.is_full) == ("O", 2, False, True)
    assert (dummy.element, dummy.frac) == ("H", None)
    assert (first.element, first.is_isotope, first.occupancy, first.calculated) == ("H", True, 0.5, True)
    assert first.alternative
    assert second.alternative
    assert second.attached is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not a cif", Reason.UNREADABLE),
        ("data_x\n_cell_length_a 1\nloop_\n_a\n_b\n1 2 3\n", Reason.UNREADABLE),
        ("data_x\n_a 1\n", Reason.NO_CELL),
        (cif("O1 0 0 0", cell=CELL.replace("_b 5", "_b ?")), Reason.NO_CELL),
        (cif("O1 0 0 0", cell=CELL.replace("gamma 90", "gamma 180")), Reason.NO_CELL),
        (cif("O1 0 0 0", cell=CELL.replace("90", "130")), Reason.NO_CELL),
        (cif("O1 . . ."), Reason.NO_SITES),
        (f"data_x\n{CELL}{P1}", Reason.NO_SITES),
        (cif("M1 0 0 0"), Reason.UNKNOWN_ELEMENT),
        (cif("O1 0 abc 0"), Reason.UNREADABLE),
        (cif("O1 0 1e300 0"), Reason.UNREADABLE),
    ],
)
def test_reasons(text: str, reason: Reason) -> None:
    assert refused(text) is reason


@pytest.mark.parametrize(
    ("type_symbol", "label", "formula", "element"),
    [
        ("Fe3+", "X1", None, "Fe"), ("O-2", "a", None, "O"), ("o", "a", None, "O"), ("AL", "a", None, "Al"), ("H+1", "a", None, "H"),
        ("?x", "Si1", None, "Si"), (None, "Wat1", "W O4 H2", "O"), (None, "W1", "W O3", "W"), (None, "W1", "Ca O H2", "O"),
        (None, "OW1", "O H2", "O"), (None, "O-H2", None, "O"), (None, "OH", "O H", "O"), (None, "HO1", "H2 O", "H"),
        (None, "Ho1", "Ho2 O3", "Ho"), (None, "CL1", "C Cl4", "Cl"), (None, "CA1", "C6 H6", "C"), (None, "CaM2", "Ca O", "Ca"),
        (None, "SiT1", None, "Si"), (None, "D1", "D2 O", "H"), (None, "T1", "Si O2", None), (None, "M1", "Mn O", None),
        (None, "1", None, None), (None, "H(C1)", "C H4", "H"),
    ],
)  # fmt: skip
def test_elements(type_symbol: str | None, label: str, formula: str | None, element: str | None) -> None:
    found = element_of_site(type_symbol, label, parse_formula(formula))
    assert (found[0] if found else None) == element


def test_hints_are_for_oxygen_only() -> None:
    assert [hint_of_label(x, "O") for x in ("Wat3", "OW", "Ow2", "W1", "O-H", "OH2", "Oh", "O1")] == [Hint.WATER] * 4 + [Hint.HYDROXYL] * 3 + [None]  # fmt: skip
    assert hint_of_label("W1", "W") is None


def test_formulae() -> None:
    formula = parse_formula("Mg3 (O12 Si4) H2 D.5")
    assert formula is not None
    assert formula.counts == {"Mg": 3, "O": 12, "Si": 4, "H": 2.5}
    assert formula.has_deuterium
    hydroxide = parse_formula("Ca(OH)2")
    assert hydroxide is not None
    assert hydroxide.counts == {"Ca": 1, "O": 2, "H": 2}
    assert hill_formula({"O": 2.0, "C": 1.0, "H": 0.5}) == "C H0.5 O2"
    for bad in (None, "", "?", "x", "C(", "C)", "2 C", "C1..2", "C2 H6 O,n(H2 O)", "Q2", "C999999999999"):
        assert parse_formula(bad) is None


def test_expand_matches_brute_force_on_a_skewed_cell() -> None:
    lattice = np.array([[4.0, 0, 0], [3.0, 4.0, 0], [1.0, 2.0, 5.0]])
    rotations = np.array([np.eye(3), -np.eye(3)])
    frac = np.array([[0.1, 0.2, 0.3], [0.5, 0, 0.5], [0.004, 0.0, 0.0]])
    site, found = expand(lattice, rotations, np.zeros((2, 3)), frac)
    assert site.tolist() == [0, 0, 1, 2]
    assert np.allclose(found[1], [0.9, 0.8, 0.7])


@given(st.integers(0, 10_000), st.integers(2, 60))
def test_overlaps_are_those_of_brute_force(seed: int, n_sites: int) -> None:
    rng = np.random.default_rng(seed)
    frac = rng.random((n_sites, 3)) * 3 - 1
    lattice = np.array([[4.0, 0, 0], [1.0, 5.0, 0], [0.5, 2.0, 6.0]])
    reach = rng.choice([0.4, 0.6], n_sites)
    delta = frac[:, None] - frac[None]
    distance = np.linalg.norm((delta - np.round(delta)) @ lattice, axis=-1)
    overlaps = np.argwhere(np.triu(distance < np.minimum(reach[:, None], reach[None]), 1)).tolist()
    found = first_overlap(lattice, frac, reach)
    if found is None:
        assert overlaps == []
    else:
        assert list(found[:2]) in overlaps
        assert found[2] == pytest.approx(distance[found[0], found[1]])


def test_overlaps_cross_the_boundary() -> None:
    lattice, reach = np.eye(3) * 8, np.full(2, 0.5)
    assert first_overlap(lattice, np.array([[0.999, 0, 0], [0.001, 1.0, 0]]), reach) is not None
    assert first_overlap(lattice, np.array([[0.95, 0, 0], [0.05, 1.0, 0]]), reach) is None


def test_optimade_structure() -> None:
    text = (
        '{"id": "a", "attributes": {"lattice_vectors": [[2, 0, 0], [0, 4, 0], [0, 0, 8]], "cartesian_site_positions":'
        '[[1, 1, 1], [0, 0, 0]], "species_at_sites": ["O1", "D"], "species": [{"name": "O1", "chemical_symbols":'
        '["O", "vacancy"], "concentration": [0.5, 0.5], "attached": ["H"], "nattached": [2]}, {"name": "D",'
        '"chemical_symbols": ["D"], "concentration": [1]}], "chemical_formula_reduced": "D2O"}}'
    )
    record = parse_optimade(text)
    assert isinstance(record, ParsedRecord)
    assert record.species == ("O", "H")
    assert record.cell_frac[0].tolist() == [0.5, 0.25, 0.125]
    assert (record.sites[0].occupancy, record.sites[0].attached, record.sites[1].is_isotope) == (0.5, 2, True)
    for bad in ("{}", "[]", "1", '{"attributes": {"lattice_vectors": 3}}', text.replace("[1, 1, 1]", "[1, 1, NaN]"),
                text.replace("[1, 1, 1]", "[1, 1]"), text.replace("[2, 0, 0]", "[0, 0, 0]"), text.replace('"O1", "D"', '"O1"')):  # fmt: skip
        assert isinstance(parse_optimade(bad), Stop)
