"""Worker processes that may crash or hang."""

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hinpaint.isolation import Failure, IsolationError, map_isolated


def double(number: int) -> int:
    return 2 * number


def slow_when_even(number: int) -> int:
    time.sleep(0.05 * (number % 2 == 0))
    return number


def misbehave(item: str) -> str:
    """What native code can do: a real access violation, a real endless loop, a kill from outside, an exit."""
    if item == "segfault":
        ctypes.string_at(0)
    if item == "hang":
        while True:
            ctypes.CDLL(None).usleep(100_000)
    if item == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "exit":
        os._exit(7)
    return item.upper()


def crash_once(path: str) -> str:
    mark = Path(path)
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "second chance"


class NeverArrives:
    """A function that ends the process that unpickles it."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (3,)

    def __call__(self, item: int) -> int:
        return item


@pytest.mark.parametrize("workers", [1, 2])
def test_results_keep_the_order(workers: int) -> None:
    chunks = [[1, 2, 3], [], [4], [5, 6]]
    assert list(map_isolated(double, chunks, workers, 10, __name__)) == [[2, 4, 6], [], [8], [10, 12]]
    slow = [[number] for number in range(12)]
    assert list(map_isolated(slow_when_even, slow, workers, 10, __name__)) == slow


def test_chunks_are_drawn_as_they_are_needed() -> None:
    drawn = 0

    def chunks() -> Iterator[list[int]]:
        nonlocal drawn
        for number in range(100):
            drawn += 1
            yield [number]

    for n_yielded, _ in enumerate(map_isolated(double, chunks(), 2, 10, __name__)):
        assert drawn - n_yielded <= 7


def test_what_ends_a_worker_costs_its_own_item() -> None:
    items = ["a", "segfault", "b", "hang", "killed", "exit", "c"]
    (first, second) = map_isolated(misbehave, [items, ["d"]], 2, 0.5, __name__)
    assert [each for each in first if isinstance(each, str)] == ["A", "B", "C"]
    failures = {item: each for item, each in zip(items, first, strict=True) if isinstance(each, Failure)}
    assert {item: str(failure) for item, failure in failures.items()} == {
        "segfault": "signal 11", "hang": "signal 14", "killed": "signal 9", "exit": "exit code 7",
    }  # fmt: skip
    assert [item for item, failure in failures.items() if failure.timed_out] == ["hang"]
    assert second == ["D"]


def test_an_item_gets_a_second_chance(tmp_path: Path) -> None:
    (found,) = map_isolated(crash_once, [[str(tmp_path / "mark")]], 1, 10, __name__)
    assert found == ["second chance"]


def test_workers_that_cannot_start_are_an_error() -> None:
    with pytest.raises(IsolationError, match="exit code 3"):
        list(map_isolated(NeverArrives(), [[1]], 1, 10, __name__))


def test_no_worker_outlives_its_use() -> None:
    results = map_isolated(double, [[number] for number in range(50)], 2, 10, __name__)
    next(results)
    assert multiprocessing.active_children()
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()
