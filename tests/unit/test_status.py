"""What ``hinpaint status`` sees and ``hinpaint rerun`` would do, on runs made of files alone."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hinpaint.cli import app
from hinpaint.jobs import Job, read_line
from hinpaint.rerun import drop, rerun_failed, rerun_shard, shard_of
from hinpaint.status import StatusError, run_status
from hinpaint.store import write_table
from hinpaint.tables import TASKS, WHYNOT

_HOUR_AGO = time.time() - 3600


def make_run(folder: Path, n_shards: int) -> Path:
    results = folder / "results" / "r"
    settings = {"run": "r", "shards": n_shards, "sources": [{"partitions": 1}], "release": {"version": "1.0.0"}}
    results.mkdir(parents=True)
    (results / "config.json").write_text(json.dumps(settings))
    for table in ("records", "tasks", "trials", "relaxed", "matches"):
        (results / table).mkdir()
    return results


def task(entry_key: str, shard: int, cost: float) -> dict[str, Any]:
    row = {
        "entry_key": entry_key, "mode": "reconstruct", "element": "H", "n_unknown": 1, "shard": shard, "cost": cost,
        "lattice": [4.0, 0, 0, 0, 4, 0, 0, 0, 4], "host_species": ["O"], "host_frac": [0, 0, 0], "reference_frac": None,
        "host_sha256": "0" * 64, "supercell": [1, 0, 0, 0, 1, 0, 0, 0, 1],
    }  # fmt: skip
    return {name: value for name, value in row.items() if name in TASKS.schema.names}


def says(results: Path, stage: str, number: int, text: str, at: float = _HOUR_AGO) -> None:
    path = results / "logs" / stage / f"shard={number:04d}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))


def line(stage: str, number: int, seconds: float, message: str) -> str:
    return f"[{stage} {number:04d} {seconds:7.1f} s] {message}\n"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight shards: 0 and 1 sampled, the others in every other state."""
    results = make_run(tmp_path, 8)
    for number in range(8):
        row = task(f"x|1|{number}", number, 100.0 if number < 2 else 200.0)
        write_table(results / "tasks" / f"shard={number:04d}.parquet", TASKS, [row], "r")
    for number, seconds in ((0, 30.0), (1, 50.0)):
        (results / "trials" / f"shard={number:04d}.parquet").touch()
        says(results, "inpaint", number, line("inpaint", number, seconds, "done: 1 rows in, 10 out"))
    says(results, "inpaint", 2, line("inpaint", 2, 20.0, "3/10 rows done"), time.time())
    says(results, "inpaint", 3, line("inpaint", 3, 20.0, "stopped; 3 of 10 rows kept, run again to go on"))
    says(results, "inpaint", 4, line("inpaint", 4, 5.0, "started") + "hinpaint: no weights 'td'\n", time.time())
    says(results, "inpaint", 5, line("inpaint", 5, 5.0, "3/10 rows done"))
    says(results, "inpaint", 6, line("inpaint", 6, 5.0, "done: 1 rows in, 10 out"))  # its output was deleted
    whynot = {"trial": None, "stage": "ingest", "detail": ""}
    rows = [whynot | {"entry_key": str(i), "reason": "no_cell" if i else "unreadable"} for i in range(3)]
    rows.append(whynot | {"entry_key": "9", "trial": 3, "reason": "no_cell"})  # a trial, whose entry goes on
    write_table(results / "whynot/ingest-shard=0000.parquet", WHYNOT, rows, "r")
    monkeypatch.chdir(tmp_path)
    return Path("results/r")


def test_every_shard_has_one_state(results: Path) -> None:
    stages = {stage.name: stage for stage in run_status(results).stages}
    assert list(stages) == ["ingest", "plan", "inpaint", "relax", "match", "aggregate", "release"]
    states = [shard.state for shard in stages["inpaint"].shards]
    assert states == ["done", "done", "running", "stopped", "failed", "failed", "waiting", "waiting"]
    assert [shard.state for shard in stages["relax"].shards] == ["waiting"] * 8
    assert (stages["inpaint"].n_rows, stages["release"].count("waiting")) == (20, 1)


def test_cost_and_what_is_left_follow_from_what_was_done(results: Path) -> None:
    inpaint = next(stage for stage in run_status(results).stages if stage.name == "inpaint")
    assert inpaint.seconds_s == 30 + 50 + 20 + 20 + 5 + 5
    # 80 s for a cost of 200, six shards of 200 to go, one of which has run for 20 s
    assert inpaint.left_s == pytest.approx(6 * 80 - 20)


def test_reasons_are_counted(results: Path) -> None:
    status = run_status(results)
    assert status.whynot == (("no_cell", 2), ("unreadable", 1))
    assert dict(status.failures)["hinpaint: no weights 'td'"] == 1


def test_failed_lists_targets_one_a_line(results: Path) -> None:
    shown = CliRunner().invoke(app, ["status", "--run", "r", "--failed"])
    assert shown.stdout.split() == [f"results/r/trials/shard={number:04d}.parquet" for number in (3, 4, 5)]


def test_table_and_json_say_the_same(results: Path) -> None:
    table = CliRunner().invoke(app, ["status", "--run", "r"]).stdout
    assert "left out: 2 x no_cell" in table
    (row,) = (row for row in table.splitlines() if row.startswith("│ inpaint"))
    assert [cell.strip() for cell in row.split("│")][2:-1] == ["2", "1", "1", "2", "2", "20", "0.04", "0.13 h"]
    answer = json.loads(CliRunner().invoke(app, ["status", "--run", "r", "--format", "json"]).stdout)
    (inpaint,) = (stage for stage in answer["stages"] if stage["stage"] == "inpaint")
    assert (inpaint["done"], inpaint["failed"], inpaint["rows"], answer["running"]) == (2, 2, 20, 1)


def test_no_run_is_one_line(results: Path) -> None:
    shown = CliRunner().invoke(app, ["status", "--run", "absent"])
    assert shown.exit_code == 1
    assert "no run at results/absent" in shown.output
    assert "Traceback" not in shown.output


def test_a_job_prints_what_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    Job("relax", 7).say("done: 3 rows in, 12 out, 4 of them from the journal")
    read = read_line(capsys.readouterr().err.strip())
    assert read is not None
    assert read.n_out == 12
    assert read_line("Traceback (most recent call last):") is None


def test_five_thousand_shards_are_seen_in_two_seconds(tmp_path: Path) -> None:
    n_shards, n_done = 5000, 4000
    results = make_run(tmp_path, n_shards)
    first = results / "tasks/shard=0000.parquet"
    write_table(first, TASKS, [task(f"x|1|{i}", 0, 10.0) for i in range(20)], "r")
    names = [f"shard={number:04d}" for number in range(n_shards)]
    for name in names[1:]:
        (results / "tasks" / f"{name}.parquet").hardlink_to(first)
    for stage, table in (("inpaint", "trials"), ("relax", "relaxed"), ("match", "matches")):
        (results / "logs" / stage).mkdir(parents=True)
        for number, name in enumerate(names[:n_done]):
            (results / table / f"{name}.parquet").touch()
            text = "progress\n" * 50 + line(stage, number, 100.0, "done: 20 rows in, 40 out")
            (results / "logs" / stage / f"{name}.log").write_text(text)
    started = time.process_time()  # not the wall clock: the machine that tests may be busy
    status = run_status(results)
    seconds = time.process_time() - started
    relax = next(stage for stage in status.stages if stage.name == "relax")
    assert (relax.count("done"), relax.count("waiting"), relax.n_rows) == (n_done, 1000, 40 * n_done)
    assert relax.left_s == pytest.approx(100.0 * 1000)
    assert seconds < 2.0


def test_one_entry_needs_its_shard_from_the_stage_on(results: Path) -> None:
    assert shard_of(results, "x|1|5") == 5
    plan = rerun_shard(results, "relax", 5)
    assert plan.arguments(results, "slurm", ["--dry-run"]) == [
        "results/r/matches/shard=0005.parquet", "--forcerun", "results/r/relaxed/shard=0005.parquet",
        "--profile", "slurm", "--dry-run", "--configfile", "results/r/config.json",
    ]  # fmt: skip
    assert plan.journals == (("relax", results / "journal/relax/shard=0005"),)
    assert [stage for stage, _ in rerun_shard(results, "inpaint", 5).journals] == ["inpaint", "relax"]


def test_what_failed_is_asked_for_and_fresh_drops_its_journals(results: Path) -> None:
    plan = rerun_failed(results)
    assert [path.name for path in plan.targets] == [f"shard={number:04d}.parquet" for number in (3, 4, 5)]
    assert plan.forced == ()
    for number in (2, 3):
        (results / f"journal/inpaint/shard={number:04d}").mkdir(parents=True)
    drop(plan)
    assert [path.name for path in (results / "journal/inpaint").iterdir()] == ["shard=0002"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--entry", "x|1|99"], "no task of x|1|99"),
        (["--shard", "8"], "no shard 8; the run has 8"),
        (["--shard", "1", "--stage", "ingest"], "no stage 'ingest'"),
        ([], "name one of"),
        (["--shard", "1", "--failed"], "name one of"),
    ],
)
def test_what_cannot_be_done_is_one_line(results: Path, arguments: list[str], message: str) -> None:
    shown = CliRunner().invoke(app, ["rerun", "--run", "r", *arguments])
    assert shown.exit_code == 1
    assert message in shown.output


def test_no_failure_is_said(results: Path) -> None:
    for number in (3, 4, 5):
        (results / "trials" / f"shard={number:04d}.parquet").touch()
    with pytest.raises(StatusError, match="nothing failed"):
        rerun_failed(results)
