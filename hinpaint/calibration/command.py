"""The command `hinpaint calibrate`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from hinpaint.terminal import fail


def calibrate(
    fitted_on: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="results/<run> to fit on")],
    out: Annotated[Path, typer.Option("-o", "--out", help="JSON card to write")],
    check: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="results/<run> that the fit is checked on, unseen")
    ] = None,
    doc: Annotated[Path | None, typer.Option(exists=True, help="document whose numbers are replaced")] = None,
    figure: Annotated[Path | None, typer.Option(help="reliability diagram to write (.png or .svg)")] = None,
) -> None:
    """Fit the confidence model to a run of complete structures (mode benchmark) and measure its calibration."""
    from hinpaint.calibration.card import make_card
    from hinpaint.calibration.figure import draw
    from hinpaint.calibration.samples import load_run
    from hinpaint.calibration.text import with_numbers
    from hinpaint.config import ConfigError
    from hinpaint.files import write_atomic
    from hinpaint.store import StoreError

    try:
        card = make_card(load_run(fitted_on), load_run(check) if check else None)
        written = with_numbers(doc.read_text(encoding="utf-8"), card) if doc else ""
    except (ConfigError, StoreError, ValueError) as error:
        fail(error)
    text = json.dumps(card, indent=1) + "\n"
    write_atomic(out, lambda handle: handle.write(text.encode()))
    for name in ("cross_validated", "checked"):
        if card[name] is not None:
            _print(name, card[name])
    if doc is not None:
        write_atomic(doc, lambda handle: handle.write(written.encode()))
    if figure is not None:
        draw(card, figure)
    typer.echo(f"written to {out}" + (f" and {figure}" if figure else ""))


def _print(name: str, found: dict[str, Any]) -> None:
    from hinpaint.deciding.confidence import GRADES, TARGETS

    typer.echo(f"{name.replace('_', ' ')}: {found['n_candidates']} candidates")
    for target in TARGETS:
        each = found[target]
        median, bound = each["calibration_error_of_perfect"]
        typer.echo(
            f"  {target}: right {each['base_rate']:.3f}, Brier {each['brier']:.3f} (base rate alone"
            f" {each['brier_of_base_rate']:.3f}), calibration error {each['calibration_error']:.3f}"
            f" (a perfect one of this size: {median:.3f}, at most {bound:.3f} in 95 %)"
        )
    for grade in GRADES:
        each = found[grade]
        if each["n"]:
            low, high = each["right_match_interval"]
            typer.echo(
                f"  {grade}: {each['n']} ({each['share']:.0%}), match {each['right_match']:.3f}"
                f" ({low:.3f} to {high:.3f}), strict {each['right_strict']:.3f}"
            )
