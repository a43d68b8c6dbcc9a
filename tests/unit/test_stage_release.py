import csv
import json
from pathlib import Path

import pytest
from gemmi import cif
from small_release import KEYS, make_config, make_run

from hinpaint.files import sha256_file
from hinpaint.ids import EntryKey
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.records import ParsedRecord
from hinpaint.stages import release
from hinpaint.store import StoreError, read_table
from hinpaint.tables import ALL_TABLES, RUNS
from hinpaint.whynot import Reason


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    catalog, texts = make_run(folder / "in")
    release.run(make_config(folder), catalog, texts, folder / "out" / "1.0.0", folder / "runs.parquet")
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["1.0.0"]
    run = read_table(folder / "runs.parquet", RUNS).to_pylist()[0]
    assert (run["stage"], run["n_in"], run["n_out"]) == ("release", 6, 4)
    return folder / "out" / "1.0.0"


def test_every_changed_entry_has_its_cif(released: Path) -> None:
    names = sorted(path.name for path in (released / "cif").iterdir())
    plain = {EntryKey.parse(KEYS[n]).file_name + ".cif" for n in ("kept", "hostile", "optimade")}
    assert plain < set(names)
    assert len(names) == 4
    assert all(len(name.encode()) <= 210 and "/" not in name for name in names)
    for name in names:
        text = (released / "cif" / name).read_text(encoding="utf-8")
        record = parse_cif(text)
        assert isinstance(record, ParsedRecord)
        assert record.cell_counts() == {"Mg": 1, "O": 2, "H": 2}
    kept = cif.read_file(str(released / "cif" / (EntryKey.parse(KEYS["kept"]).file_name + ".cif")))[0]
    assert kept.find_value("_hinpaint_symmetry") == "kept"
    hostile = cif.read_file(str(released / "cif" / (EntryKey.parse(KEYS["hostile"]).file_name + ".cif")))[0]
    assert hostile.find_value("_hinpaint_symmetry") == "lowered"


def test_structures_stand_in_key_order_with_their_provenance(released: Path) -> None:
    lines = [json.loads(line) for line in (released / "structures.jsonl").read_text(encoding="utf-8").splitlines()]
    assert "x-optimade" in lines[0]
    keys = [line["attributes"]["_hinpaint_entry_key"] for line in lines[2:]]
    assert keys == sorted(KEYS[name] for name in ("kept", "hostile", "optimade", "long"))
    for line in lines[2:]:
        assert (released / line["attributes"]["_hinpaint_cif"]).is_file()
        assert line["attributes"]["chemical_formula_reduced"] == "H2MgO2"
        assert line["attributes"]["_hinpaint_energy_ev"] == -21.5


def test_what_is_not_released_has_its_reason(released: Path) -> None:
    with (released / "not_released.csv").open(encoding="utf-8", newline="") as handle:
        rows = {row["entry_key"]: row for row in csv.DictReader(handle)}
    assert rows.keys() == {KEYS["wrong"], KEYS["lost"]}
    assert rows[KEYS["wrong"]]["reason"] == Reason.ROUND_TRIP_FAILED.value
    assert "source text is absent" in rows[KEYS["lost"]]["detail"]


def test_tables_are_whole_and_sorted(released: Path) -> None:
    names = {path.stem for path in (released / "tables").iterdir()}
    assert names == ALL_TABLES.keys() - {"source_text", "runs"}
    for name in names:
        table = read_table(released / "tables" / f"{name}.parquet", ALL_TABLES[name])
        first = table[ALL_TABLES[name].key[0]].to_pylist()
        assert first == sorted(first)


def test_readme_tells_and_escapes(released: Path) -> None:
    text = (released / "README.md").read_text(encoding="utf-8")
    assert "# Corrected structures 1.0.0" in text
    assert "| les | 10 | 91.2 | 88.0 to 94.0 | 50 |" in text
    assert "the record holds no target element" in text
    assert "9 records were read and 5 are curated. 4 structures are released" in text
    assert "| reconstruct | completed | 4 |" in text  # the two that are not released are not counted as done
    assert "<script>" not in text
    assert "CC0 &lt;b&gt;\\|&lt;/b&gt; | 6 | 3 |" in text


def test_the_manifest_covers_every_file(released: Path) -> None:
    manifest = json.loads((released / "manifest.json").read_text(encoding="utf-8"))
    files = {file["path"]: file["sha256"] for file in manifest["files"]}
    found = {p.relative_to(released).as_posix() for p in released.rglob("*") if p.is_file()}
    found -= {"manifest.json", "checksums.sha256", "catalog.duckdb"}
    assert files.keys() == found
    assert all(sha256_file(released / path) == digest for path, digest in files.items())
    assert manifest["counts"]["released"] == 4
    assert manifest["derived"] == ["catalog.duckdb"]
    assert manifest["counts"]["symmetry"] == {"kept": 2, "lowered": 1, "found": 1}


def test_equal_inputs_give_equal_bytes_and_replace_what_was_there(released: Path, tmp_path: Path) -> None:
    catalog, texts = make_run(tmp_path / "in", reverse=True)
    target = tmp_path / "1.0.0"
    target.mkdir()
    (target / "old.txt").write_text("old")
    config = make_config(released.parent.parent)
    release.run(config, catalog, texts[::-1], target, tmp_path / "runs.parquet")
    assert not (target / "old.txt").exists()
    for name in ("manifest.json", "checksums.sha256"):
        assert (target / name).read_bytes() == (released / name).read_bytes()


def test_a_failure_leaves_the_old_release(tmp_path: Path) -> None:
    catalog, texts = make_run(tmp_path / "in")
    target = tmp_path / "out" / "1.0.0"
    target.mkdir(parents=True)
    (target / "old.txt").write_text("old")
    texts[1].write_bytes(b"damaged")
    with pytest.raises(StoreError, match="damaged"):
        release.run(make_config(tmp_path), catalog, texts, target, tmp_path / "runs.parquet")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1.0.0"]
    assert [path.name for path in target.iterdir()] == ["old.txt"]
    with pytest.raises(StoreError, match="does not exist"):
        release.run(make_config(tmp_path), tmp_path / "none.duckdb", texts, target, tmp_path / "runs.parquet")
