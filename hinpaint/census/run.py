"""Take a census: read an export as the ingest stage does, count what is there, keep the tables if they are wanted."""

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hinpaint.block import Block
from hinpaint.census.counts import Counts, count, open_tables
from hinpaint.census.page import render_page
from hinpaint.config import Element, Source, parse_block
from hinpaint.files import write_atomic
from hinpaint.sources import read_source
from hinpaint.sources.records import RawRecord
from hinpaint.stages.ingest import IngestOutputs, ingest_records

_TABLES = ("records", "entries", "evidence", "whynot")
_SUFFIXES = {
    ".cif": "cif", ".zip": "cif", ".tar": "cif", ".tgz": "cif", ".txz": "cif", ".tbz2": "cif", ".tzst": "cif",
    ".jsonl": "optimade", ".ndjson": "optimade", ".xyz": "extxyz", ".extxyz": "extxyz",
    ".parquet": "entries", ".aiida": "aiida",
}  # fmt: skip
_PACKED = (".gz", ".xz", ".bz2", ".zst")
_WATCH_EVERY = 32


class CensusError(Exception):
    """No census can be taken. The message is one line that says what to change."""


class Request(Block):
    """What to count.

    Attributes:
        source: the export.
        element: whose missing sites are counted.
        limit: records to read at most; None reads all.
    """

    source: Source
    element: Element = "H"
    limit: int | None = None


@dataclass(frozen=True)
class Census:
    """One census.

    Attributes:
        request: what was asked.
        counts: what was found.
        seconds: wall-clock seconds of reading.
    """

    request: Request
    counts: Counts
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Everything but the examples, for JSON."""
        counts, source = self.counts, self.request.source
        return {
            "path": str(source.path),
            "format": source.format,
            "element": self.request.element,
            "records": counts.n_records,
            "entries": counts.n_entries,
            "missing_sites": counts.n_missing_sites,
            "classes": {name: each.n for name, each in counts.classes.items()},
            "classes_missing": {name: each.n_missing for name, each in counts.classes.items()},
            "reasons": dict(counts.reasons),
            "codes": dict(counts.codes),
            "seconds_s": round(self.seconds, 3),
            "records_per_s": round(counts.n_records / self.seconds, 1) if self.seconds else None,
        }


def guess_format(path: Path) -> str:
    """Tell the format of an export from its name.

    Raises:
        CensusError: the name does not tell.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if path.is_dir():
        return "cif"
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    raise CensusError(f"the name {path.name} does not tell the format; say --format cif, optimade, extxyz, ...")


def make_request(
    path: Path, source_format: str | None = None, element: str = "H", limit: int | None = None,
    database: str | None = None, version: str = "census",
) -> Request:  # fmt: skip
    """Describe an export as a source of every mode.

    Args:
        path: the export.
        source_format: as in the configuration; None takes what the name says.
        element: whose missing sites are counted.
        limit: records to read at most.
        database: first part of the keys; None takes the file's name.
        version: second part of the keys.

    Raises:
        CensusError: the format cannot be told.
        ConfigError: a value is not allowed.
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", path.resolve().name.split(".")[0]).strip("_-")
    source = {
        "database": database or name[:64] or "export",
        "version": version,
        "format": source_format or guess_format(path),
        "path": path,
        "licence": "not stated",
        "mode": ("reconstruct", "audit", "benchmark"),
    }
    return parse_block(Request, {"source": source, "element": element, "limit": limit})


def take_census(
    request: Request, out: Path | None = None, workers: int = 1,
    say: Callable[[str], None] = lambda _line: None, watch: Callable[[int], None] = lambda _count: None,
) -> Census:  # fmt: skip
    """Read an export and count what is there.

    Args:
        request: what to count.
        out: folder for the tables and ``index.html``; they appear when all is done, the page last. None keeps nothing.
        workers: processes that read.
        say: takes a line of progress now and then.
        watch: takes the number of records found so far.

    Raises:
        CensusError: there is no record of this format.
        ConfigError: the source cannot be used.
    """
    source, element = request.source, request.element
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".census-", dir=out) as name:
        folder = Path(name)
        files = {table: folder / f"{table}.parquet" for table in (*_TABLES, "runs")}
        tables = IngestOutputs(**files, source_text=None)
        records = _watched(islice(read_source(source, 0, element), request.limit), watch)
        summary = ingest_records(records, source, element, tables, workers, say, "census")
        if summary.n_records == 0:
            raise CensusError(f"{source.path} holds no record of format {source.format}; say another --format")
        with open_tables(folder) as connection:
            census = Census(request, count(connection), summary.seconds)
            page = render_page(source, element, census.counts, connection) if out is not None else ""
        if out is not None:
            for table in _TABLES:
                (folder / f"{table}.parquet").replace(out / f"{table}.parquet")
            write_atomic(out / "index.html", lambda handle: handle.write(page.encode()))
    return census


def _watched(records: Iterable[RawRecord], watch: Callable[[int], None]) -> Iterator[RawRecord]:
    number = 0
    for number, record in enumerate(records, 1):
        if number % _WATCH_EVERY == 0:
            watch(number)
        yield record
    watch(number)
