"""The command `hinpaint`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from hinpaint.catalog.query import Format, QueryError, ask, open_catalog, render
from hinpaint.census.command import census
from hinpaint.config import Config, ConfigError, Potential, Relax, Sampler, load_config, parse_block

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Completes crystal structures whose hydrogen is missing. Whole databases: snakemake --profile profiles/local.",
)
_stderr = Console(stderr=True)
_WIDE = 240  # a table that goes into a file or a pipe has no terminal to fit in

app.command()(census)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="one SQL question; SHOW TABLES lists what there is")],
    run: Annotated[str, typer.Option(help="name of the run: reads results/<run>/catalog.duckdb")] = "demo",
    catalog: Annotated[Path | None, typer.Option(help="another catalog file")] = None,
    output: Annotated[Format, typer.Option("--format", help="how the answer is printed")] = "table",
) -> None:
    """Ask a catalog in SQL: read-only, without access to anything else."""
    try:
        connection = open_catalog(catalog or Path("results") / run / "catalog.duckdb")
        names, rows = ask(connection, sql)
    except QueryError as error:
        _fail(str(error))
    terminal = Console()
    typer.echo(render(names, rows, output, terminal.width if terminal.is_terminal else _WIDE))


@app.command("config")
def show_config() -> None:
    """Print every key of the configuration with its meaning and default."""
    from hinpaint.schema import key_lines

    for line in key_lines(Config):
        typer.echo(line)


@app.command()
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
        _fail(str(error))
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
    terminal = _stdout()
    terminal.print(table)
    if found.left_s:
        at_least = "at least " if any(stage.left_s is None for stage in found.stages) else "about "
        jobs = found.n_running or 1
        terminal.print(f"{at_least}{found.left_s / jobs / 3600:.2f} h to go with {jobs} job(s) at once")
    for title, counted in (("left out", found.whynot), ("failed", found.failures)):
        for reason, count in counted:
            terminal.print(f"{title}: {count} x {reason}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def check(
    run: Annotated[str, typer.Option(help="name of the run")] = "demo",
    delete: Annotated[bool, typer.Option("--delete", help="delete what is broken; snakemake makes it again")] = False,
) -> None:
    """Read every table file of a run and name those that are damaged; exit code 1 when some are left."""
    from hinpaint.checking import broken_files

    results = Path("results") / run
    try:
        broken = list(broken_files(load_config(results / "config.json"), results))
    except ConfigError as error:
        _fail(str(error))
    for each in broken:
        typer.echo(each.problem)
        if delete:
            each.path.unlink()
    typer.echo(f"{len(broken)} broken file(s) {'deleted' if delete else 'found'}")
    raise typer.Exit(1 if broken and not delete else 0)


@app.command()
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
        _fail("name one of --entry, --shard and --failed")
    try:
        if failed:
            plan: Rerun = rerun_failed(results)
        else:
            plan = rerun_shard(results, stage, shard_of(results, entry) if entry is not None else shard or 0)
    except StatusError as error:
        _fail(str(error))
    words = plan.arguments(results, profile, [*(["--dry-run"] if dry_run else []), *(more or [])])
    typer.echo(command_line(words))
    if not dry_run and (fresh or entry is not None):
        drop(plan, None if fresh else entry)
    raise typer.Exit(subprocess.run([sys.executable, "-m", "snakemake", *words], check=False).returncode)  # noqa: S603 - printed above


@app.command()
def inpaint(  # noqa: PLR0913, PLR0917 - the options of one command
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CIF of the incomplete structure")],
    out: Annotated[Path, typer.Option("-o", "--out", help="CIF to write")],
    element: Annotated[str, typer.Option(help="element to place")] = "H",
    n_missing: Annotated[
        int | None, typer.Option(min=1, help="sites to place in the cell; default: what the record says")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="trials")] = 10,
    steps: Annotated[int, typer.Option(min=1, help="denoising steps")] = 50,
    model: Annotated[str, typer.Option(help="shipped weights by name, or a .safetensors file")] = "td-small",
    potential: Annotated[str, typer.Option(help="interatomic potential")] = "sevennet-0",
    seed: Annotated[int, typer.Option(min=0, help="seed of the random streams")] = 0,
    device: Annotated[str, typer.Option(help="torch device; auto takes a GPU when there is one")] = "auto",
) -> None:
    """Complete one structure and write the best candidate."""
    from hinpaint.diffusion.checkpoints import ModelError, load_model
    from hinpaint.files import write_atomic
    from hinpaint.relaxation.potentials import PotentialError
    from hinpaint.scripting import available_threads, choose_device
    from hinpaint.single import CannotCompleteError, place_and_relax, read_cif, write_best

    where = choose_device(device, available_threads())
    try:
        settings = parse_block(Potential, {"name": potential})
        sampler = parse_block(Sampler, {"n_steps": steps})
        read = read_cif(source, element, n_missing)
        typer.echo(f"{source.name}: {read.host.n_sites} known sites, {read.n_unknown} {element} to place")
        if read.n_cells > 1:
            typer.echo(f"completed in its primitive cell, {read.n_cells} of which fill the cell")
        typer.echo(f"evidence: {', '.join(read.evidence.codes) or 'nothing remarkable'}")
        weights = load_model(model, where)
        with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                      console=_stderr) as bars:  # fmt: skip
            progress = _Bars(bars)
            found = place_and_relax(read, trials, sampler, weights, settings, Relax(), seed, where, progress.show)
        n_sites = (read.host.n_sites + read.n_unknown) // read.n_cells
        table = Table("trial", "energy (eV/cell)", "above best (meV/atom)", "outcome")
        for each in found:
            if each.passed:
                above = 1000 * (each.energy_ev - found[0].energy_ev) / n_sites
                table.add_row(str(each.trial), f"{each.energy_ev:.4f}", f"{above:.1f}", "converged")
            else:
                energy = "" if each.full.energy_ev is None else f"{each.full.energy_ev:.4f}"
                reason = each.full.reason or each.h_only.reason
                detail = each.full.detail or each.h_only.detail
                table.add_row(str(each.trial), energy, "", f"{reason} {detail}".strip())
        Console().print(table)
        text, best = write_best(read, found, weights, settings, 1e-3 * n_sites)
    except (CannotCompleteError, ConfigError, ModelError, PotentialError) as error:
        _fail(str(error))
    write_atomic(out, lambda handle: handle.write(text.encode()))
    typer.echo(f"trial {best.trial} written to {out}")


@app.command("prepare-training")
def prepare_training(
    structures: Annotated[Path, typer.Argument(exists=True, help="Parquet with lattice, atomic_numbers, frac_coords")],
    out: Annotated[Path, typer.Option("-o", "--out", help="compact .npz file to write")],
    max_sites: Annotated[int, typer.Option(min=2, help="leave larger structures out")] = 64,
) -> None:
    """Write the compact file that training reads."""
    from hinpaint.diffusion.dataset import prepare

    data = prepare(structures, out, max_sites)
    typer.echo(f"{len(data)} structures, {out.stat().st_size / 1e6:.1f} MB, sha256 of content {data.digest[:12]}")


@app.command()
def train(
    config: Annotated[Path, typer.Option(exists=True, help="YAML with training settings")],
    structures: Annotated[Path, typer.Option(exists=True, help="file that prepare-training wrote")],
    out: Annotated[Path, typer.Option(help="folder of this training; resumed when it exists")],
    device: Annotated[str, typer.Option(help="torch device; auto takes a GPU when there is one")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all")] = None,
) -> None:
    """Train diffusion weights, or go on with a training that was stopped."""
    from hinpaint.diffusion.dataset import TrainingSet
    from hinpaint.diffusion.training import load_settings
    from hinpaint.diffusion.training import train as run_training
    from hinpaint.scripting import available_threads, choose_device

    where = choose_device(device, threads or available_threads())
    try:
        settings = load_settings(config)
        run_training(TrainingSet.load(structures), settings, out, where, say=typer.echo)
    except ValueError as error:
        _fail(" ".join(str(error).split()))


class _Bars:
    """One progress bar a phase, made when the phase first reports."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, phase: str, done: int, total: int) -> None:
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(phase, total=total)
        self._progress.update(self._tasks[phase], completed=done, total=total)


def _stdout() -> Console:
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=_WIDE)


def _fail(message: str) -> NoReturn:
    typer.echo(f"hinpaint: {message}", err=True)
    raise typer.Exit(1)
