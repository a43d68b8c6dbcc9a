"""Foreign programs that work, hang, die, and print garbage."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hinpaint.verification.worker import LOG, run_program, run_worker
from hinpaint.whynot import Reason, Stop

_HEAD = (
    "import json, os, signal, subprocess, sys, time\nfrom pathlib import Path\ngiven, out = map(Path, sys.argv[1:])\n"
)


def work(folder: Path, body: str, timeout_s: float = 20.0, **more: Any) -> Any:
    script = folder / "script.py"
    script.write_text(_HEAD + body)
    return run_worker(script, {"n": 3}, command=[sys.executable], timeout_s=timeout_s, folder=folder / "w", **more)


def stop_of(answer: Any) -> Stop:
    assert isinstance(answer, Stop)
    return answer


def test_an_answer_comes_back_with_its_cost(tmp_path: Path) -> None:
    answer = work(
        tmp_path, "sum(range(3_000_000))\nout.write_text(json.dumps({'m': json.loads(given.read_text())['n']}))"
    )
    assert answer["m"] == 3
    assert answer["wall_s"] > 0
    assert 0.01 < answer["cpu_s"] < 20


def test_a_script_gives_its_own_reason(tmp_path: Path) -> None:
    body = "out.write_text(json.dumps({'reason': 'not_converged', 'detail': 'a\\nb'}))"
    assert work(tmp_path, body) == Stop(Reason.NOT_CONVERGED, "a b")
    stop = stop_of(work(tmp_path, "out.write_text(json.dumps({'reason': 'tired'}))"))
    assert stop.reason is Reason.CODE_FAILED


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("print('x' * 1_000_000); raise SystemExit('no such setup')", "exit code 1, no answer: no such setup"),
        ("pass", "it printed nothing"),
        ("out.write_bytes(b'\\xff\\x00{]')", "no answer"),
        ("out.write_text('[1]')", "no answer"),
        ("out.write_text('{}'); sys.exit(3)", "exit code 3"),
    ],
)
def test_garbage_is_a_reason(tmp_path: Path, body: str, words: str) -> None:
    stop = stop_of(work(tmp_path, body))
    assert stop.reason is Reason.CODE_FAILED
    assert words in stop.detail
    assert len(stop.detail) <= 300


def test_an_old_answer_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    assert work(tmp_path, "out.write_text('{\"m\": 1}')")["m"] == 1
    assert stop_of(work(tmp_path, "pass")).reason is Reason.CODE_FAILED


def test_a_killed_program_is_a_reason(tmp_path: Path) -> None:
    stop = stop_of(work(tmp_path, "print('at work', flush=True); os.kill(os.getpid(), signal.SIGKILL)"))
    assert stop.reason is Reason.KILLED
    assert "SIGKILL" in stop.detail
    assert "at work" in stop.detail


def test_no_such_program(tmp_path: Path) -> None:
    stop = run_program(["/no/such/pw.x"], timeout_s=5, folder=tmp_path)
    assert isinstance(stop, Stop) or stop.exit_code == 127  # setpriv reports it, where there is one


def test_the_time_limit_ends_what_the_program_started(tmp_path: Path) -> None:
    # Both ignore the polite signal, and the child would go on for a minute.
    body = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal, time; "
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'])\n"
        "Path('child').write_text(str(child.pid)); time.sleep(60)"
    )
    started = time.monotonic()
    stop = stop_of(work(tmp_path, body, timeout_s=2.0))
    assert stop.reason is Reason.TIME_LIMIT
    assert time.monotonic() - started < 20
    assert not alive(int((tmp_path / "w" / "child").read_text()))


def test_a_job_that_is_asked_to_stop_ends_the_program(tmp_path: Path) -> None:
    calls: list[float] = []

    def poll() -> None:
        calls.append(time.monotonic())
        if (tmp_path / "w" / "pid").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, "Path('pid').write_text(str(os.getpid())); time.sleep(60)", poll=poll)
    assert not alive(int((tmp_path / "w" / "pid").read_text()))


def test_a_killed_job_takes_the_program_with_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_HEAD + "Path('pid').write_text(str(os.getpid())); time.sleep(60)")
    child = os.fork()
    if child == 0:
        run_worker(script, {}, command=[sys.executable], timeout_s=60, folder=tmp_path / "w")
        os._exit(0)
    pid = wait_for(tmp_path / "w" / "pid")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    until = time.monotonic() + 10
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(pid)


def test_our_environment_stays_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    answer = work(tmp_path, "out.write_text(json.dumps({'path': os.environ.get('PYTHONPATH')}))")
    assert answer["path"] is None
    assert (tmp_path / "w" / LOG).read_bytes() == b""


def wait_for(path: Path) -> int:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    raise AssertionError("the program did not start")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
