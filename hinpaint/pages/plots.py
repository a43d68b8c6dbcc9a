"""Plots of pages as inline SVG: text stays text, and colours of ink and grid are left to the page's style sheet."""

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

# Okabe and Ito's palette: told apart with every kind of colour vision.
BLUE, ORANGE, GREEN, PURPLE, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#8a8f94"
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
def bars(title: str, counts: Mapping[str, int], note: str, colours: Sequence[str] = (BLUE,)) -> Plot:
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
def counts_histogram(title: str, values: Values, label: str, note: str, counted: str = "records") -> Plot:
    """Draw how often each whole number from 1 occurs; the last bar holds all above it."""
    last = max(1, min(_MAX_BARS, int(values.max())))
    heights = np.bincount(np.minimum(values, last).astype(np.int64), minlength=last + 1)[1:]
    figure, axes = _canvas(2.6)
    axes.bar(np.arange(1, last + 1), heights, width=0.85, color=BLUE)
    axes.set_xlim(0.3, last + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if values.max() > last:
        label = f"{label} (last bar: {last} or more)"
    return _histogram(figure, axes, title, label, note, values, counted)


@rc_context(_STYLE)
def histogram(
    title: str, series: Mapping[str, Values], edges: Values, label: str, note: str,
    marks: Mapping[str, float] | None = None, *, logarithmic: bool = False, counted: str = "records",
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
        counted: what the heights count.
    """
    figure, axes = _canvas(2.6)
    styles: tuple[dict[str, Any], ...] = ({"color": BLUE}, {"color": ORANGE, "histtype": "step", "linewidth": 1.8})
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
    return _histogram(figure, axes, title, label, note, np.concatenate(list(series.values())), counted)


@dataclass(frozen=True)
class Interval:
    """A rate between 0 and 1 with its bounds.

    Attributes:
        name: what it is the rate of.
        rate: the rate.
        low: lower bound.
        high: upper bound.
        colour: of the mark.
    """

    name: str
    rate: float
    low: float
    high: float
    colour: str = BLUE


@rc_context(_STYLE)
def intervals(title: str, rates: Sequence[Interval], note: str) -> Plot:
    """Draw one rate a line as a point with its interval, the first on top."""
    figure, axes = _canvas(0.7 + 0.32 * len(rates))
    for row, each in enumerate(rates):
        axes.plot([100 * each.low, 100 * each.high], [row, row], color=each.colour, linewidth=2.2, alpha=0.55)
        axes.plot(100 * each.rate, row, "o", color=each.colour, markersize=6.5)
    axes.set_yticks(range(len(rates)), [each.name for each in rates])
    axes.set_ylim(len(rates) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", linewidth=0.6)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("entries (%)")
    spoken = "; ".join(f"{r.name} {100 * r.rate:.1f} % ({100 * r.low:.0f} to {100 * r.high:.0f})" for r in rates)
    return Plot(title, _svg(figure, title, spoken), note)


@dataclass(frozen=True)
class Curve:
    """A rate that depends on a whole number.

    Attributes:
        name: label.
        x: the numbers.
        rate: rate, 0 to 1, at each of them.
        colour: of the line.
        bars: number, lower and upper bound, where an interval is known.
        dashed: draw it dashed, as what the others are held against.
    """

    name: str
    x: Sequence[int]
    rate: Sequence[float]
    colour: str
    bars: Sequence[tuple[int, float, float]] = ()
    dashed: bool = False


@rc_context(_STYLE)
def curves(title: str, lines: Sequence[Curve], label: str, note: str) -> Plot:
    """Draw rates against a number, with intervals where they are known."""
    figure, axes = _canvas(2.9)
    apart = 0.012 * max(1, max(x for each in lines for x in each.x) - 1)
    for shift, each in enumerate(lines):
        style = "--" if each.dashed else "-"
        percent = [100 * value for value in each.rate]
        axes.plot(each.x, percent, style, color=each.colour, marker="o", markersize=4, label=each.name)
        for x, low, high in each.bars:  # side by side, as intervals of one number would hide each other
            at = x + apart * (shift - len(lines) / 2 + 0.5)
            axes.plot([at, at], [100 * low, 100 * high], color=each.colour, linewidth=1.6, alpha=0.5)
    axes.set_ylim(-2, 102)
    axes.set_xlabel(label)
    axes.set_ylabel("entries (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", linewidth=0.6)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    last = "; ".join(f"{each.name} {100 * each.rate[-1]:.1f} % at {each.x[-1]}" for each in lines)
    return Plot(title, _svg(figure, title, last), note)


@rc_context(_STYLE)
def stacked(title: str, edges: Values, series: Mapping[str, tuple[Values, str]], label: str, note: str) -> Plot:
    """Draw how values are spread, one series on the other; each has its values and colour."""
    figure, axes = _canvas(2.6)
    values = [each for each, _ in series.values()]
    axes.hist(values, edges.tolist(), stacked=True, label=list(series), color=[colour for _, colour in series.values()])
    if len(series) > 1:
        figure.legend(loc="outside lower center", ncols=len(series), fontsize=9)
    return _histogram(figure, axes, title, label, note, np.concatenate(values), counted="entries")


@rc_context(_STYLE)
def agreement(
    title: str, series: Mapping[str, tuple[Values, str]], labels: tuple[str, str], note: str, *, linear: float = 1.0,
) -> Plot:  # fmt: skip
    """Draw pairs of numbers against each other, with the line on which they are equal.

    Args:
        title: heading.
        series: (n, 2) pairs by name, each with its colour.
        labels: of the two axes, with units.
        note: what one sees.
        linear: axes are linear up to this size and logarithmic beyond.
    """
    figure, axes = _canvas(3.6)
    values = np.concatenate([each for each, _ in series.values()])
    most = 1.3 * max(linear, float(np.abs(values).max()))
    axes.plot([-most, most], [-most, most], color=GREY, linewidth=1)
    for at in (axes.axhline, axes.axvline):
        at(0, color=GREY, linewidth=0.6)
    for name, (pairs, colour) in series.items():
        axes.plot(
            pairs[:, 0], pairs[:, 1], "o", color=colour, markersize=5, alpha=0.8, label=f"{name} ({len(pairs):,})"
        )
    axes.set_xscale("symlog", linthresh=linear)
    axes.set_yscale("symlog", linthresh=linear)
    axes.set_xlim(-most, most)
    axes.set_ylim(-most, most)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(linewidth=0.4)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    error = float(np.sqrt(((values[:, 1] - values[:, 0]) ** 2).mean()))
    spoken = f"{len(values)} pairs; root mean square difference {error:.1f}"
    return Plot(title, _svg(figure, title, spoken), note)


def standalone(plot: Plot) -> str:
    """A plot as a file of its own, on white, for where no page gives it its colours."""
    # A plain string: text that is put into `Markup` is escaped.
    svg = str(plot.svg).replace("var(--ink)", "#1b1f24").replace("var(--line)", "#d1d9e0")
    return svg.replace("<svg", '<svg width="660" style="background:#ffffff"', 1) + "\n"


def nothing() -> str:
    """A file that stands where a figure has nothing to show."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="660" height="60" style="background:#ffffff">'
        '<text x="16" y="36" font-family="sans-serif" fill="#1b1f24">Nothing to show.</text></svg>\n'
    )


def _histogram(figure: Figure, axes: Axes, title: str, label: str, note: str, values: Values, counted: str) -> Plot:
    axes.set_xlabel(label)
    axes.set_ylabel(counted)
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
