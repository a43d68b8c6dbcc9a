"""What a release folder holds beside the CIFs, and what two of them say about each other."""

import csv
import json
import shutil
import subprocess
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from small_release import KEYS, Rows, make_config, make_run
from typer.testing import CliRunner

from hinpaint.catalog.query import ask, open_catalog
from hinpaint.cli import app
from hinpaint.crystal import Crystal
from hinpaint.release.diff import EntryChange, compare
from hinpaint.release.licences import refusal
from hinpaint.release.pairing import source_diff
from hinpaint.release.versions import ReleaseError, Version, advice, find_previous, level_of
from hinpaint.stages import release
from hinpaint.store import read_table
from hinpaint.tables import ALL_TABLES, CHANGES, HOLDINGS


def release_of(folder: Path, version: str, edit: Any = None, **settings: Any) -> Path:
    catalog, texts = make_run(folder / f"in-{version}", edit=edit)
    config = make_config(folder, release={"version": version} | settings)
    release.run(config, catalog, texts, folder / "release" / version, folder / f"runs-{version}.parquet")
    return folder / "release" / version


def move_one(rows: Rows) -> None:
    for row in rows["decisions"]:
        if row["entry_key"] == KEYS["kept"]:
            row["frac_unknown"] = [1 / 3, 2 / 3, 0.45, 2 / 3, 1 / 3, 0.55]


def grade_one(rows: Rows) -> None:
    for row in rows["decisions"]:
        if row["entry_key"] == KEYS["optimade"]:
            row["grade"] = "review"


def drop_one(rows: Rows) -> None:
    for name in ("records", "entries", "tasks", "decisions"):
        rows[name] = [row for row in rows[name] if row["entry_key"] != KEYS["kept"]]


def forbid_one(rows: Rows) -> None:
    for name in ("records", "entries"):
        for row in rows[name]:
            if row["entry_key"] == KEYS["kept"]:
                row["licence"] = "CC-BY-ND-4.0"


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("releases")
    first = release_of(folder, "1.0.0", creators=["Curie, Marie", "Institute"], date="2026-11-23")
    return first, release_of(folder, "2.0.0", move_one)


def rows_of(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    table = ALL_TABLES[name]
    rows = read_table(folder / "tables" / f"{name}.parquet", table).to_pylist()
    return {row["entry_key"]: row for row in rows}


def csv_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_checksums_are_what_sha256sum_reads(releases: tuple[Path, Path]) -> None:
    tool = shutil.which("sha256sum")
    if tool is None:
        pytest.skip("no sha256sum here")
    done = subprocess.run([tool, "--quiet", "-c", "checksums.sha256"], cwd=releases[0], check=False)  # noqa: S603
    assert done.returncode == 0
    assert "  manifest.json\n" in (releases[0] / "checksums.sha256").read_text()


def test_the_catalog_agrees_with_the_tables(releases: tuple[Path, Path]) -> None:
    with open_catalog(releases[1]) as catalog:
        for path in (releases[1] / "tables").iterdir():
            table = ALL_TABLES[path.stem]
            names = ", ".join(f'"{name}"' for name in table.schema.names)
            _, rows = ask(catalog, f"SELECT {names} FROM {table.name} ORDER BY ALL")  # noqa: S608
            expected = [tuple(row.values()) for row in read_table(path, table).to_pylist()]
            assert Counter(map(repr, rows)) == Counter(map(repr, expected)), table.name
        assert ask(catalog, "SELECT adds_up FROM accounting")[1] == [(True,)]
        assert ask(catalog, "SELECT change, n_entries FROM changes_by_kind")[1] == [("coordinates", 1)]
        (tags,) = ask(catalog, "SELECT tags FROM duckdb_databases() WHERE NOT internal")[1]
        assert "1.2" in str(tags)


def test_holdings_say_how_each_entry_differs_from_its_source(releases: tuple[Path, Path]) -> None:
    found = rows_of(releases[0], "holdings")
    assert found.keys() == {KEYS[name] for name in ("kept", "hostile", "optimade", "long", "still")}
    kept = found[KEYS["kept"]]
    assert (kept["n_added"], kept["n_removed"], kept["n_moved"], kept["cell_unchanged"]) == (2, 0, 0, True)
    assert kept["formula_released"] == "H2 Mg O2"
    assert kept["species"][-2:] == ["H", "H"]
    assert (releases[0] / kept["cif"]).is_file()
    still = found[KEYS["still"]]
    assert (still["action"], still["cif"], still["n_placed"], still["trial"]) == ("unchanged", None, 0, None)
    listed = csv_of(releases[0] / "holdings.csv")
    assert [row["entry_key"] for row in listed] == sorted(found)
    assert {row["cell_unchanged"] for row in listed} == {"true"}


def test_source_diff_counts_what_was_added_removed_and_moved() -> None:
    cell = 5.0 * np.eye(3)
    source = Crystal.build(cell, ["O", "H", "H", "H"], [[0, 0, 0], [0.2, 0, 0], [0.99, 0.5, 0.5], [0.5, 0.5, 0]])
    released = Crystal.build(cell, ["O", "H", "H"], [[0, 0, 0], [0.01, 0.5, 0.5], [0.22, 0, 0]])
    found = source_diff(source, released)
    assert (found.n_added, found.n_removed, found.n_moved, found.cell_unchanged) == (0, 1, 2, True)
    assert found.max_move_a == pytest.approx(0.1)
    assert source_diff(released, source).n_added == 1
    assert not source_diff(source, Crystal.build(1.01 * cell, source.species, source.frac)).cell_unchanged


def test_one_changed_entry_is_the_one_that_diff_names(releases: tuple[Path, Path]) -> None:
    before, after = releases
    (change,) = compare(before, after)
    assert (change.entry_key, change.change) == (KEYS["kept"], "coordinates")
    assert "frac" in change.columns
    # two sites on a threefold axis moved by 0.03 of c = 4.769 Å
    assert change.max_shift_a == pytest.approx(0.03 * 4.769, abs=2e-3)
    assert list(compare(before, before)) == []
    assert list(compare(before, after, tolerance_a=0.2)) == []
    assert [row["entry_key"] for row in csv_of(after / "changed.csv")] == [KEYS["kept"]]
    assert csv_of(after / "removed.csv") == csv_of(before / "changed.csv") == []
    manifest = json.loads((after / "manifest.json").read_text())
    assert manifest["previous"]["version"] == "1.0.0"
    assert manifest["counts"]["changes"] == {"coordinates": 1}
    assert "Since 1.0.0" in (after / "README.md").read_text()


def test_the_command_prints_exit_codes_like_diff(releases: tuple[Path, Path], monkeypatch: Any) -> None:
    runner = CliRunner()
    before, after = map(str, releases)
    same = runner.invoke(app, ["diff", before, before])
    assert (same.exit_code, same.output.strip()) == (0, "no entry differs")
    table = runner.invoke(app, ["diff", before, after])
    assert table.exit_code == 1
    assert KEYS["kept"] in table.output
    assert "1 entries differ: 1 coordinates; that is a major change" in table.output
    answer = json.loads(runner.invoke(app, ["diff", before, after, "--format", "json"]).output)
    assert (answer["asks_for"], [each["entry_key"] for each in answer["entries"]]) == ("major", [KEYS["kept"]])
    lines = runner.invoke(app, ["diff", before, after, "--format", "csv"]).output.splitlines()
    assert [row["entry_key"] for row in csv.DictReader(lines)] == [KEYS["kept"]]
    trouble = runner.invoke(app, ["diff", before, "nowhere"])
    assert trouble.exit_code == 2
    assert "is no release" in trouble.output
    (releases[0].parents[1] / "results" / "r").mkdir(parents=True, exist_ok=True)
    link = releases[0].parents[1] / "results" / "r" / "release"
    link.symlink_to(releases[0].parent)
    monkeypatch.chdir(releases[0].parents[1])
    assert runner.invoke(app, ["diff", "1.0.0", "2.0.0", "--run", "r"]).exit_code == 1


def test_a_long_table_ends_with_a_note_and_counts_all(monkeypatch: Any) -> None:
    values = {field.name: None for field in fields(EntryChange)} | {
        "entry_key": "k",
        "columns": ("frac",),
        "detail": "",
    }
    changes = [EntryChange(**values | {"change": change}) for change in ("added", "coordinates") for _ in range(600)]
    monkeypatch.setattr("hinpaint.release.diff.compare", lambda *_: iter(changes))
    table = CliRunner().invoke(app, ["diff", "a", "b"])
    assert table.exit_code == 1
    assert table.output.count("│ k ") == 1000
    assert "more than 1000 rows; use --format csv or json to see all" in table.output
    assert "1200 entries differ: 600 added, 600 coordinates; that is a major change" in table.output
    for output, n_rows in (("csv", 1201), ("json", 1200)):
        answer = CliRunner().invoke(app, ["diff", "a", "b", "--format", output]).output
        assert (len(answer.splitlines()) if output == "csv" else len(json.loads(answer)["entries"])) == n_rows


def test_a_version_that_is_too_low_is_refused_with_the_right_one(releases: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(releases[0], tmp_path / "release" / "1.0.0")
    with pytest.raises(ReleaseError, match=r"1 coordinates.*1\.1\.0 must be 2\.0\.0 or higher"):
        release_of(tmp_path, "1.1.0", move_one)
    assert [path.name for path in (tmp_path / "release").iterdir()] == ["1.0.0"]
    shutil.rmtree(tmp_path / "in-1.1.0")
    told = release_of(tmp_path, "1.1.0", move_one, version_check="report")
    assert "must be 2.0.0 or higher" in (told / "README.md").read_text()
    renamed = shutil.copytree(releases[0], tmp_path / "as downloaded")
    described = release_of(tmp_path, "1.2.0", grade_one, previous=str(renamed))
    (change,) = read_table(described / "tables" / "changes.parquet", CHANGES).to_pylist()
    assert (change["entry_key"], change["change"], change["columns"]) == (KEYS["optimade"], "metadata", ["grade"])
    assert change["grade_after"] == "review"


def test_entries_that_are_gone_and_that_are_new(releases: tuple[Path, Path], tmp_path: Path) -> None:
    fewer = release_of(tmp_path, "3.0.0", drop_one)
    (gone,) = compare(releases[0], fewer)
    assert (gone.change, gone.entry_key, gone.detail) == ("removed", KEYS["kept"], "the source has it no more")
    assert level_of(Counter([gone.change])) == "major"
    (new,) = compare(fewer, releases[0])
    assert (new.change, new.previous_entry_key, new.n_sites_after) == ("added", None, 5)


def test_a_new_export_of_a_database_is_compared_by_its_ids(releases: tuple[Path, Path], tmp_path: Path) -> None:
    copied = shutil.copytree(releases[1], tmp_path / "2.0.0")
    table = read_table(copied / "tables" / "holdings.parquet", HOLDINGS)
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    keys = pc.replace_substring(table["entry_key"], "cod|1|", "cod|2|")
    pq.write_table(table.set_column(0, table.schema.field(0), keys), copied / "tables" / "holdings.parquet")
    (change,) = compare(releases[0], copied)
    assert (change.entry_key, change.previous_entry_key) == ("cod|2|1000001", KEYS["kept"])


def test_records_that_may_not_be_passed_on_leave_nothing_but_their_reason(tmp_path: Path) -> None:
    folder = release_of(tmp_path, "1.0.0", forbid_one)
    key = KEYS["kept"]
    for path in (folder / "tables").iterdir():
        names = ALL_TABLES[path.stem].schema.names
        held = "entry_key" in names and key in rows_of(folder, path.stem)
        assert held == (path.stem in {"records", "whynot"}), path.stem
    assert rows_of(folder, "whynot")[key]["reason"] == "licence_not_redistributable"
    assert rows_of(folder, "records")[key]["formula_declared"] is None
    assert not list((folder / "cif").glob("*1000001*"))
    assert key not in (folder / "structures.jsonl").read_text() + (folder / "training.extxyz").read_text()
    assert "forbids" in {row["entry_key"]: row["detail"] for row in csv_of(folder / "not_released.csv")}[key]
    with open_catalog(folder) as catalog:
        assert ask(catalog, "SELECT adds_up FROM accounting")[1] == [(True,)]


@pytest.mark.parametrize(
    ("licence", "redistributable", "allowed", "enters"),
    [
        ("CC0-1.0", True, None, True),
        ("CC-BY-4.0", True, None, True),
        ("CC0-1.0", False, None, False),
        ("CC-BY-NC-ND-4.0", True, None, False),
        ("LicenseRef-Proprietary", True, None, False),
        ("NOASSERTION", True, None, False),
        ("LicenseRef-Proprietary", True, ("LicenseRef-Proprietary",), True),
        ("CC-BY-4.0", True, ("CC0-1.0",), False),
        ("LANDMARK terms", True, None, True),
    ],
)
def test_licences(licence: str, redistributable: bool, allowed: Any, enters: bool) -> None:
    assert (refusal(licence, redistributable=redistributable, allowed=allowed) is None) == enters


def test_training_frames_read_with_ase_and_pymatgen(releases: tuple[Path, Path]) -> None:
    from ase.io import read
    from pymatgen.io.ase import AseAtomsAdaptor

    frames = read(releases[0] / "training.extxyz", index=":")
    held = rows_of(releases[0], "holdings")
    assert len(frames) == len(held)
    for frame, row in zip(frames, (held[key] for key in sorted(held)), strict=True):
        assert frame.calc is None  # an energy of a potential must not pass for a label
        assert frame.arrays["placed"].sum() == row["n_placed"]
        assert frame.info["action"] == row["action"]
        structure = AseAtomsAdaptor.get_structure(frame)
        expected = Crystal.build(row["lattice"], row["species"], row["frac"]).to_pymatgen()
        assert structure.composition == expected.composition
        assert np.abs(structure.distance_matrix - expected.distance_matrix).max() < 1e-5


def test_croissant_is_valid_and_yields_records(releases: tuple[Path, Path]) -> None:
    croissant = pytest.importorskip("mlcroissant")
    dataset = croissant.Dataset(jsonld=releases[0] / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    records = list(dataset.records(record_set="decisions"))
    assert {record["decisions/entry_key"].decode() for record in records} == rows_of(releases[0], "decisions").keys()


def test_citation_names_creators_databases_and_method(releases: tuple[Path, Path]) -> None:
    content = yaml.safe_load((releases[0] / "CITATION.cff").read_text(encoding="utf-8"))
    assert content["authors"] == [{"family-names": "Curie", "given-names": "Marie"}, {"name": "Institute"}]
    assert str(content["date-released"]) == "2026-11-23"
    assert {each["type"] for each in content["references"]} == {"database", "article", "software"}
    assert yaml.safe_load((releases[1] / "CITATION.cff").read_text(encoding="utf-8"))["authors"]


def test_versions() -> None:
    assert str(Version.parse("1.2.3").raised("major")) == "2.0.0"
    assert str(Version.parse("0.2.3").raised("major")) == "0.3.0"
    assert str(Version.parse("1.2.3").raised("minor")) == "1.3.0"
    assert advice("1.0.0", "1.0.1", Counter()) is None
    assert advice("1.9.0", "1.10.0", Counter(metadata=3)) is None
    assert "1.1.0 or higher" in str(advice("1.0.0", "1.0.1", Counter(added=1)))
    with pytest.raises(ValueError, match="a version reads"):
        Version.parse("1.2")


def test_the_release_before_is_the_highest_lower_version(tmp_path: Path) -> None:
    for name in ("1.2.0", "1.10.0", "2.0.0", "notes", "1.11.0"):
        (tmp_path / name / "tables").mkdir(parents=True)
        if name != "1.11.0":  # without holdings there is nothing to compare with
            (tmp_path / name / "tables" / "holdings.parquet").touch()
    assert find_previous(tmp_path, "2.0.0") == tmp_path / "1.10.0"
    assert find_previous(tmp_path, "1.0.0") is None
    assert find_previous(tmp_path / "absent", "1.0.0") is None
