"""The figures of a benchmark, drawn from its results file alone."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from statistics import mode
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from hinpaint.benchmark.collecting import MISSING, MIXED, SIZES
from hinpaint.benchmark.results import rate
from hinpaint.catalog.chemistry import KINDS
from hinpaint.files import write_atomic
from hinpaint.pages.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED

Row = Mapping[str, Any]
Part = Callable[[Row], Row | None]

_BLACK, _SKY, _BROWN, _TEAL, _OLIVE = "#222222", "#56b4e9", "#8c564b", "#00868b", "#9a8700"
_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, _SKY, _BLACK, _BROWN, _TEAL, _OLIVE)
_MARKERS = "osD^vPX<>h"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "hinpaint", "font.family": "sans-serif", "font.size": 9.5,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#d9dee3", "grid.linewidth": 0.6, "legend.frameon": False, "axes.titlesize": 10,
    "axes.titlelocation": "left",
}  # fmt: skip
_INTERVAL = "95 % bootstrap intervals over entries"


def _steps(found: Row) -> Figure | None:
    """Raw match of one trial against steps, and against what they cost."""
    lines: dict[str, list[Row]] = {}
    for row in found["systems"]:
        lines.setdefault(_method(row), []).append(row)
    drawn = {name: _of_one_set(rows) for name, rows in lines.items()}
    drawn = {name: rows for name, rows in drawn.items() if len(rows) > 1}
    if not drawn:
        return None
    figure, panels = _canvas(2)
    styles = _styles(found)
    for axes, of, label in zip(panels, (_n_steps, _evaluations), ("steps", "network evaluations a trial"), strict=True):
        for name, rows in drawn.items():
            points = sorted(((of(row), rate(row, "match_raw", 1)) for row in rows), key=itemgetter(0))
            _line(axes, points, name, styles[name])
        ticks = sorted({of(row) for rows in drawn.values() for row in rows})
        axes.set_xscale("log")
        axes.set_xticks(_spaced(ticks))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
    panels[0].set_ylabel("raw match, one trial (% of entries)")
    return _finish(figure, panels, next(iter(drawn.values()))[0]["n_entries"])


def _trials(found: Row) -> Figure | None:
    """Any-of-k against k: unrelaxed, and LES."""
    wanted: tuple[tuple[str, str, Part], ...] = (
        ("match, unrelaxed", "match_raw", _whole),
        ("match, hydrogen relaxed", "match_h_only", itemgetter("relaxed")),
        ("LES, fully relaxed", "les", itemgetter("relaxed")),
    )
    drawn = []
    for title, metric, part in wanted:
        curves = {row["label"]: (row, _curve(part(row), metric)) for row in _leading(found, part, "trials")}
        curves = {label: pair for label, pair in curves.items() if len(pair[1]) > 1}
        if curves:
            drawn.append((title, curves))
    if not drawn:
        return None
    figure, panels = _canvas(len(drawn))
    styles = _styles(found)
    for axes, (title, curves) in zip(panels, drawn, strict=True):
        for label, (row, points) in curves.items():
            _band(axes, points, label, styles[_method(row)])
        axes.set_title(f"{title} (n = {_counts(curves.values())})")
        axes.set_xlabel("trials k")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[0].set_ylabel("any of k trials (% of entries)")
    return _finish(figure, panels)


def _displacement(found: Row) -> Figure | None:
    """How far placed hydrogen lies from its place in trials that match."""
    comparable = _comparable(found)
    wanted: tuple[tuple[str, Part], ...] = (
        ("unrelaxed", lambda row: row["rmsd"]["raw"] if row["name"] in comparable else None),
        ("hydrogen relaxed", _relaxed_distances),
    )
    drawn = []
    for title, part in wanted:
        rows = [(row, values) for row in _leading(found, part) if (values := part(row))]
        if rows:
            drawn.append((title, rows))
    if not drawn:
        return None
    figure, panels = _canvas(len(drawn), y_limits=None)
    styles, edges = _styles(found), np.array(found["rmsd_edges_a"])
    for axes, (title, rows) in zip(panels, drawn, strict=True):
        for row, values in rows:
            share = 100 * np.array(values["histogram"]) / values["n"]
            colour, _ = styles[_method(row)]
            axes.stairs(share, edges, color=colour, linewidth=1.6, label=row["label"])
            axes.axvline(values["median_a"], color=colour, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_title(title)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"{found['element']} displacement, root mean square (Å)")
    panels[0].set_ylabel("matching trials (%)")
    return _finish(figure, panels, note="dashed: median; last bin: 0.975 Å and more")


def _grouped(
    key: str, order: Sequence[str], label: str, *, largest_cells: bool = False
) -> Callable[[Row], Figure | None]:
    """A figure of the raw match of one trial by groups of entries."""

    def draw(found: Row) -> Figure | None:
        comparable = _comparable(found, largest_cells=largest_cells)
        rows = _leading(found, lambda row: row.get(key) if row["name"] in comparable else None)
        if not rows:
            return None
        names = [name for name in order if any(name in row[key] for row in rows)]
        figure, panels = _canvas(1, width=7.2)
        styles, axes = _styles(found), panels[0]
        for number, row in enumerate(rows):
            at = np.array([names.index(name) for name in row[key]]) + 0.66 * ((number + 0.5) / len(rows) - 0.5)
            _errors(axes, at, list(row[key].values()), row["label"], styles[_method(row)], line="")
        largest = max(rows, key=lambda row: row["n_entries"])
        axes.set_xticks(range(len(names)), [f"{name}\n(n = {largest[key].get(name, {'n': 0})['n']})" for name in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.grid(axis="x", visible=False)
        for border in np.arange(0.5, len(names) - 1):
            axes.axvline(border, color="#d9dee3", linewidth=0.6)
        axes.set_xlabel(label)
        axes.set_ylabel("raw match, one trial (% of entries)")
        return _finish(figure, panels)

    return draw


FIGURES: dict[str, Callable[[Row], Figure | None]] = {
    "steps": _steps,
    "trials": _trials,
    "displacement": _displacement,
    "chemistry": _grouped("by_kind", (*KINDS, MIXED), "what the missing hydrogen is bound to"),
    "missing": _grouped("by_missing", tuple(MISSING), "missing sites in the primitive cell"),
    "sizes": _grouped("by_size", tuple(SIZES), "sites in the primitive cell", largest_cells=True),
}
"""Each figure by its name."""


@rc_context(_STYLE)
def draw_all(found: Row, folder: Path) -> list[str]:
    """Write each figure as PNG and SVG; one for which there is nothing says so.

    Args:
        found: content of the results file.
        folder: where they go.

    Returns:
        Names of those that show something.
    """
    shown = []
    for name, draw in FIGURES.items():
        figure = draw(found)
        if figure is not None:
            shown.append(name)
        for kind in ("png", "svg"):
            _save(figure or _nothing(), folder / f"{name}.{kind}")
    return shown


def _save(figure: Figure, path: Path) -> None:
    kind = path.suffix.removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    write_atomic(path, lambda handle: figure.savefig(handle, format=kind, dpi=160, metadata=metadata))


def _nothing() -> Figure:
    figure = Figure(figsize=(5, 0.8))
    figure.text(0.04, 0.4, "Nothing to show: no system of this benchmark has what this figure needs.")
    return figure


def _canvas(
    n: int, width: float = 3.6, y_limits: tuple[float, float] | None = (-2, 102)
) -> tuple[Figure, Sequence[Axes]]:  # fmt: skip
    figure = Figure(figsize=(width * max(n, 1) + (0.9 if n == 1 else 0), 3.9), layout="constrained")
    panels = figure.subplots(1, n, sharey=True, squeeze=False)[0]
    if y_limits:
        panels[0].set_ylim(*y_limits)
    return figure, panels


def _finish(figure: Figure, panels: Sequence[Axes], n_entries: int | None = None, note: str = _INTERVAL) -> Figure:
    """One legend below for all panels, and what the marks mean."""
    found: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    figure.legend([*found.values()], [*found], loc="outside lower center", ncols=min(3, len(found)), fontsize=9)
    text = note if n_entries is None else f"{n_entries} entries; {note}"
    figure.suptitle(text, fontsize=8, color="#555b61", x=0.99, ha="right")
    return figure


def _line(axes: Axes, points: Sequence[tuple[int, Any]], label: str, style: tuple[str, str]) -> None:
    shown = [(x, each) for x, each in points if each]
    _errors(axes, [x for x, _ in shown], [each for _, each in shown], label, style, line="-")


def _errors(
    axes: Axes, at: Any, rates: Sequence[Row], label: str, style: tuple[str, str], line: str
) -> None:  # fmt: skip
    colour, marker = style
    middle = np.array([100 * each["rate"] for each in rates])
    bounds = np.array([[100 * each["low"], 100 * each["high"]] for each in rates]).reshape(-1, 2)
    errors = np.abs(bounds.T - middle)
    axes.errorbar(at, middle, errors, color=colour, linestyle=line, marker=marker, markersize=5, linewidth=1.4,
                  elinewidth=1.1, label=label)  # fmt: skip


def _band(axes: Axes, points: Sequence[Row], label: str, style: tuple[str, str]) -> None:
    colour, marker = style
    k = [each["k"] for each in points]
    low, middle, high = (100 * np.array([each[name] for each in points]) for name in ("low", "rate", "high"))
    axes.fill_between(k, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(k, middle, color=colour, marker=marker, markersize=3.5, linewidth=1.4, label=label)


def _whole(row: Row) -> Row | None:
    return row


def _relaxed_distances(row: Row) -> Row | None:
    found: Row | None = (row["relaxed"] or {}).get("rmsd")
    return found


def _curve(part: Row | None, metric: str) -> list[Row]:
    """Estimates of a metric that are no mere bounds, by rising k."""
    return [each for each in (part or {}).get("rates", ()) if each["metric"] == metric and not each["n_unknown"]]


def _counts(pairs: Any) -> str:
    counts = sorted({points[0]["n"] for _, points in pairs})
    return " to ".join(map(str, counts[:: max(1, len(counts) - 1)]))


def _method(row: Row) -> str:
    """Systems that differ in nothing but steps, trials and parts have one method, one colour and one mark."""
    return str(row["label"]).split(",")[0]


def _styles(found: Row) -> dict[str, tuple[str, str]]:
    names = list(dict.fromkeys(_method(row) for row in found["systems"]))
    chance = {_method(row) for row in found["systems"] if row["sampler"] == "random"}
    others = [name for name in names if name not in chance]
    n = len(_COLOURS)  # a colour that comes again has another marker
    styles = {name: (_COLOURS[i % n], _MARKERS[(i + i // n) % len(_MARKERS)]) for i, name in enumerate(others)}
    return styles | dict.fromkeys(chance, (GREY, "s"))


def _leading(found: Row, part: Part | None = None, first: str = "n_entries") -> list[Row]:
    """Of each method, among the systems that have a part, the one with most entries (or trials), then trials, steps."""
    best: dict[str, Row] = {}
    having = [row for row in found["systems"] if part is None or part(row)]
    for row in sorted(having, key=lambda row: (row[first], row["trials"], row["n_steps"])):
        best[_method(row)] = row
    return [best[name] for name in dict.fromkeys(map(_method, found["systems"])) if name in best]


def _comparable(found: Row, *, largest_cells: bool = False) -> frozenset[str]:
    """Names of the systems whose cells go as far as those of most systems, or of those whose cells go furthest.

    Rates of small cells and of all cells do not compare.
    """
    reach = {row["name"]: int(np.searchsorted(list(SIZES.values()), row["max_sites"])) for row in found["systems"]}
    furthest_first = sorted(reach.values(), reverse=True)
    wanted = furthest_first[0] if largest_cells else mode(furthest_first)
    return frozenset(name for name, each in reach.items() if each == wanted)


def _of_one_set(rows: Sequence[Row]) -> list[Row]:
    """Systems of one set of entries, one for each number of steps: only these may be joined by a line.

    Of several sets the one with the longest line, then with most entries.
    """
    lines: dict[int, dict[int, Row]] = {}
    for row in rows:
        lines.setdefault(row["n_entries"], {})[row["n_steps"]] = row
    return list(max(lines.items(), key=lambda line: (len(line[1]), line[0]))[1].values())


def _n_steps(row: Row) -> int:
    return int(row["n_steps"])


def _evaluations(row: Row) -> int:
    return int(row["cost"]["n_evaluations"])


def _spaced(ticks: Sequence[int]) -> list[int]:
    """Ticks that leave room for their numbers on a logarithmic axis."""
    kept: list[int] = []
    for each in ticks:
        if not kept or each >= 1.35 * kept[-1]:
            kept.append(each)
    return kept
