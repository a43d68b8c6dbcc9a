"""The commands `hinpaint prepare-training` and `hinpaint train`."""

from pathlib import Path
from typing import Annotated

import typer

from hinpaint.terminal import fail


def prepare_training(
    structures: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="Parquet with lattice, atomic_numbers, frac_coords (flat lists), or an OPTIMADE export (JSON Lines)",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="compact .npz file to write")],
    max_sites: Annotated[int, typer.Option(min=2, help="leave larger structures out")] = 64,
) -> None:
    """Write the compact file that training and its validation read."""
    from hinpaint.training.preparing import prepare

    try:
        data = prepare(structures, out, max_sites)
    except (ValueError, OSError) as error:
        fail(error)
    hydrogen = int(data.with_element(1).sum())
    size = out.stat().st_size / 1e6
    typer.echo(f"{len(data)} structures, {hydrogen} with H, {size:.1f} MB, sha256 of content {data.digest[:12]}")


def train(
    config: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="YAML with training settings")],
    structures: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="file that prepare-training wrote, or one that it reads")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of this training; resumed when it exists")],
    validation: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="structures with known answers to measure the weights on"),
    ] = None,
    device: Annotated[str, typer.Option(help="torch device; auto takes a GPU when there is one")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="processes that draw batches ahead; default: up to 8 beside a GPU, 0 on a CPU"),
    ] = None,
    stop_after: Annotated[float | None, typer.Option(min=0, help="stop after so many seconds; go on later")] = None,
) -> None:
    """Train diffusion weights, or go on with a training that was stopped.

    SIGTERM and Ctrl-C end it with a checkpoint, and the same command goes on to the step. Several devices:
    torchrun --nproc-per-node 4 --no-python hinpaint train ...
    """
    from hinpaint.diffusion.checkpoints import ModelError
    from hinpaint.scripting import available_threads, choose_device
    from hinpaint.training.replicas import local_rank
    from hinpaint.training.run import run

    try:
        threads = threads or available_threads()
        chosen = choose_device(device, threads, local_rank())
        signal = run(config, structures, out, chosen, typer.echo, threads, validation, stop_after, workers)
    except (ValueError, OSError, ModelError) as error:
        fail(error)
    if signal is not None:
        raise typer.Exit(128 + signal)
