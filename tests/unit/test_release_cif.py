from dataclasses import replace

import numpy as np
import pytest
from cif_items import lost_items
from completed_cif import BRUCITE, GENERAL, JUDGED, ON_AXIS, ONE_SIDED, a_completion, complete, sites_of, values_of
from gemmi import cif

from hinpaint.release.completion import Completion
from hinpaint.release.formula import formula_units
from hinpaint.release.roundtrip import check_round_trip
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.records import ParsedRecord
from hinpaint.tables import DECISIONS


def test_brucite_keeps_its_symmetry_and_its_formula_closes() -> None:
    text, expected, placement = complete(BRUCITE, ON_AXIS)
    assert placement.kind == "kept"
    assert check_round_trip(text, expected) is None
    sites = sites_of(text)
    assert list(sites) == ["Mg1", "O1", "H_hp1"]
    assert sites["H_hp1"] == {
        "label": "H_hp1", "type_symbol": "H", "symmetry_multiplicity": "2", "fract_x": "0.333333",
        "fract_y": "0.666667", "fract_z": "0.420000", "occupancy": "1", "U_iso_or_equiv": "?", "disorder_group": ".",
        "attached_hydrogens": ".", "calc_flag": "calc",
    }  # fmt: skip
    assert sites["O1"]["fract_z"] == "0.2203(5)"
    assert sites["O1"]["calc_flag"] == "."
    assert sites["O1"]["attached_hydrogens"] == "0"
    aside = values_of(cif.read_string(text)[0])
    assert aside["_hinpaint_original_atom_site_label"] == ["O1"]
    assert aside["_hinpaint_original_atom_site_attached_hydrogens"] == ["1"]
    record = parse_cif(text)
    assert isinstance(record, ParsedRecord)
    assert record.formula is not None
    assert record.cell_counts() == {e: n * (record.z or 0) for e, n in record.formula.counts.items()}


def test_every_original_item_stays_as_written_when_symmetry_is_kept() -> None:
    text, _, _ = complete(BRUCITE, ON_AXIS)
    assert not lost_items(cif.read_string(BRUCITE), cif.read_string(text))
    before, after = values_of(cif.read_string(BRUCITE)[0]), values_of(cif.read_string(text)[0])
    added = ("_hinpaint_", "_atom_site_calc_flag", "_audit_conform_dict_", "_tcod_software_package")
    assert all(tag in before or tag.startswith(added) for tag in after)
    assert text.startswith("#$Licence: public domain$\n# a comment\ndata_brucite\n")


def test_provenance_items() -> None:
    text, _, _ = complete(BRUCITE, ON_AXIS)
    block = cif.read_string(text)[0]
    expected = {
        "version": "0.1.0", "action": "completed", "sites_added": "2", "element": "H", "energy_eV": "-12.500000",
        "method": "score-based diffusion inpainting", "method_doi": "10.1038/s41524-026-02090-1",
        "trials_agreeing": "7",
        "model_sha256": "ab" * 32, "source_sha256": "cd" * 32, "potential": "sevennet-0", "symmetry": "kept",
        "symmetry_tolerance_A": "0.25",
    }  # fmt: skip
    assert {name: cif.as_string(block.find_value(f"_hinpaint_{name}")) for name in expected} == expected
    assert [block.find_value(f"_hinpaint_{name}") for name in JUDGED] == ["?"] * 5
    assert block.find_value("_tcod_software_package") == "hinpaint"
    assert block.find_value("_tcod_software_package_version") == "0.1.0"


def test_what_was_judged_is_said() -> None:
    judged = replace(a_completion(), confidence=0.91234, confidence_strict=0.8, grade="review", gap_mev_per_atom=12.5)
    block = cif.read_string(complete(BRUCITE, ON_AXIS, replace(judged, doubts=("short_x_h", "one_trial_only")))[0])[0]
    said = {name: cif.as_string(block.find_value(f"_hinpaint_{name}")) for name in JUDGED}
    assert said == dict(zip(JUDGED, ("0.912", "0.800", "review", "short_x_h one_trial_only", "0.012500"), strict=True))
    alone = replace(judged, doubts=(), gap_mev_per_atom=None)
    block = cif.read_string(complete(BRUCITE, ON_AXIS, alone)[0])[0]
    assert [block.find_value(f"_hinpaint_{name}") for name in JUDGED[3:]] == [".", "."]


def test_a_completion_is_read_from_rows() -> None:
    judged = replace(a_completion(), confidence=0.9, confidence_strict=0.8, grade="accept", doubts=("short_x_h",))
    row = {name: getattr(judged, name) for name in DECISIONS.schema.names if hasattr(judged, name)}
    entry = {"source_sha256": "cd" * 32, "licence": "CC0-1.0"}
    assert Completion.from_rows(row | {"doubts": ["short_x_h"]}, entry, "0.1.0") == judged


def test_lowered_symmetry_expands_the_host_and_keeps_the_originals_aside() -> None:
    text, expected, placement = complete(BRUCITE, ONE_SIDED)
    assert placement.kind == "lowered"
    assert check_round_trip(text, expected) is None
    sites = sites_of(text)
    assert list(sites) == ["Mg1", "O1", "O1_2", "H_hp1", "H_hp2"]
    assert sites["O1"]["fract_z"] == "0.2203(5)"
    assert sites["O1_2"]["fract_z"] == "0.779700"
    assert {site["symmetry_multiplicity"] for site in sites.values()} == {"1"}
    before, after = values_of(cif.read_string(BRUCITE)[0]), values_of(cif.read_string(text)[0])
    for tag, values in before.items():
        assert values in (after.get(tag), after.get(f"_hinpaint_original{tag}")), tag
    assert after["_symmetry_space_group_name_H-M"] == ["'P 3 m 1'"]
    assert after["_symmetry_Int_Tables_number"] == ["156"]
    assert after["_hinpaint_symmetry"] == ["lowered"]
    assert "6 of 12 operators" in after["_hinpaint_symmetry_detail"][0]
    assert "misses a placed site by 0.57 angstroms" in after["_hinpaint_symmetry_detail"][0]
    assert after["_hinpaint_symmetry_reason"] == ["placed_sites"]
    assert len(after["_space_group_symop_operation_xyz"]) == 6
    assert "_symmetry_equiv_pos_as_xyz" not in after


@pytest.mark.parametrize(("frac", "symmetric"), [(GENERAL, True), (ON_AXIS, False)])
def test_p1(frac: np.ndarray, symmetric: bool) -> None:
    text, expected, placement = complete(BRUCITE, frac, symmetric=symmetric)
    assert placement.kind == "P1"
    assert check_round_trip(text, expected) is None
    block = cif.read_string(text)[0]
    assert cif.as_string(block.find_value("_symmetry_space_group_name_H-M")) == "P 1"
    assert block.find_value("_hinpaint_symmetry_reason") == ("placed_sites" if symmetric else "read_back")


DUMMIES = (
    BRUCITE.replace("_atom_site_attached_hydrogens\n", "_atom_site_calc_flag\n")
    .replace(". 0\n", ". d\n")
    .replace(". 1\n", ". d\nH1 H 2 . . . 1 ? . dum\n")
)


def test_dummy_rows_give_way_and_stand_aside() -> None:
    text, expected, _ = complete(DUMMIES, ON_AXIS)
    assert check_round_trip(text, expected) is None
    sites = sites_of(text)
    assert list(sites) == ["Mg1", "O1", "H_hp1"]
    assert sites["O1"]["calc_flag"] == "d"
    after = values_of(cif.read_string(text)[0])
    assert after["_hinpaint_original_atom_site_label"] == ["H1"]
    assert after["_hinpaint_original_atom_site_calc_flag"] == ["dum"]


def test_replaced_sites_of_the_element_go_and_others_stay() -> None:
    source = BRUCITE.replace("_atom_site_aniso_label", "_x").replace(
        "0.0062(4) . 1\n", "0.0062(4) . 1\nH_hp1 H 2 0.3333 0.6667 0.45 1 ? . .\n"
    )
    text, expected, _ = complete(source, ON_AXIS, a_completion("replaced"))
    assert check_round_trip(text, expected) is None
    sites = sites_of(text)
    assert [site["type_symbol"] for site in sites.values()] == ["Mg2+", "O2-", "H"]
    assert values_of(cif.read_string(text)[0])["_hinpaint_original_atom_site_label"] == ["O1", "H_hp1"]


def test_present_sites_stay_and_labels_are_unique() -> None:
    source = BRUCITE.replace("0.0062(4) . 1\n", "0.0062(4) . 1\nH_hp1 H 1 0 0 0.5 1 ? . .\n")
    text, expected, _ = complete(source, ON_AXIS)
    assert check_round_trip(text, expected) is None
    assert list(sites_of(text)) == ["Mg1", "O1", "H_hp1", "H_hp1x1"]


def test_deuterium_is_written_where_the_formula_has_it_alone() -> None:
    text, expected, _ = complete(BRUCITE.replace("H2 Mg O2", "D2 Mg O2"), ON_AXIS)
    assert sites_of(text)["D_hp1"]["type_symbol"] == "D"
    assert check_round_trip(text, expected) is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.420000", "0.421000", "placed site"),
        ("H_hp1 H", "H_hp1 F", "sites, not"),
        ("0.2203(5)", "0.2303(5)", "host site"),
        ("3.147(4)", "3.247(4)", "cell"),
        ("\n-x,-y,-z\n", "\n-x,-y,-z+1/2\n", "not"),
        ("data_brucite", "no cif", "cannot read"),
    ],
)
def test_the_round_trip_notices(old: str, new: str, said: str) -> None:
    text, expected, _ = complete(BRUCITE, ON_AXIS)
    assert old in text
    reason = check_round_trip(text.replace(old, new, 1), expected)
    assert reason is not None
    assert said in reason


@pytest.mark.parametrize(
    ("declared", "counts", "units"),
    [
        ({"Mg": 1, "O": 2, "H": 2}, {"Mg": 4.0, "O": 8.0, "H": 8.0}, 4.0),
        ({"Mg": 1, "O": 2}, {"Mg": 4.0, "O": 8.0, "H": 8.0}, None),
        ({"Mg": 1, "O": 2, "H": 2}, {"Mg": 3.95, "O": 8.0, "H": 8.0}, 4.0),
        ({"Mg": 1, "O": 2, "H": 3}, {"Mg": 4.0, "O": 8.0, "H": 8.0}, None),
        ({"Mg": 1, "O": 2, "H": 2}, {"Mg": 0.5, "O": 1.0, "H": 1.0}, 0.5),
        ({}, {"H": 1.0}, None),
    ],
)
def test_formula_units(declared: dict[str, float], counts: dict[str, float], units: float | None) -> None:
    assert formula_units(declared, counts) == units
