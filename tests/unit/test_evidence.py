"""Counting hydrogen: invented CIF text whose answer is known."""
# ruff: noqa: E501 - a case reads best on one line

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hinpaint.codes import CODE_EXPLANATIONS, CODES, Code
from hinpaint.config import Mode
from hinpaint.evidence import Evidence, choose_mode, weigh
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.records import ParsedRecord
from hinpaint.tabledoc import codes_markdown
from hinpaint.whynot import Reason, Stop

GROUPS = {"P 1": 1, "P -1": 2, "P 1 21/c 1": 4, "P 21 21 21": 4, "P b c a": 8, "C 1 2/c 1": 8}
ALL: tuple[Mode, ...] = ("reconstruct", "audit", "benchmark")


def cif(rows: list[str], formula: str | None, z: float | None = None, group: str = "P 1", columns: str = "", edge: float = 12) -> str:  # fmt: skip
    names = ["label", "fract_x", "fract_y", "fract_z", *columns.split()]
    lines = [
        "data_t",
        *(f"_cell_length_{axis} {edge}" for axis in "abc"),
        *(f"_cell_angle_{angle} 90" for angle in ("alpha", "beta", "gamma")),
        f"_symmetry_space_group_name_H-M '{group}'",
    ]
    lines += [f"_chemical_formula_sum '{formula}'"] if formula else []
    lines += [f"_cell_formula_units_Z {z}"] if z else []
    return "\n".join([*lines, "loop_", *(f"_atom_site_{n}" for n in names), *rows, ""])


def judge(text: str, element: str = "H") -> Evidence:
    record = parse_cif(text)
    assert isinstance(record, ParsedRecord), record
    return weigh(record, element)


def reason_of(text: str, modes: tuple[Mode, ...] = ALL) -> Reason | Mode:
    chosen = choose_mode(modes, judge(text))
    return chosen.reason if isinstance(chosen, Stop) else chosen


@st.composite
def structures(draw: st.DrawFn) -> tuple[str, int, int]:
    """CIF text, H present in the cell, H missing in the cell."""
    group, order = draw(st.sampled_from(sorted(GROUPS.items())))
    host = draw(st.dictionaries(st.sampled_from(["O", "Ca", "Si", "C", "Fe"]), st.integers(1, 4), min_size=1))
    present, missing = draw(st.integers(0, 4)), draw(st.integers(0, 6))
    names = [name for name, count in host.items() for _ in range(count)] + ["H"] * present
    # Distinct points of a grid in a corner: general positions, and no two closer than 0.5 ångström.
    cells = draw(st.lists(st.integers(0, 215), min_size=len(names), max_size=len(names), unique=True))
    points = [(0.03 + 0.03 * (c // 36), 0.03 + 0.03 * (c // 6 % 6), 0.03 + 0.03 * (c % 6)) for c in cells]
    rows = [f"{name}{i} {x:.4f} {y:.4f} {z:.4f}" for i, (name, (x, y, z)) in enumerate(zip(names, points, strict=True))]
    counts = {**host, "H": present + missing}
    divisor = draw(st.sampled_from([1, 2])) if all(c % 2 == 0 for c in counts.values()) else 1
    formula = " ".join(f"{name}{count // divisor}" for name, count in counts.items() if count)
    z = draw(st.sampled_from([order * divisor, None]))
    return cif(rows, formula, z, group, edge=40), present * order, missing * order


@given(structures())
def test_missing_hydrogen_is_counted(case: tuple[str, int, int]) -> None:
    text, present, missing = case
    evidence = judge(text)
    assert evidence.n_sites == present
    if present + missing == 0:
        assert evidence.conflict is not None
        assert evidence.conflict.reason is Reason.NO_TARGET_ELEMENT
        return
    assert evidence.conflict is None, evidence
    assert (evidence.n_declared, evidence.n_missing) == (present + missing, missing)
    assert (evidence.n_missing_low, evidence.n_missing_high) == (missing, missing)
    assert 0.75 < evidence.confidence <= 1
    mode = choose_mode(("reconstruct", "benchmark"), evidence)
    assert mode == ("reconstruct" if missing else "benchmark")


@given(structures(), st.sampled_from([3, 0.25]))
def test_a_wrong_z_is_noticed_and_not_believed(case: tuple[str, int, int], factor: float) -> None:
    text, present, missing = case
    z = [line for line in text.splitlines() if line.startswith("_cell_formula_units_Z")]
    if not z or present + missing == 0:
        return
    wrong = float(z[0].split()[1]) * factor
    evidence = judge(text.replace(z[0], f"_cell_formula_units_Z {wrong}"))
    assert Code.Z_DISAGREES in evidence.codes
    assert evidence.n_missing == missing
    assert evidence.confidence < judge(text).confidence


HOST = ["O1 .1 .1 .1", "Ca1 .5 .5 .5"]


@pytest.mark.parametrize(
    ("rows", "formula", "columns", "missing", "code"),
    [
        (["O1 .1 .1 .1 2", "Ca1 .5 .5 .5 0"], "Ca O H2", "attached_hydrogens", 2, Code.ATTACHED_CONFIRMS),
        (["O1 .1 .1 .1 2", "Ca1 .5 .5 .5 0"], None, "attached_hydrogens", 2, Code.NO_FORMULA),
        (["O1 .1 .1 .1 ?", "N1 .5 .5 .5 1"], "N O H3", "attached_hydrogens", 3, Code.ATTACHED_INCOMPLETE),
        (["O1 .1 .1 .1 2", "Ca1 .5 .5 .5 0", "H1 .2 .1 .1 0"], "Ca O H3", "attached_hydrogens", 2, Code.MISSING_SOME),
        ([*HOST, "H1 . . ."], "Ca O H", "", 1, Code.DUMMY),
        ([*HOST, "H1 . . ."], None, "", 1, Code.NO_FORMULA),
        ([*HOST, "H1 . . ."], "Ca O H3", "", 3, Code.DUMMY_DISAGREES),
        (["Wat1 .1 .1 .1", "Ca1 .5 .5 .5"], "Ca O H2", "", 2, Code.LABELS_CONFIRM),
        (["O-H1 .1 .1 .1", "Ca1 .5 .5 .5"], "Ca O H", "", 1, Code.LABELS_CONFIRM),
        ([*HOST, "D1 .2 .1 .1"], "Ca O D2", "", 1, Code.DEUTERIUM),
    ],
)
def test_evidence_beside_the_formula(
    rows: list[str], formula: str | None, columns: str, missing: int, code: Code
) -> None:
    evidence = judge(cif(rows, formula, columns=columns))
    assert evidence.conflict is None, evidence
    assert evidence.n_missing == missing
    assert code in evidence.codes
    assert choose_mode(ALL, evidence) == "reconstruct"


@pytest.mark.parametrize(
    ("formula", "columns", "multiplicity", "disagrees"),
    [
        ("Ca O2 H", "", "", False),  # it may lie on the centre of symmetry
        ("Ca O2 H2", "", "", False),
        ("Ca O2 H3", "", "", True),
        ("Ca O2 H", "symmetry_multiplicity", "2", True),
        ("Ca O2 H", "symmetry_multiplicity", "1", False),
    ],
)
def test_a_dummy_without_multiplicity_may_lie_anywhere(
    formula: str, columns: str, multiplicity: str, disagrees: bool
) -> None:
    multiplicities = ("2", "1", multiplicity) if columns else ("", "", "")
    rows = [f"{row} {m}" for row, m in zip([*HOST, "H1 . . ."], multiplicities, strict=True)]
    evidence = judge(cif(rows, formula, 1, "P -1", columns))
    assert (Code.DUMMY_DISAGREES in evidence.codes) == disagrees
    alone = judge(cif(rows, None, group="P -1", columns=columns))
    assert alone.n_missing == (int(multiplicity) if columns else None)


def test_less_evidence_is_less_sure() -> None:
    formula_and_label = judge(cif(["Wat1 .1 .1 .1", "Ca1 .5 .5 .5"], "Ca O H2", 1)).confidence
    formula = judge(cif(HOST, "Ca O H2", 1)).confidence
    attached = judge(cif(["O1 .1 .1 .1 2", "Ca1 .5 .5 .5 0"], None, columns="attached_hydrogens")).confidence
    assert 1 > formula_and_label > formula > attached > 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (cif(HOST, "Ca O"), Reason.NO_TARGET_ELEMENT),
        (cif(HOST, None), Reason.FORMULA_UNREADABLE),
        (cif(["Wat1 .1 .1 .1"], None), Reason.FORMULA_UNREADABLE),
        (cif([*HOST, "H1 .2 .1 .1"], None), Reason.FORMULA_UNREADABLE),
        (cif(["H1 .2 .1 .1"], "H2"), Reason.NO_HOST),
        (cif(HOST, "Ca O2 H2"), Reason.FORMULA_MISMATCH),
        (cif(HOST, "Ca O Na H2"), Reason.FORMULA_MISMATCH),
        (cif(HOST, "Ca O H0.5"), Reason.DISORDERED_HYDROGEN),
        (cif(["O1 .1 .1 .1 .5", "O2 .2 .1 .1 .5", "Ca1 .5 .5 .5 1"], "Ca O H2", columns="occupancy"), Reason.DISORDERED_HOST),
        (cif(["O1 .1 .1 .1 1", "Ca1 .5 .5 .5 1", "H1 .2 .1 .1 .5"], None, columns="occupancy"), Reason.DISORDERED_HYDROGEN),
        (cif(["O1 .1 .1 .1", "O2 .1 .1 .13", "Ca1 .5 .5 .5"], "Ca O2 H"), Reason.OVERLAPPING_SITES),
        (cif([*HOST, "H1 .2 .1 .1", "H2 .3 .1 .1"], "Ca O H"), Reason.CONFLICTING_EVIDENCE),
        (cif(["O1 .1 .1 .1 1", "Ca1 .5 .5 .5 0"], "Ca O H2", columns="attached_hydrogens"), Reason.CONFLICTING_EVIDENCE),
        (cif(["O1 .1 .1 .1 3", "Ca1 .5 .5 .5 0"], "Ca O H2", columns="attached_hydrogens"), Reason.CONFLICTING_EVIDENCE),
    ],
)  # fmt: skip
def test_what_stops_a_record(text: str, reason: Reason) -> None:
    assert reason_of(text) is reason
    if reason is Reason.CONFLICTING_EVIDENCE:
        assert judge(text).n_missing is None


def test_contradicting_operators_and_z_stop_a_record() -> None:
    text = cif(HOST, "Ca O H2", 2, "P -1").replace("loop_", "_symmetry_equiv_pos_as_xyz x,y,z\nloop_")
    assert reason_of(text) is Reason.CONFLICTING_EVIDENCE


def test_short_hydrogen_bonds_are_allowed_but_not_overlaps() -> None:
    assert reason_of(cif([*HOST, "H1 .137 .1 .1"], "Ca O H")) == "benchmark"
    assert reason_of(cif([*HOST, "H1 .13 .1 .1"], "Ca O H")) is Reason.OVERLAPPING_SITES


def test_modes() -> None:
    calculated = cif(["O1 .1 .1 .1 d", "H1 .2 .1 .1 calc"], "O H", columns="calc_flag")
    refined = cif(["O1 .1 .1 .1 d", "H1 .2 .1 .1 d"], "O H", columns="calc_flag")
    lacking = cif(["O1 .1 .1 .1 d"], "O H", columns="calc_flag")
    assert [reason_of(text) for text in (calculated, refined, lacking)] == ["audit", "benchmark", "reconstruct"]
    assert [reason_of(text, ("benchmark",)) for text in (calculated, refined)] == ["benchmark", "benchmark"]
    assert reason_of(lacking, ("benchmark", "audit")) is Reason.NOT_SELECTED
    assert reason_of(refined, ("reconstruct", "audit")) is Reason.NOTHING_MISSING


def test_any_element_can_be_the_target() -> None:
    text = cif(["Fe1 .1 .1 .1", "O1 .5 .5 .5", "Wat1 .7 .7 .7"], "Li3 Fe O2 H2")
    evidence = judge(text, "Li")
    assert evidence.conflict is not None  # the hydrogen is missing too, so the host is not the formula's
    evidence = judge(text.replace(" H2", ""), "Li")
    assert (evidence.n_missing, evidence.conflict) == (3, None)
    assert Code.WATER_LABEL not in evidence.codes


def test_every_code_is_explained() -> None:
    assert set(CODE_EXPLANATIONS) == set(Code) == set(CODES)
    assert all(0 < info.factor <= 1 for info in CODES.values())
    assert np.all([text and not text.endswith(".") for text in CODE_EXPLANATIONS.values()])


def test_conflicts_give_ranges() -> None:
    attached = judge(cif(["O1 .1 .1 .1 3", "Ca1 .5 .5 .5 0"], "Ca O H2", columns="attached_hydrogens"))
    assert (attached.n_missing, attached.n_missing_low, attached.n_missing_high) == (None, 2, 3)
    water = cif(["O1 .1 .1 .1", "O2 .2 .1 .1", "Ca1 .5 .5 .5"], "Ca O2 H2", 1)
    moiety = judge(water.replace("loop_", "_chemical_formula_moiety 'Ca, 2(H2 O)'\nloop_"))
    assert (moiety.n_missing, moiety.n_missing_low, moiety.n_missing_high) == (None, 2, 4)
    assert Code.FORMULAE_DISAGREE in moiety.codes
    # The sum does not fit the host, the moieties do: the count stays open, and both readings stand in the range.
    wrong = judge(
        water.replace("Ca O2 H2", "Ca O H2").replace("loop_", "_chemical_formula_moiety 'Ca, 2(H2 O)'\nloop_")
    )
    assert (wrong.n_missing, wrong.n_missing_low, wrong.n_missing_high) == (None, 2, 4)
    assert {Code.HOST_MISMATCH, Code.MISSING_ALL} <= set(wrong.codes)
    labels = judge(cif(["Wat1 .1 .1 .1"], None))
    assert (labels.n_missing, labels.n_missing_low, labels.n_missing_high) == (None, 2, None)
    fraction = judge(cif(HOST, "Ca O H1.5", 1))
    assert (fraction.n_missing, fraction.n_missing_low, fraction.n_missing_high) == (None, 1, 2)


@pytest.mark.parametrize(
    ("tag", "written", "code"),
    [
        ("moiety", "Ca 2+, 2(H2 O)", Code.FORMULA_FROM_MOIETY),
        ("structural", "Ca (H2 O)2", Code.FORMULA_FROM_STRUCTURAL),
    ],
)
def test_other_formulae_stand_in_for_the_sum(tag: str, written: str, code: Code) -> None:
    text = cif(["O1 .1 .1 .1", "O2 .2 .1 .1", "Ca1 .5 .5 .5"], None)
    for unreadable in ("", "_chemical_formula_sum '?'\n", "_chemical_formula_sum 'Ca O2 Hx'\n"):
        evidence = judge(text.replace("loop_", f"_chemical_formula_{tag} '{written}'\n{unreadable}loop_"))
        assert (evidence.n_declared_per_formula, evidence.n_missing) == (4, 4)
        assert code in evidence.codes


def test_z_from_density() -> None:
    # No two elements agree on Z, so the sites do not say it; two units weigh 0.187 g in a cubic centimetre.
    text = cif(["O1 .1 .1 .1 .5", "K1 .3 .3 .3 .7", "Ca1 .5 .5 .5 .9"], "Ca O K H2", columns="occupancy")
    assert judge(text).z is None
    evidence = judge(text.replace("loop_", "_exptl_crystal_density_diffrn 0.187(2)\nloop_"))
    assert (evidence.z, evidence.n_declared, evidence.n_missing) == (2, 4, 4)
    assert Code.Z_FROM_DENSITY in evidence.codes
    assert evidence.conflict is not None  # the host stays disordered
    assert evidence.conflict.reason is Reason.DISORDERED_HOST


@pytest.mark.parametrize(
    ("occupancy", "taken"), [("0.96(1)", True), ("0.95", True), ("0.94", False), ("0.5", False), ("1.2", False)]
)
def test_a_nearly_full_host_is_taken(occupancy: str, taken: bool) -> None:
    evidence = judge(
        cif(
            [f"O1 .1 .1 .1 {occupancy}", "Ca1 .5 .5 .5 1", "K1 .7 .7 .7 1", "K2 .7 .2 .7 1"],
            "Ca O K2 H2",
            1,
            columns="occupancy",
        )
    )
    assert (Code.HOST_ORDERED in evidence.codes) is taken
    assert evidence.n_missing == 2
    assert (
        evidence.conflict is None
        if taken
        else evidence.conflict == Stop(Reason.DISORDERED_HOST, "1 host sites not fully occupied: O1")
    )


def test_disordered_hydrogen_is_placed_anew_where_the_formula_counts_it() -> None:
    halves = ["O1 .1 .1 .1 1", "Ca1 .5 .5 .5 1", "H1 .18 .1 .1 1", "H2 .1 .18 .1 .5", "H3 .1 .02 .1 .5"]
    evidence = judge(cif(halves, "Ca O H2", columns="occupancy"))
    assert (evidence.n_sites, evidence.n_missing, evidence.dropped) == (2, 1, (3, 4))
    assert {Code.COMPLETE, Code.DISORDERED_TARGET, Code.DISORDERED_TARGET_REPLACED} <= set(evidence.codes)
    assert choose_mode(ALL, evidence) == "reconstruct"
    assert choose_mode(("benchmark",), evidence) == Stop(
        Reason.NOT_SELECTED, "1 sites missing, but the source's mode is benchmark"
    )
    for formula, reason in (
        ("Ca O H", Reason.DISORDERED_HYDROGEN),
        ("Ca O H1.5", Reason.DISORDERED_HYDROGEN),
        ("Ca O2 H2", Reason.FORMULA_MISMATCH),
    ):
        refused = judge(cif(halves, formula, columns="occupancy"))
        assert refused.conflict is not None
        assert (refused.conflict.reason, refused.dropped, refused.n_missing) == (reason, (), None)


@pytest.mark.parametrize(
    ("x", "partner", "code"),
    [
        (0.1 + 0.97 / 12, "O1", None), (0.1 + 0.82 / 12, "O1", Code.XRAY_SHORTENED), (0.1 + 1.2 / 12, "O1", None),
        (0.1 + 0.60 / 12, "O1", Code.XH_DISTANCE_ODD), (0.1 + 1.5 / 12, "O1", Code.XH_DISTANCE_ODD),
        (0.1 + 0.95 / 12, "C1", Code.XRAY_SHORTENED), (0.1 + 1.09 / 12, "C1", None), (0.1 + 2.0 / 12, "Fe1", None),
        (0.1 + 1.35 / 12, "B1", None), (0.1 + 3.5 / 12, "Fe1", Code.XH_DISTANCE_ODD),
    ],
)  # fmt: skip
def test_distances_are_held_against_neutrons(x: float, partner: str, code: Code | None) -> None:
    evidence = judge(cif([f"{partner} .1 .1 .1", "Ca1 .9 .9 .9", f"H1 {x:.6f} .1 .1"], f"Ca {partner[:-1]} H"))
    assert evidence.d_xh_min_a == evidence.d_xh_max_a == pytest.approx((x - 0.1) * 12, abs=1e-4)
    assert [c for c in evidence.codes if c in (Code.XRAY_SHORTENED, Code.XH_DISTANCE_ODD)] == ([code] if code else [])


def test_hydrogens_too_close() -> None:
    near = judge(cif([*HOST, "H1 .18 .1 .1", "H2 .1 .18 .1"], "Ca O H2"))
    assert near.d_hh_min_a == pytest.approx(0.08 * 12 * 2**0.5)
    assert Code.HH_DISTANCE_SHORT not in near.codes
    assert Code.HH_DISTANCE_SHORT in judge(cif([*HOST, "H1 .18 .1 .1", "H2 .16 .16 .1"], "Ca O H2")).codes


# Portlandite without its hydrogens; lattice and the one free coordinate are in any textbook.
PORTLANDITE = (
    "data_p\n_cell_length_a 3.59\n_cell_length_b 3.59\n_cell_length_c 4.91\n_cell_angle_gamma 120\n"
    "_chemical_formula_sum 'Ca H2 O2'\n_symmetry_space_group_name_H-M 'P -3 m 1'\nloop_\n_atom_site_label\n"
    "_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nCa1 0 0 0\nO1 0.3333 0.6667 0.234\n"
)


def test_charges_and_bond_valences_support_a_count() -> None:
    evidence = judge(PORTLANDITE)
    assert (evidence.n_missing, evidence.charge_balance, evidence.bond_valence_missing) == (2, 0, 2)
    assert {Code.CHARGE_BALANCED, Code.BOND_VALENCE_CONFIRMS} <= set(evidence.codes)
    wrong = judge(PORTLANDITE.replace("'Ca H2 O2'", "'Ca H4 O2'"))
    assert (wrong.charge_balance, wrong.bond_valence_missing) == (2, 2)
    assert {Code.CHARGE_UNBALANCED, Code.BOND_VALENCE_DISAGREES} <= set(wrong.codes)
    assert wrong.confidence < evidence.confidence
    declared = judge(PORTLANDITE.replace("Ca1 0", "Ca4+ 0").replace("_atom_site_label", "_atom_site_type_symbol"))
    assert declared.charge_balance == 2
    organic = judge(cif(["C1 .1 .1 .1", "O1 .2 .1 .1"], "C O H4"))
    assert (organic.charge_balance, organic.bond_valence_missing) == (None, None)


def test_isotopes() -> None:
    assert Code.DEUTERIUM in judge(cif([*HOST, "D1 .2 .1 .1"], "Ca O D")).codes
    tritium = judge(cif([*HOST, "T1 .2 .1 .1"], "Ca O T"))
    assert (tritium.n_missing, tritium.n_sites) == (0, 1)
    assert Code.TRITIUM in tritium.codes
    assert Code.DEUTERIUM not in tritium.codes


def test_refined_sites_carry_an_uncertainty() -> None:
    evidence = judge(cif([*HOST, "H1 .18(1) .1 .1", "H2 .1 .18 .1"], "Ca O H2"))
    assert (evidence.n_refined, evidence.n_sites) == (1, 2)


def test_the_documentation_holds_every_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "census.md").read_text(encoding="utf-8")
    assert codes_markdown() in text
