"""Parquet files that are either complete or absent, with their provenance inside."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hinpaint.files import open_atomic, write_atomic
from hinpaint.tables import SCHEMA_VERSION, Table

_PROVENANCE = b"hinpaint_provenance"
_PARQUET: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
_GROUP_ROWS = 8192
_GROUP_WEIGHT = 32_000_000
_STREAM_ROWS = 32768


class StoreError(Exception):
    """A file is missing, damaged, or not the table it should be. The message names the file and the remedy."""


def to_table(table: Table, rows: Iterable[Mapping[str, Any]], run_id: str, *, sort: bool = True) -> pa.Table:
    """Turn rows into an Arrow table of the declared schema, sorted by the table's key.

    Args:
        table: definition from :mod:`hinpaint.tables`.
        rows: one mapping a row; ``run_id`` and ``schema_version`` are filled in.
        run_id: name of the run.
        sort: False leaves the rows in the order they come.

    Raises:
        StoreError: a row has an unknown column, lacks one, or holds a value of another type.
    """
    schema = table.schema
    complete = [{**row, "run_id": run_id, "schema_version": SCHEMA_VERSION} for row in rows]
    names = set(schema.names)
    for row in complete:
        if row.keys() != names:
            raise StoreError(f"table {table.name}: columns differ: {sorted(row.keys() ^ names)}")
    try:
        arrow = pa.Table.from_pylist(complete, schema=schema)
        arrow.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise StoreError(f"table {table.name}: {error}") from error
    for field in schema:
        if not field.nullable and arrow[field.name].null_count:
            raise StoreError(f"table {table.name}: column {field.name} must not be empty")
    return arrow.sort_by([(name, "ascending") for name in table.key]) if sort else arrow


def write_table(
    path: Path, table: Table, rows: Iterable[Mapping[str, Any]] | pa.Table, run_id: str,
    provenance: Mapping[str, Any] | None = None,
) -> pa.Table:  # fmt: skip
    """Write one table atomically; equal rows and provenance give equal bytes.

    Args:
        path: final path of the Parquet file.
        table: definition from :mod:`hinpaint.tables`.
        rows: mappings, or an Arrow table of that schema.
        run_id: name of the run.
        provenance: what else a reader should know (settings, hashes); JSON in the footer. No times: they would make
            equal runs differ.

    Returns:
        The Arrow table as written.
    """
    arrow = rows if isinstance(rows, pa.Table) else to_table(table, rows, run_id)
    arrow = arrow.replace_schema_metadata(_metadata(table, provenance))
    write_atomic(path, lambda handle: pq.write_table(arrow, handle, **_PARQUET))
    return arrow


class TableWriter:
    """Collects rows and writes them as row groups; :func:`open_table` makes one."""

    def __init__(self, table: Table, run_id: str, parquet: pq.ParquetWriter) -> None:
        self.n_rows = 0
        self._table, self._run_id, self._parquet = table, run_id, parquet
        self._rows: list[Mapping[str, Any]] = []
        self._weight = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row; ``run_id`` and ``schema_version`` are filled in.

        Raises:
            StoreError: now or with a later row: a row does not fit the table.
        """
        self._rows.append(row)
        self._weight += sum(len(value) for value in row.values() if hasattr(value, "__len__"))
        self.n_rows += 1
        if len(self._rows) >= _GROUP_ROWS or self._weight >= _GROUP_WEIGHT:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are held as one row group."""
        if self._rows:
            self._parquet.write_table(to_table(self._table, self._rows, self._run_id, sort=False), _GROUP_ROWS)
        self._rows, self._weight = [], 0


@contextmanager
def open_table(
    path: Path, table: Table, run_id: str, provenance: Mapping[str, Any] | None = None
) -> Iterator[TableWriter]:
    """Write one table of any length row by row, atomically and in constant memory.

    Rows stay in the order they come: a stream cannot be sorted, and :func:`read_tables` sorts. A row group ends after a
    fixed number of rows or of characters and list items in them, so equal rows give equal bytes.

    Args:
        path: final path; it appears when the block ends without an exception.
        table: definition from :mod:`hinpaint.tables`.
        run_id: name of the run.
        provenance: as in :func:`write_table`.

    Yields:
        The writer.
    """
    schema = table.schema.with_metadata(_metadata(table, provenance))
    with open_atomic(path) as handle, pq.ParquetWriter(handle, schema, **_PARQUET) as parquet:
        writer = TableWriter(table, run_id, parquet)
        yield writer
        writer.flush()


def write_batches(
    path: Path, table: Table, batches: Iterable[pa.RecordBatch], provenance: Mapping[str, Any] | None = None
) -> int:
    """Write one table of any length from record batches, atomically and in bounded memory.

    Row groups have a fixed number of rows whatever the batches' sizes, so equal rows give equal bytes.

    Args:
        path: final path; it appears when everything is written.
        table: definition from :mod:`hinpaint.tables`.
        batches: rows in the order to keep; their types may be cast to the table's.
        provenance: as in :func:`write_table`.

    Returns:
        Number of rows.

    Raises:
        StoreError: a batch lacks a column or does not cast.
    """
    schema = table.schema.with_metadata(_metadata(table, provenance))
    held: list[pa.Table] = []
    n_held = n_rows = 0
    with open_atomic(path) as handle, pq.ParquetWriter(handle, schema, **_PARQUET) as parquet:
        for batch in batches:
            try:
                held.append(pa.Table.from_batches([batch]).select(schema.names).cast(schema))
            except (pa.ArrowException, KeyError, ValueError) as error:
                raise StoreError(f"table {table.name}: {error}") from error
            n_held += batch.num_rows
            n_rows += batch.num_rows
            while n_held >= _STREAM_ROWS:
                whole = pa.concat_tables(held)
                parquet.write_table(whole.slice(0, _STREAM_ROWS), _STREAM_ROWS)
                held, n_held = [whole.slice(_STREAM_ROWS)], n_held - _STREAM_ROWS
        if n_held:
            parquet.write_table(pa.concat_tables(held), _STREAM_ROWS)
    return n_rows


def _metadata(table: Table, provenance: Mapping[str, Any] | None) -> dict[bytes, bytes]:
    footer = json.dumps(dict(provenance or {}), sort_keys=True).encode()
    return {**(table.schema.metadata or {}), _PROVENANCE: footer}


def read_table(path: Path, table: Table) -> pa.Table:
    """Read one table and check that it is the one expected.

    Raises:
        StoreError: the file is absent, damaged (checksums), or of another schema.
    """
    try:
        # Not pyarrow's `read_table`: that imports pandas, two seconds of every job.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            arrow, n_rows = file.read(), file.metadata.num_rows
    except FileNotFoundError as error:
        raise StoreError(f"{path} does not exist; run the stage that makes it") from error
    except (pa.ArrowException, OSError, ValueError) as error:  # a damaged name is a UnicodeDecodeError
        raise StoreError(f"{path} is damaged ({error}); delete it and run again") from error
    if len(arrow) != n_rows:  # checksums cover the pages, not the footer that lists them
        raise StoreError(f"{path} is damaged ({len(arrow)} rows of {n_rows}); delete it and run again")
    if not arrow.schema.equals(table.schema, check_metadata=False):
        raise StoreError(_other_schema(path, table))
    return arrow


def _other_schema(path: Path, table: Table) -> str:
    return f"{path} is not a {table.name} table of schema {SCHEMA_VERSION}; delete it and run again"


def read_batches(path: Path, table: Table) -> Iterator[pa.Table]:
    """Read one table a row group at a time, with the checks of :func:`read_table`.

    Raises:
        StoreError: the file is absent, damaged (checksums), or of another schema.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if not file.schema_arrow.equals(table.schema, check_metadata=False):
                raise StoreError(_other_schema(path, table))
            for group in range(file.num_row_groups):
                arrow = file.read_row_group(group)
                if len(arrow) != file.metadata.row_group(group).num_rows:
                    raise StoreError(f"{path} is damaged (a row group of another length); delete it and run again")
                yield arrow
    except FileNotFoundError as error:
        raise StoreError(f"{path} does not exist; run the stage that makes it") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StoreError(f"{path} is damaged ({error}); delete it and run again") from error


def read_tables(paths: Sequence[Path], table: Table) -> pa.Table:
    """Read several files of one table into one, sorted by the table's key."""
    arrow = pa.concat_tables([table.schema.empty_table(), *(read_table(path, table) for path in paths)])
    return arrow.sort_by([(name, "ascending") for name in table.key])


def read_provenance(path: Path) -> dict[str, Any]:
    """Return the provenance written into the footer of a Parquet file."""
    metadata = pq.read_schema(path).metadata or {}
    return dict(json.loads(metadata.get(_PROVENANCE, b"{}")))
