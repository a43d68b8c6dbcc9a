"""The census in a terminal: tables of counts, and a bar while it reads."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from hinpaint.census.classes import CLASSES, named
from hinpaint.census.gauge import gauge
from hinpaint.census.run import Census, Request
from hinpaint.codes import CODES, Code
from hinpaint.whynot import EXPLANATIONS, Reason


class _Records(ProgressColumn):
    """Number of records and records a second."""

    def render(self, task: Task) -> Text:
        records = task.fields["records"]
        rate = records / task.elapsed if task.elapsed else 0.0
        return Text(f"{records:,} records, {rate:,.0f}/s", style="progress.data.speed")


@contextmanager
def progress_bar(console: Console, request: Request) -> Iterator[Callable[[int], None]]:
    """Show a bar with rate and time left, gone when the block ends; yields what takes the number of records."""
    total, done = gauge(request.source, request.limit)
    with Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), _Records(),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console, transient=True,
    ) as progress:  # fmt: skip
        task = progress.add_task(request.source.path.name, total=total, records=0)
        yield lambda count: progress.update(task, completed=done(count), records=count)


def print_census(console: Console, census: Census) -> None:
    """Print the counts by class, reason and code."""
    counts, element = census.counts, census.request.element
    classes = Table(
        "class", title=f"{census.request.source.path.name}: {counts.n_records:,} records", title_justify="left"
    )
    for heading in ("records", "share", "of these with missing sites"):
        classes.add_column(heading, justify="right")
    for name, each in counts.classes.items():
        share = f"{100 * each.n / counts.n_records:.1f} %"
        classes.add_row(named(CLASSES[name].title, element), f"{each.n:,}", share, f"{each.n_missing:,}")
    console.print(classes)
    if counts.codes:
        console.print(_codes(census))
    if counts.reasons:
        reasons = Table("reason why a record stops", title_justify="left")
        reasons.add_column("records", justify="right")
        reasons.add_column("meaning")
        for name, n in counts.reasons.items():
            reasons.add_row(name, f"{n:,}", EXPLANATIONS[Reason(name)])
        console.print(reasons)
    rate = counts.n_records / census.seconds if census.seconds else 0.0
    console.print(
        f"{counts.n_entries:,} entries go on, {counts.n_missing_sites:,} {element} sites are missing in them; "
        f"{census.seconds:.1f} s, {rate:,.0f} records a second",
        highlight=False,
    )


def _codes(census: Census) -> Table:
    table = Table("evidence code", "kind", "severity")
    table.add_column("records", justify="right")
    table.add_column("meaning")
    for name, n in census.counts.codes.items():
        info = CODES[Code(name)]
        table.add_row(name, info.kind, info.severity, f"{n:,}", info.text)
    return table
