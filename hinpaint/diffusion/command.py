"""The command `hinpaint import-weights`."""

from pathlib import Path
from typing import Annotated

import typer

from hinpaint.terminal import fail


def import_weights(
    source: Annotated[
        str,
        typer.Argument(
            help="folder with config.yaml and checkpoints/last.ckpt, or mattergen_base, TD-pos-only, pos-only"
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help=".safetensors file to write; its card goes beside it")],
    sha256: Annotated[
        str, typer.Option(help="SHA-256 of last.ckpt: a checkpoint is a pickle, so only a known one is opened")
    ],
    revision: Annotated[
        str | None, typer.Option(help="for a name: full commit of its repository on the Hugging Face hub")
    ] = None,
) -> None:
    """Convert weights that were trained with MatterGen, once; `model: FILE.safetensors` uses them from then on."""
    from hinpaint.diffusion.checkpoints import ModelError
    from hinpaint.diffusion.imported import convert

    try:
        conditioning = convert(source, out, sha256.lower(), revision)
    except ModelError as error:
        fail(error)
    typer.echo(f"{out}: one noise level per {'site (td)' if conditioning == 'td' else 'crystal (pos_only)'}")
