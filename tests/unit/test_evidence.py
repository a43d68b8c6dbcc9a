"""Counting hydrogen: invented CIF text whose answer is known."""
# ruff: noqa: E501 - a case reads best on one line

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hinpaint.codes import CODE_EXPLANATIONS, Code
from hinpaint.config import Mode
from hinpaint.evidence import Evidence, choose_mode, weigh
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.records import ParsedRecord
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
    assert 0.8 < evidence.confidence <= 1
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


def test_less_evidence_is_less_sure() -> None:
    formula_and_label = judge(cif(["Wat1 .1 .1 .1", "Ca1 .5 .5 .5"], "Ca O H2", 1)).confidence
    formula = judge(cif(HOST, "Ca O H2", 1)).confidence
    attached = judge(cif(["O1 .1 .1 .1 2", "Ca1 .5 .5 .5 0"], None, columns="attached_hydrogens")).confidence
    assert 1 > formula_and_label > formula > attached > 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (cif(HOST, "Ca O"), Reason.NO_TARGET_ELEMENT),
        (cif(["Wat1 .1 .1 .1"], None), Reason.FORMULA_UNREADABLE),
        (cif([*HOST, "H1 .2 .1 .1"], None), Reason.FORMULA_UNREADABLE),
        (cif(["H1 .2 .1 .1"], "H2"), Reason.NO_HOST),
        (cif(HOST, "Ca O2 H2"), Reason.FORMULA_MISMATCH),
        (cif(HOST, "Ca O Na H2"), Reason.FORMULA_MISMATCH),
        (cif(HOST, "Ca O H0.5"), Reason.DISORDERED_HYDROGEN),
        (cif(["O1 .1 .1 .1 .5", "O2 .2 .1 .1 .5", "Ca1 .5 .5 .5 1"], "Ca O H2", columns="occupancy"), Reason.DISORDERED_HOST),
        (cif(["O1 .1 .1 .1 1", "Ca1 .5 .5 .5 1", "H1 .2 .1 .1 .5"], "Ca O H2", columns="occupancy"), Reason.DISORDERED_HYDROGEN),
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
    assert set(CODE_EXPLANATIONS) == set(Code)
    assert np.all([text and not text.endswith(".") for text in CODE_EXPLANATIONS.values()])
