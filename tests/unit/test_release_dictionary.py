"""The CIF dictionary we ship says all that released CIFs hold, and nothing else."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dictionary_check import read_definitions, violations
from gemmi import cif
from sample_crystals import BRUCITE_CELL

from hinpaint.release.completion import Completion
from hinpaint.release.dictionary import NAME, VERSION, dictionary_text, items_markdown
from hinpaint.release.entry import Changed, Released, release_entry, source_host
from hinpaint.release.items import ITEMS, ORIGINALS, replaced_tag
from hinpaint.release.optimade import PROPERTIES
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.records import ParsedRecord

ROOT = Path(__file__).parents[2]
DEFINITIONS = read_definitions(dictionary_text())
SOURCE = f"""data_brucite
{BRUCITE_CELL}_symmetry_space_group_name_H-M 'P -3 m 1'
_chemical_formula_sum 'Mg O2'
_cell_formula_units_Z 1
_cell_volume 40.9
_cell_volume 40.9
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Mg1 0 0 0
O1 0.3333 0.6667 0.2203
"""
PLACED = {
    "kept": [[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, 0.58]],
    "lowered": [[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, 0.70]],
    "P1": [[0.40, 0.60, 0.42], [0.60, 0.30, 0.60]],
}
PLAIN = Completion("cod|1|x", "completed", "H", -12.5, 7, 9, "sevennet-0", "ab" * 32, "cd" * 32, "CC0-1.0", "0.1.0")
JUDGED = replace(PLAIN, confidence=0.9, confidence_strict=0.75, grade="accept", doubts=("x", "y"), gap_mev_per_atom=3.0)


def _released(kind: str, completion: Completion, source_format: str) -> cif.Block:
    record = parse_cif(SOURCE)
    assert isinstance(record, ParsedRecord)
    row = {"lattice": record.lattice, "species": record.species, "frac": record.cell_frac, "mode": "reconstruct"}
    changed = Changed(completion, source_host(row, "H"), np.array(PLACED[kind]), "x", "x")
    released = release_entry(changed, source_format, SOURCE)
    assert isinstance(released, Released), released
    return cif.read_string(released.cif)[0]


@pytest.fixture(scope="module")
def blocks() -> list[cif.Block]:
    return [_released(k, c, f) for k in PLACED for c in (PLAIN, JUDGED) for f in ("cif", "optimade")]


def _tags(block: cif.Block) -> set[str]:
    return {tag for item in block for tag in (item.loop.tags if item.loop is not None else item.pair[:1])}


def test_released_files_conform(blocks: list[cif.Block]) -> None:
    for block in blocks:
        assert violations(block, DEFINITIONS) == []
        names = [cif.as_string(value) for value in block.find_values("_audit_conform_dict_name")]
        versions = [cif.as_string(value) for value in block.find_values("_audit_conform_dict_version")]
        assert dict(zip(names, versions, strict=True))[NAME] == VERSION


def test_every_item_is_written_and_every_written_one_is_defined(blocks: list[cif.Block]) -> None:
    tags = {tag for block in blocks for tag in _tags(block)}
    written = {tag for tag in tags if tag.startswith("_hinpaint_") and replaced_tag(tag) is None}
    assert written == {item.tag for item in ITEMS}
    originals = {f"_hinpaint_original{tag}" for family in ORIGINALS.values() for tag in family}
    assert written | originals == DEFINITIONS.keys()
    assert {tag for tag in tags if tag.startswith("_hinpaint_original")} <= originals
    assert "_hinpaint_repeated_2_cell_volume" in tags


def test_no_other_tag_stands_in_the_code() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "hinpaint" / "release").glob("*.py"))
    named = set(re.findall(r"_hinpaint_[A-Za-z0-9_]*[A-Za-z0-9]", sources))
    properties = {f"_hinpaint_{name}" for name in PROPERTIES}
    assert named - {"_hinpaint_original", "_hinpaint_repeated"} <= {item.tag for item in ITEMS} | properties


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("_hinpaint_action", "guessed"),
        ("_hinpaint_sites_added", "2.5"),
        ("_hinpaint_sites_added", "0"),
        ("_hinpaint_confidence", "1.01"),
        ("_hinpaint_energy_eV", "low"),
        ("_hinpaint_model_sha256", "'a b'"),
        ("_hinpaint_unheard_of", "1"),
    ],
)
def test_the_validator_notices(blocks: list[cif.Block], tag: str, value: str) -> None:
    (block,) = cif.read_string(blocks[0].as_string())
    block.set_pair(tag, value)
    assert len(violations(block, DEFINITIONS)) == 1


def test_numbers_have_units_and_states_have_meanings() -> None:
    for item in ITEMS:
        definition = DEFINITIONS[item.tag]
        assert (definition.units is not None) is (item.contents in ("Integer", "Real"))
        assert definition.states == item.values.keys()
        assert item.text.endswith(".")
        assert all(text.endswith(".") for text in item.values.values())


def test_the_dictionary_is_well_formed() -> None:
    (block,) = cif.read_string(dictionary_text())
    assert block.name == "CIF_HINPAINT"
    frames = [item.frame for item in block if item.frame is not None]
    categories = {f.find_value("_name.object_id").lower() for f in frames if f.find_value("_definition.scope")}
    assert all(f.find_value("_name.category_id").lower() in {*categories, "cif_hinpaint"} for f in frames)
    assert len({f.name.lower() for f in frames}) == len(frames)


def test_the_documents_are_up_to_date() -> None:
    assert (ROOT / "hinpaint" / "release" / NAME).read_text(encoding="utf-8") == dictionary_text()
    assert items_markdown() in (ROOT / "docs" / "cif.md").read_text(encoding="utf-8")
