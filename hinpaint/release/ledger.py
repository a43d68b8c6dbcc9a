"""What a release knows while it is made: the run's catalog, and beside it what became of every entry.

One DuckDB file in a scratch folder with the catalog attached read-only as ``run``. DuckDB sorts and joins on disk where
memory is short, so the size of a release is bounded by the disk.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from hinpaint.catalog.build import MEMORY, ddl, insert, name_sql, text_sql
from hinpaint.config import Config
from hinpaint.release.licences import refusal
from hinpaint.store import StoreError, to_table, write_batches
from hinpaint.tables import CHANGES, HOLDINGS, Table
from hinpaint.whynot import Reason, Stop

STAGE = "release"
_BATCH = 8192
_OWN = ("""
CREATE TABLE lines (entry_key VARCHAR, line VARCHAR);
CREATE TABLE stopped (entry_key VARCHAR, reason VARCHAR, detail VARCHAR);
CREATE TABLE withheld (entry_key VARCHAR, reason VARCHAR);
""")  # fmt: skip
# Of records that may not be passed on, these columns stay: which record it was.
_IDENTITY = {"entry_key", "database", "version", "source_id", "licence", "source_sha256", "source_path", "run_id",
             "schema_version"}  # fmt: skip


@contextmanager
def open_ledger(catalog: Path, scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a ledger on a run's catalog.

    Args:
        catalog: the run's ``catalog.duckdb``; it is only read.
        scratch: an empty folder.

    Yields:
        The connection: the catalog's tables as ``run.<name>``; own tables ``holdings``, ``changes``, ``lines`` (of
        ``structures.jsonl``), ``stopped`` (entries that are not released) and ``withheld`` (may not be passed on).

    Raises:
        StoreError: there is no catalog, or it is damaged.
    """
    if not catalog.is_file():
        raise StoreError(f"{catalog} does not exist; run the stage that makes it")
    connection = duckdb.connect(str(scratch / "ledger.duckdb"))
    try:
        connection.execute(f"SET memory_limit = '{MEMORY}'")
        connection.execute(f"SET temp_directory = {text_sql(str(scratch / 'spill'))}")
        try:
            connection.execute(f"ATTACH {text_sql(str(catalog))} AS run (READ_ONLY)")
        except duckdb.Error as error:
            raise StoreError(f"{catalog} cannot be opened: {' '.join(str(error).split())[:200]}") from error
        for table in (HOLDINGS, CHANGES):
            for statement in ddl(table):
                connection.execute(statement)
        connection.execute(_OWN)
        yield connection
    finally:
        connection.close()


def withhold(connection: duckdb.DuckDBPyConnection, config: Config) -> None:
    """Note which records may not be passed on; those among the curated entries are stopped."""
    flags = {(source.database, source.version): source.redistributable for source in config.sources}
    found = connection.execute("SELECT DISTINCT database, version, licence FROM run.records ORDER BY ALL").fetchall()
    for database, version, licence in found:
        redistributable = flags.get((database, version), True)
        why = refusal(licence, redistributable=redistributable, allowed=config.release.licences)
        if why is not None:
            chosen = "SELECT entry_key, ? FROM run.records WHERE database = ? AND version = ? AND licence = ?"
            connection.execute(f"INSERT INTO withheld {chosen}", [why, database, version, licence])
    connection.execute(
        "INSERT INTO stopped SELECT entry_key, ?, reason FROM withheld WHERE entry_key IN "
        "(SELECT entry_key FROM run.entries)",
        [Reason.LICENCE_NOT_REDISTRIBUTABLE.value],
    )


def stop(connection: duckdb.DuckDBPyConnection, stopped: Mapping[str, Stop]) -> None:
    """Note entries that are not released."""
    rows = [(key, each.reason.value, each.detail) for key, each in stopped.items()]
    _append(connection, "stopped", ("entry_key", "reason", "detail"), rows)


def keep(connection: duckdb.DuckDBPyConnection, holdings: Iterable[Mapping[str, Any]], lines: Mapping[str, str],
         run_id: str) -> None:  # fmt: skip
    """Note entries that are released: their rows of ``holdings`` and their lines of ``structures.jsonl``."""
    insert(connection, HOLDINGS, to_table(HOLDINGS, holdings, run_id))
    _append(connection, "lines", ("entry_key", "line"), list(lines.items()))


def _append(connection: duckdb.DuckDBPyConnection, table: str, names: tuple[str, ...], rows: list[Any]) -> None:
    columns = [pa.array([row[i] for row in rows], type=pa.string()) for i in range(len(names))]
    connection.register("incoming", pa.table(columns, names=list(names)))
    connection.execute(f"INSERT INTO {table} SELECT * FROM incoming")  # noqa: S608 - a name of ours
    connection.unregister("incoming")


def fetch(connection: duckdb.DuckDBPyConnection, table: Table, keys: pa.Array) -> dict[str, dict[str, Any]]:
    """Rows of a table of the run by entry key, for the keys given."""
    connection.register("wanted", pa.table([keys], names=["entry_key"]))
    columns = ", ".join(name_sql(name) for name in table.schema.names)
    query = f"SELECT {columns} FROM run.{table.name} WHERE entry_key IN (SELECT entry_key FROM wanted)"  # noqa: S608 - ours
    try:
        rows = connection.sql(query).to_arrow_table().to_pylist()
    except duckdb.Error as error:
        raise _other(table, error) from error
    connection.unregister("wanted")
    return {row["entry_key"]: row for row in rows}


def export(connection: duckdb.DuckDBPyConnection, table: Table, path: Path) -> int:
    """Write a table as the release holds it, in an order that depends on the rows alone; return the number of rows.

    Entries that are only now known not to be released leave ``entries`` and ``decisions`` and get their row in
    ``whynot``, so that the release adds up too. Of records that may not be passed on, their identity and their reason
    are all that is left.

    Raises:
        StoreError: the catalog's table is not as expected.
    """
    plain = [f.name for f in table.schema if f.name not in table.key and not pa.types.is_list(f.type)]
    order = ", ".join(name_sql(name) for name in (*table.key, *plain))
    try:
        with connection.cursor() as cursor:
            reader = cursor.sql(f"{published(table)} ORDER BY {order}").to_arrow_reader(_BATCH)
            return write_batches(path, table, reader)
    except duckdb.Error as error:
        raise _other(table, error) from error


def published(table: Table) -> str:
    """SQL for the rows of a table that a release holds."""
    names = table.schema.names
    home = table.name if table in (HOLDINGS, CHANGES) else f"run.{table.name}"
    base = f"SELECT {', '.join(name_sql(name) for name in names)} FROM {home}"  # noqa: S608 - names of ours
    withheld = "entry_key IN (SELECT entry_key FROM withheld)"
    if table.name in {"entries", "decisions"}:
        return f"{base} WHERE entry_key NOT IN (SELECT entry_key FROM stopped)"  # noqa: S608 - names of ours
    if table.name == "records":
        kept = (_unless(withheld, n) if n not in _IDENTITY else name_sql(n) for n in names)
        return f"SELECT {', '.join(kept)} FROM {home}"  # noqa: S608 - names of ours
    if table.name == "whynot":
        # A parser's message may quote the record.
        kept = (_unless(withheld, n, "''") if n == "detail" else name_sql(n) for n in names)
        own = {"trial": "NULL", "stage": text_sql(STAGE), "run_id": "(SELECT any_value(run_id) FROM run.records)",
               "schema_version": text_sql(_version_of(table))}  # fmt: skip
        added = ", ".join(f"{own.get(n, n)} AS {name_sql(n)}" for n in names)
        return (
            f"SELECT * FROM (SELECT {', '.join(kept)} FROM {home} "  # noqa: S608 - names of ours
            f"WHERE trial IS NULL OR NOT {withheld} UNION ALL SELECT {added} FROM stopped)"
        )
    if "entry_key" in names and table not in (HOLDINGS, CHANGES):
        return f"{base} WHERE NOT {withheld}"
    return base


def _unless(condition: str, name: str, instead: str = "NULL") -> str:
    return f"CASE WHEN {condition} THEN {instead} ELSE {name_sql(name)} END AS {name_sql(name)}"


def _version_of(table: Table) -> str:
    return str(table.schema.metadata[b"schema_version"].decode())


def _other(table: Table, error: Exception) -> StoreError:
    detail = " ".join(str(error).split())[:200]
    return StoreError(f"the catalog's table {table.name} is not as expected ({detail}); aggregate again")
