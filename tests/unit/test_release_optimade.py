import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optimade.models import EntryInfoResource, StructureResource

from hinpaint.config import parse_config
from hinpaint.crystal import Crystal
from hinpaint.release.completion import Completion
from hinpaint.release.manifest import list_files, resolved, write_manifest
from hinpaint.release.optimade import (
    PROPERTIES,
    anonymous_formula,
    header_line,
    info_line,
    reduced_counts,
    server_config,
    structure_line,
)
from hinpaint.sources.optimade import parse_optimade, read_lines
from hinpaint.sources.records import ParsedRecord

REQUIRED = {
    "elements", "nelements", "elements_ratios", "chemical_formula_descriptive", "chemical_formula_reduced",
    "chemical_formula_anonymous", "dimension_types", "nperiodic_dimensions", "lattice_vectors",
    "cartesian_site_positions", "nsites", "species", "species_at_sites", "structure_features", "last_modified",
    "immutable_id",
}  # fmt: skip
JUDGED_VALUES = {"confidence": 0.9, "confidence_strict": 0.8, "grade": "accept", "gap_mev_per_atom": 1.5}
COMPLETION = Completion("cod|1|x", "completed", "H", -1.5, 3, 4, "nequip", None, "ab", "CC0-1.0", "0.1.0")

JUDGED = replace(COMPLETION, model_sha256="ab", doubts=("short_x_h",), **JUDGED_VALUES)


def _crystal() -> Crystal:
    host = Crystal.build(np.diag([3.0, 4.0, 5.0]), ["Mg", "O", "O"], [[0, 0, 0], [0.25, 0.5, 0.1], [0.75, -0.5, 0.9]])
    return host.add_unknown("H", [[0.2, 0.5, 0.3], [0.8, 0.5, 0.7]])


def test_a_line_has_all_properties_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "structures.jsonl"
    line = structure_line(_crystal(), COMPLETION, "kept", "<x>", "cod~1~x")
    path.write_text(f"{header_line()}\n{info_line()}\n{line}\n")
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


@pytest.mark.parametrize("completion", [COMPLETION, JUDGED])
def test_a_line_is_what_optimade_models_accept(completion: Completion) -> None:
    resource = json.loads(structure_line(_crystal(), completion, "kept", "<x>", "cod~1~x"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = StructureResource.model_validate(resource)
    assert model.attributes.nsites == 5
    assert [site.name for site in model.attributes.species or []] == ["H", "Mg", "O"]
    broken = {**resource, "attributes": {**resource["attributes"], "nsites": 4}}
    with pytest.raises(ValueError, match="nsites"):
        StructureResource.model_validate(broken)


def test_every_property_of_ours_is_described() -> None:
    info = json.loads(info_line())
    assert EntryInfoResource.model_validate(info).id == "structures"
    attributes = json.loads(structure_line(_crystal(), JUDGED, "kept", "<x>", "cod~1~x"))["attributes"]
    ours = {name: value for name, value in attributes.items() if name.startswith("_hinpaint_")}
    assert info["properties"].keys() == ours.keys() == {f"_hinpaint_{name}" for name in PROPERTIES}
    types = {"string": str, "integer": int, "float": float, "list": list}
    for name, value in ours.items():
        assert value is None or isinstance(value, types[info["properties"][name]["type"]]), name
    configured = json.loads(server_config())["provider_fields"]["structures"]
    assert {field["name"] for field in configured} == ours.keys()


@pytest.mark.slow
def test_the_reference_server_answers(tmp_path: Path) -> None:
    lines = [structure_line(_crystal(), each, "kept", "x", name) for each, name in ((COMPLETION, "a"), (JUDGED, "b"))]
    path = tmp_path / "structures.jsonl"
    path.write_text("\n".join([header_line(), info_line(), *lines]) + "\n")
    (tmp_path / "optimade.json").write_text(server_config())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"OPTIMADE_CONFIG_FILE": "optimade.json", "OPTIMADE_INSERT_FROM_JSONL": str(path)}
    command = [sys.executable, "-m", "uvicorn", "optimade.server.main:app", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=os.environ | settings, stdout=log, stderr=log)  # noqa: S603
    try:
        found = _ask(server, port, "structures", '_hinpaint_grade="accept" AND elements HAS "Mg"')
        assert [each["id"] for each in found["data"]] == ["b"]
        assert found["data"][0]["attributes"]["_hinpaint_doubts"] == ["short_x_h"]
        assert found["meta"]["provider"]["prefix"] == "hinpaint"
        assert _ask(server, port, "structures", "_hinpaint_n_added>=2")["meta"]["data_returned"] == 2
        assert _ask(server, port, "structures", "_hinpaint_confidence>0.95")["data"] == []
        properties = _ask(server, port, "info/structures")["data"]["properties"]
        assert properties["_hinpaint_energy_ev"]["unit"] == "eV"
    finally:
        server.terminate()
        server.wait(20)


def _ask(server: subprocess.Popen[bytes], port: int, endpoint: str, question: str | None = None) -> Any:
    """Ask until the server is up."""
    query = "?" + urllib.parse.urlencode({"filter": question}) if question else ""
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/{endpoint}{query}", timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            pytest.fail(f"{error}: {error.read()[:500]!r}")
        except urllib.error.URLError:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.3)


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
        (tmp_path / f"mine.{suffix}").write_text('{"conditioning": "td", "sha256": "a"}')
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
