"""Files that are either complete or absent."""

import fcntl
import glob
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing so that its final name only ever holds complete content.

    The content goes to a temporary file in the same folder; when the block ends without an exception it is flushed to
    disk and renamed. Two processes that write the same path do not hurt each other, a killed one leaves nothing under
    the final name, and what it leaves beside it is removed by the next that writes the path.

    Args:
        path: final path; missing folders are made.

    Yields:
        The open binary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    descriptor, temporary = _locked_temporary(path)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file as :func:`open_atomic` does.

    Args:
        path: final path; missing folders are made.
        write: called once with the open binary file.
    """
    with open_atomic(path) as handle:
        write(handle)


def _locked_temporary(path: Path) -> tuple[int, str]:
    """A new temporary file, locked as long as it is open: a file that can be locked is a leftover."""
    while True:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with suppress(OSError):  # a file system without locks keeps its leftovers
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, temporary
        os.close(descriptor)  # taken for a leftover before it was locked


def _remove_leftovers(path: Path) -> None:
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError), leftover.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_tree(path: Path) -> str:
    """SHA-256 of a file, or of a folder's file names and contents, in hexadecimal."""
    if not path.is_dir():
        return sha256_file(path)
    found = hashlib.sha256()
    for each in sorted(each for each in path.rglob("*") if each.is_file()):
        found.update(f"{sha256_file(each)} {each.relative_to(path)}\0".encode())
    return found.hexdigest()
