"""How far a run is: which files are there, and what each job said last. No table is read whole.

A run of 5,000 shards has 15,000 jobs; the last line of a log costs 20 microseconds to read, a Parquet footer 150. That
line holds the seconds and the rows that ``runs`` holds, and it is there for jobs that failed as well.
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hinpaint.jobs import STOPPED, Line, read_line

State = Literal["done", "running", "stopped", "failed", "waiting"]
STATES: tuple[State, ...] = ("done", "running", "stopped", "failed", "waiting")
TABLE_OF = {"ingest": "records", "inpaint": "trials", "relax": "relaxed", "match": "matches",
            "verify": "verifications"}  # fmt: skip
"""What a stage of many jobs writes, as ``results/<run>/<table>/shard=0007.parquet``."""

STAGES = ("inpaint", "relax", "match")
"""Stages with one job a shard, in order."""

_SILENT_S = 120.0  # every job says something at least this often; after that it is taken for dead
_TAIL_BYTES = 2048
_ERROR = re.compile(r"hinpaint: |Traceback |[\w.]*(Error|Exception|Killed)\b")
_SAMPLE = 100  # shards whose predicted cost is read for an estimate
_SHOWN = 5


class StatusError(Exception):
    """There is no such run. The message says what to do."""


@dataclass(frozen=True)
class Shard:
    """One job of a run.

    Attributes:
        number: number of the shard.
        folder: where its file goes.
        name: name of the file.
        state: done (the file is there), running (its log grows), stopped (asked to stop, goes on from its journal),
            failed (ended without the file), or waiting.
        seconds_s: seconds it has run so far, if its log says so.
        n_out: rows it wrote.
        message: why it failed.
    """

    number: int
    folder: Path
    name: str
    state: State
    seconds_s: float | None
    n_out: int | None
    message: str

    @property
    def target(self) -> Path:
        """The file it has to make."""
        return self.folder / self.name


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: name of the stage.
        shards: its jobs.
        left_s: seconds of work that are left, estimated; None while nothing is done that one could go by.
    """

    name: str
    shards: tuple[Shard, ...]
    left_s: float | None

    def count(self, state: State) -> int:
        """Shards in one state."""
        return sum(shard.state == state for shard in self.shards)

    @property
    def seconds_s(self) -> float:
        """Seconds that jobs have run: the cost so far."""
        return sum(shard.seconds_s or 0.0 for shard in self.shards)

    @property
    def n_rows(self) -> int:
        """Rows written so far."""
        return sum(shard.n_out or 0 for shard in self.shards)


@dataclass(frozen=True)
class Status:
    """One run.

    Attributes:
        run: its name.
        stages: its stages in order.
        whynot: the most frequent reasons why entries were not taken, with counts.
        failures: the most frequent last words of failed jobs, with counts.
    """

    run: str
    stages: tuple[Stage, ...]
    whynot: tuple[tuple[str, int], ...]
    failures: tuple[tuple[str, int], ...]

    @property
    def failed(self) -> list[Path]:
        """Files that jobs failed, or were stopped, to make."""
        return [each.target for stage in self.stages for each in stage.shards if each.state in ("failed", "stopped")]

    @property
    def n_running(self) -> int:
        """Jobs that run now."""
        return sum(stage.count("running") for stage in self.stages)

    @property
    def left_s(self) -> float:
        """Seconds of work that are left in the stages where that is known."""
        return sum(stage.left_s or 0.0 for stage in self.stages)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the single shards, for JSON."""
        stages = [
            {state: stage.count(state) for state in STATES}
            | {"stage": stage.name, "rows": stage.n_rows, "seconds_s": stage.seconds_s, "left_s": stage.left_s}
            for stage in self.stages
        ]
        return {
            "run": self.run,
            "stages": stages,
            "running": self.n_running,
            "left_s": self.left_s,
            "whynot": dict(self.whynot),
            "failures": dict(self.failures),
            "failed": [str(path) for path in self.failed],
        }


def run_status(results: Path) -> Status:
    """Look at a run, finished or going on.

    Args:
        results: ``results/<run>``.

    Raises:
        StatusError: no run has been started there.
    """
    settings = run_settings(results)
    now = time.time()
    cost_of = cache(lambda number: _cost(results / "tasks" / f"shard={number:04d}.parquet"))
    stages = []
    failures: Counter[str] = Counter()
    for name, folder, files in _outputs(results, settings):
        shards = tuple(_shards(results / "logs" / name, folder, files, now))
        failures.update(each.message for each in shards if each.state == "failed")
        per_task = name in STAGES
        stages.append(Stage(name, shards, _left(shards, cost_of if per_task else lambda _number: 1.0)))
    return Status(results.name, tuple(stages), _whynot(results / "whynot"), tuple(failures.most_common(_SHOWN)))


def run_settings(results: Path) -> dict[str, Any]:
    """The run's configuration as its jobs read it; not validated, as sources may have moved since.

    Raises:
        StatusError: no run has been started there.
    """
    try:
        settings: dict[str, Any] = json.loads((results / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StatusError(f"no run at {results}; name one with --run, or start it with snakemake") from error
    return settings


def _outputs(results: Path, settings: dict[str, Any]) -> Iterator[tuple[str, Path, list[str]]]:
    """Stages in order, each with the folder and the names of the files that its jobs have to make."""
    shards = [f"shard={number:04d}.parquet" for number in range(settings["shards"])]
    n_parts = sum(source["partitions"] for source in settings["sources"])
    yield "ingest", results / TABLE_OF["ingest"], [f"shard={number:04d}.parquet" for number in range(n_parts)]
    yield "plan", results / "whynot", ["plan-shard=0000.parquet"]
    for stage in STAGES:
        yield stage, results / TABLE_OF[stage], shards
    verify = settings.get("verify") or {}
    if verify.get("code"):
        yield "aggregate", results / "verify", ["catalog.duckdb"]
        yield (
            "verify",
            results / TABLE_OF["verify"],
            [f"shard={number:04d}.parquet" for number in range(verify["shards"])],
        )
        yield "verify_collect", results, ["catalog.duckdb"]
    else:
        yield "aggregate", results, ["catalog.duckdb"]
    yield "release", results / "release" / settings["release"]["version"], ["manifest.json"]


def _shards(logs: Path, folder: Path, files: Sequence[str], now: float) -> Iterator[Shard]:
    there, with_log = _names(folder), _names(logs)
    for number, file in enumerate(files):
        name = f"shard={number:04d}.log"
        log = _end_of(f"{logs}/{name}") if name in with_log else None
        done = file in there
        state, message = _state(log, now, done=done)
        seconds = log.said.seconds_s if log and log.said and state != "waiting" else None
        yield Shard(
            number, folder, file, state, seconds, log.said.n_out if log and log.said and done else None, message
        )


@dataclass(frozen=True)
class _End:
    """The end of a log: its last line, the last line that a job of ours printed, and when it was written."""

    last: str
    said: Line | None
    written: float


def _state(log: _End | None, now: float, *, done: bool) -> tuple[State, str]:
    """State of a job, and why it failed if it did."""
    if done:
        return "done", ""
    if log is None or (log.said and log.said.n_out is not None):  # or an earlier one succeeded, and its file is gone
        return "waiting", ""
    if log.said and log.said.message.startswith(STOPPED):
        return "stopped", ""
    if _ERROR.match(log.last):
        return "failed", log.last[:200]
    if now - log.written < _SILENT_S:
        return "running", ""
    return "failed", "the log has been silent for two minutes: killed?"


def _names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except FileNotFoundError:
        return set()


def _end_of(log: str) -> _End | None:
    try:
        with open(log, "rb") as handle:  # noqa: PTH123 - making a Path takes longer than reading the file
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = handle.read().decode(errors="replace").rstrip().splitlines() or [""]
            written = os.fstat(handle.fileno()).st_mtime
    except OSError:
        return None
    said = next((line for text in reversed(lines) if (line := read_line(text))), None)
    return _End(lines[-1], said, written)


def _left(shards: Sequence[Shard], cost_of: Callable[[int], float | None]) -> float | None:
    """Seconds of work left: what the done shards took for their predicted cost, times the cost of the others."""
    done = _some([each for each in shards if each.state == "done" and each.seconds_s is not None])
    undone = [each for each in shards if each.state != "done"]
    if not undone:
        return 0.0
    rates = [(each.seconds_s or 0.0, cost) for each in done if (cost := cost_of(each.number))]
    costs = [cost for each in _some(undone) if (cost := cost_of(each.number))]
    if not rates or not costs:
        return None
    rate = sum(seconds for seconds, _ in rates) / sum(cost for _, cost in rates)
    running = sum(each.seconds_s or 0.0 for each in undone if each.state == "running")
    return max(0.0, rate * sum(costs) / len(costs) * len(undone) - running)


def _some(shards: Sequence[Shard]) -> Sequence[Shard]:
    """At most so many of them, evenly spaced."""
    return shards[:: -(-len(shards) // _SAMPLE) or 1]


def _cost(tasks: Path) -> float | None:
    """Predicted cost of a shard, or None when its tasks are not there (yet) or none of them costs anything."""
    with suppress(OSError, pa.ArrowException):
        return pc.sum(_columns(tasks, "cost")["cost"]).as_py() or None
    return None


def _columns(path: Path, *names: str) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return file.read(columns=names)


def _whynot(folder: Path) -> tuple[tuple[str, int], ...]:
    counts: Counter[str] = Counter()
    for name in _names(folder):
        with suppress(OSError, pa.ArrowException):
            rows = _columns(folder / name, "reason", "trial")
            counts.update(rows.filter(pc.field("trial").is_null())["reason"].to_pylist())  # of entries, not of trials
    return tuple(counts.most_common(_SHOWN))
