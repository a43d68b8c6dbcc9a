"""From raw records to plain columns: parse, weigh, choose a mode, in worker processes that may crash or hang.

It serves everything that reads a source: the ingest stage, a census, a single structure. It knows values, not
configurations, and no tables' files.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hinpaint.config import Mode
from hinpaint.crystal import Crystal
from hinpaint.evidence import Evidence, choose_mode, weigh
from hinpaint.isolation import Failure, map_isolated
from hinpaint.reduction import find_supercell
from hinpaint.sources import parse_record
from hinpaint.sources.chemistry import hill_formula
from hinpaint.sources.raw import UNFIT, one_line
from hinpaint.sources.records import ParsedRecord, RawRecord
from hinpaint.whynot import Reason, Stop

TIME_LIMIT_S = 10.0
_CHUNK_RECORDS = 64
_CHUNK_CHARACTERS = 512 * 1024
_MAX_SHOWN = 500

Parse = Callable[[str, str], ParsedRecord | Stop]
Columns = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """One record and all that reading it gave, as columns of the tables (without keys).

    Attributes:
        raw: the record as it was found.
        verdict: what is to be done with it, or why nothing is.
        description: columns ``formula_declared``, ``formula_sites``, ``space_group``, ``n_sites``, ``is_ordered``; all
            None when the record could not be parsed.
        evidence: columns of ``evidence``; None when the record could not be parsed.
        structure: the other columns of ``entries``, its mode included; None unless the verdict is a mode.
    """

    raw: RawRecord
    verdict: Mode | Stop
    description: Columns
    evidence: Columns | None = None
    structure: Columns | None = None


def read_records(
    records: Iterable[RawRecord], source_format: str, element: str, modes: Sequence[Mode], workers: int = 1,
    time_limit_s: float = TIME_LIMIT_S, parse: Parse = parse_record,
) -> Iterator[Reading]:  # fmt: skip
    """Read records in worker processes.

    Args:
        records: the records; those that carry a stop, or no text, are passed on unread.
        source_format: format of their texts, as ``parse`` understands it.
        element: element whose sites are counted.
        modes: the source's wishes in order, see :func:`hinpaint.evidence.choose_mode`.
        workers: number of processes.
        time_limit_s: wall-clock seconds for one record.
        parse: (format, text) -> parsed record or stop; importable, as the workers import it.

    Yields:
        One reading a record, in the order of the records. A record that crashed the parser or took too long has its
        stop; memory does not grow with the number of records.

    Raises:
        IsolationError: the workers cannot run here at all.
    """
    sent: deque[list[RawRecord]] = deque()

    def texts() -> Iterator[list[str | None]]:
        for chunk in _chunks(records):
            sent.append(chunk)
            yield [raw.text if raw.stop is None else None for raw in chunk]

    function = partial(_read, source_format=source_format, element=element, modes=tuple(modes), parse=parse)
    for outcomes in map_isolated(function, texts(), workers, time_limit_s, preload=__name__):
        for raw, outcome in zip(sent.popleft(), outcomes, strict=True):
            yield _reading(raw, outcome, time_limit_s)


def shown(text: str) -> str:
    """Text from a source that can be stored: control characters and surrogates replaced, length bounded."""
    return UNFIT.sub("_", text)[:_MAX_SHOWN]


def _chunks(records: Iterable[RawRecord]) -> Iterator[list[RawRecord]]:
    chunk: list[RawRecord] = []
    characters = 0
    for raw in records:
        chunk.append(raw)
        characters += len(raw.text or "")
        if len(chunk) == _CHUNK_RECORDS or characters >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    yield chunk


def _reading(raw: RawRecord, outcome: tuple[Any, ...] | Failure, time_limit_s: float) -> Reading:
    if isinstance(outcome, Failure):
        stop = Stop(Reason.UNREADABLE, f"the parser crashed ({outcome})")
        if outcome.timed_out:
            stop = Stop(Reason.TIME_LIMIT, f"more than {time_limit_s:g} s")
        return Reading(raw, stop, _describe(None))
    return Reading(raw, raw.stop or outcome[0], *outcome[1:])


def _read(text: str | None, source_format: str, element: str, modes: Sequence[Mode], parse: Parse) -> tuple[Any, ...]:
    """All that follows from one text: the fields of :class:`Reading` after ``raw``."""
    if text is None:
        return Stop(Reason.UNREADABLE, "no text"), _describe(None)
    try:
        parsed = parse(source_format, text)
        if isinstance(parsed, Stop):
            return parsed, _describe(None)
        evidence = weigh(parsed, element)
        verdict = choose_mode(modes, evidence)
        structure = None if isinstance(verdict, Stop) else _structure(parsed, evidence, verdict)
        return verdict, _describe(parsed), evidence.columns(), structure
    except Exception as error:  # noqa: BLE001 - a record may break a parser in any way and must cost its own row only
        return Stop(Reason.UNREADABLE, f"{type(error).__name__}: {one_line(error)}"), _describe(None)


def _describe(parsed: ParsedRecord | None) -> Columns:
    if parsed is None:
        return dict.fromkeys(("formula_declared", "formula_sites", "space_group", "n_sites", "is_ordered"))
    return {
        "formula_declared": parsed.formula.text if parsed.formula else None,
        "formula_sites": hill_formula(parsed.cell_counts()),
        "space_group": shown(parsed.space_group) if parsed.space_group else None,
        "n_sites": len(parsed.cell_frac),
        "is_ordered": parsed.is_ordered,
    }


def _structure(parsed: ParsedRecord, evidence: Evidence, mode: Mode) -> Columns:
    """Columns of the entry: the cell without the disordered sites that are placed anew."""
    kept = parsed.without(evidence.dropped)
    crystal = Crystal.build(kept.lattice, kept.species, kept.cell_frac)
    divides = (evidence.n_missing or 0) if mode == "reconstruct" else 0
    return {
        **_describe(kept),
        "z": evidence.z,
        "is_theoretical": kept.is_theoretical,
        "lattice": kept.lattice.ravel(),
        "species": kept.species,
        "frac": kept.cell_frac.ravel(),
        "supercell": list(find_supercell(crystal, divides)),
        "mode": mode,
    }
