"""What goes wrong on a cluster, on a real one: each run ends with the tables of an undisturbed run, to the last bit."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from slurm_cluster import Cluster, wait_for
from slurm_run import SlurmRun, copy_run, make_run

from hinpaint.tables import RELAXED, TASKS

pytestmark = pytest.mark.slurm
ACTIVE = ("PENDING", "RUNNING", "COMPLETING")


def test_job_hung_killed_out_of_memory_node_down_and_drained(
    cluster: Cluster, undisturbed: SlurmRun, tmp_path: Path
) -> None:
    """Everything that retries alone must mend, in one run: nobody does anything but wait."""
    run = make_run(
        tmp_path / "run",
        inpaint={"runtime": "1 if attempt == 1 else 60"},
        relax={"mem_mb": "900 if attempt == 1 else 8000"},
    )
    running = run.start()
    running.wait_until(lambda: run.work("inpaint.py", 0))
    os.kill(run.work("inpaint.py", 0)[0], signal.SIGSTOP)  # hangs until its time is up
    running.wait_until(lambda: run.work("inpaint.py", 1))
    os.kill(run.work("inpaint.py", 1)[0], signal.SIGKILL)

    running.wait_until(lambda: cluster.jobs("TIMEOUT", comment="rule_inpaint"))  # before the node goes, and it with it
    running.wait_until(lambda: cluster.jobs("RUNNING", comment="rule_match"), 800)
    cluster.set_node("down")
    running.wait_until(lambda: cluster.jobs("NODE_FAIL", comment="rule_match"))
    cluster.set_node("resume")
    running.wait_until(lambda: cluster.jobs("RUNNING", comment="rule_match"))
    cluster.set_node("drain")  # what runs goes on, what comes waits
    running.wait_until(lambda: cluster.jobs("PENDING"))
    cluster.set_node("resume")

    assert running.finish() == 0, running.text()[-6000:]
    ends = {(job.comment.split("_")[1], job.state) for job in cluster.jobs()}
    assert {("inpaint", "TIMEOUT"), ("inpaint", "FAILED"), ("match", "NODE_FAIL")} <= ends
    assert ends & {("relax", "OUT_OF_MEMORY"), ("relax", "FAILED")}
    assert run.content() == undisturbed.content()
    assert run.leftovers() == []


def test_snakemake_interrupted_and_killed(cluster: Cluster, undisturbed: SlurmRun, tmp_path: Path) -> None:
    """After SIGINT: run again. After SIGKILL: --unlock and run again, although the old jobs still run."""
    run = copy_run(undisturbed, tmp_path / "run")
    run.forget("relaxed", "journal/relax")
    first = run.start()
    first.wait_until(lambda: run.work("relax.py", 0) and run.work("relax.py", 1))
    assert first.stop(signal.SIGINT) != 0
    wait_for(lambda: not cluster.jobs(*ACTIVE), 60, "an interrupted Snakemake leaves its jobs")

    second = run.start()
    second.wait_until(lambda: run.work("relax.py", 0) and run.work("relax.py", 1))
    second.stop(signal.SIGKILL)
    orphans = cluster.jobs("RUNNING", comment="rule_relax")
    assert len(orphans) == 2

    assert run.start("--unlock").finish() == 0
    third = run.start()
    third.wait_until(lambda: len(cluster.jobs("RUNNING", comment="rule_relax")) > len(orphans))
    assert third.finish() == 0, third.text()[-6000:]
    wait_for(lambda: not cluster.jobs(*ACTIVE), 60, "orphans do not end")
    assert run.content() == undisturbed.content()
    assert run.leftovers() == []
    assert "Nothing to be done" in run.locally("--dry-run")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB with no room left."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)  # noqa: S603, S607
    (folder / "filler").write_bytes(bytes(64 * 1024))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607


def test_full_disk_and_damaged_shard(cluster: Cluster, undisturbed: SlurmRun, tmp_path: Path, full_disk: Path) -> None:
    """Each fails its own job and says what it is; room, `check --delete` and a run mend them."""
    run = copy_run(undisturbed, tmp_path / "run")
    run.forget("matches")
    (run.results / "matches").symlink_to(full_disk)
    damaged = run.results / "relaxed/shard=0000.parquet"
    flip_bit(damaged)
    failed = run.start("--retries", "0")
    assert failed.finish() != 0
    assert not run.files("matches")
    logs = run.results / "logs/match"
    assert "damaged" in (logs / "shard=0000.log").read_text()
    assert "No space left on device" in (logs / "shard=0001.log").read_text()

    (full_disk / "filler").unlink()
    found = run.hinpaint("check", "--run", "tiny", "--delete")
    assert str(damaged.relative_to(run.folder)) in found.stdout, found.stdout
    mended = run.start()
    assert mended.finish() == 0, mended.text()[-6000:]
    assert run.content() == undisturbed.content()


def flip_bit(path: Path) -> None:
    """Change the last byte of a table's first page, and neither size nor date."""
    times, first = path.stat(), pq.read_metadata(path).row_group(0).column(0)
    content = bytearray(path.read_bytes())
    content[(first.dictionary_page_offset or first.data_page_offset) + first.total_compressed_size - 1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_poisoned_entry_costs_its_own_rows_and_no_others(undisturbed: SlurmRun) -> None:
    """An element no potential knows, in a shard with a sound entry."""
    tasks, relaxed = undisturbed.rows(TASKS), undisturbed.rows(RELAXED)
    (poisoned,) = (task for task in tasks if task["entry_key"].endswith("9900999"))
    mates = [t["entry_key"] for t in tasks if t["shard"] == poisoned["shard"] and t is not poisoned]
    assert mates, "the poisoned entry must have a neighbour"
    done = {row["entry_key"] for row in relaxed if row["energy_ev"] is not None}
    assert set(mates) <= done
    assert poisoned["entry_key"] not in done


def test_dates_in_the_future_and_in_the_past(undisturbed: SlurmRun, tmp_path: Path) -> None:
    """Clocks of file servers and nodes differ: a wrong date makes nothing again for ever, and no change is missed."""
    run = copy_run(undisturbed, tmp_path / "run")
    records, match = "results/tiny/records/shard=0000.parquet", "results/tiny/matches/shard=0000.parquet"
    for offset in (86400, -86400 * 365):
        set_dates(offset, run.folder / "cod")
        assert "rule ingest" in run.locally(records, "--dry-run"), "another date is another source"
        run.locally(records)
        plan = run.locally("--dry-run")
        assert "rule ingest" not in plan
        assert "rule inpaint" not in plan, "the rows are the same"
    run.locally()  # the times of the jobs are others, so the catalog is made again

    tables = [*(run.results / "tasks").glob("*"), *(run.results / "trials").glob("*")]
    set_dates(86400, *tables)
    assert "Nothing to be done" in run.locally("--dry-run"), "content counts, not the date"
    (run.folder / match).unlink()
    assert "clock skew" in run.fails(match, "--retries", "0")
    set_dates(0, *tables)  # what `touch` does
    run.locally(match)
    assert run.content() == undisturbed.content()


def set_dates(offset_s: float, *paths: Path) -> None:
    """Date files from now."""
    moment = time.time() + offset_s
    for path in paths:
        os.utime(path, (moment, moment))
