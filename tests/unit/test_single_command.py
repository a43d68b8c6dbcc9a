"""What `hinpaint inpaint` refuses, in one line and before it computes."""

import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hinpaint.cli import app

PORTLANDITE = str(Path(__file__).parents[2] / "examples/cod/cif/9/90/01/9900101.cif")


def refused(*arguments: object) -> str:
    """The one line with which the command ends."""
    done = CliRunner().invoke(app, ["inpaint", *map(str, arguments)])
    assert done.exit_code == 1
    (line,) = done.output.splitlines()
    assert line.startswith("hinpaint: ")
    return line


@pytest.mark.parametrize("option", ["--out", "--html", "--trajectory"])
def test_what_cannot_be_saved_is_not_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setattr("hinpaint.single.reading.read_cif", lambda *_: pytest.fail("read"))
    (tmp_path / "file").touch()
    others = [] if option == "--out" else ["--out", tmp_path / "new" / "x.cif"]
    assert "is a folder" in refused(PORTLANDITE, *others, option, tmp_path)
    assert "is no folder that you may write to" in refused(PORTLANDITE, *others, option, tmp_path / "file" / "x")
    assert "name too long" in refused(PORTLANDITE, *others, option, tmp_path / ("x" * 300))
    monkeypatch.setattr("os.access", lambda _path, mode: not mode & os.W_OK)
    assert f"{tmp_path} is no folder that you" in refused(PORTLANDITE, *others, option, tmp_path / "new" / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("element", "why"),
    [("Xx", "Xx is no element"), ("D", "deuterium counts as H"), ("h", "should match"), ("", "should match")],
)
def test_an_element_is_held_to_the_rule_of_the_configuration(tmp_path: Path, element: str, why: str) -> None:
    assert why in refused(PORTLANDITE, "-o", tmp_path / "x.cif", "--element", element)


def test_a_database_is_not_one_structure(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.write(PORTLANDITE, "a.cif")
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        archive.add(PORTLANDITE, "a.cif")
    for name in ("c.zip", "c.tar.gz"):
        why = refused(tmp_path / name, "-o", tmp_path / "x.cif")
        assert why == f"hinpaint: {name} is no single CIF; a database is read by snakemake"
