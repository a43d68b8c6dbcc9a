"""The command `hinpaint`."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from hinpaint.catalog.query import Format, QueryError, ask, open_catalog, render
from hinpaint.config import Config, ConfigError, Potential, Relax, Sampler, parse_block

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Completes crystal structures whose hydrogen is missing. Whole databases: snakemake --profile profiles/local.",
)
_stderr = Console(stderr=True)
_WIDE = 240  # a table that goes into a file or a pipe has no terminal to fit in


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
        typer.echo(f"evidence: {', '.join(read.evidence.codes) or 'nothing remarkable'}")
        weights = load_model(model, where)
        with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                      console=_stderr) as bars:  # fmt: skip
            progress = _Bars(bars)
            found = place_and_relax(read, trials, sampler, weights, settings, Relax(), seed, where, progress.show)
        n_sites = read.host.n_sites + read.n_unknown
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


def _fail(message: str) -> NoReturn:
    typer.echo(f"hinpaint: {message}", err=True)
    raise typer.Exit(1)
