"""Ingest: one partition of one source becomes records, entries, evidence, source text and the reasons for the rest."""

import hashlib
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hinpaint.config import Config, Mode, Source
from hinpaint.evidence import Evidence, choose_mode, weigh
from hinpaint.ids import EntryKey
from hinpaint.jobs import Job, job
from hinpaint.sources import parse_record, read_source
from hinpaint.sources.chemistry import hill_formula
from hinpaint.sources.records import ParsedRecord, RawRecord
from hinpaint.store import write_table
from hinpaint.tables import ENTRIES, EVIDENCE, RECORDS, SOURCE_TEXT, WHYNOT
from hinpaint.whynot import Reason, Stop

STAGE = "ingest"
_SAY_EVERY_S = 2.0
_MAX_ID = 150
# The separator of keys, control characters, and lone surrogates, which no file or database can store.
_UNFIT = re.compile(r"[|\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class IngestOutputs:
    """Where one ingest job writes."""

    records: Path
    entries: Path
    evidence: Path
    source_text: Path
    whynot: Path
    runs: Path


@dataclass
class _Rows:
    """Rows of one partition."""

    records: list[dict[str, Any]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    evidence: list[dict[str, Any]] = field(default_factory=list)
    source_text: list[dict[str, Any]] = field(default_factory=list)
    whynot: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Reading:
    """How far reading one record came, and what is to be done with it."""

    parsed: ParsedRecord | None
    evidence: Evidence | None
    verdict: Mode | Stop


def run(config: Config, shard: int, outputs: IngestOutputs) -> None:
    """Ingest one partition.

    Every record found is one row of ``records`` and either one of ``entries`` (with its source text) or exactly one of
    ``whynot``; every record that could be parsed has a row of ``evidence``. A second record with the id of an earlier
    one is not read: it gets the key ``id#2`` (then ``id#3``, ...) and the reason ``duplicate_id``.

    Args:
        config: the run's configuration.
        shard: index into ``config.ingest_parts``.
        outputs: where the tables go.
    """
    source_index, partition = config.ingest_parts[shard]
    source = config.sources[source_index]
    rows = _Rows()
    with job(STAGE, shard, config.run, outputs.runs) as current:
        seen: dict[str, int] = {}
        for raw in _with_progress(read_source(source, partition), current, rows):
            _ingest(raw, source, config.element, seen, rows)
            current.n_in += 1
        current.n_out = len(rows.entries)
        for reason, count in Counter(row["reason"] for row in rows.whynot).most_common():
            current.say(f"{count} {reason}")
        # Records go last: they are what a reader counts the others against.
        write_table(outputs.source_text, SOURCE_TEXT, rows.source_text, config.run)
        write_table(outputs.entries, ENTRIES, rows.entries, config.run)
        write_table(outputs.evidence, EVIDENCE, rows.evidence, config.run)
        write_table(outputs.whynot, WHYNOT, rows.whynot, config.run)
        write_table(outputs.records, RECORDS, rows.records, config.run)


def _with_progress(records: Iterator[RawRecord], current: Job, rows: _Rows) -> Iterator[RawRecord]:
    started = said = time.monotonic()
    for raw in records:
        yield raw
        now = time.monotonic()
        if now - said > _SAY_EVERY_S:
            rate = current.n_in / (now - started)
            current.say(f"{current.n_in} records, {len(rows.entries)} entries, {rate:.0f} a second")
            said = now


def fit_source_id(source_id: str) -> str:
    """Make an id fit for an entry key; ids that already are stay as they are.

    Characters a key cannot hold become ``_`` and a checksum of the original keeps two such ids apart.
    """
    cleaned = _UNFIT.sub("_", source_id)[:_MAX_ID]
    if cleaned == source_id and cleaned:
        return cleaned
    checksum = hashlib.sha256(source_id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{cleaned}~{checksum}"


def _ingest(raw: RawRecord, source: Source, element: str, seen: dict[str, int], rows: _Rows) -> None:
    source_id = fit_source_id(raw.source_id)
    number = seen.get(source_id, 0) + 1
    unique = source_id if number == 1 else f"{source_id}#{number}"
    while unique in seen:  # an id that itself looks like a numbered repeat
        number += 1
        unique = f"{source_id}#{number}"
    seen[source_id] = number
    seen.setdefault(unique, 1)
    key = str(EntryKey(source.database, source.version, unique))
    common = {
        "entry_key": key,
        "database": source.database,
        "version": source.version,
        "source_id": unique,
        "licence": source.licence,
        "source_sha256": raw.sha256,
    }
    if number > 1:
        stop = Stop(Reason.DUPLICATE_ID, f"{_shown(raw.path)} repeats the id of an earlier record")
        reading = _Reading(None, None, stop)
    else:
        reading = _read(raw, source, element)
    described = _describe(reading.parsed)
    rows.records.append({**common, "source_path": _shown(raw.path), **described})
    if reading.evidence is not None:
        rows.evidence.append(_evidence_row(key, reading.evidence))
    # The last two cannot be None beside a mode; saying so keeps the types honest.
    if isinstance(reading.verdict, Stop) or reading.parsed is None or reading.evidence is None:
        rows.whynot.append(_whynot(key, reading.verdict))
        return
    structure = _structure_columns(reading.parsed, reading.evidence)
    rows.entries.append({**common, **described, **structure, "mode": reading.verdict})
    rows.source_text.append({"entry_key": key, "format": source.format, "text": raw.text})


def _read(raw: RawRecord, source: Source, element: str) -> _Reading:
    if raw.stop is not None or raw.text is None:
        return _Reading(None, None, raw.stop or Stop(Reason.UNREADABLE, "no text"))
    try:
        parsed = parse_record(source.format, raw.text)
        if isinstance(parsed, Stop):
            return _Reading(None, None, parsed)
        evidence = weigh(parsed, element)
        return _Reading(parsed, evidence, choose_mode(source.mode, evidence))
    except Exception as error:  # noqa: BLE001 - a record may break a parser in any way and must cost its own row only
        detail = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        return _Reading(None, None, Stop(Reason.UNREADABLE, detail))


def _shown(text: str) -> str:
    """Text from a source that can be stored: control characters and surrogates replaced, length bounded."""
    return _UNFIT.sub("_", text)[:500]


def _whynot(key: str, verdict: Mode | Stop) -> dict[str, Any]:
    stop = verdict if isinstance(verdict, Stop) else Stop(Reason.UNREADABLE, verdict)
    return {"entry_key": key, "trial": None, "stage": STAGE, "reason": stop.reason.value, "detail": _shown(stop.detail)}


def _describe(parsed: ParsedRecord | None) -> dict[str, Any]:
    if parsed is None:
        names = ("formula_declared", "formula_sites", "space_group", "n_sites", "is_ordered")
        return dict.fromkeys(names)
    return {
        "formula_declared": parsed.formula.text if parsed.formula else None,
        "formula_sites": hill_formula(parsed.cell_counts()),
        "space_group": _shown(parsed.space_group) if parsed.space_group else None,
        "n_sites": len(parsed.cell_frac),
        "is_ordered": parsed.is_ordered,
    }


def _structure_columns(parsed: ParsedRecord, evidence: Evidence) -> dict[str, Any]:
    return {
        "z": evidence.z,
        "is_theoretical": parsed.is_theoretical,
        "lattice": parsed.lattice.ravel().tolist(),
        "species": list(parsed.species),
        "frac": parsed.cell_frac.ravel().tolist(),
    }


def _evidence_row(key: str, evidence: Evidence) -> dict[str, Any]:
    return {
        "entry_key": key,
        "n_h_declared": evidence.n_declared,
        "n_h_sites": evidence.n_sites,
        "n_h_dummy": evidence.n_dummy,
        "n_h_attached": evidence.n_attached,
        "n_h_calculated": evidence.n_calculated,
        "n_missing": evidence.n_missing,
        "confidence": evidence.confidence,
        "codes": [code.value for code in evidence.codes],
    }
