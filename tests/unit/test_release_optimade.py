import json
from pathlib import Path

import numpy as np
import pytest

from hinpaint.config import parse_config
from hinpaint.crystal import Crystal
from hinpaint.release.cif import Completion
from hinpaint.release.manifest import list_files, resolved, write_manifest
from hinpaint.release.optimade import anonymous_formula, header_line, reduced_counts, structure_line
from hinpaint.sources.optimade import parse_optimade, read_lines
from hinpaint.sources.records import ParsedRecord

REQUIRED = {
    "elements", "nelements", "elements_ratios", "chemical_formula_descriptive", "chemical_formula_reduced",
    "chemical_formula_anonymous", "dimension_types", "nperiodic_dimensions", "lattice_vectors",
    "cartesian_site_positions", "nsites", "species", "species_at_sites", "structure_features", "last_modified",
    "immutable_id",
}  # fmt: skip
COMPLETION = Completion("cod|1|x", "completed", "H", -1.5, 3, 4, "nequip", None, "ab", "CC0-1.0", "0.1.0")


def _crystal() -> Crystal:
    host = Crystal.build(np.diag([3.0, 4.0, 5.0]), ["Mg", "O", "O"], [[0, 0, 0], [0.25, 0.5, 0.1], [0.75, -0.5, 0.9]])
    return host.add_unknown("H", [[0.2, 0.5, 0.3], [0.8, 0.5, 0.7]])


def test_a_line_has_all_properties_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "structures.jsonl"
    line = structure_line(_crystal(), COMPLETION, "kept", "<x>", "cod~1~x")
    path.write_text(f"{header_line()}\n{line}\n")
    attributes = json.loads(line)["attributes"]
    assert attributes.keys() >= REQUIRED
    assert all(key in REQUIRED or key.startswith("_hinpaint_") for key in attributes)
    assert attributes["chemical_formula_reduced"] == "H2MgO2"
    assert attributes["chemical_formula_anonymous"] == "A2B2C"
    assert attributes["elements_ratios"] == [0.4, 0.2, 0.4]
    assert attributes["_hinpaint_n_added"] == 2
    assert attributes["_hinpaint_source_id"] == "<x>"
    (record,) = read_lines(path)
    parsed = parse_optimade(record.text or "")
    assert isinstance(parsed, ParsedRecord)
    assert parsed.species == _crystal().species
    np.testing.assert_allclose(parsed.cell_frac, _crystal().frac, atol=1e-7)


def test_the_header_names_the_version() -> None:
    assert json.loads(header_line()) == {"x-optimade": {"meta": {"api_version": "1.1.0"}}}


@pytest.mark.parametrize(
    ("counts", "reduced", "anonymous"),
    [
        ({"O": 4, "H": 8}, {"H": 2, "O": 1}, "A2B"),
        ({"H": 3}, {"H": 1}, "A"),
        ({"Ca": 1, "O": 2, "H": 2}, {"Ca": 1, "H": 2, "O": 2}, "A2B2C"),
    ],
)
def test_formulae(counts: dict[str, int], reduced: dict[str, int], anonymous: str) -> None:
    assert reduced_counts(counts) == reduced
    assert anonymous_formula(reduced_counts(counts)) == anonymous


def test_manifest_lists_hashes_and_no_paths_of_the_machine(tmp_path: Path) -> None:
    source = {"database": "x", "version": "1", "format": "cif", "path": str(tmp_path), "licence": "CC0-1.0"}
    model = str(tmp_path / "mine.safetensors")
    for suffix in ("safetensors", "json"):
        (tmp_path / f"mine.{suffix}").write_text("{}")
    config = parse_config({"run": "r", "seed": 7, "sources": [source | {"mode": "benchmark"}], "model": model})
    folder = tmp_path / "release"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "a.txt").write_text("x")
    (folder / "a.txt").write_text("")
    path = write_manifest(folder, config, {"released": 1})
    content = json.loads(path.read_text())
    assert [file["path"] for file in content["files"]] == ["a.txt", "b/a.txt"]
    assert content["files"][0]["sha256"].startswith("e3b0c44298fc1c14")
    assert content["seed"] == 7
    assert content["config"]["trials"] == 10
    assert content["config"]["model"] == "mine.safetensors"
    assert content["config"]["sources"][0]["path"] == tmp_path.name
    assert str(tmp_path) not in path.read_text()
    first = path.read_bytes()
    assert write_manifest(folder, config, {"released": 1}).read_bytes() == first
    assert list_files(folder) == content["files"]
    assert resolved(config)["potential"]["name"] == "sevennet-0"
