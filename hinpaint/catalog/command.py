"""The command `hinpaint query`."""

import io
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from hinpaint.catalog.query import LIST, Format, QueryError, explain, open_catalog, stream, write, write_parquet
from hinpaint.files import open_atomic
from hinpaint.terminal import WIDE, fail, stdout


def query(
    sql: Annotated[str | None, typer.Argument(help="one SQL question; default: list what there is to ask")] = None,
    run: Annotated[str, typer.Option(help="name of the run: reads results/<run>/catalog.duckdb")] = "demo",
    release: Annotated[str | None, typer.Option(help="version of a release of the run: asks its own catalog")] = None,
    catalog: Annotated[Path | None, typer.Option(help="another catalog file, or the folder of a release")] = None,
    file: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="read the SQL from this file")] = None,
    output: Annotated[Format | None, typer.Option("--format", help="default: by the name of --out, else table")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="write the answer to this file")] = None,
    table: Annotated[str | None, typer.Option("--explain-table", help="tell a table's columns and their units")] = None,
    listed: Annotated[bool, typer.Option("--list", help="list tables and views with what they tell")] = False,
) -> None:
    """Ask a catalog in SQL: read-only, without access to anything else. Questions to copy: docs/queries.md."""
    asked = [sql is not None, file is not None, table is not None, listed]
    if sum(asked) > 1:
        fail("give one of: SQL, --file, --explain-table, --list")
    where = catalog or Path("results") / run / (Path("release") / release if release else "")
    try:
        with closing(open_catalog(where)) as connection:
            text = sql or (file.read_text(encoding="utf-8") if file else LIST)
            if table is not None:
                text = explain(connection, table)
            form = output or _named(out)
            if form == "parquet":
                if out is None:
                    fail("--format parquet needs --out FILE")
                n_rows = write_parquet(connection, text, out)
                typer.echo(f"{n_rows} rows written to {out}", err=True)
                return
            names, rows = stream(connection, text)
            if out is None:
                write(sys.stdout, names, rows, form, stdout().width)
                sys.stdout.flush()
            else:
                with _opened(out) as handle:
                    write(handle, names, rows, form, WIDE)
    except BrokenPipeError:  # the reader has seen enough, as `head` has; typer ends without a word
        raise
    except (QueryError, OSError, UnicodeDecodeError) as error:
        fail(error)


@contextmanager
def _opened(out: Path) -> Iterator[TextIO]:
    """A text file that is there once it is complete; a pipe or device, such as /dev/stdout, is written directly."""
    if out.exists() and not out.is_file():
        with out.open("w", encoding="utf-8", newline="") as handle:
            yield handle
        return
    with open_atomic(out.resolve()) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        yield text
        text.detach()  # closing it would close the file before that is safe on disk


def _named(out: Path | None) -> Format:
    known: dict[str, Format] = {".csv": "csv", ".json": "json", ".parquet": "parquet"}
    return known.get(out.suffix, "table") if out is not None else "table"
