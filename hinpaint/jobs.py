"""What every job does besides its work: progress, time, memory, and its row in ``runs``."""

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hinpaint.store import write_table
from hinpaint.tables import RUNS

_DECIDING = ("hinpaint", "torch", "mattergen", "nequip", "sevenn", "torch-sim-atomistic", "pymatgen", "gemmi", "numpy")


@dataclass
class Job:
    """Counters of a running job; a stage fills them in while it works.

    Attributes:
        stage: name of the stage.
        shard: number of the shard.
        n_in: rows read.
        n_out: rows written.
        compute_s: seconds spent in the network or the potential.
        device: where the numbers were computed.
        model_sha256: SHA-256 of the diffusion weights, if any.
        potential_sha256: SHA-256 of the potential, if any.
    """

    stage: str
    shard: int
    n_in: int = 0
    n_out: int = 0
    compute_s: float | None = None
    device: str = "cpu"
    model_sha256: str | None = None
    potential_sha256: str | None = None
    _started: float = field(default_factory=time.monotonic)

    def say(self, message: str) -> None:
        """Print one progress line with the elapsed time to standard error."""
        elapsed = time.monotonic() - self._started
        print(f"[{self.stage} {self.shard:04d} {elapsed:7.1f} s] {message}", file=sys.stderr, flush=True)


@contextmanager
def job(stage: str, shard: int, run_id: str, runs_path: Path) -> Iterator[Job]:
    """Measure a job and write its row of ``runs`` when it succeeds.

    Args:
        stage: name of the stage.
        shard: number of the shard.
        run_id: name of the run.
        runs_path: Parquet file for the row.

    Yields:
        The counters to fill in.
    """
    current = Job(stage, shard)
    current.say("started")
    yield current
    seconds = time.monotonic() - current._started  # noqa: SLF001 - its own field
    row = {
        "stage": stage,
        "shard": shard,
        "n_in": current.n_in,
        "n_out": current.n_out,
        "seconds_s": seconds,
        "compute_s": current.compute_s,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "hardware": f"{current.device}, {_threads()} threads, {platform.machine()}",
        "versions": json.dumps(library_versions(), sort_keys=True),
        "model_sha256": current.model_sha256,
        "potential_sha256": current.potential_sha256,
    }
    write_table(runs_path, RUNS, [row], run_id)
    current.say(f"done: {current.n_in} rows in, {current.n_out} out")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide results (absent ones are left out)."""
    found = {}
    for name in _DECIDING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
