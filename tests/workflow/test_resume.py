"""More trials, a signal in the middle, and the command that goes on: nothing finished is computed twice."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from workspace import ROOT, Workspace, environment

from hinpaint.store import read_table
from hinpaint.tables import RELAXED, RUNS, TRIALS

# A run, a second one that is stopped, and a third: minutes. The journal itself is tested in tests/unit.
pytestmark = pytest.mark.slow
HINPAINT = (sys.executable, "-c", "from hinpaint.cli import app; app()")


def runs_row(workspace: Workspace, stage: str) -> dict[str, Any]:
    row: dict[str, Any] = read_table(workspace.results / f"runs/{stage}-shard=0000.parquet", RUNS).to_pylist()[0]
    return row


def wait_for(log: Path, words: str, process: subprocess.Popen[str], seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while not (log.exists() and words in log.read_text()):
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < until, log.read_text() if log.exists() else "no log"
        time.sleep(0.05)


def test_more_trials_stopped_half_way_and_resumed(workspace: Workspace) -> None:
    tables = {"trials": TRIALS, "relaxed": RELAXED}
    paths = {name: workspace.results / name / "shard=0000.parquet" for name in tables}
    before = {name: read_table(paths[name], table).to_pylist() for name, table in tables.items()}
    text = (workspace.folder / "tiny.yaml").read_text()
    (workspace.folder / "more.yaml").write_text(text.replace("trials: 2", "trials: 3"))
    log = workspace.results / "logs/relax/shard=0000.log"
    log.unlink()
    target = str(paths["relaxed"].relative_to(workspace.folder))
    common = ["--snakefile", str(ROOT / "Snakefile")]
    command = ["snakemake", target, "--profile", str(ROOT / "profiles/local"), *common, "--configfile", "more.yaml"]
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=workspace.folder, env=environment(), start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    wait_for(log, "h_only: ", process)
    os.killpg(process.pid, signal.SIGTERM)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode != 0, printed
    assert not paths["relaxed"].exists()
    assert "stopped; " in log.read_text().splitlines()[-1]
    sampled = runs_row(workspace, "inpaint")
    assert sampled["n_reused"] == len(before["trials"])
    assert sampled["n_out"] > sampled["n_reused"]

    failed = workspace.run([*HINPAINT, "status", "--run", "tiny", "--failed"])
    assert failed.stdout.split() == [target]
    profile = ["--profile", str(ROOT / "profiles/local")]
    done = workspace.run([*HINPAINT, "rerun", "--run", "tiny", "--failed", *profile, "--", *common])
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith(f"snakemake {target} --profile")
    relaxed = runs_row(workspace, "relax")
    found = re.search(r"(\d+) of \d+ rows in the journal", log.read_text())
    assert found, log.read_text()
    kept = int(found[1])
    own = [row for row in before["relaxed"] if row["shared_from"] is None]  # what trials share is derived anew
    assert len(own) < relaxed["n_reused"] == kept < relaxed["n_out"]
    for name, table in tables.items():
        after = {tuple(row[key] for key in table.key): row for row in read_table(paths[name], table).to_pylist()}
        assert all(after[tuple(row[key] for key in table.key)] == row for row in before[name])


def test_one_entry_asks_for_its_shard_alone_and_a_dry_run_forgets_nothing(workspace: Workspace) -> None:
    journal = workspace.results / "journal/inpaint/shard=0000"
    before = [path.read_bytes() for path in journal.iterdir()]
    entry = read_table(workspace.results / "trials/shard=0000.parquet", TRIALS)["entry_key"][0].as_py()
    options = ["--profile", str(ROOT / "profiles/local"), "--dry-run", "--", "--snakefile", str(ROOT / "Snakefile")]
    done = workspace.run([*HINPAINT, "rerun", "--run", "tiny", "--entry", entry, *options])
    assert done.returncode == 0, done.stdout
    jobs = sorted(re.findall(r"^(\w+) +(\d+)$", done.stdout.split("Job stats:")[-1], re.MULTILINE))
    assert jobs == [("inpaint", "1"), ("match", "1"), ("relax", "1"), ("total", "3")]
    assert [path.read_bytes() for path in journal.iterdir()] == before
    assert before
