"""The workflow knows no Slurm: another engine of Snakemake runs it too; and planning a large run takes no minute."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_run import SlurmRun, make_run
from workspace import ROOT, environment

# Every cluster has a command that takes a job script and prints a job's name; here a shell in the background.
SUBMIT = """#!/bin/sh
setsid sh "$1" > "$1.log" 2>&1 &
echo $!
"""


@pytest.mark.slurm
def test_generic_cluster_engine_makes_the_same_files(undisturbed: SlurmRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    submit = run.folder / "submit"
    submit.write_text(SUBMIT)
    submit.chmod(0o755)
    target = "results/tiny/trials/shard=0001.parquet"
    done = subprocess.run(  # noqa: S603 - our own command
        [str(Path(sys.executable).parent / "snakemake"), target, "--executor", "cluster-generic",
         "--cluster-generic-submit-cmd", str(submit), "--jobs", "2", "--seconds-between-status-checks", "2",
         "--snakefile", str(ROOT / "Snakefile"), "--directory", str(run.folder), "--configfile", "tiny.yaml"],
        cwd=run.folder, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=400,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    assert done.stdout.count("Submitted job") == 3, "ingest, plan and inpaint go through the engine"
    made = {name: digest for name, digest in run.content().items() if name.startswith(("tasks/", "trials/"))}
    assert target.removeprefix("results/tiny/") in made
    assert made.items() <= undisturbed.content().items()


@pytest.mark.slurm
def test_dry_run_of_a_thousand_shards(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    config = run.folder / "tiny.yaml"
    config.write_text(config.read_text().replace("shards: 2", "shards: 1000"))
    # CPU time, and the better of two: other work on the machine must not decide.
    assert min(seconds_of_dry_run(run) for _ in range(2)) < 30


def seconds_of_dry_run(run: SlurmRun) -> float:
    """CPU-seconds that planning takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    dry = run.start("--dry-run", "--quiet", "rules")
    assert dry.finish() == 0, dry.text()[-3000:]
    assert re.search(r"total +3006", dry.text())
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def test_no_scheduler_is_named_outside_profiles_documents_and_tests() -> None:
    files = [*(ROOT / "hinpaint").rglob("*.py"), *(ROOT / "rules").iterdir(), *(ROOT / "scripts").iterdir()]
    named = [path for path in files if path.is_file() and re.search("slurm|sbatch", path.read_text(), re.IGNORECASE)]
    code = [line for line in (ROOT / "Snakefile").read_text().splitlines() if not line.startswith("#")]
    assert named == []
    assert "slurm" not in "\n".join(code).lower()
