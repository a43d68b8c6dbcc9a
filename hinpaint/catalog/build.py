"""Build ``catalog.duckdb`` from the stages' Parquet files."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from hinpaint.store import read_table, to_table
from hinpaint.tables import ALL_TABLES, Table

# Files of this version are read by every DuckDB since 1.2.
STORAGE_VERSION = "v1.2.0"


def create(path: Path) -> duckdb.DuckDBPyConnection:
    """Create an empty catalog with every table, its comments and no views.

    Args:
        path: file that does not exist yet.
    """
    connection = duckdb.connect(":memory:")
    connection.execute(f"ATTACH {_text(str(path))} AS catalog (STORAGE_VERSION {_text(STORAGE_VERSION)})")
    connection.execute("USE catalog")
    for table in ALL_TABLES.values():
        for statement in ddl(table):
            connection.execute(statement)
    return connection


def ddl(table: Table) -> list[str]:
    """SQL that creates a table and comments it and its columns."""
    columns = ", ".join(f"{_name(f.name)} {_sql_type(f.type)}{'' if f.nullable else ' NOT NULL'}" for f in table.schema)
    statements = [
        f"CREATE TABLE {_name(table.name)} ({columns})",
        f"COMMENT ON TABLE {_name(table.name)} IS {_text(table.description)}",
    ]
    for field in table.schema:
        comment = (field.metadata or {}).get(b"description", b"").decode()
        statements.append(f"COMMENT ON COLUMN {_name(table.name)}.{_name(field.name)} IS {_text(comment)}")
    return statements


def insert_files(connection: duckdb.DuckDBPyConnection, table: Table, paths: Sequence[Path]) -> None:
    """Append Parquet files to a table, one after the other, so that memory holds one file at a time.

    Raises:
        StoreError: a file is absent, damaged or of another schema.
    """
    for path in paths:
        insert(connection, table, read_table(path, table))


def insert(connection: duckdb.DuckDBPyConnection, table: Table, rows: pa.Table) -> None:
    """Append an Arrow table of the table's schema."""
    connection.register("incoming", rows)
    connection.execute(f"INSERT INTO {_name(table.name)} SELECT * FROM incoming")  # noqa: S608 - a name of ours
    connection.unregister("incoming")


def insert_rows(
    connection: duckdb.DuckDBPyConnection, table: Table, rows: Iterable[Mapping[str, Any]], run_id: str
) -> None:
    """Append mappings to a table."""
    insert(connection, table, to_table(table, rows, run_id))


def create_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the views of ``views.sql``."""
    connection.execute((resources.files("hinpaint.catalog") / "views.sql").read_text(encoding="utf-8"))


def close(connection: duckdb.DuckDBPyConnection) -> None:
    """Write everything to the file and let go of it."""
    connection.execute("CHECKPOINT catalog")
    connection.execute("USE memory")
    connection.execute("DETACH catalog")
    connection.close()


def _sql_type(arrow: pa.DataType) -> str:
    if pa.types.is_list(arrow):
        return f"{_sql_type(arrow.value_type)}[]"
    names = {
        pa.string(): "VARCHAR",
        pa.int32(): "INTEGER",
        pa.int64(): "BIGINT",
        pa.float64(): "DOUBLE",
        pa.bool_(): "BOOLEAN",
    }
    return names[arrow]


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
