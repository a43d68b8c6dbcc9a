"""What all readers share: which records to read, where they came from, and how a source breaks off."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hinpaint.sources.records import RawRecord
from hinpaint.sources.streams import UnpacksTooFarError
from hinpaint.whynot import Reason, Stop

Choose = Callable[[str], bool | Stop]
"""Says by its id whether a record is read: true, false (it belongs to another partition), or why it is not."""

# The separator of keys, control characters, and lone surrogates, which no file or database can store.
UNFIT = re.compile(r"[|\x00-\x1f\x7f\ud800-\udfff]")
_DATABASES = {"crystallography open database": "cod", "inorganic crystal structure database": "icsd",
              "materials platform for data science": "mpds"}  # fmt: skip


def take_all(_source_id: str) -> bool:
    """Choose every record."""
    return True


def one_line(error: Exception) -> str:
    """Give an error's message as one bounded line."""
    return " ".join(str(error).split())[:150]


def broken(path: Path, error: Exception) -> RawRecord:
    """Give the last record of a source that cannot be read to its end."""
    reason = Reason.TOO_LARGE_FILE if isinstance(error, UnpacksTooFarError) else Reason.UNREADABLE
    stop = Stop(reason, f"{path.name} breaks off: {one_line(error)}")
    return RawRecord(f"{path.name}-broken", path.name, None, "", stop)


def origin_of(database: Any, source_id: Any, revision: Any = None) -> str | None:
    """Name the record of another database that a record was made from.

    Args:
        database: its short name, or the full name of COD, ICSD or MPDS.
        source_id: id there.
        revision: revision there, None when it is not given.

    Returns:
        ``database|id|revision`` or ``database|id``; None unless database and id are given as text or numbers.
    """
    texts = [UNFIT.sub("_", str(part)).strip()[:100] for part in (database, source_id, revision) if _is_name(part)]
    if not _is_name(database) or not _is_name(source_id):
        return None
    texts[0] = _DATABASES.get(texts[0].lower(), texts[0].lower())
    return "|".join(texts)


def _is_name(part: Any) -> bool:
    return isinstance(part, str | int) and not isinstance(part, bool) and bool(str(part).strip())
