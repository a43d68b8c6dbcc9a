"""AiiDA archives."""

import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest
from source_records import make_source, parsed

from hinpaint.evidence import weigh
from hinpaint.sources import parse_record, read_source, text_format
from hinpaint.sources.aiida import read_nodes

# Written by aiida-core 2.9.4 (create_archive): two invented StructureData, an invented CifData, an Int.
ARCHIVE = Path(__file__).parent / "small.aiida"


ORDERED, MIXED, CIF = (
    "56c4c98e-ab09-44c9-adf2-d147cf42e97f", "63c6bb74-2721-4757-9d67-625468d0028a",
    "7f2b17d5-a5a4-411c-bf8f-b4407bdba88d",
)  # fmt: skip


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
