"""The command `hinpaint inpaint`."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from hinpaint.shipped import DEFAULT_WEIGHTS
from hinpaint.terminal import fail, stdout

if TYPE_CHECKING:
    from hinpaint.single.reading import Read
    from hinpaint.single.trials import Candidate, Progress, Tools

_MOST_COUNTS = 20


def inpaint(  # noqa: PLR0913, PLR0917 - the options of one command
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CIF of the incomplete structure")],
    out: Annotated[Path, typer.Option("-o", "--out", help="CIF to write")],
    element: Annotated[str, typer.Option(help="element to place")] = "H",
    n_missing: Annotated[
        str | None,
        typer.Option(
            help="sites to place in the cell, or FIRST:LAST to compare counts by energy (written is the record's own, "
            "else the lowest); default: what the record says"
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="trials (of each count)")] = 10,
    sampler: Annotated[str, typer.Option(help="renoise, td, ...: `hinpaint config` tells them all")] = "renoise",
    steps: Annotated[int, typer.Option(min=1, help="denoising steps")] = 50,
    model: Annotated[str, typer.Option(help="shipped weights by name, or a .safetensors file")] = DEFAULT_WEIGHTS,
    potential: Annotated[
        str, typer.Option(help="shipped potential: sevennet-0, sevennet-l3i5 or nequip-small")
    ] = "sevennet-0",
    html: Annotated[Path | None, typer.Option(help="page to write: one file that works offline")] = None,
    trajectory: Annotated[
        Path | None, typer.Option(help="extended XYZ to write: the way of the trial that was taken, frame by frame")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of the random streams")] = 0,
    device: Annotated[str, typer.Option(help="torch device; auto takes a GPU when there is one")] = "auto",
) -> None:
    """Complete one structure: place, relax, decide as a run over a database does, and write the best candidate."""
    from hinpaint.config import ConfigError, Grades, Les
    from hinpaint.diffusion.checkpoints import ModelError
    from hinpaint.diffusion.samplers import write_trajectory
    from hinpaint.files import write_atomic
    from hinpaint.relaxation.potentials import PotentialError
    from hinpaint.single.deciding import choose
    from hinpaint.single.reading import CannotCompleteError, read_cif
    from hinpaint.single.show import print_decision, print_read, print_trials
    from hinpaint.single.trials import jobs_of
    from hinpaint.single.writing import completed_cif, page

    console = stdout()
    if trajectory is not None and sampler == "random":
        fail("--trajectory: random placement takes no way that could be written")
    outputs = [path for path in (out, html, trajectory) if path is not None]
    _check_writable(outputs)
    try:
        counts = _counts(n_missing)
        read = read_cif(source, element, counts[0] if counts else None)
        if len(counts) <= 1:
            print_read(console, read)
        tools = _tools(model, potential, sampler, steps, seed, device)
        read, candidates = _candidates(console, read, counts, trials, tools)
        print_trials(console, read, candidates)
        tolerance, name, sha256 = Les().tol_mev_per_atom, tools.potential.name, tools.model.sha256
        chosen = choose(read, candidates, trials, tolerance, Grades(), name, sha256)
        texts = {out: completed_cif(read, chosen)}
        texts |= {html: page(read, candidates, chosen, tools)} if html else {}
    except (CannotCompleteError, ConfigError, ModelError, PotentialError) as error:
        fail(error)
    print_decision(console, chosen)
    try:
        for path, text in texts.items():
            write_atomic(path, partial(_write, text))
        if trajectory is not None:
            job = jobs_of(read, trials)[chosen.candidate.trial]
            write_trajectory(trajectory, job, tools.sampler, seed, tools.model)
    except OSError as error:
        fail(error)
    typer.echo(f"trial {chosen.candidate.trial} written to {', '.join(map(str, outputs))}")


def _check_writable(paths: Iterable[Path]) -> None:
    """Say before anything is computed that it could not be saved; folders that are missing will be made."""
    try:
        for path in paths:
            folder = next(each for each in path.absolute().parents if each.exists())
            if path.is_dir():
                fail(f"{path} is a folder; name a file")
            if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
                fail(f"{path} cannot be written: {folder} is no folder that you may write to")
    except OSError as error:  # a folder that may not be searched, a name that is too long
        fail(error)


def _write(text: str, handle: IO[bytes]) -> None:
    handle.write(text.encode())


def _counts(text: str | None) -> list[int]:
    """Numbers of sites: none, one, or all from FIRST to LAST."""
    from hinpaint.single.reading import CannotCompleteError

    if text is None:
        return []
    found = re.fullmatch(r"([1-9]\d{0,3})(?::([1-9]\d{0,3}))?", text)
    if found is None:
        raise CannotCompleteError(f"--n-missing {text}: a number of at least 1, or two as in 2:6")
    first, last = int(found[1]), int(found[2] or found[1])
    if not first <= last < first + _MOST_COUNTS:
        raise CannotCompleteError(f"--n-missing {text}: counts must rise, and be {_MOST_COUNTS} at most")
    return list(range(first, last + 1))


def _tools(model: str, potential: str, sampler: str, steps: int, seed: int, device: str) -> "Tools":
    from hinpaint.config import parse_block
    from hinpaint.diffusion.checkpoints import load_model
    from hinpaint.relaxation import canary
    from hinpaint.relaxation.potentials import load_potential
    from hinpaint.relaxing import Potential, Relax
    from hinpaint.sampling import Sampler
    from hinpaint.scripting import available_threads, choose_device
    from hinpaint.single.trials import Tools

    where = choose_device(device, available_threads())
    settings = parse_block(Potential, {"name": potential})
    sampling = parse_block(Sampler, {"name": sampler, "n_steps": steps})
    weights, loaded = load_model(model, where), load_potential(settings, where)
    canary.check(loaded)
    return Tools(sampling, weights, loaded, Relax(), seed)


def _candidates(
    console: Console, read: "Read", counts: list[int], trials: int, tools: "Tools"
) -> "tuple[Read, list[Candidate]]":
    """Make the trials, of several counts where they are to be compared."""
    from hinpaint.single.trials import run_trials

    with _bars() as progress:
        if len(counts) > 1:
            return _scanned(console, read, counts, trials, tools, progress)
        return read, run_trials(read, trials, tools, progress)


def _scanned(
    console: Console, read: "Read", counts: list[int], trials: int, tools: "Tools", progress: "Progress"
) -> "tuple[Read, list[Candidate]]":
    """Compare counts; go on with the record's own where it is among them, else with the lowest."""
    from hinpaint.single.scan import best, scan
    from hinpaint.single.show import print_counts, print_read

    found = scan(read, counts, trials, tools, progress)
    print_counts(console, found, read.element)
    stated = [each for each in found if each.read.n_unknown == read.evidence.n_missing and each.candidates]
    taken = stated[0] if stated else best(found)
    why = "as the record says" if stated else "the lowest in energy; the record does not decide"
    console.print(f"going on with {taken.read.n_unknown} sites: {why}", highlight=False)
    print_read(console, taken.read)
    return taken.read, taken.candidates


@contextmanager
def _bars() -> "Iterator[Progress]":
    """One progress bar a phase on standard error, made when the phase first reports."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=done, total=total)

        yield show
