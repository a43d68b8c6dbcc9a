"""Questions to a catalog: read-only, without access to anything outside the file."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, Literal, TextIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from hinpaint.catalog.build import text_sql
from hinpaint.files import open_atomic

Format = Literal["table", "csv", "json", "parquet"]
FILE_NAME = "catalog.duckdb"
LIST = """
SELECT name, kind, comment AS tells FROM (
    SELECT view_name AS name, 'view' AS kind, comment FROM duckdb_views() WHERE NOT internal
    UNION ALL SELECT function_name, 'function of ' || parameters[1], comment FROM duckdb_functions()
        WHERE NOT internal AND function_type = 'table_macro'
    UNION ALL SELECT table_name, 'table', comment FROM duckdb_tables() WHERE NOT internal
) ORDER BY kind DESC, name
"""
"""SQL that lists what a catalog holds."""
MAX_TABLE_ROWS = 1000
"""Rows of a table for people at most: each takes milliseconds to lay out."""

# Nothing is loaded, fetched, or looked up among Python's variables.
_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "python_enable_replacements": False,
    "enable_external_access": False,
    "lock_configuration": True,
}
_ROWS = 5000
_UNITS = {"_mev_per_atom": "meV/atom", "_ev_per_a": "eV/Å", "_per_hour": "1/h", "_percent": "%", "_hours": "h",
          "_memory_mb": "MiB", "_ev": "eV", "_a": "Å", "_s": "s"}  # fmt: skip


class QueryError(Exception):
    """The question could not be answered; the message says why in one line."""


def open_catalog(path_or_run: str | Path) -> duckdb.DuckDBPyConnection:
    """Open a catalog for questions: nothing can be written, read from disk, loaded or fetched.

    Rows stay on disk until a question needs them, so a catalog may be far larger than memory.

    Args:
        path_or_run: a catalog file, the folder of a run or of a release, or the name of a run (``results/<run>``).

    Returns:
        A read-only connection; close it, or use it in a ``with``.

    Raises:
        QueryError: there is no catalog, or it is no DuckDB file.

    Example:
        >>> import hinpaint
        >>> with hinpaint.open_catalog("demo") as catalog:  # doctest: +SKIP
        ...     catalog.sql("SELECT * FROM les_by_chemistry").df()
    """
    path = _locate(path_or_run)
    try:
        return duckdb.connect(str(path), read_only=True, config=_CLOSED)
    except duckdb.Error as error:
        raise QueryError(f"{path} cannot be opened: {_line(error)}") from error


def _locate(path_or_run: str | Path) -> Path:
    path = Path(path_or_run)
    for each in (path, path / FILE_NAME, Path("results") / path / FILE_NAME):
        if each.is_file():
            return each
    raise QueryError(
        f"no catalog at {path_or_run}; run `snakemake --profile profiles/local` first, or name a run with --run"
    )


def explain(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """SQL that tells the columns of a table or view: type, unit and meaning.

    A view's column means what the columns of that name in the tables mean, where these agree.

    Raises:
        QueryError: there is no such table.
    """
    found = connection.execute("SELECT DISTINCT table_name FROM duckdb_columns() WHERE NOT internal").fetchall()
    if (table,) not in found:
        raise QueryError(f"no table or view {table!r}; `hinpaint query --list` names them")
    units = " ".join(f"WHEN ends_with(column_name, '{end}') THEN '{unit}'" for end, unit in _UNITS.items())
    return f"""
        WITH columns AS (SELECT * FROM duckdb_columns() WHERE NOT internal),
        shared AS (
            SELECT column_name, any_value(comment) AS comment FROM columns WHERE comment IS NOT NULL
            GROUP BY column_name HAVING count(DISTINCT comment) = 1)
        SELECT column_name AS "column", data_type AS type, CASE {units} ELSE '' END AS unit,
            coalesce(c.comment, s.comment, '') AS meaning
        FROM columns c LEFT JOIN shared s USING (column_name) WHERE table_name = {text_sql(table)} ORDER BY column_index
        """  # noqa: S608 - a quoted name


def ask(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run one question and take the whole answer.

    Returns:
        Column names and rows.

    Raises:
        QueryError: the SQL is wrong or not allowed.
    """
    names, rows = stream(connection, sql)
    return names, list(rows)


def stream(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """Run one question; the rows come as they are asked for.

    Returns:
        Column names and rows.

    Raises:
        QueryError: the SQL is wrong or not allowed; while rows are taken, too.
    """
    try:
        result = connection.execute(sql)
    except duckdb.Error as error:
        raise QueryError(_line(error)) from error
    if result is None or result.description is None:
        raise QueryError("there is no question in that SQL")
    return _distinct([column[0] for column in result.description]), _rows(result)


def _rows(result: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    try:
        while rows := result.fetchmany(_ROWS):
            yield from rows
    except duckdb.Error as error:
        raise QueryError(_line(error)) from error


def write(handle: TextIO, names: Sequence[str], rows: Iterable[tuple[Any, ...]], output: Format, width: int) -> None:
    """Write an answer as a table for people (its first rows), as CSV, or as JSON (a list of objects).

    Args:
        handle: where to.
        names: column names.
        rows: rows; CSV and JSON hold one at a time.
        output: the format; Parquet is :func:`write_parquet`.
        width: columns of the terminal, for tables.
    """
    if output == "csv":
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    elif output == "json":
        separator = "[\n"
        for row in rows:
            handle.write(separator + json.dumps(dict(zip(names, map(_json, row), strict=True)), default=str))
            separator = ",\n"
        handle.write("[]\n" if separator == "[\n" else "\n]\n")
    else:
        _write_table(handle, names, iter(rows), width)


def render(names: list[str], rows: list[tuple[Any, ...]], output: Format, width: int = 80) -> str:
    """Render an answer as :func:`write` does, without its last line end."""
    buffer = io.StringIO()
    write(buffer, names, rows, output, width)
    return buffer.getvalue().rstrip("\n")


def write_parquet(connection: duckdb.DuckDBPyConnection, sql: str, path: Path) -> int:
    """Write the answer of a question as Parquet, atomically and batch by batch; return the number of rows.

    Raises:
        QueryError: the SQL is wrong or not allowed, or Parquet cannot hold a type of the answer.
    """
    try:
        relation = connection.sql(sql)
        if relation is None:
            raise QueryError("there is no question in that SQL")
        reader = relation.to_arrow_reader(_ROWS)
        names = _distinct(reader.schema.names)
        schema = pa.schema([field.with_name(name) for field, name in zip(reader.schema, names, strict=True)])
        n_rows = 0
        with open_atomic(path) as handle, pq.ParquetWriter(handle, schema, compression="zstd") as parquet:
            for batch in reader:
                parquet.write_batch(batch.rename_columns(names))
                n_rows += batch.num_rows
    except (duckdb.Error, pa.ArrowException, OSError, ValueError) as error:
        raise QueryError(_line(error)) from error
    return n_rows


def _write_table(handle: TextIO, names: Sequence[str], rows: Iterator[tuple[Any, ...]], width: int) -> None:
    shown = list(islice(rows, MAX_TABLE_ROWS))
    table = RichTable()
    for index, name in enumerate(names):
        numeric = any(isinstance(row[index], int | float) for row in shown)
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in shown:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console(file=handle, width=width)
    console.print(table)
    if next(rows, None) is not None:
        console.print(f"more than {MAX_TABLE_ROWS} rows; use --format csv, json or parquet to see all")


def _distinct(names: list[str]) -> list[str]:
    """Number columns that share a name, so that none of them hides another."""
    taken, distinct = set(names), list[str]()
    for name in names:
        numbered = (f"{name}_{number}" for number in count(1))
        distinct.append(next(each for each in numbered if each not in taken) if name in distinct else name)
        taken.add(distinct[-1])
    return distinct


def _json(value: Any) -> Any:
    """JSON knows no NaN and no infinity, and its keys are text."""
    if isinstance(value, dict):
        return {str(key): _json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(map(_cell, value)) if isinstance(value, list) else str(value)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
