"""The curves of a training as a picture."""

from collections.abc import Sequence
from pathlib import Path

from hinpaint.files import write_atomic
from hinpaint.training.validation import SIGMAS, Measured

_SMOOTH = 5
_LOSS, _RATE, _STRICT = "#1f5fa8", "#b5432a", "#d99a2b"


def draw(curve: Sequence[tuple[int, float]], validations: Sequence[Measured], path: Path) -> None:
    """Draw the training loss, the validation loss by noise level, and the raw rates against the step.

    Args:
        curve: (step, mean loss since the one before).
        validations: what was measured on the fixed set, maybe nothing.
        path: .png to write.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    viridis = colormaps["viridis"]
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    steps, losses = zip(*curve, strict=True) if curve else ((), ())
    around = [losses[max(0, i - _SMOOTH) : i + _SMOOTH + 1] for i in range(len(losses))]
    smooth = [sum(each) / len(each) for each in around]
    left.plot(steps, losses, color=_LOSS, linewidth=0.5, alpha=0.35)
    left.plot(steps, smooth, color=_LOSS, linewidth=1.4, label=f"training, mean of {2 * _SMOOTH + 1} points")
    left.set(xlabel="step", ylabel="loss", title="Loss")
    measured = [each.step for each in validations]
    if validations:
        style = {"marker": "o", "markersize": 3.0, "linewidth": 1.2}
        left.plot(measured, [v.loss for v in validations], color=_RATE, label="validation, all levels", **style)
        for level, sigma in enumerate(SIGMAS):
            shade = viridis(0.1 + 0.8 * level / len(SIGMAS))
            left.plot(measured, [v.losses[level] for v in validations], color=shade, lw=0.8, label=f"σ {sigma}")
    n = validations[-1].n_match if validations else 0
    if n:
        for values, colour, label in (
            ([v.match_raw for v in validations], _RATE, "published match"),
            ([v.strict_raw for v in validations], _STRICT, "every site within 0.3 Å"),
        ):
            known = [(step, 100 * value) for step, value in zip(measured, values, strict=True) if value is not None]
            right.plot([s for s, _ in known], [v for _, v in known], color=colour, label=label, **style)
        right.legend(frameon=False, fontsize=8)
        right.set(xlabel="step", ylabel="structures, %", title=f"Raw placements, n = {n}", ylim=(0, 100))
    else:
        right.set_axis_off()
        message = "no structures were sampled"
        right.text(0.5, 0.5, message, ha="center", va="center", color="0.4", transform=right.transAxes)
    left.set_ylim(bottom=0)
    left.legend(frameon=False, fontsize=7, ncols=2)
    write_atomic(path, lambda handle: figure.savefig(handle, format="png", dpi=140))
