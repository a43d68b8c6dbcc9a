import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from small_release import KEYS, Rows, filled, make_run
from typer.testing import CliRunner

import hinpaint
from hinpaint.catalog import build
from hinpaint.catalog.chemistry import kinds_of
from hinpaint.catalog.queries import QUESTIONS, queries_markdown
from hinpaint.catalog.query import LIST, QueryError, ask, explain, open_catalog, render, write_parquet
from hinpaint.cli import app
from hinpaint.crystal import Crystal
from hinpaint.store import to_table
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
    build.complete(connection)
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
    names, rows = ask(open_catalog(catalog), "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a_1")
    assert json.loads(render(names, rows, "json")) == [{"a": 1, "a_2": 2, "a_1": 3, "a_1_1": 4}]
    with pytest.raises(QueryError, match="no question"):
        ask(open_catalog(catalog), "")


def test_json_within_json_is_valid(catalog) -> None:
    def answer(question):
        return json.loads(render(*ask(open_catalog(catalog), question), "json"), parse_constant=pytest.fail)

    nested = "SELECT ['nan'::DOUBLE, 1.5] AS l, {'x': ['inf'::DOUBLE]} AS s"
    assert answer(nested) == [{"l": [None, 1.5], "s": {"x": [None]}}]
    assert answer("SELECT MAP {DATE '2026-01-02': 1} AS m") == [{"m": {"2026-01-02": 1}}]


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


@pytest.fixture(scope="module")
def run_catalog(tmp_path_factory):
    """A catalog with rows in every table that questions are about: two benchmark entries, five to complete."""
    path, _ = make_run(tmp_path_factory.mktemp("queries") / "run", edit=_add_benchmarks)
    with duckdb.connect() as connection:  # make_run writes the tables alone
        connection.execute(f"ATTACH '{path}' AS catalog")
        connection.execute("USE catalog")
        build.complete(connection)
    return path


def _add_benchmarks(rows: Rows) -> None:
    water = [0.3, 0.2, 0.3, 0.3, 0.8, 0.3]
    sites = {"lattice": (3.0 * np.eye(3)).ravel().tolist(), "host_species": ["O"], "host_frac": [0.3, 0.0, 0.3]}
    for key, lowers in (("b|1|match", False), ("b|1|lower", True)):
        rows["tasks"].append(filled(ALL_TABLES["tasks"], entry_key=key, element="H", mode="benchmark", **sites,
                                    reference_frac=water))  # fmt: skip
        rows["les_entry"].append(filled(ALL_TABLES["les_entry"], entry_key=key, n_trials=4, n_les=1, released_trial=0))
        for trial in (0, 1, -2):
            values = {"entry_key": key, "trial": trial, "level": "full"}
            matched, delta = (not lowers and trial == 0), (-3.0 if lowers and trial == 0 else 40.0)
            rows["trials"].append(filled(ALL_TABLES["trials"], entry_key=key, trial=trial))
            rows["relaxed"].append(filled(ALL_TABLES["relaxed"], **values, converged=True))
            rows["matches"].append(filled(ALL_TABLES["matches"], **values, matched=matched, delta_e_mev_per_atom=delta))
        # a trial that found no place has no rows after that, one whose placed geometry a gate refuses has all of them
        rows["trials"].append(filled(ALL_TABLES["trials"], entry_key=key, trial=2, reason="no_room"))
        values = {"entry_key": key, "trial": 3}
        rows["trials"].append(filled(ALL_TABLES["trials"], **values))
        rows["relaxed"].append(filled(ALL_TABLES["relaxed"], **values, level="full", converged=True))
        rows["matches"].append(filled(ALL_TABLES["matches"], **values, level="full", matched=True))
        rows["arrangements"].append(filled(ALL_TABLES["arrangements"], **values, gate="x"))
    key = rows["decisions"][0]["entry_key"]
    rows["decisions"][0]["doubts"] = ["dft_refuted"]
    rows["les_verified"].append(filled(ALL_TABLES["les_verified"], entry_key=key, verdict="refuted"))
    rows["verify_summary"].append(filled(ALL_TABLES["verify_summary"]))
    for row in rows["evidence"]:
        row["codes"] = ["h_missing"]
    rows["evidence"] += [filled(ALL_TABLES["evidence"], entry_key=KEYS["kept"], n_missing=2, codes=["a", "b"])]
    rows["runs"].append(filled(ALL_TABLES["runs"], stage="relax", seconds_s=60.0, compute_s=50.0))


def test_every_question_of_the_documentation_is_answered(run_catalog) -> None:
    with open_catalog(run_catalog) as catalog:
        answers = {question.title: ask(catalog, question.sql)[1] for question in QUESTIONS}
    empty = {title for title, rows in answers.items() if not rows}
    # what only a release knows, and what did not happen here
    assert empty == {
        "What changed since the last release?", "Which entries have moved, and how far?",
        "Which entries may go into a database of mine?", "Which trials of an entry failed, and why?",
        "In which oxides is water missing?",
    }  # fmt: skip


def test_the_document_of_questions_is_up_to_date() -> None:
    written = Path(__file__).parents[2] / "docs" / "queries.md"
    assert written.read_text(encoding="utf-8") == queries_markdown(), "run python scripts/write_queries_doc.py"


def test_les_by_chemistry_flips_and_costs(run_catalog) -> None:
    with open_catalog(run_catalog) as catalog:
        assert ask(catalog, "SELECT kind, n_entries, les_1_percent FROM les_by_chemistry")[1] == [("H2O", 2, 25.0)]
        at = {tol: ask(catalog, f"SELECT n_trials, n_les FROM les_at({tol})")[1] for tol in (1.0, 5.0)}  # noqa: S608
        assert at == {1.0: [(8, 2)], 5.0: [(8, 1)]}  # failed trials count as failures
        names = "entry_key, flips_at_mev_per_atom, lower_now"
        assert ask(catalog, f"SELECT {names} FROM verdict_flips")[1] == [("b|1|lower", 3.0, True)]  # noqa: S608
        n_corrected = len(ask(catalog, "SELECT * FROM corrected")[1])
        assert {row[0] for row in ask(catalog, "SELECT n_added FROM corrected")[1]} == {2}
        (cost,) = ask(catalog, "SELECT stage, job_s_per_corrected_entry FROM cost_per_corrected_entry")[1]
        assert cost == ("relax", 60.0 / n_corrected)
        missing = ask(
            catalog, "SELECT n_records, n_lacking, n_sites_missing FROM missing_by_database WHERE n_lacking > 0"
        )
        assert missing[1] == [(8, 1, 2)]


@pytest.mark.parametrize(
    ("species", "frac", "placed", "kinds"),
    [
        (["O"], [[0, 0, 0]], [[0.2, 0, 0]], ["OH"]),
        (["O"], [[0, 0, 0]], [[0.2, 0, 0], [0, 0.2, 0]], ["H2O", "H2O"]),
        (["O", "H"], [[0, 0, 0], [0, 0.98, 0.2]], [[0.2, 0, 0]], ["H2O"]),  # the host's hydrogen counts, too
        (["O"], [[0, 0, 0]], [[0.2, 0, 0], [0, 0.2, 0], [0, 0, 0.8]], ["other"] * 3),
        (["N", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]], [[0.8, 0, 0], [0.5, 0.5, 0.7]], ["NH", "OH"]),
        (["Na", "B"], [[0, 0, 0], [0.5, 0.5, 0.5]], [[0.4, 0, 0], [0.5, 0.5, 0.7]], ["hydride", "hydride"]),
        (["C", "S"], [[0, 0, 0], [0.5, 0.5, 0.5]], [[0.2, 0, 0], [0.5, 0.5, 0.7]], ["other", "other"]),
        (["H"], [[0, 0, 0]], [[0.2, 0, 0]], ["other"]),
    ],
)  # fmt: skip
def test_kinds_of_hydrogen(species, frac, placed, kinds) -> None:
    crystal = Crystal.build(5.0 * np.eye(3), species, frac).add_unknown("H", placed)
    assert list(kinds_of(crystal)) == kinds


def test_answers_go_into_files(catalog, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    question = "SELECT entry_key, detail FROM whynot ORDER BY ALL"
    expected = ask(open_catalog(catalog), question)[1]
    for name in ("a.parquet", "a.csv", "a.json"):
        done = runner.invoke(app, ["query", question, "--run", "r", "-o", name])
        assert done.exit_code == 0, done.output
    assert [tuple(row.values()) for row in pq.read_table("a.parquet").to_pylist()] == expected
    with Path("a.csv").open(newline="") as handle:
        assert [tuple(row) for row in csv.reader(handle)][1:] == expected
    assert [tuple(row.values()) for row in json.loads(Path("a.json").read_text())] == expected
    Path("question.sql").write_text(question)
    from_file = runner.invoke(app, ["query", "--file", "question.sql", "--run", "r", "--format", "csv"])
    assert HOSTILE in from_file.output
    for wrong in (["--format", "parquet", question], ["-o", "b.parquet", "nonsense"], [question, "--list"]):
        done = runner.invoke(app, ["query", "--run", "r", *wrong])
        assert done.exit_code == 1
        assert done.output.startswith("hinpaint: ")
    assert not Path("b.parquet").exists()


def test_parquet_numbers_equal_names(catalog, tmp_path) -> None:
    question = "SELECT w.reason, v.reason, 3 AS reason_1 FROM whynot w JOIN whynot v USING (entry_key)"
    with open_catalog(catalog) as connection:
        assert write_parquet(connection, question, tmp_path / "twice.parquet") == 2
    rows = pq.read_table(tmp_path / "twice.parquet").to_pylist()
    assert rows == [{"reason": "no_cell", "reason_2": "no_cell", "reason_1": 3}] * 2


def test_parquet_refuses_what_it_cannot_hold(catalog, tmp_path) -> None:
    with open_catalog(catalog) as connection, pytest.raises(QueryError, match="interval"):
        write_parquet(connection, "SELECT INTERVAL 1 DAY AS d", tmp_path / "d.parquet")
    assert not (tmp_path / "d.parquet").exists()


@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_an_answer_that_breaks_off_leaves_no_file(catalog, monkeypatch, name) -> None:
    monkeypatch.chdir(catalog.parents[2])
    breaks = "SELECT if(range = 250_000, error('too far'), range) AS n FROM range(300_000)"
    done = CliRunner().invoke(app, ["query", breaks, "--run", "r", "-o", name])
    assert (done.exit_code, done.output) == (1, "hinpaint: Invalid Input Error: too far\n")
    assert [path.name for path in Path().iterdir()] == ["results"]


def test_pipes_are_written_as_they_are(catalog, tmp_path) -> None:
    reader, writer = os.pipe()
    done = CliRunner().invoke(
        app, ["query", "SELECT 1 AS n", "--catalog", str(catalog), "--format", "csv", "-o", f"/dev/fd/{writer}"]
    )
    os.close(writer)
    with os.fdopen(reader) as handle:
        assert (done.exit_code, handle.read()) == (0, "n\n1\n")


@pytest.mark.parametrize("n_rows", [10, 10_000])
def test_a_reader_that_stops_early_ends_the_command_quietly(catalog, n_rows) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = ["query", f"FROM range({n_rows})", "--catalog", str(catalog), "--format", "csv"]
    script = f"from hinpaint.cli import app; app({words})"
    done = subprocess.run([sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE, check=False)  # noqa: S603
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_tables_explain_themselves(catalog, monkeypatch) -> None:
    connection = open_catalog(catalog)
    listed = {name: (kind, tells) for name, kind, tells in ask(connection, LIST)[1]}
    assert set(ALL_TABLES) < set(listed)
    assert all(tells for _, tells in listed.values())
    columns = {row[0]: row[1:] for row in ask(connection, explain(connection, "matches"))[1]}
    assert columns["delta_e_mev_per_atom"][1] == "meV/atom"
    assert columns["h_max_a"][1:] == ("Å", "largest distance of assigned placed sites on the fixed host, ångström")
    view = {row[0]: row[1:] for row in ask(connection, explain(connection, "corrected"))[1]}
    assert view["n_agree"][2]
    with pytest.raises(QueryError, match="no table or view"):
        explain(connection, "x' OR 1=1")
    monkeypatch.chdir(catalog.parents[2])
    shown = CliRunner().invoke(app, ["query", "--run", "r"])
    assert "verdict_flips" in shown.output


def test_catalogs_open_by_run_folder_and_file(catalog, monkeypatch) -> None:
    monkeypatch.chdir(catalog.parents[2])
    for where in ("r", catalog, catalog.parent, str(catalog)):
        with hinpaint.open_catalog(where) as connection:
            assert connection.sql("SELECT count(*) FROM whynot").fetchall() == [(2,)]
    with pytest.raises(QueryError, match="no catalog at"):
        hinpaint.open_catalog("absent")
    with pytest.raises(AttributeError):
        hinpaint.absent  # noqa: B018 - asking is the test


def test_a_catalog_reaches_nothing_outside(catalog, tmp_path) -> None:
    with open_catalog(catalog) as connection:
        for sql in (
            "DELETE FROM whynot", f"COPY whynot TO '{tmp_path}/x.csv'", "SELECT * FROM read_csv('/etc/passwd')",
            "SET enable_external_access = true", f"ATTACH '{tmp_path}/y.duckdb'", "INSTALL httpfs",
        ):  # fmt: skip
            with pytest.raises(QueryError):
                ask(connection, sql)


def test_an_inserter_writes_whole_row_groups_and_loses_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(build, "_GROUP_ROWS", 4)
    rows = [filled(WHYNOT, entry_key=f"d|1|{i:02d}") for i in range(11)]
    whole = to_table(WHYNOT, rows, "r")
    connection = build.create(tmp_path / "catalog.duckdb")
    written: list[int] = []
    plain = build.insert
    monkeypatch.setattr(build, "insert", lambda c, t, r: (written.append(len(r)), plain(c, t, r)))
    inserter = build.Inserter(connection)
    for start in range(0, 11, 3):
        inserter.add(WHYNOT, whole.slice(start, 3))
    inserter.flush()
    assert written == [4, 4, 3]
    found = connection.execute("SELECT entry_key FROM whynot ORDER BY entry_key").fetchall()
    assert [key for (key,) in found] == whole["entry_key"].to_pylist()
    build.close(connection)
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.duckdb"]
