"""The page's plots as inline SVG: text stays text, and colours of ink and grid are left to the page's style sheet."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

Values = NDArray[np.float64]

_BLUE, _ORANGE = "#0072b2", "#e69f00"
# Stand-ins that no plot uses as colours; the page's light and dark style give them their own.
_INK, _GRID = "#010203", "#040506"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "hinpaint", "font.family": "sans-serif", "font.size": 10,
    "text.color": _INK, "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK, "axes.edgecolor": _GRID,
    "grid.color": _GRID, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False,
}  # fmt: skip
_WIDTH = 4.6  # inches: as wide as a phone, so that letters keep their size there
_MAX_BARS = 30


@dataclass(frozen=True)
class Plot:
    """One plot of the page.

    Attributes:
        title: heading above it.
        svg: the drawing, safe to put into HTML.
        note: what one sees in it.
    """

    title: str
    svg: Markup
    note: str


@rc_context(_STYLE)
def bars(title: str, counts: Mapping[str, int], note: str, colours: Sequence[str] = (_BLUE,)) -> Plot:
    """Draw one horizontal bar a name, the first on top.

    Args:
        title: heading.
        counts: number by name.
        note: what one sees.
        colours: of the bars, one each or one for all.
    """
    figure, axes = _canvas(0.5 + 0.3 * len(counts))
    drawn = axes.barh(range(len(counts)), list(counts.values()), color=list(colours), height=0.7)
    axes.bar_label(drawn, [f"{n:,}" for n in counts.values()], padding=3, color=_INK, fontsize=9)
    axes.set_yticks(range(len(counts)), list(counts))
    axes.invert_yaxis()
    axes.margins(x=0.16, y=0.02)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", linewidth=0.6)
    _count_axis(axes, "x")
    spoken = "; ".join(f"{name} {n}" for name, n in counts.items())
    return Plot(title, _svg(figure, title, spoken), note)


@rc_context(_STYLE)
def counts_histogram(title: str, values: Values, label: str, note: str) -> Plot:
    """Draw how often each whole number from 1 occurs; the last bar holds all above it."""
    last = max(1, min(_MAX_BARS, int(values.max())))
    heights = np.bincount(np.minimum(values, last).astype(np.int64), minlength=last + 1)[1:]
    figure, axes = _canvas(2.6)
    axes.bar(np.arange(1, last + 1), heights, width=0.85, color=_BLUE)
    axes.set_xlim(0.3, last + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if values.max() > last:
        label = f"{label} (last bar: {last} or more)"
    return _histogram(figure, axes, title, label, note, values)


@rc_context(_STYLE)
def histogram(
    title: str, series: Mapping[str, Values], edges: Values, label: str, note: str,
    marks: Mapping[str, float] | None = None, *, logarithmic: bool = False,
) -> Plot:  # fmt: skip
    """Draw how values are spread over bins; values beyond the ends count in the outer bins.

    Args:
        title: heading.
        series: values by name; a second one is drawn as a line over the first.
        edges: (n + 1,) edges of the bins.
        label: of the axis, with its unit.
        note: what one sees.
        marks: positions to mark, by name.
        logarithmic: the axis is.
    """
    figure, axes = _canvas(2.6)
    styles: tuple[dict[str, Any], ...] = ({"color": _BLUE}, {"color": _ORANGE, "histtype": "step", "linewidth": 1.8})
    for (name, values), style in zip(series.items(), styles, strict=False):
        inside = np.clip(values, edges[0], np.nextafter(edges[-1], edges[0]))
        axes.hist(inside, edges.tolist(), label=name, **style)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    for number, (name, position) in enumerate((marks or {}).items()):
        axes.axvline(position, color=_INK, linewidth=1, linestyle=(0, (3, 2)))
        axes.annotate(
            name, (position, 1.02 + 0.08 * (number % 2)), xycoords=("data", "axes fraction"), ha="center", fontsize=9
        )
    if len(series) > 1:
        axes.legend(fontsize=9)
    return _histogram(figure, axes, title, label, note, np.concatenate(list(series.values())))


def _histogram(figure: Figure, axes: Axes, title: str, label: str, note: str, values: Values) -> Plot:
    axes.set_xlabel(label)
    axes.set_ylabel("records")
    axes.grid(axis="y", linewidth=0.6)
    _count_axis(axes, "y")
    spoken = f"{label}: {len(values)} values from {values.min():g} to {values.max():g}, median {np.median(values):g}"
    return Plot(title, _svg(figure, title, spoken), note)


def _canvas(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    figure.patch.set_alpha(0)
    return figure, axes


def _count_axis(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    axis.set_major_formatter(EngFormatter(sep=""))


def _svg(figure: Figure, title: str, spoken: str) -> Markup:
    """The figure as one element, its ids made its own, so that several fit on a page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)
    text = text.replace(_INK, "var(--ink)").replace(_GRID, "var(--line)")
    prefix = re.sub(r"\W+", "-", title.lower())
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    label = escape(f"{title}. {spoken}")
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))  # noqa: S704 - drawn by us, escaped
