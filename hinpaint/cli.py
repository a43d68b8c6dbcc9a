"""The command `hinpaint`."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from hinpaint.benchmark.command import benchmark
from hinpaint.calibration.command import calibrate
from hinpaint.catalog.command import query
from hinpaint.census.command import census
from hinpaint.config import Config, ConfigError, load_config
from hinpaint.diffusion.command import import_weights
from hinpaint.release.command import diff
from hinpaint.single.command import inpaint
from hinpaint.terminal import fail, stdout
from hinpaint.training.command import prepare_training, train

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hinpaint {version('hinpaint')}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and stop")
    ] = False,
) -> None:
    """Completes crystal structures whose hydrogen is missing. Whole databases: snakemake --profile profiles/local."""


_RUNS = "Runs over a database"
_WEIGHTS = "Weights"
app.command()(census)
app.command()(inpaint)
app.command()(query)
app.command()(diff)


@app.command("config", rich_help_panel=_RUNS)
def show_config(
    of_benchmark: Annotated[bool, typer.Option("--benchmark", help="the keys of `hinpaint benchmark` instead")] = False,
) -> None:
    """Print every key of the configuration with its meaning and default."""
    from hinpaint.benchmark.settings import Benchmark
    from hinpaint.schema import key_lines

    for line in key_lines(Benchmark if of_benchmark else Config):
        typer.echo(line)


@app.command(rich_help_panel=_RUNS)
def status(
    run: Annotated[str, typer.Option(help="name of the run: looks at results/<run>")] = "demo",
    failed: Annotated[bool, typer.Option("--failed", help="print only the files of jobs that failed")] = False,
    output: Annotated[Literal["table", "json"], typer.Option("--format", help="how the answer is printed")] = "table",
) -> None:
    """Say how far a run is: shards by state, why entries were left out, cost so far, work left."""
    from hinpaint.status import STATES, StatusError, run_status

    try:
        found = run_status(Path("results") / run)
    except StatusError as error:
        fail(error)
    if failed:
        typer.echo("\n".join(map(str, found.failed)), nl=bool(found.failed))
        return
    if output == "json":
        typer.echo(json.dumps(found.as_dict(), indent=2))
        return
    table = Table("stage", *STATES, "rows", "job-hours", "left (estimate)")
    for stage in found.stages:
        left = "?" if stage.left_s is None else f"{stage.left_s / 3600:.2f} h"
        counts = [str(stage.count(state) or "") for state in STATES]
        table.add_row(stage.name, *counts, str(stage.n_rows), f"{stage.seconds_s / 3600:.2f}", left)
    terminal = stdout()
    terminal.print(table)
    if found.left_s:
        at_least = "at least " if any(stage.left_s is None for stage in found.stages) else "about "
        jobs = found.n_running or 1
        terminal.print(f"{at_least}{found.left_s / jobs / 3600:.2f} h to go with {jobs} job(s) at once")
    for title, counted in (("left out", found.whynot), ("failed", found.failures)):
        for reason, count in counted:
            terminal.print(f"{title}: {count} x {reason}", markup=False, highlight=False, soft_wrap=True)


@app.command(rich_help_panel=_RUNS)
def check(
    run: Annotated[str, typer.Option(help="name of the run")] = "demo",
    delete: Annotated[
        bool, typer.Option("--delete", help="delete the damaged ones; snakemake makes them again")
    ] = False,
) -> None:
    """Read every table file of a run and name those that are damaged; exit code 1 when some are left."""
    from hinpaint.checking import broken_files

    results = Path("results") / run
    try:
        broken = list(broken_files(load_config(results / "config.json"), results))
    except ConfigError as error:
        fail(error)
    for each in broken:
        typer.echo(each.problem)
        if delete:
            each.path.unlink()
    typer.echo(f"{len(broken)} broken file(s) {'deleted' if delete else 'found'}")
    raise typer.Exit(1 if broken and not delete else 0)


@app.command(rich_help_panel=_RUNS)
def rerun(
    run: Annotated[str, typer.Option(help="name of the run")] = "demo",
    entry: Annotated[str | None, typer.Option(help="database|version|id: compute this entry again")] = None,
    shard: Annotated[int | None, typer.Option(min=0, help="number of the shard to make again")] = None,
    stage: Annotated[str, typer.Option(help="stage to begin with: inpaint, relax or match")] = "inpaint",
    failed: Annotated[bool, typer.Option("--failed", help="make everything again that failed or was stopped")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="take nothing from journals")] = False,
    profile: Annotated[str, typer.Option(help="Snakemake profile")] = "profiles/local",
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="print the command and what it would do")] = False,
    more: Annotated[list[str] | None, typer.Argument(help="more words for snakemake, after --")] = None,
) -> None:
    """Print and run the smallest Snakemake command that makes an entry, a shard, or what failed again.

    An entry is computed again; the rest of its shard, and every row of a shard that is named by its number, comes from
    the journal unless --fresh is given. The next `snakemake` brings the catalog and the release up to date.
    """
    from hinpaint.rerun import Rerun, command_line, drop, rerun_failed, rerun_shard, shard_of
    from hinpaint.status import StatusError

    results = Path("results") / run
    if (entry is not None) + (shard is not None) + failed != 1:
        fail("name one of --entry, --shard and --failed")
    try:
        if failed:
            plan: Rerun = rerun_failed(results)
        else:
            plan = rerun_shard(results, stage, shard_of(results, entry) if entry is not None else shard or 0)
    except StatusError as error:
        fail(error)
    words = plan.arguments(results, profile, [*(["--dry-run"] if dry_run else []), *(more or [])])
    typer.echo(command_line(words))
    if not dry_run and (fresh or entry is not None):
        drop(plan, None if fresh else entry)
    raise typer.Exit(subprocess.run([sys.executable, "-m", "snakemake", *words], check=False).returncode)  # noqa: S603 - printed above


app.command(rich_help_panel=_WEIGHTS)(import_weights)


app.command("prepare-training", rich_help_panel=_WEIGHTS)(prepare_training)
app.command(rich_help_panel=_WEIGHTS)(train)
app.command(rich_help_panel=_WEIGHTS)(calibrate)
app.command(rich_help_panel=_WEIGHTS)(benchmark)
