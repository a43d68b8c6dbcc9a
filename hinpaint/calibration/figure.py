"""The reliability diagram of a confidence model's card."""

from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.calibration.fit import share_interval
from hinpaint.files import write_atomic
from hinpaint.pages.plots import BLUE, RED

_TITLES = {"match": "published match", "strict": "every site within 0.3 Å"}
_COLOURS = {"cross_validated": BLUE, "checked": RED}


def draw(card: dict[str, Any], path: Path) -> None:
    """Draw share right against confidence for both targets, with 95 % intervals and the number of candidates.

    Args:
        card: what :func:`hinpaint.calibration.card.make_card` returned.
        path: .png or .svg to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.2), layout="constrained")
    axes = figure.subplots(1, len(_TITLES), sharey=True)
    for target, axis in zip(_TITLES, axes, strict=True):
        axis.plot([0, 1], [0, 1], color="0.6", linewidth=1, zorder=0)
        for name, colour in _COLOURS.items():
            if card[name] is None:
                continue
            found = card[name][target]
            confidence, right, n = np.array(found["bins"]).T
            bounds = np.array([share_interval(round(share * k), int(k)) for share, k in zip(right, n, strict=True)])
            label = f"{name.replace('_', '-')}, n = {card[name]['n_candidates']}, Brier {found['brier']:.3f}"
            errors = np.abs(bounds.T - right)
            axis.errorbar(confidence, right, errors, color=colour, linestyle="", marker="o", markersize=4, label=label)
            for place, share, k in zip(confidence, right, n, strict=True):
                axis.annotate(f"{k:.0f}", (place, share), (5, 3), textcoords="offset points", fontsize=7, color=colour)
        axis.set(title=_TITLES[target], xlabel="confidence", xlim=(-0.03, 1.03), ylim=(-0.03, 1.06))
        axis.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    axes[0].set_ylabel("share right")
    kind = path.suffix.removeprefix(".")
    write_atomic(path, lambda handle: figure.savefig(handle, format=kind, dpi=150, metadata=_no_times(kind)))


def _no_times(kind: str) -> dict[str, None]:
    return {"Date": None} if kind == "svg" else {}
