"""How far the reading of an export has come, for a progress bar."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq

from hinpaint.config import Source
from hinpaint.progress import expected

_DESCRIPTORS = Path("/proc/self/fd")


def gauge(source: Source, limit: int | None = None) -> tuple[float | None, Callable[[int], float]]:
    """Say how much there is to read, and how to tell how much is done.

    A folder or zip is measured in files, a table in rows. Everything else, compressed or not, is measured in bytes of
    the file: the kernel knows how far this process has read it (on Linux; elsewhere no end is predicted).

    Args:
        source: the export.
        limit: records that are read at most.

    Returns:
        The total, None when it is not known; and a function from the number of records to what is done.
    """
    path = source.path
    n_records = limit if limit is not None else _records(source)
    if n_records is None and source.format in ("cif", "optimade", "extxyz") and _DESCRIPTORS.is_dir():
        return path.stat().st_size, lambda _count: _position(path)
    return n_records, float


def _records(source: Source) -> int | None:
    """Number of records, where it is known before reading: files of a folder or zip, rows of a table."""
    if source.format == "entries":
        with suppress(OSError, ValueError):  # a damaged table is reported by its reader
            return int(pq.read_metadata(source.path).num_rows)
    return expected(source.path)[0] if source.format == "cif" else None


def _position(path: Path) -> float:
    """Bytes of a file that this process has read, through whichever descriptor is ahead; 0 when it has none open."""
    target = path.stat()
    best = 0
    for descriptor in _DESCRIPTORS.iterdir():
        with suppress(OSError):
            number = int(descriptor.name)
            if os.path.samestat(os.fstat(number), target):
                best = max(best, os.lseek(number, 0, os.SEEK_CUR))
    return best
