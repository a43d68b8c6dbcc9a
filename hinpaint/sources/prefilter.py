"""COD's own table ``data`` as an index: which files need not be read at all.

COD publishes the table as a MySQL dump and its searches as CSV. Of its columns, ``formula`` is the declared formula,
``calcformula`` the one COD computed from the sites, ``flags`` and ``status`` say what an entry holds. Entries that are
not in the index, or whose formulae cannot be read, are read as if there were no index: it may only save work. The dump
is split into tokens by a few expressions and never executed.
Source: wiki.crystallography.net, page "COD MySQL database schema".
"""

import csv
import itertools
import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from hinpaint.config import ConfigError, Mode
from hinpaint.sources.chemistry import parse_formula
from hinpaint.sources.raw import one_line
from hinpaint.sources.streams import STREAM_ERRORS, open_bounded, read_line
from hinpaint.whynot import Reason, Stop

MAX_LINE_BYTES = 256 * 1024 * 1024
"""Longest line of a dump; mysqldump writes 1 MB by default."""

_NEEDED = ("file", "formula", "calcformula")
_USED = (*_NEEDED, "flags", "status")
_TABLE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?`?data`?\s*\(", re.IGNORECASE)
_INSERT = re.compile(r"INSERT (?:IGNORE )?INTO `?data`?\s*(?:\(([^)]*)\)\s*)?VALUES\s*", re.IGNORECASE)
_COLUMN = re.compile(r"\s*`(\w+)`\s")
# A quoted string, a bare word such as 1.5 or NULL, or punctuation; possessive, so that no text makes it search twice.
_TOKEN = re.compile(r"'((?:[^'\\]++|\\.|'')*+)'|([^\s,()';]++)|([();])", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)|''", re.DOTALL)
_NULLS = frozenset({"NULL", "\\N", ""})


def read_index(path: Path, element: str, modes: Collection[Mode]) -> dict[str, Stop]:
    """Read the table and keep what need not be read.

    Args:
        path: CSV (comma, semicolon or tab, first line the column names) or, where ``.sql`` is in the name, a MySQL
            dump; plain or compressed.
        element: target element.
        modes: what the source is for. Where it is only ``reconstruct``, entries whose two formulae agree on the element
            are left out; the other modes need exactly these.

    Returns:
        The ids that need not be read, each with its reason.

    Raises:
        ConfigError: the file is no such table, or damaged.
    """
    left_out: dict[str, Stop] = {}
    # Half a million entries share a handful of reasons.
    reasons: dict[Stop, Stop] = {}
    only_missing = set(modes) == {"reconstruct"}
    try:
        lines = _lines(path)
        for row in _sql_rows(lines) if ".sql" in path.name.lower() else _csv_rows(lines):
            stop = _verdict(row, element, only_missing)
            if stop is not None:
                left_out[row["file"] or ""] = reasons.setdefault(stop, stop)
    except (*STREAM_ERRORS, csv.Error) as error:
        raise ConfigError(f"the index {path} cannot be used: {one_line(error)}") from error
    return left_out


def _lines(path: Path) -> Iterator[str]:
    with open_bounded(path) as handle:
        for number in itertools.count(1):
            line, too_long = read_line(handle, MAX_LINE_BYTES)
            if too_long:
                raise ValueError(f"line {number} is longer than {MAX_LINE_BYTES} bytes")
            if not line:
                return
            yield line.decode("utf-8", "replace")


def _csv_rows(lines: Iterator[str]) -> Iterator[dict[str, str | None]]:
    header = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    delimiter = max(",;\t", key=header.count)
    names = [name.strip().strip('"') for name in header.strip("\ufeff\r\n").split(delimiter)]
    places = _places(names)
    # What mysql --batch writes with tabs knows no quotes.
    rows = (
        csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        if delimiter == "\t"
        else csv.reader(lines, delimiter=delimiter)
    )
    for number, values in enumerate(rows, 1):
        if values and len(values) <= max(places.values()):
            raise ValueError(f"row {number} has {len(values)} columns")
        if values:
            yield {name: _null(values[place].strip()) for name, place in places.items()}


def _places(names: list[str]) -> dict[str, int]:
    """Where the columns stand that are used.

    Raises:
        ValueError: one that is needed is absent.
    """
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise ValueError(f"it has no column {', '.join(missing)}; COD's table data has them")
    return {name: names.index(name) for name in _USED if name in names}


def _null(value: str) -> str | None:
    return None if value in _NULLS else value


def _sql_rows(lines: Iterator[str]) -> Iterator[dict[str, str | None]]:
    """Rows of the dump's INSERT statements; the columns are those of CREATE TABLE, or named in the statement."""
    columns: list[str] = []
    n_rows = 0
    for line in lines:
        if _TABLE.match(line):
            columns = [found[1] for each in itertools.takewhile(_is_inside, lines) if (found := _COLUMN.match(each))]
        elif insert := _INSERT.match(line):
            names = re.findall(r"\w+", insert[1]) if insert[1] else columns
            places = _places(names)
            for values in _tuples(line[insert.end() :], lines):
                n_rows += 1
                if len(values) != len(names):
                    raise ValueError(f"row {n_rows} has {len(values)} values for {len(names)} columns")
                yield {name: values[place] for name, place in places.items()}
    if not n_rows:
        raise ValueError("it holds no INSERT INTO `data`")


def _is_inside(line: str) -> bool:
    return not line.startswith(")")


def _tuples(rest: str, lines: Iterator[str]) -> Iterator[list[str | None]]:
    """Tuples of one INSERT statement, from the rest of its first line to its semicolon."""
    values: list[str | None] | None = None
    for line in itertools.chain([rest], lines):
        for token in _TOKEN.finditer(line):
            text, word, mark = token.groups()
            if mark == "(":
                values = []
            elif mark == ")" and values is not None:
                yield values
                values = None
            elif mark == ";":
                return
            elif values is not None and not (word or "").startswith("_"):  # _binary 'x' names a character set
                values.append(_ESCAPED.sub(_unescape, text) if word is None else _null(word))
    raise ValueError("the dump ends inside an INSERT statement")


def _unescape(found: re.Match[str]) -> str:
    return found[1] or "'"


def _verdict(row: Mapping[str, str | None], element: str, only_missing: bool) -> Stop | None:
    """Say why an entry need not be read, None when it must be."""
    if row.get("status") == "retracted":
        return Stop(Reason.NOT_SELECTED, "retracted, by the index")
    if "has coordinates" not in (row.get("flags") or "has coordinates"):
        return Stop(Reason.NO_SITES, "no coordinates, by the index")
    declared, present = _counts(row.get("formula")), _counts(row.get("calcformula"))
    if declared is not None and element not in declared and element not in (present or {}):
        return Stop(Reason.NO_TARGET_ELEMENT, f"no {element} in the formula, by the index")
    if only_missing and declared is not None and present is not None and _agree(declared, present, element):
        return Stop(Reason.NOTHING_MISSING, f"the sites hold all {element} of the formula, by the index")
    return None


def _agree(declared: Mapping[str, float], present: Mapping[str, float], element: str) -> bool:
    """Say whether two formulae hold as much of the element for each of their other atoms."""
    shares = [counts.get(element, 0.0) / sum(counts.values()) for counts in (declared, present)]
    return math.isclose(*shares, rel_tol=1e-3)


def _counts(text: str | None) -> Mapping[str, float] | None:
    """Counts of a formula as COD's table writes it, between dashes: ``- C6 H6 O -``."""
    formula = parse_formula((text or "").strip().strip("-"))
    return None if formula is None else formula.counts
