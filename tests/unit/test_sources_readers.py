"""Extended XYZ, the table entries, AiiDA archives, COD's table as an index, and where records come from."""

import gzip
import json
import re
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hinpaint.config import ConfigError, Mode, Source, parse_block
from hinpaint.evidence import weigh
from hinpaint.sources import parse_record, read_source, text_format
from hinpaint.sources.aiida import read_nodes
from hinpaint.sources.extxyz import parse_extxyz, read_frames
from hinpaint.sources.optimade import parse_optimade, read_lines
from hinpaint.sources.prefilter import read_index
from hinpaint.sources.raw import origin_of
from hinpaint.sources.records import ParsedRecord
from hinpaint.sources.table import parse_entry, read_rows
from hinpaint.tables import ENTRIES
from hinpaint.whynot import Reason, Stop

MC3D = Path(__file__).parents[2] / "../shared/data/mc3d/mc3d_h_dev.jsonl.gz"
# Written by aiida-core 2.9.4 (create_archive): two invented StructureData, an invented CifData, an Int.
ARCHIVE = Path(__file__).parent / "small.aiida"
ORDERED, MIXED, CIF = (
    "56c4c98e-ab09-44c9-adf2-d147cf42e97f", "63c6bb74-2721-4757-9d67-625468d0028a",
    "7f2b17d5-a5a4-411c-bf8f-b4407bdba88d",
)  # fmt: skip


def make_source(path: Path, kind: str, **more: Any) -> Source:
    values = {
        "database": "d",
        "version": "1",
        "format": kind,
        "path": path,
        "licence": "x",
        "mode": "reconstruct",
        **more,
    }
    return parse_block(Source, values)


def parsed(record: ParsedRecord | Stop) -> ParsedRecord:
    assert isinstance(record, ParsedRecord), record
    return record


FRAME = """3
Lattice="4 0 0 0 5 0 0 0 6" Properties=species:S:1:forces:R:3:pos:R:3 id=0012 formula="Mg O2 H2" pbc="T T T"
Mg 0 0 0 0 0 0
O 9 9 9 1 2.5 3
D 9 9 9 2 5.0 1.5
"""


def test_a_frame_is_a_record(tmp_path: Path) -> None:
    path = tmp_path / "two.xyz.gz"
    path.write_bytes(gzip.compress((FRAME + "\n" + FRAME.replace("id=0012", "")).encode()))
    first, second = read_frames(path)
    assert (first.source_id, first.text, first.path) == ("0012", FRAME, "two.xyz.gz:1")
    assert second.source_id == "frame-2"
    record = parsed(parse_extxyz(first.text or ""))
    assert record.species == ("Mg", "O", "H")
    assert record.sites[2].is_isotope
    np.testing.assert_allclose(record.cell_frac, [[0, 0, 0], [0.25, 0.5, 0.5], [0.5, 1.0, 0.25]])
    assert record.formula is not None
    assert record.formula.counts == {"Mg": 1, "O": 2, "H": 2}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("Lattice", "lattice"), Reason.NO_CELL), (("4 0 0 0 5 0 0 0 6", "4 0 0 0 5 0 0 0"), Reason.NO_CELL),
        (("4 0 0", "0 0 0"), Reason.NO_CELL), (("T T T", "T T F"), Reason.NO_CELL),
        (("4 0 0", "x 0 0"), Reason.UNREADABLE), (("Mg 0 0", "Mg"), Reason.UNREADABLE),
        (("pos:R:3", "position:R:3"), Reason.UNREADABLE), (("species:S:1", "species:S"), Reason.UNREADABLE),
        (("2.5 3", "nan 3"), Reason.UNREADABLE), (("Mg 0", "Qq 0"), Reason.UNKNOWN_ELEMENT),
    ],
)  # fmt: skip
def test_frames_that_say_too_little_are_refused(change: tuple[str, str], reason: Reason) -> None:
    record = parse_extxyz(FRAME.replace(*change))
    assert isinstance(record, Stop)
    assert record.reason is reason


def test_frames_by_atomic_number_and_without_properties() -> None:
    by_number = FRAME.replace("species:S:1", "Z:I:1").replace("Mg ", "12 ").replace("O 9", "8 9").replace("D 9", "1 9")
    assert parsed(parse_extxyz(by_number)).species == ("Mg", "O", "H")
    plain = '1\nLattice = "4 0 0 0 4 0 0 0 4"\nNa 1 1 1 77\n'
    assert parsed(parse_extxyz(plain)).species == ("Na",)


def test_frames_as_ase_writes_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [
        ase.Atoms(
            "HMgO2", rng.random((4, 3)) * 5, cell=np.eye(3) * 6 + rng.random((3, 3)), pbc=True, info={"name": f"é {i}"}
        )
        for i in range(3)
    ]
    frames[1].arrays["charges"] = np.arange(4.0)
    ase.io.write(tmp_path / "a.extxyz", frames, format="extxyz")
    records = list(read_source(make_source(tmp_path / "a.extxyz", "extxyz"), 0))
    assert [record.source_id for record in records] == ["é 0", "é 1", "é 2"]
    for record, atoms in zip(records, frames, strict=True):
        found = parsed(parse_record("extxyz", record.text or ""))
        assert found.species == tuple(atoms.symbols)
        np.testing.assert_allclose(found.lattice, atoms.cell[:], atol=1e-7)
        np.testing.assert_allclose(found.cell_frac @ found.lattice, atoms.positions, atol=1e-6)


@pytest.mark.parametrize("end", ["5\nshort\n", "no number\n", "-1\n", "1e3\n"])
def test_a_file_of_frames_that_breaks_off_says_so(tmp_path: Path, end: str) -> None:
    (tmp_path / "a.xyz").write_text(FRAME + end)
    first, last = read_frames(tmp_path / "a.xyz")
    assert first.text == FRAME
    assert last.stop is not None
    assert "breaks off" in last.stop.detail


def test_large_frames_cost_a_row_and_the_next_is_read(tmp_path: Path) -> None:
    wide = FRAME.replace("id=0012", f"id=wide x={'y' * 9_000_000}")
    (tmp_path / "a.xyz").write_text("60000\nid=many\n" + "H 0 0 0\n" * 60_000 + wide + FRAME)
    many, large, good = read_frames(tmp_path / "a.xyz")
    assert (many.source_id, many.stop and many.stop.reason) == ("many", Reason.TOO_MANY_SITES)
    assert large.stop is not None
    assert large.stop.reason is Reason.TOO_LARGE_FILE
    assert good.text == FRAME


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


def test_an_archive_of_aiida(tmp_path: Path) -> None:
    records = {r.source_id: r for r in read_source(make_source(ARCHIVE, "aiida"), 0)}
    assert list(records) == [ORDERED, MIXED, CIF]
    ordered = parsed(parse_record("aiida", records[ORDERED].text or ""))
    assert ordered.species == ("Mg", "O", "H", "H")
    np.testing.assert_allclose(ordered.cell_frac[1], [0.5, 0.5, 0.5])
    assert weigh(ordered).n_missing == 0
    mixed = parsed(parse_record("aiida", records[MIXED].text or ""))
    assert [(site.element, site.occupancy) for site in mixed.sites] == [("Fe", 0.5), ("Ni", 0.4)]
    cif = parsed(parse_record("aiida", records[CIF].text or ""))
    assert weigh(cif).n_missing == 2
    assert records[CIF].origin == "cod|0000001|12345"
    assert [text_format("aiida", records[key].text or "") for key in (ORDERED, CIF)] == ["optimade", "cif"]
    assert text_format("entries", "{}") == "entries"


def rewrite(path: Path, statements: str = "", **files: bytes) -> Path:
    """Copy the archive with statements run on its database, and with other files."""
    with zipfile.ZipFile(ARCHIVE) as old:
        contents = {info.filename: old.read(info) for info in old.infolist()}
    copy = path.with_suffix(".sqlite3")
    copy.write_bytes(contents["db.sqlite3"])
    with sqlite3.connect(copy) as database:
        database.executescript(statements)
    database.close()
    contents["db.sqlite3"] = copy.read_bytes()
    contents |= {name.replace("__", "."): content for name, content in files.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in contents.items():
            new.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("attributes", "detail"),
    [
        ('{"pbc1": false, "kinds": [], "sites": []}', "not periodic"), ('{"kinds": 1}', "no kinds"), ("[]", "no kinds"),
        ('{"kinds": [{"name": "H"}], "sites": []}', "symbols"), ("{", "node"), (None, "no kinds"),
        ('{"kinds": [], "sites": [{"position": [0,0,0], "kind_name": "H"}]}', "'H'"),
    ],
)  # fmt: skip
def test_a_damaged_node_costs_one_row(tmp_path: Path, attributes: str | None, detail: str) -> None:
    value = "NULL" if attributes is None else "'" + attributes + "'"
    statement = f"UPDATE db_dbnode SET attributes = {value} WHERE id = 1"  # noqa: S608 - a test's own text
    path = rewrite(tmp_path / "a.aiida", statement)
    first, second, third = read_nodes(path)
    assert first.stop is not None
    assert detail in first.stop.detail
    assert second.text
    assert third.text


@pytest.mark.parametrize(
    ("statements", "files", "detail"),
    [
        ("", {"metadata__json": b'{"export_version": "0.10"}'}, "verdi archive migrate"),
        ("", {"metadata__json": b"[]"}, "archive version"),
        ("", {"db__sqlite3": b"no database"}, "file is not a database"),
        ("DROP TABLE db_dbnode", {}, "no table db_dbnode"),
        ("ALTER TABLE db_dbnode RENAME TO x; CREATE VIEW db_dbnode AS SELECT * FROM x", {}, "no table db_dbnode"),
    ],
)  # fmt: skip
def test_an_archive_that_cannot_be_read_says_so(
    tmp_path: Path, statements: str, files: dict[str, bytes], detail: str
) -> None:
    path = rewrite(tmp_path / "a.aiida", statements, **files)
    (record,) = read_nodes(path)
    assert record.stop is not None
    assert detail in record.stop.detail
    path.write_bytes(b"no archive")
    (record,) = read_nodes(path)
    assert record.source_id == "a.aiida-broken"


def test_a_cif_that_is_not_in_the_repository_costs_one_row(tmp_path: Path) -> None:
    path = rewrite(
        tmp_path / "a.aiida",
        'UPDATE db_dbnode SET repository_metadata = \'{"o": {"invented.cif": {"k": "../../etc/passwd"}}}\'',
    )
    *_, record = read_nodes(path)
    assert record.stop is not None
    assert "not in the repository" in record.stop.detail


COLUMNS = ("file", "a", "formula", "calcformula", "flags", "status", "text")
TABLE: list[tuple[str | None, ...]] = [
    ("1000001", "5.43", "- C6 H6 O -", "- C6 O -", "has coordinates", None, "missing all"),
    ("1000002", "5.43", "- C6 H6 O -", "- C6 H5 O -", "has coordinates", None, "missing some"),
    ("1000003", "5.43", "- C6 D6 O -", "- C6 D6 O -", "has coordinates,has disorder", None, "it's complete; \\ ) ("),
    ("1000004", "5.43", "- Ca O -", "- Ca O -", "has coordinates", None, "none, \"quoted\"\nline"),
    ("1000005", "5.43", "- Ca O -", None, None, "warnings", "none"),
    ("1000006", "5.43", "- Ca O H2 -", None, None, None, "unknown"),
    ("1000007", "5.43", None, None, None, None, "no formula"),
    ("1000008", "5.43", "- Ca O H2 -", "- Ca O -", "has coordinates", "retracted", "retracted"),
    ("1000009", "5.43", "- Ca O H2 -", None, "has Fobs", None, "no coordinates"),
    ("1000010", "5.43", "- C12 H12 O2 -", "- C6 H6 O -", None, None, "the same, doubled"),
]  # fmt: skip
LEFT_OUT = {
    "1000003": Reason.NOTHING_MISSING, "1000004": Reason.NO_TARGET_ELEMENT, "1000005": Reason.NO_TARGET_ELEMENT,
    "1000008": Reason.NOT_SELECTED, "1000009": Reason.NO_SITES, "1000010": Reason.NOTHING_MISSING,
}  # fmt: skip


def as_csv(delimiter: str = ",") -> str:
    rows = [["" if value is None else '"' + value.replace('"', '""') + '"' for value in row] for row in TABLE]
    return "# found by a search\n" + "\n".join(delimiter.join(row) for row in [COLUMNS, *rows]) + "\n"


def as_tabs() -> str:
    """What ``mysql --batch`` prints."""
    rows = [["NULL" if value is None else value.replace("\n", "\\n") for value in row] for row in TABLE]
    return "\n".join("\t".join(row) for row in [COLUMNS, *rows]) + "\n"


def as_sql(names: str = "", between: str = ",") -> str:
    def literal(value: str | None) -> str:
        if value is None:
            return "NULL"
        if re.fullmatch(r"[0-9.]+", value):
            return value
        escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace('"', '\\"')
        return f"'{escaped}'"

    tuples = between.join("(" + ",".join(literal(value) for value in row) + ")" for row in TABLE)
    columns = "".join(f"  `{name}` text COLLATE utf8_bin,\n" for name in COLUMNS)
    return (
        "-- MySQL dump 10.13\nDROP TABLE IF EXISTS `data`;\nCREATE TABLE `other` (\n  `file` int,\n);\n"
        f"CREATE TABLE `data` (\n{columns}  PRIMARY KEY (`file`),\n  KEY `a` (`a`)\n) ENGINE=MyISAM;\n"
        f"INSERT INTO `other` VALUES (1,'x');\nLOCK TABLES `data` WRITE;\nINSERT INTO `data` {names}VALUES {tuples};\n"
        "UNLOCK TABLES;\n"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.csv", as_csv()), ("data.csv", as_csv(";")), ("data.tsv", as_tabs()), ("data.csv.gz", as_csv()),
        ("data.sql", as_sql()), ("data.sql.gz", as_sql()), ("data.sql", as_sql(between=",\n")),
        ("data.sql", as_sql("(" + ", ".join(f"`{name}`" for name in COLUMNS) + ") ")),
    ],
)  # fmt: skip
def test_the_index_answers_what_it_can(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    found = read_index(path, "H", ["reconstruct"])
    assert {key: stop.reason for key, stop in found.items()} == LEFT_OUT
    assert all("by the index" in stop.detail for stop in found.values())


@pytest.mark.parametrize("modes", [("benchmark",), ("reconstruct", "audit")])
def test_complete_entries_are_read_where_a_mode_needs_them(tmp_path: Path, modes: tuple[Mode, ...]) -> None:
    (tmp_path / "data.csv").write_text(as_csv())
    found = read_index(tmp_path / "data.csv", "H", modes)
    assert {key: stop.reason for key, stop in found.items()} == {
        key: reason for key, reason in LEFT_OUT.items() if reason is not Reason.NOTHING_MISSING
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.csv", ""), ("data.csv", "file,formula\n1,- H -\n"), ("data.csv", "file,formula,calcformula\n1\n"),
        ("data.sql", "CREATE TABLE `data` (\n  `file` int\n);\n"), ("data.sql", as_sql()[:-40]),
        ("data.sql", as_sql().replace("1000001,", "")), ("data.sql.gz", "not gzip"),
        ("data.sql", "INSERT INTO `data` VALUES (1,'- H -','- H -');\n"),
    ],
)  # fmt: skip
def test_an_index_that_is_none_is_one_clear_error(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match="index"):
        read_index(tmp_path / name, "H", ["reconstruct"])


def test_the_dump_is_never_executed(tmp_path: Path) -> None:
    (tmp_path / "data.sql").write_text(
        "ATTACH DATABASE 'x.db' AS x;\n\\! touch pwned\nSOURCE /etc/passwd;\n" + as_sql()
    )
    assert len(read_index(tmp_path / "data.sql", "H", ["reconstruct"])) == len(LEFT_OUT)
    assert [path.name for path in tmp_path.iterdir()] == ["data.sql"]
    assert not Path("pwned").exists()


def test_a_source_with_an_index_reads_only_what_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "cif"
    folder.mkdir()
    for row in [*TABLE, ("2000000",)]:
        (folder / f"{row[0]}.cif").write_text("data_x")
    (tmp_path / "data.csv").write_text(as_csv())
    source = make_source(folder, "cif", index=tmp_path / "data.csv", partitions=3)
    records = [record for part in range(3) for record in read_source(source, part)]
    assert len(records) == len(TABLE) + 1
    stopped = {record.source_id: record.stop.reason for record in records if record.stop}
    assert stopped == LEFT_OUT
    assert all(record.text == "data_x" for record in records if record.stop is None)


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


def test_an_index_belongs_to_cif(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(as_csv())
    with pytest.raises(ConfigError, match="index"):
        make_source(ARCHIVE, "aiida", index=tmp_path / "data.csv")
    with pytest.raises(ConfigError, match="does not exist"):
        make_source(tmp_path, "cif", index=tmp_path / "absent.csv")
