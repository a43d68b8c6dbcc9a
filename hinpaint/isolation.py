"""Run a function on untrusted items in processes of its own: a crash or a hang costs one item, never the job.

The time limit is the kernel's timer (``SIGALRM`` with its default action), so it also ends loops in native code, and a
worker whose parent was killed does not outlive its item.
"""

import gc
import resource
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Self

_CHANCES = 2
"""An item is given up when it has ended this many workers: one may also be killed because memory ran out elsewhere."""
_AHEAD = 3
"""Chunks held for each worker, finished ones that wait for an earlier one included; bounds the memory."""
_NO_ITEM = -1


class IsolationError(Exception):
    """Worker processes die outside of any item: the environment is at fault, not the data."""


@dataclass(frozen=True)
class Failure:
    """Why an item has no result.

    Attributes:
        exit_code: of the worker that was at it; minus the number of the signal when one ended it.
    """

    exit_code: int

    @property
    def timed_out(self) -> bool:
        """True when the item took longer than the limit."""
        return self.exit_code == -signal.SIGALRM

    def __str__(self) -> str:
        return f"signal {-self.exit_code}" if self.exit_code < 0 else f"exit code {self.exit_code}"


@dataclass
class _Chunk[Item, Result]:
    """Items that travel together, and what has become of them so far."""

    items: Sequence[Item]
    outcomes: dict[int, Result | Failure] = field(default_factory=dict)
    strikes: Counter[int] = field(default_factory=Counter)

    @property
    def todo(self) -> list[int]:
        return [number for number in range(len(self.items)) if number not in self.outcomes]

    def ordered(self) -> list[Result | Failure]:
        return [self.outcomes[number] for number in range(len(self.items))]

    def strike(self, place: int, failure: Failure) -> None:
        """Count the death of a worker against the item it was at."""
        number = place if place == _NO_ITEM else self.todo[place]
        self.strikes[number] += 1
        if self.strikes[number] == _CHANCES:
            if number == _NO_ITEM:
                raise IsolationError(f"worker processes end ({failure}) without being at work on anything")
            self.outcomes[number] = failure


class _Worker[Item, Result]:
    """One process, the pipe to it, and the chunk it works on."""

    def __init__(self, function: Callable[[Item], Result], time_limit_s: float) -> None:
        context = get_context("forkserver")
        self.connection, child = context.Pipe()
        # Shared memory outlives the worker and tells which item ended it.
        self.place = context.RawValue("i", _NO_ITEM)
        arguments = (child, self.place, function, time_limit_s)
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        # A terminal's interrupt goes to workers too, which may still be importing; it is for the parent to answer.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self.process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
        child.close()
        self.chunk: _Chunk[Item, Result]

    def send(self, chunk: _Chunk[Item, Result]) -> None:
        self.chunk = chunk
        try:
            self.connection.send([chunk.items[number] for number in chunk.todo])
        except OSError:
            return  # it has died; receiving from it says so

    def receive(self) -> Failure | None:
        """Put the results into the chunk, or say how the worker ended."""
        try:
            results = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return Failure(self.process.exitcode or 0)
        self.chunk.outcomes.update(zip(self.chunk.todo, results, strict=True))
        return None

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()
        self.process.close()


class _Pool[Item, Result]:
    """Workers, started when they are first needed and replaced when they end."""

    def __init__(self, function: Callable[[Item], Result], workers: int, time_limit_s: float) -> None:
        self._recipe = (function, time_limit_s)
        self._limit = workers
        self._idle: list[_Worker[Item, Result]] = []
        self._busy: dict[Connection, _Worker[Item, Result]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (*self._idle, *self._busy.values()):
            worker.end()

    def submit(self, chunk: _Chunk[Item, Result]) -> None:
        """Hand a chunk to a worker; blocks until one is free."""
        while not self._idle and len(self._busy) >= self._limit:
            self.receive()
        worker = self._idle.pop() if self._idle else _Worker(*self._recipe)
        self._busy[worker.connection] = worker
        worker.send(chunk)

    def receive(self) -> None:
        """Block until a busy worker has finished its chunk or has died."""
        for connection in wait(list(self._busy)):
            worker = self._busy.pop(connection)  # type: ignore[call-overload]
            failure = worker.receive()
            if failure is None:
                self._idle.append(worker)
                continue
            chunk, place = worker.chunk, worker.place.value
            worker.end()
            chunk.strike(place, failure)
            if chunk.todo:
                self.submit(chunk)


def map_isolated[Item, Result](
    function: Callable[[Item], Result], chunks: Iterable[Sequence[Item]], workers: int, time_limit_s: float,
    preload: str,
) -> Iterator[list[Result | Failure]]:  # fmt: skip
    """Apply a function to items in worker processes, in order and with bounded memory.

    A script that calls this must start its work under ``if __name__ == "__main__":``, as workers import it.

    Args:
        function: importable, and picklable with what it holds; it should not raise.
        chunks: items that travel together; chunks are drawn as workers become free.
        workers: number of processes.
        time_limit_s: wall-clock seconds for one item.
        preload: module that holds the function; workers start with it imported.

    Yields:
        The outcomes of each chunk, in the order of the chunks.

    Raises:
        IsolationError: workers die again and again without being at an item.
    """
    get_context("forkserver").set_forkserver_preload(["__main__", preload])
    held: deque[_Chunk[Item, Result]] = deque()
    with _Pool(function, workers, time_limit_s) as pool:
        for items in chunks:
            held.append(_Chunk(items))
            if items:
                pool.submit(held[-1])
            while held and (not held[0].todo or len(held) >= _AHEAD * workers):
                yield from _first(held, pool)
        while held:
            yield from _first(held, pool)


def _first[Item, Result](
    held: deque[_Chunk[Item, Result]], pool: _Pool[Item, Result]
) -> Iterator[list[Result | Failure]]:
    while held[0].todo:
        pool.receive()
    yield held.popleft().ordered()


def _serve(connection: Connection, place: Any, function: Callable[[Any], Any], time_limit_s: float) -> None:
    """Work off chunks until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # dumps of crashes would fill the disk
    gc.freeze()  # what was imported is never garbage
    while True:
        try:
            items = connection.recv()
            results = []
            for number, item in enumerate(items):
                place.value = number
                signal.setitimer(signal.ITIMER_REAL, time_limit_s)
                results.append(function(item))
            signal.setitimer(signal.ITIMER_REAL, 0)
            place.value = _NO_ITEM
            connection.send(results)
        except (EOFError, OSError):
            return
