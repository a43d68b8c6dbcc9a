"""The whole way from two exports to a release, and what happens when it is disturbed."""

import hashlib
import json
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from workspace import IDS, Workspace, environment, make_workspace

from hinpaint.catalog.query import QueryError, ask, open_catalog
from hinpaint.files import sha256_file
from hinpaint.store import read_table, read_tables
from hinpaint.tables import TASKS, TRIALS


def question(workspace: Workspace, sql: str) -> list[tuple]:
    return ask(open_catalog(workspace.results / "catalog.duckdb"), sql)[1]


def planned_jobs(workspace: Workspace, *arguments: str, configfile: str = "tiny.yaml") -> dict[str, int]:
    """Jobs a dry run would start, by rule."""
    text = workspace.snakemake("--dry-run", *arguments, configfile=configfile)
    if "Nothing to be done" in text:
        return {}
    table = text.split("Job stats:")[-1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def hashes(folder: Path) -> dict[str, str]:
    # DuckDB does not write equal bytes for equal rows.
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "catalog.duckdb"]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_every_record_is_accounted_for(finished: Workspace) -> None:
    n_records = len(IDS) + 1
    assert question(finished, "SELECT * FROM accounting")[0][0] == n_records
    (row,) = question(
        finished,
        "SELECT (SELECT count(*) FROM entries) AS entries, (SELECT count(*) FROM whynot WHERE trial IS NULL) AS whynot",
    )
    assert sum(row) == n_records
    assert question(finished, "SELECT adds_up FROM accounting") == [(True,)]
    twice = "SELECT entry_key FROM whynot WHERE trial IS NULL GROUP BY entry_key HAVING count(*) > 1"
    assert question(finished, twice) == []
    assert question(finished, "SELECT entry_key FROM entries JOIN whynot USING (entry_key) WHERE trial IS NULL") == []
    reasons = dict(
        question(finished, "SELECT split_part(entry_key, '|', 3), reason FROM whynot WHERE stage = 'ingest'")
    )
    assert reasons == {"9900401": "no_target_element", "9900501": "unreadable"}


def test_tables_hold_what_they_should(finished: Workspace) -> None:
    assert question(finished, "SELECT count(*) FROM tasks")[0][0] == 4
    # two trials a task, one control a task with a reference
    assert question(finished, "SELECT count(*) FROM trials WHERE trial >= 0")[0][0] == 8
    assert question(finished, "SELECT count(*) FROM trials WHERE trial < -1")[0][0] == 2
    levels = question(finished, "SELECT level, count(*) FROM relaxed GROUP BY level ORDER BY level")
    assert levels == [("full", 12), ("h_only", 12)]
    assert question(finished, "SELECT count(*) FROM les_entry")[0][0] == 2
    stages = {row[0] for row in question(finished, "SELECT DISTINCT stage FROM runs")}
    assert {"ingest", "plan", "inpaint", "relax", "match"} <= stages


def test_every_table_and_column_is_commented(finished: Workspace) -> None:
    assert question(finished, "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL") == []
    bare = "SELECT table_name, column_name FROM duckdb_columns() WHERE comment IS NULL AND schema_name = 'main' AND table_name IN (SELECT table_name FROM duckdb_tables())"  # noqa: E501
    assert question(finished, bare) == []


def test_host_comes_back_untouched(finished: Workspace) -> None:
    rows = question(
        finished,
        "SELECT host_frac, frac, k.lattice = r.lattice FROM tasks k JOIN relaxed r USING (entry_key)"
        " WHERE level = 'h_only'",
    )
    assert rows
    for host, frac, same_cell in rows:
        assert frac[: len(host)] == host
        assert same_cell


def test_release_is_complete(finished: Workspace) -> None:
    folder = finished.results / "release" / "1.0.0"
    manifest = json.loads((folder / "manifest.json").read_text())
    listed = json.dumps(manifest)
    for name, digest in hashes(folder).items():
        if name not in {"manifest.json", "checksums.sha256"}:
            assert digest in listed, name
    completed = question(finished, "SELECT count(*) FROM decisions WHERE action = 'completed'")[0][0]
    assert len(list((folder / "cif").glob("*.cif"))) == completed
    assert len((folder / "structures.jsonl").read_text().splitlines()) == completed + 2


def test_catalog_can_only_be_read(finished: Workspace, tmp_path: Path) -> None:
    connection = open_catalog(finished.results / "catalog.duckdb")
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for sql in (
        "DELETE FROM trials",
        f"SELECT * FROM read_csv('{secret}')",  # noqa: S608 - what must be refused
        f"COPY trials TO '{tmp_path}/out.csv'",
        f"ATTACH '{tmp_path}/other.duckdb'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ):
        with pytest.raises(QueryError):
            ask(connection, sql)
    assert not (tmp_path / "out.csv").exists()


def test_nothing_to_do_when_all_is_there(finished: Workspace) -> None:
    assert planned_jobs(finished) == {}


@pytest.mark.parametrize(
    ("deleted", "jobs"),
    [
        (
            "trials/shard=0001.parquet",
            {"inpaint": 1, "relax": 1, "match": 1, "aggregate": 1, "figures": 1, "release": 1, "all": 1},
        ),
        ("relaxed/shard=0000.parquet", {"relax": 1, "match": 1, "aggregate": 1, "figures": 1, "release": 1, "all": 1}),
        ("matches/shard=0000.parquet", {"match": 1, "aggregate": 1, "figures": 1, "release": 1, "all": 1}),
    ],
)
def test_deleted_shard_is_rebuilt_with_its_dependents_only(
    workspace: Workspace, deleted: str, jobs: dict[str, int]
) -> None:
    (workspace.results / deleted).unlink()
    assert planned_jobs(workspace) == jobs


def test_rebuilt_shard_gives_the_same_release(workspace: Workspace) -> None:
    before = hashes(workspace.results / "release")
    (workspace.results / "matches/shard=0000.parquet").unlink()
    workspace.snakemake()
    assert hashes(workspace.results / "release") == before


def test_change_of_a_setting_redoes_what_depends_on_it(workspace: Workspace) -> None:
    text = (workspace.folder / "tiny.yaml").read_text()
    (workspace.folder / "les.yaml").write_text(text.replace("bootstrap: 50", "bootstrap: 60"))
    assert planned_jobs(workspace, configfile="les.yaml") == {"aggregate": 1, "figures": 1, "release": 1, "all": 1}


def test_bad_configuration_is_one_line_before_anything_runs(workspace: Workspace) -> None:
    text = (workspace.folder / "tiny.yaml").read_text()
    (workspace.folder / "bad.yaml").write_text(text.replace("trials: 2", "trails: 2"))
    done = workspace.try_snakemake(configfile="bad.yaml")
    assert done.returncode != 0
    assert "hinpaint: config: trails: unknown key" in done.stdout
    assert "Traceback" not in done.stdout
    assert "Job stats" not in done.stdout


def test_killed_job_leaves_nothing_and_its_repeat_the_same_rows(workspace: Workspace) -> None:
    trials = workspace.results / "trials/shard=0000.parquet"
    undisturbed = trials.read_bytes()
    trials.unlink()
    command = workspace.script(
        "inpaint.py", "--shard", "0", "--tasks", str(workspace.results / "tasks/shard=0000.parquet"),
        "--trials", str(trials), "--runs", str(workspace.folder / "runs.parquet"),
        "--journal", str(workspace.folder / "journal"),
    )  # fmt: skip
    process = subprocess.Popen(command, cwd=workspace.folder, env=environment(), stderr=subprocess.PIPE, text=True)  # noqa: S603
    for line in process.stderr:
        if "tasks:" in line:  # the weights are loaded, sampling begins
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not trials.exists()
    done = workspace.run(command)
    assert done.returncode == 0, done.stdout
    assert trials.read_bytes() == undisturbed


def test_trial_is_the_same_alone_in_other_batches_and_other_shards(workspace: Workspace) -> None:
    text = (workspace.folder / "tiny.yaml").read_text()
    changed = (
        text.replace("run: tiny", "run: other")
        .replace("shards: 2", "shards: 3")
        .replace("n_steps: 10", "n_steps: 10\n  max_atoms: 1")
    )
    (workspace.folder / "other.yaml").write_text(changed)
    other = workspace.folder / "results" / "other"
    targets = [f"results/other/trials/shard={shard:04d}.parquet" for shard in range(3)]
    workspace.snakemake(*targets, configfile="other.yaml")
    first, second = (
        {
            (r["entry_key"], r["trial"]): r["frac_unknown"]
            for r in read_tables(sorted(folder.glob("*")), TRIALS).to_pylist()
        }
        for folder in (workspace.results / "trials", other / "trials")
    )
    shards = [read_table(p, TASKS)["entry_key"].to_pylist() for p in sorted((other / "tasks").glob("*"))]
    assert len(shards) == 3
    assert first.keys() == second.keys()
    for key, frac in first.items():
        delta = np.subtract(frac, second[key])
        assert np.abs(delta - np.round(delta)).max() < 1e-4, key


def test_a_potential_is_compiled_where_the_configuration_asks_for_it(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    assert "compile_potential" not in planned_jobs(workspace)
    package = tmp_path / "own.nequip.zip"
    package.write_bytes(b"not read by a dry run")
    block = {"name": "nequip", "path": package.name, "sha256": sha256_file(package), "compile": True}
    values = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**values, "potential": block}))
    assert planned_jobs(workspace, configfile="own.yaml")["compile_potential"] == 1
