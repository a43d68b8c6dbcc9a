"""Files that were completed before, and values that a completion must not get wrong or lose."""

from itertools import product

import numpy as np
import pytest
from cif_items import lost_items
from completed_cif import BRUCITE, ON_AXIS, ONE_SIDED, a_completion, complete, sites_of, values_of
from gemmi import cif

from hinpaint.crystal import Crystal
from hinpaint.ids import EntryKey
from hinpaint.release.entry import Changed, Released, release_entry
from hinpaint.release.licences import refusal
from hinpaint.release.roundtrip import check_round_trip
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.records import ParsedRecord

# A lithium that has no coordinates is set aside by the second completion only.
SOURCE = BRUCITE.replace("'H2 Mg O2'", "'H2 Li Mg O2'").replace(". 1\n", ". 1\nLi1 Li 1 . . . 1 ? . 0\n")
CENTRE, BESIDE = np.array([[0.0, 0.0, 0.5]]), np.array([[0.1, 0.25, 0.45]])


@pytest.mark.parametrize(("hydrogen", "lithium"), list(product((ON_AXIS, ONE_SIDED), (CENTRE, BESIDE))))
def test_a_second_completion_keeps_the_databases_originals(hydrogen: np.ndarray, lithium: np.ndarray) -> None:
    once, _, _ = complete(SOURCE, hydrogen)
    twice, expected, placement = complete(once, lithium, a_completion(element="Li", key="cod|1|x"))
    assert check_round_trip(twice, expected) is None
    assert not lost_items(cif.read_string(SOURCE), cif.read_string(twice))
    first, after = (values_of(cif.read_string(text)[0]) for text in (once, twice))
    labels = after["_hinpaint_original_atom_site_label"]
    assert labels[: len(first["_hinpaint_original_atom_site_label"])] == first["_hinpaint_original_atom_site_label"]
    assert len(labels) == len(set(labels) & {"Mg1", "O1", "Li1"})
    assert after["_hinpaint_element"] == ["Li"]
    assert ("_hinpaint_symmetry_detail" in after) == (placement.kind != "kept")


def test_replacing_placed_sites_again_sets_aside_none_of_them() -> None:
    once, _, _ = complete(BRUCITE, ON_AXIS)
    twice, expected, _ = complete(once, ONE_SIDED, a_completion("replaced"))
    assert check_round_trip(twice, expected) is None
    assert values_of(cif.read_string(twice)[0])["_hinpaint_original_atom_site_label"] == ["O1", "Mg1"]
    assert list(sites_of(twice)) == ["Mg1", "O1", "O1_2", "H_hp1", "H_hp2"]


def test_images_do_not_share_what_is_the_sites_own() -> None:
    own = "_atom_site_Cartn_z\n_atom_site_aniso_U_23\n"
    source = BRUCITE.replace("_atom_site_attached_hydrogens\n", own)
    source = source.replace(". 0\n", ". 0.0 0.001\n").replace(". 1\n", ". 1.05 0.002\n")
    sites = sites_of(complete(source, ONE_SIDED)[0])
    assert [(s["Cartn_z"], s["aniso_U_23"]) for s in (sites["O1"], sites["O1_2"])] == [("1.05", "0.002"), ("?", "?")]
    assert sites["O1_2"]["U_iso_or_equiv"] == "0.0062(4)"


def release(source: str, frac: np.ndarray) -> Released:
    record = parse_cif(source)
    assert isinstance(record, ParsedRecord)
    host = Crystal.build(record.lattice, record.species, record.cell_frac)
    released = release_entry(Changed(a_completion(), host, frac, "x", "x"), "cif", source)
    assert isinstance(released, Released), released
    return released


def test_a_block_of_sites_without_a_cell_may_come_first() -> None:
    sites = "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nO1 0.1 0.1 0.1\n"
    assert release(f"data_other\n{sites}{BRUCITE}", ON_AXIS).symmetry == "kept"


def test_operators_under_the_tag_with_a_dot_are_written_for_every_reader() -> None:
    lines = BRUCITE.replace("_symmetry_equiv_pos_as_xyz", "_space_group_symop.operation_xyz").splitlines()
    source = "\n".join(line for line in lines if not line.startswith("_symmetry_")) + "\n"
    released = release(source, ON_AXIS)
    assert released.symmetry == "kept"
    after = values_of(cif.read_string(released.cif)[0])
    assert len(after["_space_group_symop_operation_xyz"]) == 12
    assert not lost_items(cif.read_string(source), cif.read_string(released.cif))


def test_an_unknown_label_gets_one_that_is_free() -> None:
    text, expected, _ = complete(BRUCITE.replace("\nMg1 Mg2+", "\nO2 Mg2+").replace("\nO1 O2-", "\n? O2-"), ON_AXIS)
    assert check_round_trip(text, expected) is None
    assert list(sites_of(text)) == ["O2", "O2x1", "H_hp1"]


@pytest.mark.parametrize("source_id", ["\"';--  $x$ \\", " a", "a  ", "it's  \"", "?", ";", "\u00a0b"])
def test_keys_are_written_as_they_are(source_id: str) -> None:
    key = str(EntryKey("cod", "1", source_id))
    block = cif.read_string(complete(BRUCITE, ON_AXIS, a_completion(key=key))[0])[0]
    assert cif.as_string(block.find_value("_hinpaint_entry_key")) == key


@pytest.mark.parametrize(
    "licence",
    ["CC_BY_ND_4.0", "CCBYND", "CCBYNCND4.0", "No_Derivatives", "non-derivative", "NoDerivs", "proprietary (ICSD)",
     "LicenseRef-ICSD-proprietary", "LicenseRef-None", "(c) 2020 ICSD, all rights reserved", "no license",
     "Licence: none", "not specified", "None given", "n/a", "N/A", "?", " ", "may not be redistributed"],
)  # fmt: skip
def test_licences_that_forbid_or_grant_nothing(licence: str) -> None:
    assert refusal(licence, redistributable=True) is not None
    assert refusal(licence, redistributable=True, allowed=[licence]) is None


@pytest.mark.parametrize(
    "licence",
    ["CC-BY-4.0", "CC0-1.0", "CC-BY-NC-4.0", "CC BY-SA 4.0, 2nd edition", "ODbL", "ODbL-1.0", "MIT", "Unlicense",
     "public domain", "COD public domain", "AMCSD: attribution", "no rights reserved", "unrestricted", "x", "公有领域",
     "https://creativecommons.org/publicdomain/zero/1.0/", "Etalab-2.0", "BSD-3-Clause", "Nanda terms"],
)  # fmt: skip
def test_licences_that_allow_changed_copies(licence: str) -> None:
    assert refusal(licence, redistributable=True) is None


def test_a_formula_of_both_isotopes_keeps_both() -> None:
    cell = BRUCITE[BRUCITE.index("_cell_length_a") : BRUCITE.index("_cell_formula_units_Z")]
    source = f"""data_x
_chemical_formula_sum 'D H Mg O2'
_cell_formula_units_Z 1
{cell}loop_
_symmetry_equiv_pos_as_xyz
x,y,z
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Mg1 Mg 0 0 0 0.95
O1 O 0.3333 0.6667 0.22 1
O2 O 0.6667 0.3333 0.78 1
D1 D 0.3333 0.6667 0.42 1
"""
    values = values_of(cif.read_string(complete(source, ON_AXIS[1:])[0])[0])
    assert values["_chemical_formula_sum"] == ["'D H Mg0.95 O2'"]
    assert values["_hinpaint_original_chemical_formula_sum"] == ["'D H Mg O2'"]
    assert {"D", "H"} <= set(values["_atom_site_type_symbol"])
