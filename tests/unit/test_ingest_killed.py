"""The ingest script, killed at any moment: no half table, no orphan, and a second run gives the same bytes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CIFS = sorted((ROOT / "examples/cod").rglob("*.cif"))
TABLES = ("records", "entries", "evidence", "source-text", "whynot")


def write_database(folder: Path, copies: int) -> Path:
    """The demonstration's CIFs many times under other ids, and a configuration."""
    with tarfile.open(folder / "cod.tar", "w") as archive:
        for copy in range(copies):
            for path in CIFS:
                archive.add(path, f"cif/{path.stem}{copy:05d}.cif")
    source = {"database": "cod", "version": "1", "format": "cif", "path": str(folder / "cod.tar"),
              "licence": "CC0-1.0", "mode": ["reconstruct", "benchmark"]}  # fmt: skip
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"run": "killed", "sources": [source]}))
    return config


def start(config: Path, out: Path) -> subprocess.Popen[bytes]:
    outputs = [word for name in (*TABLES, "runs") for word in (f"--{name}", str(out / f"{name}.parquet"))]
    command = [sys.executable, str(ROOT / "scripts/ingest.py"), "--config", str(config), "--shard", "0", *outputs]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(  # noqa: S603 - our own script
        [*command, "--threads", "2"], env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    )


def bytes_of(out: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name in TABLES if (path := out / f"{name}.parquet").exists()}


def wait_for_group(group: int, seconds: float) -> bool:
    """Say whether every process of a group ends within some seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("copies", "kills"), [(4, 1), pytest.param(40, 20, marks=pytest.mark.slow)])
def test_a_killed_ingest_is_made_up_for(tmp_path: Path, copies: int, kills: int) -> None:
    config, whole, out = write_database(tmp_path, copies), tmp_path / "whole", tmp_path / "out"
    began = time.monotonic()
    assert start(config, whole).wait() == 0
    seconds = time.monotonic() - began
    expected = bytes_of(whole)
    assert expected.keys() == set(TABLES)
    chance = random.Random(5)  # noqa: S311 - no secret
    moments = [seconds * (number + chance.random()) / kills for number in range(kills)]
    for moment in moments:
        process = start(config, out)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert wait_for_group(process.pid, 20)
        found = bytes_of(out)
        assert found == {name: expected[name] for name in found}
        assert "records" not in found or found.keys() == expected.keys()
        assert start(config, out).wait() == 0
        assert bytes_of(out) == expected
        assert sorted(path.name for path in out.iterdir()) == sorted(f"{name}.parquet" for name in (*TABLES, "runs"))
        shutil.rmtree(out)
