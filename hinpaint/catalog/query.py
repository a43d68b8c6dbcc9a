"""Questions to a catalog: read-only, without access to anything outside the file."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any, Literal

import duckdb
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

Format = Literal["table", "csv", "json"]
_MAX_TABLE_ROWS = 1000
# Nothing is loaded, fetched, or looked up among Python's variables.
_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "python_enable_replacements": False,
}


class QueryError(Exception):
    """The question could not be answered; the message says why in one line."""


def open_catalog(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a catalog for questions: nothing can be written, read from disk, loaded or fetched.

    Raises:
        QueryError: there is no catalog at the path, or it is no DuckDB file.
    """
    if not path.is_file():
        raise QueryError(
            f"no catalog at {path}; run `snakemake --profile profiles/local` first, or name a run with --run"
        )
    try:
        connection = duckdb.connect(str(path), read_only=True, config=_CLOSED)
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        raise QueryError(f"{path} cannot be opened: {_line(error)}") from error
    return connection


def ask(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run one question.

    Returns:
        Column names and rows.

    Raises:
        QueryError: the SQL is wrong or not allowed.
    """
    try:
        result = connection.execute(sql)
    except duckdb.Error as error:
        raise QueryError(_line(error)) from error
    if result is None:
        raise QueryError("there is no question in that SQL")
    try:
        rows = result.fetchall()
    except duckdb.Error as error:
        raise QueryError(_line(error)) from error
    return _distinct([column[0] for column in result.description or []]), rows


def render(names: list[str], rows: list[tuple[Any, ...]], output: Format, width: int | None = None) -> str:
    """Render an answer as a table for people, CSV, or JSON (a list of objects)."""
    if output == "json":
        return json.dumps([dict(zip(names, map(_json, row), strict=True)) for row in rows], default=str, indent=2)
    buffer = io.StringIO()
    if output == "csv":
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
        return buffer.getvalue().rstrip("\n")
    table = RichTable()
    for index, name in enumerate(names):
        numeric = any(isinstance(row[index], int | float) for row in rows)
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows[:_MAX_TABLE_ROWS]:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console(file=buffer, width=width)
    console.print(table)
    if len(rows) > _MAX_TABLE_ROWS:
        console.print(f"{len(rows) - _MAX_TABLE_ROWS} more rows; use --format csv or json to see all")
    return buffer.getvalue().rstrip("\n")


def _distinct(names: list[str]) -> list[str]:
    """Number columns that share a name, so that none of them hides another."""
    return [f"{name}_{names[:i].count(name)}" if name in names[:i] else name for i, name in enumerate(names)]


def _json(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
