import csv
import io
import json

import duckdb
import pytest
from typer.testing import CliRunner

from hinpaint.catalog import build
from hinpaint.catalog.query import QueryError, ask, open_catalog, render
from hinpaint.cli import app
from hinpaint.tables import ALL_TABLES, WHYNOT

HOSTILE = "'; DROP TABLE whynot; --[red]<b>"


@pytest.fixture
def catalog(tmp_path):
    path = tmp_path / "results" / "r" / "catalog.duckdb"
    path.parent.mkdir(parents=True)
    connection = build.create(path)
    rows = [
        {"entry_key": f"d|1|{name}", "trial": None, "stage": "ingest", "reason": "no_cell", "detail": name}
        for name in ("a", HOSTILE)
    ]
    build.insert_rows(connection, WHYNOT, rows, "r")
    build.create_views(connection)
    build.close(connection)
    return path


def test_every_table_and_view_answers(catalog) -> None:
    connection = open_catalog(catalog)
    views = [name for (name,) in ask(connection, "SELECT view_name FROM duckdb_views() WHERE NOT internal")[1]]
    assert {"accounting", "reasons", "corrected", "les_table", "seconds_per_trial"} <= set(views)
    for name in (*ALL_TABLES, *views):
        names, _ = ask(connection, f"SELECT * FROM {name}")  # noqa: S608 - names of ours
        assert names


def test_formats_hold_the_same_answer(catalog) -> None:
    names, rows = ask(open_catalog(catalog), "SELECT entry_key, trial, detail FROM whynot ORDER BY ALL")
    as_json = json.loads(render(names, rows, "json"))
    as_csv = list(csv.DictReader(io.StringIO(render(names, rows, "csv"))))
    assert [r["detail"] for r in as_json] == [r["detail"] for r in as_csv]
    assert as_json[0]["trial"] is None
    assert as_csv[0]["trial"] == ""
    table = render(names, rows, "table", width=200)
    assert HOSTILE in table


def test_narrow_table_loses_no_text(catalog) -> None:
    names, rows = ask(open_catalog(catalog), "SELECT 'abcdefghijklmnopqrstuvwxyz' AS letters, 12345 AS number")
    table = render(names, rows, "table", width=20)
    assert set("abcdefghijklmnopqrstuvwxyz12345") <= set(table)


def test_equal_names_and_numbers_that_are_none_survive(catalog) -> None:
    names, rows = ask(open_catalog(catalog), "SELECT 1 AS a, 2 AS a, 'nan'::DOUBLE AS b")
    assert json.loads(render(names, rows, "json")) == [{"a": 1, "a_1": 2, "b": None}]
    with pytest.raises(QueryError, match="no question"):
        ask(open_catalog(catalog), "")


def test_errors_are_one_line(catalog, tmp_path) -> None:
    with pytest.raises(QueryError) as caught:
        ask(open_catalog(catalog), "SELECT nothing\nFROM nowhere")
    assert "\n" not in str(caught.value)
    with pytest.raises(QueryError, match="no catalog at"):
        open_catalog(tmp_path / "none.duckdb")
    (tmp_path / "text.duckdb").write_text("no database" * 1000)
    with pytest.raises(QueryError, match="cannot be opened"):
        open_catalog(tmp_path / "text.duckdb")


def test_command_prints_json_and_fails_plainly(catalog, monkeypatch) -> None:
    monkeypatch.chdir(catalog.parents[2])
    runner = CliRunner()
    good = runner.invoke(app, ["query", "SELECT count(*) AS n FROM whynot", "--run", "r", "--format", "json"])
    assert json.loads(good.output) == [{"n": 2}]
    bad = runner.invoke(app, ["query", "DELETE FROM whynot", "--run", "r"])
    assert bad.exit_code == 1
    assert "hinpaint:" in bad.output
    assert "Traceback" not in bad.output


def test_file_is_written_for_older_readers(catalog) -> None:
    connection = duckdb.connect(str(catalog), read_only=True)
    (tags,) = connection.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchone()
    assert "1.2" in str(tags)
