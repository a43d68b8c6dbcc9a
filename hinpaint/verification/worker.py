"""Run a foreign program under a time limit, with all that it starts, and take what it says as data.

DFT codes crash, hang, print megabytes and start processes of their own. Each run is a process group: at the time limit
or when the job is asked to stop the whole group is ended; when the job itself is killed the kernel ends the program.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hinpaint.whynot import Reason, Stop

LOG = "log.txt"
_POLL_S = 0.1
_GRACE_S = 5.0
_TAIL_BYTES = 4096
_DETAIL_CHARACTERS = 300


@dataclass(frozen=True)
class Finished:
    """A program that came to its end by itself.

    Attributes:
        exit_code: its exit code.
        wall_s: wall-clock seconds.
        cpu_s: CPU seconds of it and of what it started and waited for.
        last_words: last line that it printed.
    """

    exit_code: int
    wall_s: float
    cpu_s: float
    last_words: str


def run_worker(
    script: Path, payload: Mapping[str, Any], *, command: Sequence[str], timeout_s: float, folder: Path,
    poll: Callable[[], None] | None = None,
) -> dict[str, Any] | Stop:  # fmt: skip
    """Run ``COMMAND SCRIPT IN.json OUT.json`` in a folder and return what it wrote, or why there is nothing.

    Args:
        script: Python file that reads the first path and writes one JSON object to the second.
        payload: what the script reads.
        command: interpreter, with ``mpirun`` before it if wanted; the script does not need our environment.
        timeout_s: wall-clock seconds after which the whole process group is ended.
        folder: working directory, made when absent; holds the two files and ``log.txt``, what the script printed.
        poll: called many times while the script runs; what it raises ends the script and goes on to the caller.

    Returns:
        The script's object with ``wall_s`` and ``cpu_s`` added; or a reason: ``time_limit``, ``killed`` (by a signal),
        ``code_failed`` (an error, no output, or one that is no JSON object), or the reason that the script gave as
        ``{"reason": ..., "detail": ...}``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given, answer = folder.resolve() / "in.json", folder.resolve() / "out.json"
    answer.unlink(missing_ok=True)
    given.write_text(json.dumps(dict(payload)), encoding="utf-8")
    arguments = [*command, str(script.resolve()), str(given), str(answer)]
    ended = run_program(arguments, timeout_s=timeout_s, folder=folder, poll=poll)
    return ended if isinstance(ended, Stop) else _read(answer, ended)


def _read(answer: Path, ended: Finished) -> dict[str, Any] | Stop:
    try:
        found = json.loads(answer.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if ended.exit_code or not isinstance(found, dict):
        missing = "" if isinstance(found, dict) else ", no answer"
        return Stop(Reason.CODE_FAILED, _shorten(f"exit code {ended.exit_code}{missing}: {ended.last_words}"))
    if found.get("reason") is None:
        return {**found, "wall_s": ended.wall_s, "cpu_s": ended.cpu_s}
    detail = _shorten(str(found.get("detail", "")))
    with suppress(ValueError):
        return Stop(Reason(found["reason"]), detail)
    return Stop(Reason.CODE_FAILED, _shorten(f"unknown reason {found['reason']}: {detail}"))


def run_program(
    arguments: Sequence[str], *, timeout_s: float, folder: Path, poll: Callable[[], None] | None = None,
    stdin: Path | None = None,
) -> Finished | Stop:  # fmt: skip
    """Run a program in a process group of its own; what it prints goes to ``log.txt`` in its folder.

    Args:
        arguments: program and arguments.
        timeout_s: wall-clock seconds after which the group is ended.
        folder: existing working directory.
        poll: as in :func:`run_worker`.
        stdin: file to read from; nothing without one.

    Returns:
        How it ended, whatever its exit code; or ``time_limit``, ``killed``, ``code_failed`` (no such program).
    """
    log = folder / LOG
    started = time.monotonic()
    with log.open("wb") as output, (stdin or Path(os.devnull)).open("rb") as source:
        try:
            process = subprocess.Popen(  # noqa: S603 - the program that the configuration names
                [*_death_with_parent(), *arguments], cwd=folder, stdin=source, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True, env=_environment(),
            )  # fmt: skip
        except OSError as error:
            return Stop(Reason.CODE_FAILED, f"{arguments[0]}: {error.strerror}")
        try:
            cpu_s = _wait(process, started + timeout_s, poll)
        finally:
            _end_group(process)  # also what a program left behind that ended by itself
    if cpu_s is None:
        return Stop(Reason.TIME_LIMIT, f"ended after {timeout_s:g} s")
    if process.returncode < 0:
        number = -process.returncode
        return Stop(Reason.KILLED, _shorten(f"signal {number} ({signal.Signals(number).name}): {last_words(log)}"))
    return Finished(process.returncode, time.monotonic() - started, cpu_s, last_words(log))


def _environment() -> dict[str, str]:
    """Ours without what belongs to our Python (another interpreter must not import from it); one thread a process."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_PRELOAD")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {"OMP_NUM_THREADS": "1", **kept}


def _death_with_parent() -> list[str]:
    """Words before a program that let the kernel end it when our process dies, however that happens."""
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


def _wait(process: subprocess.Popen[bytes], deadline: float, poll: Callable[[], None] | None) -> float | None:
    """CPU seconds of a process that has ended; None when the deadline came first."""
    while time.monotonic() < deadline:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime
        if poll is not None:
            poll()
        time.sleep(_POLL_S)
    return None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End every process of a program's group: politely, then for good."""
    group = process.pid
    for number, seconds in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with suppress(ChildProcessError):  # a dead child still counts as a member until it is reaped
                if process.returncode is None and os.waitpid(group, os.WNOHANG)[0]:
                    process.returncode = -number
            try:
                os.killpg(group, number)
            except ProcessLookupError:
                return
            time.sleep(_POLL_S / 2)


def last_words(log: Path) -> str:
    """The last line of a log that says anything."""
    with log.open("rb") as handle:
        handle.seek(max(0, handle.seek(0, os.SEEK_END) - _TAIL_BYTES))
        lines = [line.strip() for line in handle.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it printed nothing")


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _DETAIL_CHARACTERS else line[: _DETAIL_CHARACTERS - 1] + "…"
