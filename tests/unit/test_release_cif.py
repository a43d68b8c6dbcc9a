from dataclasses import replace

import gemmi
import numpy as np
import pytest
from cif_items import lost_items
from gemmi import cif

from hinpaint.crystal import Crystal
from hinpaint.release import dictionary
from hinpaint.release.cif import complete_cif, source_operators
from hinpaint.release.completion import Completion
from hinpaint.release.formula import formula_units
from hinpaint.release.roundtrip import check_round_trip
from hinpaint.release.symmetry import Placement, find_placement, without_symmetry
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.records import ParsedRecord
from hinpaint.tables import DECISIONS

OPERATORS = "\n".join(op.triplet() for op in gemmi.find_spacegroup_by_name("P -3 m 1").operations())
BRUCITE = f"""\
#$Licence: public domain$
# a comment
data_brucite
_chemical_name_mineral  'Brucite; "quoted" & <b>bold</b>'
_publ_section_title
;
 On the 'structure' of brucite
 data_evil
 loop_ _evil x
;
_chemical_formula_sum   'H2 Mg O2'
_cell_length_a 3.147(4)
_cell_length_b 3.147(4)
_cell_length_c 4.769(4)
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_cell_formula_units_Z 1
_symmetry_space_group_name_H-M 'P -3 m 1'
_symmetry_Int_Tables_number 164
_symmetry_cell_setting trigonal
loop_
_symmetry_equiv_pos_as_xyz
{OPERATORS}
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_symmetry_multiplicity
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_U_iso_or_equiv
_atom_site_disorder_group
_atom_site_attached_hydrogens
Mg1 Mg2+ 1 0 0 0 1 0.0050(3) . 0
O1 O2- 2 0.3333 0.6667 0.2203(5) 1 0.0062(4) . 1
loop_
_atom_site_aniso_label
_atom_site_aniso_U_11
O1 0.0061(2)
"""
JUDGED = ("confidence", "confidence_strict", "grade", "doubts", "gap_eV_per_atom")
ON_AXIS = np.array([[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, 0.58]])
ONE_SIDED = np.array([[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, 0.70]])
GENERAL = np.array([[0.40, 0.60, 0.42], [0.60, 0.30, 0.60]])


def _completion(
    action: str = "completed", element: str = "H", key: str = "cod|1|x", licence: str = "CC0-1.0"
) -> Completion:
    return Completion(key, action, element, -12.5, 7, 9, "sevennet-0", "ab" * 32, "cd" * 32, licence, "0.1.0")


def _complete(
    text: str, frac: np.ndarray, completion: Completion | None = None, symmetric: bool = True
) -> tuple[str, Crystal, Placement]:
    completion = completion or _completion()
    record = parse_cif(text)
    assert isinstance(record, ParsedRecord)
    host = Crystal.build(record.lattice, record.species, record.cell_frac)
    if completion.action == "replaced":
        host = host.take(~host.is_element(completion.element))
    operators = source_operators(text)
    placement = find_placement(operators, record.lattice, frac)
    if not symmetric:
        placement = without_symmetry(operators, record.lattice, frac, refused="gemmi: a host site is gone")
    expected = host.add_unknown(completion.element, placement.frac)
    return complete_cif(text, record, completion, placement), expected, placement


def _sites(text: str) -> dict[str, dict[str, str]]:
    block = cif.read_string(text)[0]
    loop = block.find_loop("_atom_site_fract_x").get_loop()
    names = [tag.removeprefix("_atom_site_") for tag in loop.tags]
    table = block.find(list(loop.tags))
    return {row[names.index("label")]: dict(zip(names, row, strict=True)) for row in table}


def _values(block: cif.Block) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in block:
        if item.pair is not None:
            found[item.pair[0]] = [item.pair[1]]
        elif item.loop is not None:
            for i, tag in enumerate(item.loop.tags):
                found[tag] = list(item.loop.values)[i :: item.loop.width()]
    return found


def test_brucite_keeps_its_symmetry_and_its_formula_closes() -> None:
    text, expected, placement = _complete(BRUCITE, ON_AXIS)
    assert placement.kind == "kept"
    assert check_round_trip(text, expected) is None
    sites = _sites(text)
    assert list(sites) == ["Mg1", "O1", "H_hp1"]
    assert sites["H_hp1"] == {
        "label": "H_hp1", "type_symbol": "H", "symmetry_multiplicity": "2", "fract_x": "0.333333",
        "fract_y": "0.666667", "fract_z": "0.420000", "occupancy": "1", "U_iso_or_equiv": "?", "disorder_group": ".",
        "attached_hydrogens": ".", "calc_flag": "calc",
    }  # fmt: skip
    assert sites["O1"]["fract_z"] == "0.2203(5)"
    assert sites["O1"]["calc_flag"] == "."
    assert sites["O1"]["attached_hydrogens"] == "0"
    aside = _values(cif.read_string(text)[0])
    assert aside["_hinpaint_original_atom_site_label"] == ["O1"]
    assert aside["_hinpaint_original_atom_site_attached_hydrogens"] == ["1"]
    record = parse_cif(text)
    assert isinstance(record, ParsedRecord)
    assert record.formula is not None
    assert record.cell_counts() == {e: n * (record.z or 0) for e, n in record.formula.counts.items()}


def test_every_original_item_stays_as_written_when_symmetry_is_kept() -> None:
    text, _, _ = _complete(BRUCITE, ON_AXIS)
    assert not lost_items(cif.read_string(BRUCITE), cif.read_string(text))
    before, after = _values(cif.read_string(BRUCITE)[0]), _values(cif.read_string(text)[0])
    added = ("_hinpaint_", "_atom_site_calc_flag", "_audit_conform_dict_", "_tcod_software_package")
    assert all(tag in before or tag.startswith(added) for tag in after)
    assert text.startswith("#$Licence: public domain$\n# a comment\ndata_brucite\n")


def test_provenance_items() -> None:
    text, _, _ = _complete(BRUCITE, ON_AXIS)
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
    judged = replace(_completion(), confidence=0.91234, confidence_strict=0.8, grade="review", gap_mev_per_atom=12.5)
    block = cif.read_string(_complete(BRUCITE, ON_AXIS, replace(judged, doubts=("short_x_h", "one_trial_only")))[0])[0]
    said = {name: cif.as_string(block.find_value(f"_hinpaint_{name}")) for name in JUDGED}
    assert said == dict(zip(JUDGED, ("0.912", "0.800", "review", "short_x_h one_trial_only", "0.012500"), strict=True))
    alone = replace(judged, doubts=(), gap_mev_per_atom=None)
    block = cif.read_string(_complete(BRUCITE, ON_AXIS, alone)[0])[0]
    assert [block.find_value(f"_hinpaint_{name}") for name in JUDGED[3:]] == [".", "."]


def test_a_completion_is_read_from_rows() -> None:
    judged = replace(_completion(), confidence=0.9, confidence_strict=0.8, grade="accept", doubts=("short_x_h",))
    row = {name: getattr(judged, name) for name in DECISIONS.schema.names if hasattr(judged, name)}
    entry = {"source_sha256": "cd" * 32, "licence": "CC0-1.0"}
    assert Completion.from_rows(row | {"doubts": ["short_x_h"]}, entry, "0.1.0") == judged


def test_lowered_symmetry_expands_the_host_and_keeps_the_originals_aside() -> None:
    text, expected, placement = _complete(BRUCITE, ONE_SIDED)
    assert placement.kind == "lowered"
    assert check_round_trip(text, expected) is None
    sites = _sites(text)
    assert list(sites) == ["Mg1", "O1", "O1_2", "H_hp1", "H_hp2"]
    assert sites["O1"]["fract_z"] == "0.2203(5)"
    assert sites["O1_2"]["fract_z"] == "0.779700"
    assert {site["symmetry_multiplicity"] for site in sites.values()} == {"1"}
    before, after = _values(cif.read_string(BRUCITE)[0]), _values(cif.read_string(text)[0])
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
    text, expected, placement = _complete(BRUCITE, frac, symmetric=symmetric)
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
    text, expected, _ = _complete(DUMMIES, ON_AXIS)
    assert check_round_trip(text, expected) is None
    sites = _sites(text)
    assert list(sites) == ["Mg1", "O1", "H_hp1"]
    assert sites["O1"]["calc_flag"] == "d"
    after = _values(cif.read_string(text)[0])
    assert after["_hinpaint_original_atom_site_label"] == ["H1"]
    assert after["_hinpaint_original_atom_site_calc_flag"] == ["dum"]


def test_replaced_sites_of_the_element_go_and_others_stay() -> None:
    source = BRUCITE.replace("_atom_site_aniso_label", "_x").replace(
        "0.0062(4) . 1\n", "0.0062(4) . 1\nH_hp1 H 2 0.3333 0.6667 0.45 1 ? . .\n"
    )
    text, expected, _ = _complete(source, ON_AXIS, _completion("replaced"))
    assert check_round_trip(text, expected) is None
    sites = _sites(text)
    assert [site["type_symbol"] for site in sites.values()] == ["Mg2+", "O2-", "H"]
    assert _values(cif.read_string(text)[0])["_hinpaint_original_atom_site_label"] == ["O1", "H_hp1"]


def test_present_sites_stay_and_labels_are_unique() -> None:
    source = BRUCITE.replace("0.0062(4) . 1\n", "0.0062(4) . 1\nH_hp1 H 1 0 0 0.5 1 ? . .\n")
    text, expected, _ = _complete(source, ON_AXIS)
    assert check_round_trip(text, expected) is None
    assert list(_sites(text)) == ["Mg1", "O1", "H_hp1", "H_hp1x1"]


def test_deuterium_is_written_where_the_formula_has_it_alone() -> None:
    text, expected, _ = _complete(BRUCITE.replace("H2 Mg O2", "D2 Mg O2"), ON_AXIS)
    assert _sites(text)["D_hp1"]["type_symbol"] == "D"
    assert check_round_trip(text, expected) is None


def test_missing_columns_operators_and_angles_are_written() -> None:
    source = """data_x
_cell_length_a 5
_cell_length_b 5
_cell_length_c 6
_symmetry_space_group_name_H-M 'P 4'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Wat1 0 0.5 0.1
CA1 0 0 0
"""
    text, expected, placement = _complete(source, np.array([[0.1, 0.4, 0.2]]))
    assert check_round_trip(text, expected) is None
    assert [site["type_symbol"] for site in _sites(text).values()][:2] == ["O", "O"]
    kept, expected, placement = _complete(source, np.array([[0.0, 0.0, 0.5]]))
    assert placement.kind == "kept"
    assert check_round_trip(kept, expected) is None
    assert _values(cif.read_string(kept)[0])["_cell_angle_beta"] == ["90"]
    assert len(_values(cif.read_string(kept)[0])["_space_group_symop_operation_xyz"]) == 4


def test_empty_type_symbols_are_filled_in() -> None:
    text, expected, _ = _complete(BRUCITE.replace("O1 O2- 2", "O1 ? 2"), ON_AXIS)
    assert check_round_trip(text, expected) is None
    assert [site["type_symbol"] for site in _sites(text).values()] == ["Mg2+", "O", "H"]


def test_an_operator_list_without_the_identity_is_completed() -> None:
    text, expected, _ = _complete(BRUCITE.replace("\nx,y,z\n", "\n", 1), ON_AXIS)
    assert check_round_trip(text, expected) is None
    after = _values(cif.read_string(text)[0])
    assert len(after["_space_group_symop_operation_xyz"]) == 12
    assert len(after["_hinpaint_original_symmetry_equiv_pos_as_xyz"]) == 11


def test_repeated_tags_become_readable() -> None:
    source = BRUCITE + "_cell_volume 40.9\n_cell_volume 41.0\nloop_\n_cell_volume\n_b\n1 2\n3 4\n"
    with pytest.raises((ValueError, RuntimeError)):
        cif.read_string(source)
    text, expected, _ = _complete(source, ON_AXIS)
    assert check_round_trip(text, expected) is None
    after = _values(cif.read_string(text)[0])
    assert after["_cell_volume"] == ["40.9"]
    assert after["_hinpaint_repeated_2_cell_volume"] == ["41.0"]
    assert after["_hinpaint_repeated_3_cell_volume"] == ["1", "3"]


def test_other_blocks_and_hostile_text_stay_what_they_are() -> None:
    licence = "CC0' \" ;\n;\nloop_\n_evil\n1"
    key = "cod|1|data_x ' \" _evil # $(id)"
    text, expected, _ = _complete(BRUCITE + "data_other\n_a 'b c'\n", ON_AXIS, _completion(key=key, licence=licence))
    assert check_round_trip(text, expected) is None
    document = cif.read_string(text)
    assert [block.name for block in document] == ["brucite", "other"]
    assert document[1].find_value("_a") == "'b c'"
    block = document[0]
    assert block.find_value("_evil") is None
    assert cif.as_string(block.find_value("_hinpaint_entry_key")).split() == key.split()
    assert cif.as_string(block.find_value("_hinpaint_source_licence")).split() == licence.split()
    assert "data_evil" in cif.as_string(block.find_value("_publ_section_title"))


def test_header_comments_cannot_turn_into_content() -> None:
    text, _, _ = _complete("# a\rdata_evil\r\n" + BRUCITE, ON_AXIS)
    assert [block.name for block in cif.read_string(text)] == ["brucite"]


def test_sites_written_as_single_items() -> None:
    source = """data_x
_cell_length_a 4
_cell_length_b 4
_cell_length_c 4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P m -3 m'
_atom_site_label Li1
_atom_site_fract_x 0
_atom_site_fract_y 0
_atom_site_fract_z 0
"""
    text, expected, placement = _complete(source, np.array([[0.5, 0.5, 0.5]]))
    assert placement.kind == "kept"
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
    text, expected, _ = _complete(BRUCITE, ON_AXIS)
    assert old in text
    reason = check_round_trip(text.replace(old, new, 1), expected)
    assert reason is not None
    assert said in reason


def test_a_formula_without_the_hydrogen_is_written_anew() -> None:
    source = BRUCITE.replace("'H2 Mg O2'", "'Mg O2'\n_chemical_formula_weight 56.30")
    text, expected, _ = _complete(source, ON_AXIS)
    assert check_round_trip(text, expected) is None
    after = _values(cif.read_string(text)[0])
    assert (after["_chemical_formula_sum"], after["_chemical_formula_weight"]) == (["'H2 Mg O2'"], ["58.320"])
    assert after["_hinpaint_original_chemical_formula_sum"] == ["'Mg O2'"]
    assert after["_hinpaint_original_chemical_formula_weight"] == ["56.30"]
    assert not lost_items(cif.read_string(source), cif.read_string(text))


def test_a_formula_that_closes_stays_and_its_units_are_counted() -> None:
    units = "_cell_formula_units_Z 1\n"
    for given, written in (("", "1"), ("_cell_formula_units_Z ?\n", "1"), ("_cell_formula_units_Z 4\n", "1")):
        source = BRUCITE.replace(units, given)
        after = _values(cif.read_string(_complete(source, ON_AXIS)[0])[0])
        assert after["_chemical_formula_sum"] == ["'H2 Mg O2'"]
        assert after["_cell_formula_units_Z"] == [written]
        assert after.get("_hinpaint_original_cell_formula_units_Z") == (["4"] if "4" in given else None)


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


def test_attached_hydrogens_stay_where_fewer_were_placed() -> None:
    text, _, _ = _complete(BRUCITE, ON_AXIS[:1])
    assert {site["attached_hydrogens"] for site in _sites(text).values()} == {"0", "1", "."}


@pytest.mark.parametrize(
    "given",
    [
        "_audit_conform_dict_name cif_core.dic\n_audit_conform_dict_version 2.4.5\n",
        "loop_\n_Audit_conform_dict_version\n_audit_conform_dict_name\n_audit_conform_x\n2.4.5 cif_core.dic x\n",
        "",
    ],
)
def test_dictionaries_are_named_beside_those_of_the_source(given: str) -> None:
    source = BRUCITE.replace("_chemical_name_mineral", given + "_chemical_name_mineral", 1)
    text, expected, _ = _complete(source, ON_AXIS)
    assert check_round_trip(text, expected) is None
    assert not lost_items(cif.read_string(source), cif.read_string(text))
    rows = _dictionaries(text)
    assert [row[0] for row in rows] == [*(["cif_core.dic"] if given else []), "cif_hinpaint.dic", "cif_tcod.dic"]
    assert rows[-2] == ("cif_hinpaint.dic", dictionary.VERSION, "cif_hinpaint.dic")
    again, _, _ = _complete(text, ON_AXIS + [0.3, 0.3, 0.1])
    assert _dictionaries(again) == rows


def _dictionaries(text: str) -> list[tuple[str, ...]]:
    table = cif.read_string(text)[0].find("_audit_conform_dict_", ["name", "version", "location"])
    return [tuple(cif.as_string(value) for value in row) for row in table]


def test_the_program_of_a_theoretical_source_is_not_replaced() -> None:
    text, _, _ = _complete(BRUCITE + "_tcod_software_package VASP\n", ON_AXIS)
    block = cif.read_string(text)[0]
    assert block.find_value("_tcod_software_package") == "VASP"
    assert block.find_value("_tcod_software_package_version") is None
    assert [row[0] for row in _dictionaries(text)] == ["cif_hinpaint.dic"]


def test_a_centroid_is_no_atom() -> None:
    source = BRUCITE.replace("_atom_site_type_symbol\n", "_atom_site_calc_flag\n").replace(" Mg2+ ", " . ").replace(
        "O1 O2- 2", "Cg1 dum 1 0.5 0.5 0.3 1 . . .\nO1 . 2"
    )  # fmt: skip
    for frac in (ON_AXIS, GENERAL):
        text, expected, _ = _complete(source, frac)
        assert check_round_trip(text, expected) is None
        assert _sites(text)["Cg1"]["type_symbol"] == "."
