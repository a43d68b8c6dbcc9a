"""What every job does besides its work: progress, time, memory, signals, and its row in ``runs``."""

import json
import os
import platform
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType

from hinpaint.store import write_table
from hinpaint.tables import RUNS

_DECIDING = ("hinpaint", "torch", "mattergen", "nequip", "sevenn", "torch-sim-atomistic", "pymatgen", "gemmi", "numpy")
STOPPED = "stopped; "
"""Beginning of the last line of a job that was asked to stop and kept what it had."""
_LINE = re.compile(r"^\[(?P<stage>\w+) (?P<shard>\d+) +(?P<seconds>[\d.]+) s\] (?P<message>.*)$")
_DONE = re.compile(r"done: (?P<n_in>\d+) rows in, (?P<n_out>\d+) out")


class Interrupted(BaseException):
    """The job was asked to stop. No :class:`Exception`, so that nothing takes it for the failure of a structure."""


@dataclass(frozen=True)
class Line:
    """One line that a job printed.

    Attributes:
        seconds_s: seconds since the job began.
        message: what it said.
    """

    seconds_s: float
    message: str

    @property
    def n_out(self) -> int | None:
        """Rows written, if this is the last line of a job that succeeded."""
        found = _DONE.match(self.message)
        return int(found["n_out"]) if found else None


@dataclass
class Job:
    """Counters of a running job; a stage fills them in while it works.

    Attributes:
        stage: name of the stage.
        shard: number of the shard.
        n_in: rows read.
        n_out: rows written.
        n_reused: rows written that came from the journal.
        n_computed: trials or structures computed, not reused.
        n_kept: rows that are finished and kept so far.
        n_planned: rows to finish in all.
        compute_s: seconds spent in the network or the potential.
        device: where the numbers were computed.
        model_sha256: SHA-256 of the diffusion weights, if any.
        potential_sha256: SHA-256 of the potential, if any.
        stop_signal: number of the signal that asked the job to stop.
    """

    stage: str
    shard: int
    n_in: int = 0
    n_out: int = 0
    n_reused: int = 0
    n_computed: int | None = None
    n_kept: int = 0
    n_planned: int = 0
    compute_s: float | None = None
    device: str = "cpu"
    model_sha256: str | None = None
    potential_sha256: str | None = None
    stop_signal: int | None = None
    _started: float = field(default_factory=time.monotonic)
    _worked: float = field(default_factory=time.process_time)

    @property
    def seconds_s(self) -> float:
        """Seconds since the job began."""
        return time.monotonic() - self._started

    @property
    def cpu_s(self) -> float:
        """CPU seconds of this process since the job began."""
        return time.process_time() - self._worked

    def say(self, message: str) -> None:
        """Print one progress line with the elapsed time to standard error."""
        # A signal to the whole process group may have ended the reader of our pipe before us.
        with suppress(BrokenPipeError):
            print(f"[{self.stage} {self.shard:04d} {self.seconds_s:7.1f} s] {message}", file=sys.stderr, flush=True)

    def note_signal(self, number: int) -> None:
        """Note that a signal asked the job to stop."""
        self.stop_signal = number

    def stop_if_asked(self) -> None:
        """Raise :class:`Interrupted` when a signal has come; call it where the work may be cut."""
        if self.stop_signal is not None:
            raise Interrupted


@contextmanager
def job(stage: str, shard: int, run_id: str, runs_path: Path, *, resumable: bool = False) -> Iterator[Job]:
    """Measure a job and write its row of ``runs`` when it succeeds.

    Args:
        stage: name of the stage.
        shard: number of the shard.
        run_id: name of the run.
        runs_path: Parquet file for the row.
        resumable: SIGTERM and SIGINT only set :attr:`Job.stop_signal`; the stage calls :meth:`Job.stop_if_asked` often.

    Yields:
        The counters to fill in.

    Raises:
        SystemExit: a resumable job was asked to stop; the code is 128 plus the signal's number, as shells have it.
    """
    current = Job(stage, shard)
    current.say("started")
    try:
        with signals_noted(current.note_signal) if resumable else nullcontext():
            yield current
    except Interrupted:
        current.say(f"{STOPPED}{current.n_kept} of {current.n_planned} rows kept, run again to go on")
        raise SystemExit(128 + (current.stop_signal or signal.SIGTERM)) from None
    seconds = current.seconds_s
    row = {
        "stage": stage,
        "shard": shard,
        "n_in": current.n_in,
        "n_out": current.n_out,
        "n_reused": current.n_reused,
        "seconds_s": seconds,
        "cpu_s": current.cpu_s,
        "compute_s": current.compute_s,
        "busy_fraction": None if current.compute_s is None else min(1.0, current.compute_s / seconds),
        "trials_per_hour": None if current.n_computed is None else 3600.0 * current.n_computed / seconds,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "hardware": f"{current.device}, {_threads()} threads, {platform.machine()}",
        "versions": json.dumps(library_versions(), sort_keys=True),
        "model_sha256": current.model_sha256,
        "potential_sha256": current.potential_sha256,
    }
    write_table(runs_path, RUNS, [row], run_id)
    reused = f", {current.n_reused} of them from the journal" if current.n_reused else ""
    current.say(f"done: {current.n_in} rows in, {current.n_out} out{reused}")


def read_line(line: str) -> Line | None:
    """Read one line as :meth:`Job.say` prints it; None when it is no such line."""
    found = _LINE.match(line)
    return Line(float(found["seconds"]), found["message"]) if found else None


@contextmanager
def signals_noted(note: Callable[[int], None]) -> Iterator[None]:
    """Let the first SIGTERM or SIGINT only be noted; a second one ends the process at once.

    Args:
        note: takes the signal's number. Outside the main thread nothing is noted, as only that one gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        note(number)
        signal.signal(number, signal.SIG_DFL)

    former = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


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
