"""What the tables of an ingest hold, counted."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.dataset
from numpy.typing import NDArray

from hinpaint.census.classes import CLASSES, class_of
from hinpaint.tables import EVIDENCE

N_EXAMPLES = 20
_TABLES = ("records", "entries", "evidence", "whynot")
_JOINED = """
    CREATE VIEW joined AS
    SELECT records.source_id, records.formula_declared, mode, reason, detail, codes, n_missing, confidence
    FROM records
    LEFT JOIN entries USING (entry_key)
    LEFT JOIN whynot USING (entry_key)
    LEFT JOIN evidence USING (entry_key)
"""
_GROUPS = f"""
    SELECT mode, reason, coalesce(list_contains(codes, 'missing_all'), false) AS all_missing,
           count(*), count(*) FILTER (n_missing > 0), min(source_id, {N_EXAMPLES})
    FROM joined GROUP BY ALL ORDER BY ALL
"""  # noqa: S608 - a number of ours
_CODES = """
    SELECT code, count(*) AS n FROM (SELECT unnest(codes) AS code FROM evidence) GROUP BY code ORDER BY n DESC, code
"""
_STOPPED = """
    SELECT source_id, formula_declared, reason, detail
    FROM joined WHERE reason IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY reason ORDER BY source_id) <= $n
    ORDER BY row_number() OVER (PARTITION BY reason ORDER BY source_id), reason LIMIT $n
"""


@dataclass(frozen=True)
class ClassCount:
    """One class of records.

    Attributes:
        n: records in it.
        n_missing: of these, records that say how many sites are missing, and it is at least one.
        examples: ids of the first of them.
    """

    n: int
    n_missing: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Counts:
    """What a census found. All mappings go from the most frequent to the rarest, but for ``classes``.

    Attributes:
        n_records: records in the export.
        n_entries: records that go on: complete, incomplete or only calculated.
        n_missing_sites: sites that are missing in these, in their cells.
        classes: every class that occurs, in the order of :data:`hinpaint.census.classes.CLASSES`; they add up to
            ``n_records``.
        reasons: why the other records stopped; they add up to ``n_records - n_entries``.
        codes: how many records show which evidence code.
    """

    n_records: int
    n_entries: int
    n_missing_sites: int
    classes: Mapping[str, ClassCount]
    reasons: Mapping[str, int]
    codes: Mapping[str, int]


@contextmanager
def open_tables(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the tables of an ingest for questions; their rows stay on disk.

    Args:
        folder: holds ``records.parquet``, ``entries.parquet``, ``evidence.parquet`` and ``whynot.parquet``.

    Yields:
        A database of its own with these tables and ``joined``, which has one row a record.
    """
    with duckdb.connect() as connection:
        for name in _TABLES:
            connection.register(name, pyarrow.dataset.dataset(folder / f"{name}.parquet"))
        connection.execute(_JOINED)
        yield connection


def count(connection: duckdb.DuckDBPyConnection) -> Counts:
    """Count the tables of :func:`open_tables`."""
    groups = connection.execute(_GROUPS).fetchall()
    sizes, missing, reasons = Counter[str](), Counter[str](), Counter[str]()
    examples: dict[str, list[str]] = {}
    for mode, reason, all_missing, n, n_missing, first in groups:
        name = class_of(mode, reason, all_missing=all_missing)
        sizes[name] += n
        missing[name] += n_missing
        examples[name] = sorted((*examples.get(name, ()), *first))[:N_EXAMPLES]
        if reason is not None:
            reasons[reason] += n
    codes = connection.execute(_CODES).fetchall()
    sites = connection.execute("SELECT coalesce(sum(n_missing), 0) FROM joined WHERE reason IS NULL").fetchone()
    return Counts(
        n_records=sizes.total(),
        n_entries=sizes.total() - reasons.total(),
        n_missing_sites=int(sites[0]) if sites else 0,
        classes={
            name: ClassCount(sizes[name], missing[name], tuple(examples[name])) for name in CLASSES if name in sizes
        },
        reasons=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        codes=dict(codes),
    )


def numbers(connection: duckdb.DuckDBPyConnection, column: str, where: str = "true") -> NDArray[np.float64]:
    """All values of one column of ``evidence`` or ``records`` that are not empty.

    Args:
        connection: from :func:`open_tables`.
        column: a column's name, as :mod:`hinpaint.tables` has it.
        where: SQL condition on the same table.
    """
    table = "evidence" if column in EVIDENCE.schema.names else "records"
    rows = connection.execute(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL AND {where}")  # noqa: S608
    return np.asarray(rows.fetchnumpy()[column], dtype=np.float64)


def stopped(connection: duckdb.DuckDBPyConnection, n: int) -> list[dict[str, Any]]:
    """At most ``n`` records that stopped, so that every reason is there and rare ones are there completely.

    Returns:
        Rows with ``source_id``, ``formula_declared``, ``reason`` and ``detail``, by reason and id.
    """
    rows = connection.execute(_STOPPED, {"n": n}).fetchall()
    names = ("source_id", "formula_declared", "reason", "detail")
    return [dict(zip(names, row, strict=True)) for row in sorted(rows, key=lambda row: (row[2], row[0]))]
