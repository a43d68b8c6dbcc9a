"""Source files as they come: what is missing, doubled or odd in them is mended or stays."""

import numpy as np
import pytest
from cif_items import lost_items
from completed_cif import BRUCITE, GENERAL, ON_AXIS, a_completion, complete, sites_of, values_of
from gemmi import cif

from hinpaint.release import dictionary
from hinpaint.release.roundtrip import check_round_trip


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
    text, expected, placement = complete(source, np.array([[0.1, 0.4, 0.2]]))
    assert check_round_trip(text, expected) is None
    assert [site["type_symbol"] for site in sites_of(text).values()][:2] == ["O", "O"]
    kept, expected, placement = complete(source, np.array([[0.0, 0.0, 0.5]]))
    assert placement.kind == "kept"
    assert check_round_trip(kept, expected) is None
    assert values_of(cif.read_string(kept)[0])["_cell_angle_beta"] == ["90"]
    assert len(values_of(cif.read_string(kept)[0])["_space_group_symop_operation_xyz"]) == 4


def test_empty_type_symbols_are_filled_in() -> None:
    text, expected, _ = complete(BRUCITE.replace("O1 O2- 2", "O1 ? 2"), ON_AXIS)
    assert check_round_trip(text, expected) is None
    assert [site["type_symbol"] for site in sites_of(text).values()] == ["Mg2+", "O", "H"]


def test_an_operator_list_without_the_identity_is_completed() -> None:
    text, expected, _ = complete(BRUCITE.replace("\nx,y,z\n", "\n", 1), ON_AXIS)
    assert check_round_trip(text, expected) is None
    after = values_of(cif.read_string(text)[0])
    assert len(after["_space_group_symop_operation_xyz"]) == 12
    assert len(after["_hinpaint_original_symmetry_equiv_pos_as_xyz"]) == 11


def test_repeated_tags_become_readable() -> None:
    source = BRUCITE + "_cell_volume 40.9\n_cell_volume 41.0\nloop_\n_cell_volume\n_b\n1 2\n3 4\n"
    with pytest.raises((ValueError, RuntimeError)):
        cif.read_string(source)
    text, expected, _ = complete(source, ON_AXIS)
    assert check_round_trip(text, expected) is None
    after = values_of(cif.read_string(text)[0])
    assert after["_cell_volume"] == ["40.9"]
    assert after["_hinpaint_repeated_2_cell_volume"] == ["41.0"]
    assert after["_hinpaint_repeated_3_cell_volume"] == ["1", "3"]


def test_other_blocks_and_hostile_text_stay_what_they_are() -> None:
    licence = "CC0' \" ;\n;\nloop_\n_evil\n1"
    key = "cod|1|data_x ' \" _evil # $(id)"
    text, expected, _ = complete(BRUCITE + "data_other\n_a 'b c'\n", ON_AXIS, a_completion(key=key, licence=licence))
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
    text, _, _ = complete("# a\rdata_evil\r\n" + BRUCITE, ON_AXIS)
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
    text, expected, placement = complete(source, np.array([[0.5, 0.5, 0.5]]))
    assert placement.kind == "kept"
    assert check_round_trip(text, expected) is None


def test_a_formula_without_the_hydrogen_is_written_anew() -> None:
    source = BRUCITE.replace("'H2 Mg O2'", "'Mg O2'\n_chemical_formula_weight 56.30")
    text, expected, _ = complete(source, ON_AXIS)
    assert check_round_trip(text, expected) is None
    after = values_of(cif.read_string(text)[0])
    assert (after["_chemical_formula_sum"], after["_chemical_formula_weight"]) == (["'H2 Mg O2'"], ["58.320"])
    assert after["_hinpaint_original_chemical_formula_sum"] == ["'Mg O2'"]
    assert after["_hinpaint_original_chemical_formula_weight"] == ["56.30"]
    assert not lost_items(cif.read_string(source), cif.read_string(text))


def test_a_formula_that_closes_stays_and_its_units_are_counted() -> None:
    units = "_cell_formula_units_Z 1\n"
    for given, written in (("", "1"), ("_cell_formula_units_Z ?\n", "1"), ("_cell_formula_units_Z 4\n", "1")):
        source = BRUCITE.replace(units, given)
        after = values_of(cif.read_string(complete(source, ON_AXIS)[0])[0])
        assert after["_chemical_formula_sum"] == ["'H2 Mg O2'"]
        assert after["_cell_formula_units_Z"] == [written]
        assert after.get("_hinpaint_original_cell_formula_units_Z") == (["4"] if "4" in given else None)


def test_attached_hydrogens_stay_where_fewer_were_placed() -> None:
    text, _, _ = complete(BRUCITE, ON_AXIS[:1])
    assert {site["attached_hydrogens"] for site in sites_of(text).values()} == {"0", "1", "."}


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
    text, expected, _ = complete(source, ON_AXIS)
    assert check_round_trip(text, expected) is None
    assert not lost_items(cif.read_string(source), cif.read_string(text))
    rows = _dictionaries(text)
    assert [row[0] for row in rows] == [*(["cif_core.dic"] if given else []), "cif_hinpaint.dic", "cif_tcod.dic"]
    assert rows[-2] == ("cif_hinpaint.dic", dictionary.VERSION, "cif_hinpaint.dic")
    again, _, _ = complete(text, ON_AXIS + [0.3, 0.3, 0.1])
    assert _dictionaries(again) == rows


def _dictionaries(text: str) -> list[tuple[str, ...]]:
    table = cif.read_string(text)[0].find("_audit_conform_dict_", ["name", "version", "location"])
    return [tuple(cif.as_string(value) for value in row) for row in table]


def test_the_program_of_a_theoretical_source_is_not_replaced() -> None:
    text, _, _ = complete(BRUCITE + "_tcod_software_package VASP\n", ON_AXIS)
    block = cif.read_string(text)[0]
    assert block.find_value("_tcod_software_package") == "VASP"
    assert block.find_value("_tcod_software_package_version") is None
    assert [row[0] for row in _dictionaries(text)] == ["cif_hinpaint.dic"]


def test_a_centroid_is_no_atom() -> None:
    source = BRUCITE.replace("_atom_site_type_symbol\n", "_atom_site_calc_flag\n").replace(" Mg2+ ", " . ").replace(
        "O1 O2- 2", "Cg1 dum 1 0.5 0.5 0.3 1 . . .\nO1 . 2"
    )  # fmt: skip
    for frac in (ON_AXIS, GENERAL):
        text, expected, _ = complete(source, frac)
        assert check_round_trip(text, expected) is None
        assert sites_of(text)["Cg1"]["type_symbol"] == "."
