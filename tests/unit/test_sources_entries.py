"""The table entries, the same structures through every format, and where records come from."""

import json
from pathlib import Path
from typing import Any

import ase
import ase.io
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_records import make_source, parsed

from hinpaint.config import ConfigError
from hinpaint.evidence import weigh
from hinpaint.sources import parse_record, read_source
from hinpaint.sources.optimade import parse_optimade, read_lines
from hinpaint.sources.raw import origin_of
from hinpaint.sources.table import parse_entry, read_rows
from hinpaint.tables import ENTRIES
from hinpaint.whynot import Stop

MC3D = Path(__file__).parents[2] / "../shared/data/mc3d/mc3d_h_dev.jsonl.gz"


def entry_row(source_id: str, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "entry_key": f"cod|2025|{source_id}", "source_id": source_id, "formula_declared": "Ca O3 H2", "z": 1.0,
        "space_group": None, "is_theoretical": None, "lattice": [4.0, 0.1, 0, 0, 5, 0, 0, 0, 6],
        "species": ["Ca", "O", "O", "O"], "frac": [0.1, 0.2, 1 / 3, 0.5, 0.5, 0.5, 0.9, 0.1, 0.1, -0.2, 0.7, 0.3],
    }  # fmt: skip
    return row | changes


def write_entries(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the columns of the table that say something about the structure."""
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([ENTRIES.schema.field(name) for name in rows[0]])), path)


def test_exported_entries_give_what_they_were(tmp_path: Path) -> None:
    write_entries(tmp_path / "shard=0.parquet", [entry_row("1"), entry_row("2", formula_declared=None)])
    write_entries(tmp_path / "shard=1.parquet", [entry_row("3", z=None)])
    records = list(read_source(make_source(tmp_path, "entries"), 0))
    assert [(r.source_id, r.origin, r.path) for r in records] == [
        ("1", "cod|2025|1", "shard=0.parquet:0"), ("2", "cod|2025|2", "shard=0.parquet:1"),
        ("3", "cod|2025|3", "shard=1.parquet:0"),
    ]  # fmt: skip
    record = parsed(parse_record("entries", records[0].text or ""))
    assert record.lattice.ravel().tolist() == entry_row("1")["lattice"]
    assert record.cell_frac.ravel().tolist() == entry_row("1")["frac"]
    assert weigh(record).n_missing == 2
    assert weigh(parsed(parse_record("entries", records[2].text or ""))).n_missing == 2


def test_a_table_of_another_kind_or_a_damaged_one_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_entries(path, [entry_row("1")])
    good = pq.read_table(path)
    for bad in (good.drop_columns(["frac"]), good.set_column(0, "frac", good["source_id"]).drop_columns(["lattice"])):
        pq.write_table(bad, tmp_path / "b.parquet")
        (record,) = read_rows(tmp_path / "b.parquet")
        assert record.stop is not None
        assert "no entries table" in record.stop.detail
    path.write_bytes(path.read_bytes()[:-20])
    (record,) = read_rows(path)
    assert record.source_id == "a.parquet-broken"


@pytest.mark.parametrize(
    "change", [{"lattice": [0.0] * 9}, {"lattice": [1.0]}, {"species": ["Ca"]}, {"species": []},
               {"species": ["Qq"] * 4}, {"frac": [float("nan")] * 12}, {"frac": None}, {"z": "x"}],
)  # fmt: skip
def test_rows_that_are_no_structure_are_refused(change: dict[str, Any]) -> None:
    assert isinstance(parse_entry(json.dumps(entry_row("1") | change)), Stop)


@pytest.mark.skipif(not MC3D.is_file(), reason="needs the shared data")
def test_real_structures_are_the_same_through_every_format(tmp_path: Path) -> None:
    rows, frames = [], []
    originals = [record for record in read_lines(MC3D) if record.text][:40]
    for original in originals:
        record = parsed(parse_optimade(original.text or ""))
        formula = record.formula.text if record.formula else None
        rows.append(entry_row(original.source_id, lattice=record.lattice.ravel().tolist(), species=list(record.species),
                              frac=record.cell_frac.ravel().tolist(), formula_declared=formula, z=None))  # fmt: skip
        info = {"id": original.source_id, "formula": formula}
        frames.append(
            ase.Atoms(record.species, record.cell_frac @ record.lattice, cell=record.lattice, pbc=True, info=info)
        )
    write_entries(tmp_path / "a.parquet", rows)
    ase.io.write(tmp_path / "a.xyz", frames, format="extxyz")
    for kind, path in (("entries", tmp_path / "a.parquet"), ("extxyz", tmp_path / "a.xyz")):
        found = {r.source_id: r for r in read_source(make_source(path, kind), 0)}
        for original in originals:
            again = weigh(parsed(parse_record(kind, found[original.source_id].text or "")))
            assert again == weigh(parsed(parse_optimade(original.text or "")))


def test_where_mc3d_names_the_record_it_was_made_from(tmp_path: Path) -> None:
    attributes = [{"_mcloud_source_db": "COD", "_mcloud_source_db_id": 1000001}, {"_mcloud_source_db": "cod"}, {}, None]
    path = tmp_path / "e.jsonl"
    path.write_text("\n".join(json.dumps({"id": str(i), "attributes": each}) for i, each in enumerate(attributes)))
    assert [record.origin for record in read_lines(path)] == ["cod|1000001", None, None, None]


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        (("Crystallography Open Database", "1", "7"), "cod|1|7"), (("ICSD", 5, None), "icsd|5"),
        (("a|b", "1\n", ""), "a_b|1_"),
        ((None, "1", "2"), None), (("cod", "", "2"), None), (("cod", True, "2"), None), (("cod", {"a": 1}, "2"), None),
    ],
)  # fmt: skip
def test_origins(given: tuple[Any, Any, Any], origin: str | None) -> None:
    assert origin_of(*given) == origin


@pytest.mark.parametrize("kind", ["optimade", "extxyz", "aiida"])
def test_formats_of_one_file_want_a_file(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        make_source(tmp_path, kind)
