"""The command `hinpaint census`."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from hinpaint.terminal import fail, stdout

_INTERRUPTED = 130


def census(
    path: Annotated[Path, typer.Argument(exists=True, help="export: folder, archive or file")],
    source_format: Annotated[
        Literal["cif", "optimade", "extxyz", "aiida", "entries"] | None,
        typer.Option("--format", help="format of the export; default: what its name says"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", file_okay=False, help="folder for the tables and a page; default: only print"),
    ] = None,
    element: Annotated[str, typer.Option(help="element whose missing sites are counted")] = "H",
    workers: Annotated[int | None, typer.Option(min=1, help="processes that read; default: all cores")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="read only so many records")] = None,
    database: Annotated[str | None, typer.Option(help="first part of the keys; default: the file's name")] = None,
    version: Annotated[str, typer.Option(help="second part of the keys")] = "census",
    as_json: Annotated[bool, typer.Option("--json", help="print the counts as JSON")] = False,
) -> None:
    """Count what an export lacks: records by class, evidence code and reason. No model is needed."""
    from hinpaint.census.run import CensusError, make_request, take_census
    from hinpaint.census.show import print_census, progress_bar
    from hinpaint.config import ConfigError
    from hinpaint.isolation import IsolationError
    from hinpaint.scripting import available_threads

    stderr = Console(stderr=True)
    n_workers = workers or available_threads()
    try:
        request = make_request(path, source_format, element, limit, database, version)
        if stderr.is_terminal:
            with progress_bar(stderr, request) as watch:
                found = take_census(request, out, n_workers, watch=watch)
        else:
            found = take_census(request, out, n_workers, say=lambda line: typer.echo(line, err=True))
    except (CensusError, ConfigError, IsolationError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("stopped; nothing was written", _INTERRUPTED)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
    else:
        print_census(stdout(), found)
    if out is not None:
        typer.echo(f"page and tables in {out}", err=True)
