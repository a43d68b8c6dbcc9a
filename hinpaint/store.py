"""Parquet files that are either complete or absent, with their provenance inside."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hinpaint.files import write_atomic
from hinpaint.tables import SCHEMA_VERSION, Table

_PROVENANCE = b"hinpaint_provenance"


class StoreError(Exception):
    """A file is missing, damaged, or not the table it should be. The message names the file and the remedy."""


def to_table(table: Table, rows: Iterable[Mapping[str, Any]], run_id: str) -> pa.Table:
    """Turn rows into an Arrow table of the declared schema, sorted by the table's key.

    Args:
        table: definition from :mod:`hinpaint.tables`.
        rows: one mapping a row; ``run_id`` and ``schema_version`` are filled in.
        run_id: name of the run.

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
    return arrow.sort_by([(name, "ascending") for name in table.key])


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
    footer = json.dumps(dict(provenance or {}), sort_keys=True).encode()
    arrow = arrow.replace_schema_metadata({**(table.schema.metadata or {}), _PROVENANCE: footer})
    write_atomic(path, lambda handle: pq.write_table(arrow, handle, compression="zstd", write_page_checksum=True))
    return arrow


def read_table(path: Path, table: Table) -> pa.Table:
    """Read one table and check that it is the one expected.

    Raises:
        StoreError: the file is absent, damaged (checksums), or of another schema.
    """
    try:
        arrow = pq.read_table(path, page_checksum_verification=True, partitioning=None)
    except FileNotFoundError as error:
        raise StoreError(f"{path} does not exist; run the stage that makes it") from error
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} is damaged ({error}); delete it and run again") from error
    if not arrow.schema.equals(table.schema, check_metadata=False):
        raise StoreError(f"{path} is not a {table.name} table of schema {SCHEMA_VERSION}; delete it and run again")
    return arrow


def read_tables(paths: Sequence[Path], table: Table) -> pa.Table:
    """Read several files of one table into one, sorted by the table's key."""
    arrow = pa.concat_tables([table.schema.empty_table(), *(read_table(path, table) for path in paths)])
    return arrow.sort_by([(name, "ascending") for name in table.key])


def read_provenance(path: Path) -> dict[str, Any]:
    """Return the provenance written into the footer of a Parquet file."""
    metadata = pq.read_schema(path).metadata or {}
    return dict(json.loads(metadata.get(_PROVENANCE, b"{}")))
