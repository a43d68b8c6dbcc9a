"""COD's table as an index."""

import gzip
import re
from pathlib import Path

import pytest
from source_records import make_source

from hinpaint.config import ConfigError, Mode
from hinpaint.sources import read_source
from hinpaint.sources.prefilter import read_index
from hinpaint.whynot import Reason

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


def test_an_index_belongs_to_cif(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(as_csv())
    with pytest.raises(ConfigError, match="index"):
        make_source(tmp_path / "data.csv", "aiida", index=tmp_path / "data.csv")
    with pytest.raises(ConfigError, match="does not exist"):
        make_source(tmp_path, "cif", index=tmp_path / "absent.csv")
