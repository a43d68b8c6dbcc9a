"""Compiled potentials: made once, taken only in the place they were made for, and never a reason to fail."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from hinpaint.config import ConfigError, parse_config, stage_settings
from hinpaint.files import sha256_file
from hinpaint.relaxation.compiling import Place, compile_potential, load_compiled
from hinpaint.relaxation.potentials import PotentialError
from hinpaint.relaxing import Potential


@pytest.fixture
def settings(tmp_path: Path) -> Potential:
    package = tmp_path / "broken.nequip.zip"
    package.write_bytes(b"not a package")
    return Potential(name="nequip", path=package, sha256=sha256_file(package), compile=True)


def _record(folder: Path, key: str, place: Place, content: bytes = b"machine code") -> Path:
    """What a compilation leaves behind."""
    file = folder / f"{key}.nequip.pt2"
    file.write_bytes(content)
    record = {**asdict(place), "file_sha256": sha256_file(file), "why": None}
    (folder / f"{key}.json").write_text(json.dumps(record))
    return file


def _why(settings: Potential, folder: Path) -> str:
    said: list[str] = []
    assert load_compiled(settings, folder, "cpu", said.append) is None
    (line,) = said
    assert line.startswith("nequip runs eagerly: ")
    return line


def test_the_key_names_package_torch_and_device() -> None:
    here = Place.here("a" * 64, "cpu")
    assert here.key == f"{'a' * 12}-{torch.__version__}-cpu"
    assert here.hardware
    others = [replace(here, package_sha256="b" * 64), replace(here, torch="1.0"), replace(here, device="cuda")]
    assert len({here.key, *(other.key for other in others)}) == 4


@pytest.mark.parametrize("name", ["package_sha256", "torch", "device", "hardware"])
def test_what_was_compiled_for_another_place_is_not_opened(
    name: str, settings: Potential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hinpaint.relaxation.compiling.load_potential", lambda *_: pytest.fail("it was opened"))
    here = Place.here(str(settings.sha256), "cpu")
    _record(tmp_path, here.key, replace(here, **{name: "another"}))
    assert "was compiled for another, this is" in _why(settings, tmp_path)


def test_a_file_of_another_torch_is_not_even_looked_at(settings: Potential, tmp_path: Path) -> None:
    other = replace(Place.here(str(settings.sha256), "cpu"), torch="1.0")
    _record(tmp_path, other.key, other)
    assert "there is no" in _why(settings, tmp_path)


def test_a_file_that_changed_is_not_opened(settings: Potential, tmp_path: Path) -> None:
    here = Place.here(str(settings.sha256), "cpu")
    _record(tmp_path, here.key, here).write_bytes(b"other code")
    assert "it was not opened" in _why(settings, tmp_path)


def test_a_damaged_file_and_a_damaged_record_are_no_failure(settings: Potential, tmp_path: Path) -> None:
    here = Place.here(str(settings.sha256), "cpu")
    _record(tmp_path, here.key, here)
    assert "does not load" in _why(settings, tmp_path)
    (tmp_path / f"{here.key}.json").write_text("{")
    assert "forcerun compile_potential" in _why(settings, tmp_path)


def test_what_is_there_is_not_compiled_again(settings: Potential, tmp_path: Path) -> None:
    here = Place.here(str(settings.sha256), "cpu")
    file = _record(tmp_path, here.key, here)
    said: list[str] = []
    compile_potential(settings, tmp_path, "cpu", 1, said.append)
    assert said == [f"{file.name} is there already"]


@pytest.mark.slow
def test_a_package_that_does_not_compile_runs_eagerly(settings: Potential, tmp_path: Path) -> None:
    said: list[str] = []
    compile_potential(settings, tmp_path, "cpu", 1, said.append)
    here = Place.here(str(settings.sha256), "cpu")
    record = json.loads((tmp_path / f"{here.key}.json").read_text())
    assert record["file_sha256"] is None
    assert "Error" in record["why"]
    assert "\n" not in record["why"]
    assert record["why"] in said[0]
    assert _why(settings, tmp_path).endswith(f"nequip-compile failed: {record['why']}")
    assert not list(tmp_path.glob("*.pt2"))


def test_a_compilation_that_takes_too_long_is_ended(
    settings: Potential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hinpaint.relaxation.compiling._TIME_LIMIT_S", 0.01)
    compile_potential(settings, tmp_path, "cpu", 1)
    assert _why(settings, tmp_path).endswith("nequip-compile failed: ended after 0.01 s")


def test_another_package_than_the_configured_one_stops(settings: Potential, tmp_path: Path) -> None:
    with pytest.raises(PotentialError, match="it was not opened"):
        compile_potential(settings.model_copy(update={"sha256": "0" * 64}), tmp_path, "cpu", 1)


def test_eager_is_the_default_and_says_nothing(settings: Potential, tmp_path: Path) -> None:
    eager = settings.model_copy(update={"compile": False})
    assert load_compiled(eager, tmp_path, "cpu", pytest.fail) is None


def test_compiling_is_for_packages_and_makes_no_row_stale(settings: Potential, tmp_path: Path) -> None:
    source = {"database": "x", "version": "1", "format": "cif", "path": str(tmp_path), "licence": "x", "mode": "benchmark"}  # fmt: skip  # noqa: E501
    values = {"run": "x", "sources": [source]}
    compiled, eager = (
        parse_config({**values, "potential": {**settings.model_dump(mode="json"), "compile": choice}})
        for choice in (True, False)
    )
    assert stage_settings(compiled, "relax") == stage_settings(eager, "relax")
    (tmp_path / "own.nequip.pt2").write_bytes(b"machine code")
    own = {"name": "nequip", "path": str(tmp_path / "own.nequip.pt2"), "sha256": "0" * 64}
    for block in ({"name": "sevennet-0"}, own):
        with pytest.raises(ConfigError, match=r"potential: potential.compile is for packages"):
            parse_config({**values, "potential": {**block, "compile": True}})
