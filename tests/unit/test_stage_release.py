import csv
import json
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from gemmi import cif
from sample_crystals import BRUCITE_CELL

from hinpaint.catalog import build
from hinpaint.config import Config, parse_config
from hinpaint.files import sha256_file
from hinpaint.ids import EntryKey
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.records import ParsedRecord
from hinpaint.stages import release
from hinpaint.store import StoreError, read_table, write_table
from hinpaint.tables import ALL_TABLES, RUNS, SOURCE_TEXT, Table
from hinpaint.whynot import Reason

OPERATORS = "\n".join(op.triplet() for op in gemmi.find_spacegroup_by_name("P -3 m 1").operations())
BRUCITE = f"""data_brucite
{BRUCITE_CELL}_symmetry_space_group_name_H-M 'P -3 m 1'
loop_
_symmetry_equiv_pos_as_xyz
{OPERATORS}
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Mg1 0 0 0
O1 0.3333 0.6667 0.2203
"""
HOSTILE = "<script>alert(1)</script> | `x` ../../etc/passwd"
KEYS = {
    "kept": "cod|1|1000001", "hostile": str(EntryKey("cod", "1", HOSTILE.replace("|", "!"))),
    "wrong": "cod|1|1000003", "still": "cod|1|1000004", "lost": "cod|1|1000005", "optimade": "mc3d|2|a-b",
    "long": "cod|1|" + "ü" * 150,
}  # fmt: skip


def _config(folder: Path, **settings: Any) -> Config:
    source = {"database": "cod", "version": "1", "format": "cif", "path": str(folder), "licence": "CC0-1.0"}
    return parse_config({"run": "test", "sources": [source | {"mode": "reconstruct"}]} | settings)


def _filled(table: Table, **values: Any) -> dict[str, Any]:
    """A row with the values given and something of the right type for the others."""
    defaults = {"string": "x", "int32": 0, "int64": 0, "double": 0.0, "bool": True}
    row = {
        c.name: values.get(c.name, None if c.nullable else defaults.get(str(c.type), []))
        for c in table.columns
        if c.name not in ("run_id", "schema_version")
    }
    assert values.keys() <= row.keys()
    return row


def _entry_rows(key: str, frac: list[list[float]], action: str = "completed") -> dict[str, list[dict[str, Any]]]:
    record = parse_cif(BRUCITE)
    assert isinstance(record, ParsedRecord)
    entry = EntryKey.parse(key)
    structure = {"lattice": record.lattice.ravel().tolist()}
    sites = {"species": list(record.species), "frac": record.cell_frac.ravel().tolist()}
    identity = {"entry_key": key, "database": entry.database, "version": entry.version, "source_id": entry.source_id,
                "licence": "CC0 <b>|</b>", "source_sha256": "ab" * 32}  # fmt: skip
    decision = {"action": action, "mode": "reconstruct", "element": "H", "n_passed": 5, "n_agree": 4, "trial": 3,
                "potential": "sevennet-0", "energy_ev": -21.5, "frac_unknown": np.ravel(frac).tolist()}  # fmt: skip
    return {
        "records": [_filled(ALL_TABLES["records"], **identity)],
        "entries": [_filled(ALL_TABLES["entries"], **identity, **structure, **sites, mode="reconstruct")],
        "tasks": [_filled(ALL_TABLES["tasks"], entry_key=key, element="H", n_unknown=2, **structure)],
        "decisions": [_filled(ALL_TABLES["decisions"], entry_key=key, **decision)],
    }


def _make(folder: Path, reverse: bool = False) -> tuple[Path, list[Path]]:
    on_axis = [[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, 0.58]]
    one_sided = [[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, 0.7]]
    frac = dict.fromkeys(KEYS, on_axis) | {"hostile": one_sided, "wrong": [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]}
    parts = [_entry_rows(key, frac[n], "unchanged" if n == "still" else "completed") for n, key in KEYS.items()]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ALL_TABLES}
    for part in reversed(parts) if reverse else parts:
        for name, found in part.items():
            rows[name] += found
    for key, detail in (("cod|1|a", HOSTILE), ("cod|1|b", "")):
        values = {"entry_key": key, "stage": "ingest", "reason": Reason.NO_TARGET_ELEMENT.value, "detail": detail}
        rows["whynot"].append(_filled(ALL_TABLES["whynot"], **values))
        rows["records"].append(_filled(ALL_TABLES["records"], entry_key=key, database="cod", version="1"))
    rates = {"metric": "les", "k": 10, "rate": 0.912, "ci_low": 0.88, "ci_high": 0.94, "n_entries": 50}
    rows["les_summary"].append(_filled(ALL_TABLES["les_summary"], **rates))
    folder.mkdir()
    connection = build.create(folder / "catalog.duckdb")
    for name, table in ALL_TABLES.items():
        build.insert_rows(connection, table, rows[name], "test")
    build.close(connection)
    resource = json.dumps({"id": "a-b", "type": "structures", "attributes": {}})
    texts = [{"entry_key": key, "format": "optimade" if n == "optimade" else "cif",
              "text": resource if n == "optimade" else BRUCITE} for n, key in KEYS.items() if n != "lost"]  # fmt: skip
    paths = [folder / f"source_text-{i}.parquet" for i in range(2)]
    for i, path in enumerate(paths):
        write_table(path, SOURCE_TEXT, texts[i::2], "test")
    return folder / "catalog.duckdb", paths


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    catalog, texts = _make(folder / "in")
    release.run(_config(folder), catalog, texts, folder / "out" / "1.0.0", folder / "runs.parquet")
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
    keys = [line["attributes"]["_hinpaint_entry_key"] for line in lines[1:]]
    assert keys == sorted(KEYS[name] for name in ("kept", "hostile", "optimade", "long"))
    for line in lines[1:]:
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
    assert "| reconstruct | completed | 6 |" in text
    assert "<script>" not in text
    assert "CC0 &lt;b&gt;\\|&lt;/b&gt; | 6 | 3 |" in text


def test_the_manifest_covers_every_file(released: Path) -> None:
    manifest = json.loads((released / "manifest.json").read_text(encoding="utf-8"))
    files = {file["path"]: file["sha256"] for file in manifest["files"]}
    found = {p.relative_to(released).as_posix() for p in released.rglob("*") if p.is_file()} - {"manifest.json"}
    assert files.keys() == found
    assert all(sha256_file(released / path) == digest for path, digest in files.items())
    assert manifest["counts"]["released"] == 4
    assert manifest["counts"]["symmetry"] == {"kept": 2, "lowered": 1, "none": 1}


def test_equal_inputs_give_equal_bytes_and_replace_what_was_there(released: Path, tmp_path: Path) -> None:
    catalog, texts = _make(tmp_path / "in", reverse=True)
    target = tmp_path / "1.0.0"
    target.mkdir()
    (target / "old.txt").write_text("old")
    config = _config(released.parent.parent)
    release.run(config, catalog, texts[::-1], target, tmp_path / "runs.parquet")
    assert not (target / "old.txt").exists()
    assert (target / "manifest.json").read_bytes() == (released / "manifest.json").read_bytes()


def test_a_failure_leaves_the_old_release(tmp_path: Path) -> None:
    catalog, texts = _make(tmp_path / "in")
    target = tmp_path / "out" / "1.0.0"
    target.mkdir(parents=True)
    (target / "old.txt").write_text("old")
    texts[1].write_bytes(b"damaged")
    with pytest.raises(StoreError, match="damaged"):
        release.run(_config(tmp_path), catalog, texts, target, tmp_path / "runs.parquet")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1.0.0"]
    assert [path.name for path in target.iterdir()] == ["old.txt"]
    with pytest.raises(StoreError, match="does not exist"):
        release.run(_config(tmp_path), tmp_path / "none.duckdb", texts, target, tmp_path / "runs.parquet")
