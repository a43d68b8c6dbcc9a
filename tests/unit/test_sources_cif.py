import gemmi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hinpaint.sources.chemistry import (
    charge_of_type,
    element_of_site,
    hill_formula,
    hint_of_label,
    parse_formula,
    parse_moiety,
)
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.geometry import expand, first_overlap, snap_thirds
from hinpaint.sources.optimade import parse_optimade
from hinpaint.sources.records import Hint, Note, ParsedRecord
from hinpaint.sources.symmetry import _is_group
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
                     "loop_\n_symmetry_equiv_pos_as_xyz\nx,y\n", "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n'x,,z'\n", "loop_\n_symmetry_equiv_pos_as_xyz\n-x,-y,-z\n"):  # fmt: skip
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
        (None, "SiT1", None, "Si"), (None, "D1", "D2 O", "H"), (None, "T1", "Si O2", None), (None, "M1", "Mn O", "Mn"), (None, "M(2)", "Fe Mn O", None),
        (None, "H2O", "Ca O2 H2", "O"), (None, "H2O1", "Mg O2 H2", "O"), (None, "H2O", "C2 H6 O2", "H"), (None, "T1", "T2 O", "H"),
        (None, "1", None, None), (None, "H(C1)", "C H4", "H"),
    ],
)  # fmt: skip
def test_elements(type_symbol: str | None, label: str, formula: str | None, element: str | None) -> None:
    found = element_of_site(type_symbol, label, parse_formula(formula))
    assert (found[0] if found else None) == element


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("2(C12 H12 Ag N2 +), C4 H2 O4 2-, 9(H2 O)", {"C": 28, "H": 44, "Ag": 2, "N": 4, "O": 13}),
        ("Ba3 [V10 O28 ], 19H2 O", {"Ba": 3, "V": 10, "O": 47, "H": 38}), ("(C5 H4 N2 2+)n,n(Al F5 2-)", {"C": 5, "H": 4, "N": 2, "Al": 1, "F": 5}),
        ("n[N3 H9 Zn]^2+^,[C4 N4 Cu2]~n~^2n-^", {"N": 7, "H": 9, "Zn": 1, "C": 4, "Cu": 2}), ("Ca S O4 . 2H2 O", {"Ca": 1, "S": 1, "O": 6, "H": 4}),
        ("Rb (Mo2 P2 O10) (H2 O)0.9", {"Rb": 1, "Mo": 2, "P": 2, "O": 10.9, "H": 1.8}), ("[(CH~3~)~4~N]Cl", {"C": 4, "H": 12, "N": 1, "Cl": 1}),
        ("K +, Cl -", {"K": 1, "Cl": 1}), ("0.5(C H4 O), Fe 3+", {"C": 0.5, "H": 2, "O": 0.5, "Fe": 1}),
        ("Na +, x(H2 O)", None), ("C4 H8 O, solvent", None), ("(((", None), ("", None), ("1, 2", None), ("?", None),
    ],
)  # fmt: skip
def test_moieties(text: str, counts: dict[str, float] | None) -> None:
    formula = parse_moiety(text)
    assert (dict(formula.counts) if formula else None) == (None if counts is None else pytest.approx(counts))


def test_oxidation_states_of_types() -> None:
    symbols = ("Fe3+", "O-2", "O2-", "Na+", "Cl-", "C+4", "Fe0+", "O1.5-", "Fe", "O..-")
    assert [charge_of_type(s) for s in symbols] == [3, -2, -2, 1, -1, 4, 0, -1.5, None, None]
    types = "loop_\n_atom_type_symbol\n_atom_type_oxidation_number\nFe 2\nO -2\nN ?\n"
    sites = read(
        cif("Fe1 Fe 0 0 0\nO1 O 0 0 .5\nN1 N 0 .5 .5", "label type_symbol fract_x fract_y fract_z", more=types)
    ).sites
    assert [site.charge for site in sites] == [2, -2, None]


def test_sites_can_be_left_out_of_the_cell() -> None:
    record = read(cif("O1 0.1 0.2 0.3\nFe1 0 0 0\nH1 .5 0.5 0.4", symmetry=PMINUS1))
    assert record.without(()) is record
    assert record.without([0]).species == ("Fe", "H", "H")
    assert record.without([0]).sites == record.sites


def test_groups_are_recognised_by_all_their_products() -> None:
    for name in ("P 1", "P -3 m 1", "F d -3 m", "R -3 c:R", "I a -3 d"):
        triplets = tuple(op.wrap().triplet() for op in gemmi.find_spacegroup_by_name(name).operations())
        assert _is_group(triplets)
        assert len(triplets) == 1 or not _is_group(triplets[:-1])
    assert not _is_group(("x,y,z", "2*x,y,z"))


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


@pytest.mark.parametrize(
    ("name", "angles", "n_sites"),
    [
        ("P 1 21/n 1", (90, 100, 90), 4), ("P 1 1 21/b", (90, 90, 100), 4), ("I 1 2/a 1", (90, 95, 90), 8),
        ("P 21 n b", (90, 90, 90), 4), ("B 1 1 2/m", (90, 90, 100), 8), ("R -3 c", (90, 90, 120), 36),
        ("R -3 c", (55, 55, 55), 12), ("R -3 c {rhombohedral axes}", (55, 55, 55), 12), ("P 42/n m c :1", (90, 90, 90), 16),
        ("P 42/n m c :2", (90, 90, 90), 16), ("F d 1", (90, 100, 90), None),
    ],
)  # fmt: skip
def test_settings_by_name(name: str, angles: tuple[float, float, float], n_sites: int | None) -> None:
    cell = "".join(f"_cell_length_{axis} 15\n" for axis in "abc")
    cell += "".join(
        f"_cell_angle_{angle} {value}\n" for angle, value in zip(("alpha", "beta", "gamma"), angles, strict=True)
    )
    text = cif("O1 0.11 0.23 0.37", cell=cell, symmetry=f"_symmetry_space_group_name_H-M '{name}'\n")
    if n_sites is None:
        assert refused(text) is Reason.UNKNOWN_SYMMETRY
    else:
        assert len(read(text).cell_frac) == n_sites


def test_mixed_sites_are_weighted_and_disordered() -> None:
    columns = "label type_symbol fract_x fract_y fract_z occupancy"
    record = read(cif("M1a Mg2+ 0 0 0 0.6\nM1b Fe2+ 0 0 0 0.4(1)\nO1 O 0.5 0.5 0.5 1", columns, symmetry=PMINUS1))
    assert record.cell_counts() == {"Mg": 0.6, "Fe": 0.4, "O": 1.0}
    assert not record.is_ordered


def test_groups_of_sign_only_are_no_alternatives() -> None:
    columns = "label fract_x fract_y fract_z disorder_assembly disorder_group"
    signs = read(cif("O1 0 0 0 A -1\nO2 0.3 0.3 0.3 A -1\nN1 .6 .6 .6 . .", columns)).sites
    assert [site.alternative for site in signs] == [False, False, False]
    groups = read(cif("O1 0 0 0 A 1\nO2 0.3 0.3 0.3 A 2\nN1 .6 .6 .6 . .", columns)).sites
    assert [site.alternative for site in groups] == [True, True, False]
