"""Ingest: one partition of one source becomes records, entries, evidence, source text and the reasons for the rest."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hinpaint.config import Config, Source
from hinpaint.ids import EntryKey
from hinpaint.jobs import job
from hinpaint.progress import Progress
from hinpaint.reading import Parse, Reading, read_records, shown
from hinpaint.sources import parse_record, read_source, text_format
from hinpaint.sources.raw import UNFIT
from hinpaint.sources.records import RawRecord
from hinpaint.store import TableWriter, open_table
from hinpaint.tables import ENTRIES, EVIDENCE, RECORDS, SOURCE_TEXT, WHYNOT, Table
from hinpaint.whynot import Reason, Stop

STAGE = "ingest"
_MAX_ID = 150


@dataclass(frozen=True)
class IngestOutputs:
    """Where one ingest job writes; a census keeps no ``source_text``."""

    records: Path
    entries: Path
    evidence: Path
    source_text: Path | None
    whynot: Path
    runs: Path


@dataclass
class Summary:
    """What an ingest found.

    Attributes:
        n_records: records in the source.
        n_entries: records that go on.
        reasons: how many of the others stopped for which reason.
        codes: how often each evidence code was seen.
        seconds: wall-clock seconds.
    """

    n_records: int = 0
    n_entries: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


@dataclass(frozen=True)
class _Writers:
    """The open tables of one job."""

    records: TableWriter
    entries: TableWriter
    evidence: TableWriter
    whynot: TableWriter
    source_text: TableWriter | None


def run(config: Config, shard: int, outputs: IngestOutputs, workers: int = 1) -> None:
    """Ingest one partition as a job of the workflow.

    Args:
        config: the run's configuration.
        shard: index into ``config.ingest_parts``.
        outputs: where the tables go.
        workers: processes that parse.
    """
    source_index, partition = config.ingest_parts[shard]
    source = config.sources[source_index]
    with job(STAGE, shard, config.run, outputs.runs) as current:
        records = read_source(source, partition, config.element)
        summary = ingest_records(records, source, config.element, outputs, workers, current.say, config.run)
        current.n_in, current.n_out = summary.n_records, summary.n_entries
        for reason, count in summary.reasons.most_common():
            current.say(f"{count} {reason}")


def ingest_records(
    records: Iterable[RawRecord], source: Source, element: str, outputs: IngestOutputs, workers: int,
    say: Callable[[str], None], run_id: str = "ingest", parse: Parse = parse_record,
) -> Summary:  # fmt: skip
    """Read records into the five tables, in constant memory.

    Every record is one row of ``records`` and either one of ``entries`` (with its source text) or exactly one of
    ``whynot``; every record that could be parsed has a row of ``evidence``. A second record with the id of an earlier
    one is not read: it gets the key ``id#2`` (then ``id#3``, ...) and the reason ``duplicate_id``. Rows keep the order
    of the records. All files appear at the end, ``records`` last, or none does.

    Args:
        records: the records of one partition, as :func:`hinpaint.sources.read_source` gives them.
        source: the source they come from.
        element: element whose missing sites are looked for.
        outputs: where the tables go (``runs`` is not written here).
        workers: processes that parse.
        say: takes a line of progress now and then.
        run_id: name of the run, for the rows.
        parse: (format, text) -> parsed record or stop; importable, as the workers import it.

    Returns:
        What was found.
    """
    summary = Summary()
    progress = Progress(source.path, source.partitions, say)
    with ExitStack() as stack:

        def opened(path: Path, table: Table) -> TableWriter:
            return stack.enter_context(open_table(path, table, run_id))

        # Files appear in the reverse order: records last, as they are what a reader counts the others against.
        writers = _Writers(
            records=opened(outputs.records, RECORDS),
            entries=opened(outputs.entries, ENTRIES),
            evidence=opened(outputs.evidence, EVIDENCE),
            whynot=opened(outputs.whynot, WHYNOT),
            source_text=None if outputs.source_text is None else opened(outputs.source_text, SOURCE_TEXT),
        )
        for reading in read_records(
            _numbered(records), source.format, element, source.mode, workers, source.time_limit_s, parse
        ):
            _write(reading, source, writers, summary)
            progress.update(len(reading.raw.text or ""), f"{summary.n_entries} entries")
    summary.seconds = progress.seconds
    return summary


def fit_source_id(source_id: str) -> str:
    """Make an id fit for an entry key; ids that already are stay as they are.

    Characters a key cannot hold become ``_`` and a checksum of the original keeps two such ids apart.
    """
    cleaned = UNFIT.sub("_", source_id)[:_MAX_ID]
    if cleaned == source_id and cleaned:
        return cleaned
    checksum = hashlib.sha256(source_id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{cleaned}~{checksum}"


def _numbered(records: Iterable[RawRecord]) -> Iterator[RawRecord]:
    """Give every record an id of its own; one whose id was seen before gets a stop."""
    seen: set[int] = set()
    repeats: dict[str, int] = {}

    def is_new(source_id: str) -> bool:
        # 8 bytes tell a million ids apart but for a chance of 1 in 30 million, in a third of the ids' memory.
        digest = int.from_bytes(hashlib.blake2b(source_id.encode(), digest_size=8).digest())
        n_before = len(seen)
        seen.add(digest)
        return len(seen) > n_before

    for raw in records:
        source_id = fit_source_id(raw.source_id)
        if is_new(source_id):
            yield replace(raw, source_id=source_id)
            continue
        number = repeats.get(source_id, 1) + 1
        while not is_new(f"{source_id}#{number}"):  # an id that itself looks like a numbered repeat
            number += 1
        repeats[source_id] = number
        stop = Stop(Reason.DUPLICATE_ID, f"{shown(raw.path)} repeats the id of an earlier record")
        yield replace(raw, source_id=f"{source_id}#{number}", text=None, stop=stop)


def _write(reading: Reading, source: Source, writers: _Writers, summary: Summary) -> None:
    raw, verdict = reading.raw, reading.verdict
    key = str(EntryKey(source.database, source.version, raw.source_id))
    common = {
        "entry_key": key,
        "database": source.database,
        "version": source.version,
        "source_id": raw.source_id,
        "origin": raw.origin,
        "licence": source.licence,
        "source_sha256": raw.sha256,
        **reading.description,
    }
    writers.records.add({**common, "source_path": shown(raw.path)})
    summary.n_records += 1
    if reading.evidence is not None:
        writers.evidence.add({"entry_key": key, **reading.evidence})
        summary.codes.update(reading.evidence["codes"])
    if not source.redistributable and not isinstance(verdict, Stop):
        verdict = Stop(Reason.LICENCE_NOT_REDISTRIBUTABLE, f"licence {shown(source.licence)}; would be {verdict}")
    if isinstance(verdict, Stop):
        writers.whynot.add(_whynot(key, verdict))
        summary.reasons[verdict.reason.value] += 1
        return
    writers.entries.add({**common, **(reading.structure or {})})
    if writers.source_text is not None:
        text_is = text_format(source.format, raw.text or "")
        writers.source_text.add({"entry_key": key, "format": text_is, "text": raw.text})
    summary.n_entries += 1


def _whynot(key: str, stop: Stop) -> dict[str, Any]:
    return {"entry_key": key, "trial": None, "stage": STAGE, "reason": stop.reason.value, "detail": shown(stop.detail)}
