"""What the commands share: where tables are printed, and how a command ends that cannot go on."""

from typing import NoReturn

import typer
from rich.console import Console

WIDE = 240
"""Columns of a table that goes into a file or a pipe: there is no terminal to fit in."""


def stdout() -> Console:
    """Standard output, as wide as its terminal; wide where it is none."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def fail(problem: object, code: int = 1) -> NoReturn:
    """Say on standard error, in one line, why the command ends, and end it.

    Args:
        problem: an error, or a message.
        code: exit code.

    Raises:
        Exit: always.
    """
    typer.echo(f"hinpaint: {' '.join(str(problem).split())}", err=True)
    raise typer.Exit(code)
