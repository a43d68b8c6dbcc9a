"""How far a reader of a source has come, at what rate, and when it will be done."""

import os
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_SAY_EVERY_S = 2.0
_LOOK_EVERY = 64
_TAR_HEADER_BYTES = 768
"""Header of a member and, on average, its padding to full blocks."""
_PLAIN = (".tar", ".jsonl", ".cif", ".xyz", ".extxyz")


class Progress:
    """Counts records and says a line of progress now and then."""

    def __init__(self, path: Path, partitions: int, say: Callable[[str], None]) -> None:
        """Start the clock.

        Args:
            path: the source; where its size tells nothing (compressed archives), no end is predicted.
            partitions: this reader sees one of so many parts.
            say: takes a line.
        """
        self._say = say
        self._n_records = 0
        self._n_bytes = 0
        self._total_records, self._total_bytes = expected(path)
        self._partitions = partitions
        self._started = self._said = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def update(self, n_bytes: int, found: str) -> None:
        """Count one record of so many bytes; ``found`` goes into the line."""
        self._n_records += 1
        self._n_bytes += n_bytes + _TAR_HEADER_BYTES
        if self._n_records % _LOOK_EVERY or time.monotonic() - self._said < _SAY_EVERY_S:
            return
        self._said = time.monotonic()
        rate = self._n_records / self.seconds
        self._say(f"{self._n_records} records, {found}, {rate:.0f} a second{self._end()}")

    def _end(self) -> str:
        done = 0.0
        if self._total_records:
            done = self._n_records * self._partitions / self._total_records
        elif self._total_bytes:
            done = self._n_bytes * self._partitions / self._total_bytes
        if not 0 < done < 1:
            return ""
        return f", {done:.0%}, about {self.seconds * (1 / done - 1):.0f} s left"


def expected(path: Path) -> tuple[int | None, int | None]:
    """Records of a folder or zip, else bytes of an uncompressed file; None where it is not known beforehand."""
    if path.is_dir():
        return sum(len(files) for _, _, files in os.walk(path)), None
    if path.suffix == ".zip":
        with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            return len(archive.infolist()), None
    return None, path.stat().st_size if path.suffix in _PLAIN else None
