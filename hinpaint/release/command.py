"""The command `hinpaint diff`."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from hinpaint.catalog.query import MAX_TABLE_ROWS
from hinpaint.release.versions import TOLERANCE_A, ReleaseError, level_of
from hinpaint.terminal import fail, stdout

if TYPE_CHECKING:
    from hinpaint.release.diff import EntryChange

_SAME, _DIFFERENT, _TROUBLE = 0, 1, 2


def diff(
    before: Annotated[str, typer.Argument(help="folder of a release, or with --run its version")],
    after: Annotated[str, typer.Argument(help="folder of another, or its version")],
    run: Annotated[str | None, typer.Option(help="name of a run: the releases are versions of it")] = None,
    tolerance_a: Annotated[
        float, typer.Option(min=0, help="coordinates this close are the same, ångström")
    ] = TOLERANCE_A,
    output: Annotated[Literal["table", "json", "csv"], typer.Option("--format", help="how it is printed")] = "table",
) -> None:
    """Compare two releases: entries added, removed, moved, or described otherwise.

    The exit code is 0 when they hold the same, 1 when they differ, 2 when they cannot be compared.
    """
    from hinpaint.release.diff import compare  # loads numpy and scipy

    folder = Path("results") / run / "release" if run else Path()
    try:
        changes = compare(folder / before, folder / after, tolerance_a)
        counted = {"table": _print_table, "json": _print_json, "csv": _print_csv}[output](changes)
    except ReleaseError as error:
        fail(error, _TROUBLE)
    raise typer.Exit(_DIFFERENT if counted.total() else _SAME)


def _print_table(changes: "Iterable[EntryChange]") -> Counter[str]:
    counted: Counter[str] = Counter()
    table = Table("entry", "change", "what", "moved (Å)", "action", "grade", "trial", "energy (eV)", "detail")
    for each in changes:
        counted[each.change] += 1
        if table.row_count == MAX_TABLE_ROWS:
            continue
        shift = "" if each.max_shift_a is None else f"{each.max_shift_a:.4f}"
        pairs = (
            _pair(each.action_before, each.action_after),
            _pair(each.grade_before, each.grade_after),
            _pair(each.trial_before, each.trial_after),
            _pair(each.energy_before_ev, each.energy_after_ev),
        )
        row = (each.entry_key, each.change, " ".join(each.columns), shift, *pairs, each.detail)
        table.add_row(*map(Text, row))
    terminal = stdout()
    if not counted:
        terminal.print("no entry differs")
        return counted
    terminal.print(table)
    if counted.total() > MAX_TABLE_ROWS:
        terminal.print(f"more than {MAX_TABLE_ROWS} rows; use --format csv or json to see all")
    numbers = ", ".join(f"{n} {change}" for change, n in sorted(counted.items()))
    terminal.print(f"{counted.total()} entries differ: {numbers}; that is a {level_of(counted)} change")
    return counted


def _pair(before: object, after: object) -> str:
    old, new = (
        "" if each is None else f"{each:.4f}" if isinstance(each, float) else str(each) for each in (before, after)
    )
    return old if old == new else f"{old or '-'} → {new or '-'}"


def _print_json(changes: "Iterable[EntryChange]") -> Counter[str]:
    rows = [asdict(each) for each in changes]
    counted = Counter(str(row["change"]) for row in rows)
    answer = {"counts": dict(counted), "asks_for": level_of(counted), "entries": rows}
    typer.echo(json.dumps(answer, indent=1))
    return counted


def _print_csv(changes: "Iterable[EntryChange]") -> Counter[str]:
    from hinpaint.release.diff import EntryChange
    from hinpaint.release.lists import csv_row

    counted: Counter[str] = Counter()
    names = [each.name for each in fields(EntryChange)]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for each in changes:
        counted[each.change] += 1
        writer.writerow(csv_row(getattr(each, name) for name in names))
    return counted
