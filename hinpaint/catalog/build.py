"""Build ``catalog.duckdb`` from the stages' Parquet files."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from hinpaint.catalog.chemistry import fill_chemistry
from hinpaint.store import read_table, to_table
from hinpaint.tables import ALL_TABLES, Table

# Files of this version are read by every DuckDB since 1.2.
STORAGE_VERSION = "v1.2.0"
MEMORY = "3GB"
_GROUP_ROWS = 122_880
_GROUP_BYTES = 256 * 2**20


def create(path: Path) -> duckdb.DuckDBPyConnection:
    """Create an empty catalog with every table, its comments and no views.

    Args:
        path: file that does not exist yet.
    """
    connection = duckdb.connect(":memory:")
    # What does not fit goes to disk beside the catalog, not to the working directory.
    connection.execute(f"SET memory_limit = '{MEMORY}'")
    # One checkpoint at the end: each of them writes again what lies between whole row groups.
    connection.execute("SET wal_autocheckpoint = '1TB'")
    connection.execute(f"SET temp_directory = {text_sql(f'{path}.tmp')}")
    connection.execute(f"ATTACH {text_sql(str(path))} AS catalog (STORAGE_VERSION {text_sql(STORAGE_VERSION)})")
    connection.execute("USE catalog")
    connection.execute("BEGIN")
    for table in ALL_TABLES.values():
        for statement in ddl(table):
            connection.execute(statement)
    connection.execute("COMMIT")
    return connection


def ddl(table: Table) -> list[str]:
    """SQL that creates a table and comments it and its columns."""
    columns = ", ".join(
        f"{name_sql(f.name)} {_sql_type(f.type)}{'' if f.nullable else ' NOT NULL'}" for f in table.schema
    )
    statements = [
        f"CREATE TABLE {name_sql(table.name)} ({columns})",
        f"COMMENT ON TABLE {name_sql(table.name)} IS {text_sql(table.description)}",
    ]
    for field in table.schema:
        comment = (field.metadata or {}).get(b"description", b"").decode()
        statements.append(f"COMMENT ON COLUMN {name_sql(table.name)}.{name_sql(field.name)} IS {text_sql(comment)}")
    return statements


class Inserter:
    """Gathers Arrow tables and appends them to a catalog's tables by whole row groups of DuckDB.

    Smaller inserts would be written twice, to the log and then to the file; one long transaction would hold every
    Arrow table until its end.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._held: dict[str, list[pa.Table]] = {}
        self._size: dict[str, tuple[int, int]] = {}

    def add(self, table: Table, rows: pa.Table) -> None:
        """Append rows of a table, now or later."""
        n_rows, n_bytes = self._size.get(table.name, (0, 0))
        n_rows, n_bytes = n_rows + len(rows), n_bytes + rows.nbytes
        self._held.setdefault(table.name, []).append(rows)
        self._size[table.name] = n_rows, n_bytes
        if n_rows >= _GROUP_ROWS:
            self._write(table.name, n_rows - n_rows % _GROUP_ROWS)
        elif n_bytes >= _GROUP_BYTES:
            self._write(table.name, n_rows)

    def flush(self) -> None:
        """Append what is still held."""
        for name, (n_rows, _) in list(self._size.items()):
            self._write(name, n_rows)

    def _write(self, name: str, n_rows: int) -> None:
        """Append the first rows that are held of a table."""
        whole = pa.concat_tables(self._held[name])
        insert(self._connection, ALL_TABLES[name], whole.slice(0, n_rows))
        rest = whole.slice(n_rows)
        self._held[name], self._size[name] = [rest], (len(rest), rest.nbytes)


def insert_files(connection: duckdb.DuckDBPyConnection, table: Table, paths: Sequence[Path]) -> None:
    """Append Parquet files to a table.

    Raises:
        StoreError: a file is absent, damaged or of another schema.
    """
    inserter = Inserter(connection)
    for path in paths:
        inserter.add(table, read_table(path, table))
    inserter.flush()


def insert(connection: duckdb.DuckDBPyConnection, table: Table, rows: pa.Table) -> None:
    """Append an Arrow table of the table's schema."""
    connection.register("incoming", rows)
    connection.execute(f"INSERT INTO {name_sql(table.name)} SELECT * FROM incoming")  # noqa: S608 - a name of ours
    connection.unregister("incoming")


def insert_query(connection: duckdb.DuckDBPyConnection, table: Table, columns: Mapping[str, str], source: str) -> None:
    """Append what a query finds.

    Args:
        connection: open for writing.
        table: where to.
        columns: SQL expression of each column.
        source: what follows FROM.
    """
    chosen = ", ".join(columns[name] for name in table.schema.names)
    connection.execute(f"INSERT INTO {name_sql(table.name)} SELECT {chosen} FROM {source}")  # noqa: S608 - SQL of ours


def insert_rows(
    connection: duckdb.DuckDBPyConnection, table: Table, rows: Iterable[Mapping[str, Any]], run_id: str
) -> None:
    """Append mappings to a table."""
    insert(connection, table, to_table(table, rows, run_id))


def build_from_parquet(path: Path, files: Mapping[str, Path]) -> None:
    """Build a catalog from one Parquet file a table; tables without one stay empty.

    Args:
        path: file that does not exist yet.
        files: Parquet file of each table, columns as declared.
    """
    connection = create(path)
    for name, file in files.items():
        columns = {column: name_sql(column) for column in ALL_TABLES[name].schema.names}
        insert_query(connection, ALL_TABLES[name], columns, f"read_parquet({text_sql(str(file))})")
    _add_views(connection)
    close(connection)


def complete(connection: duckdb.DuckDBPyConnection) -> None:
    """Complete a catalog whose tables a run has filled: the chemistry of its entries, then the views."""
    fill_chemistry(connection)
    _add_views(connection)


def _add_views(connection: duckdb.DuckDBPyConnection) -> None:
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


def name_sql(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def text_sql(value: str) -> str:
    """Quote a text for SQL."""
    return "'" + value.replace("'", "''") + "'"
