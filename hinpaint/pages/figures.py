"""The figures of a run: the same ones stand on the overview page and in Snakemake's report."""

from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from typing import Any

import duckdb
import numpy as np

from hinpaint.catalog.chemistry import KINDS
from hinpaint.deciding.les import any_of_k
from hinpaint.pages.plots import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    Curve,
    Interval,
    Plot,
    Values,
    agreement,
    bars,
    counts_histogram,
    curves,
    histogram,
    intervals,
    stacked,
)  # fmt: skip

_CAPTIONS = resources.files("hinpaint.pages") / "captions"
GRADES = {"accept": BLUE, "review": ORANGE, "reject": RED}
"""Colour of each grade."""

_RATES = {
    "les": ("LES", BLUE),
    "structural": ("structural arm", BLUE),
    "lower": ("lower-energy arm", BLUE),
    "released_les": ("LES of the released one", GREEN),
    "released_les_confirmed": ("the same, as DFT confirms", GREEN),
    "released_les_expected": ("the same, by DFT's share", GREEN),
    "dft_confirmed": ("DFT confirms, of energetic", PURPLE),
    "match_h_only": ("match, H relaxed", BLUE),
    "strict_h_only": ("strict, H relaxed", ORANGE),
    "chance_les": ("chance: LES", GREY),
    "chance_match_h_only": ("chance: match, H relaxed", GREY),
}
_CURVES = (
    ("les", "LES", "n_trials", "n_les", BLUE),
    ("match_h_only", "match, H relaxed", "n_trials", "n_match_h_only", GREEN),
    ("strict_h_only", "strict, H relaxed", "n_trials", "n_strict_h_only", ORANGE),
    ("chance_les", "chance: LES", "chance_n_trials", "chance_n_les", GREY),
)
_VERDICTS = {
    ("energetic", "confirmed"): ("energetic, confirmed", GREEN),
    ("energetic", "undecided"): ("energetic, undecided", ORANGE),
    ("energetic", "refuted"): ("energetic, refuted", RED),
    ("control", "confirmed"): ("control, confirmed", BLUE),
    ("control", "refuted"): ("control, refuted", PURPLE),
    ("neither", "confirmed"): ("not better, confirmed", GREY),
    ("neither", "refuted"): ("not better, refuted", "#56b4e9"),
}
VERIFIED = "verified"
"""The figure that only a run with a verification has."""
_MOST_REASONS = 25
_CHEMISTRY = {kind: f"n_{kind.lower()}" for kind in KINDS}


def caption(name: str) -> str:
    """What one sees in a figure, as one line; Snakemake's report reads the same file."""
    return " ".join((_CAPTIONS / f"{name}.rst").read_text(encoding="utf-8").split())


def figures(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, Plot]]:
    """Draw the figures for which the catalog has something to show.

    Args:
        connection: the catalog.

    Yields:
        Name and figure, in the order of a page; the names are those of :data:`NAMES`.
    """
    for name, draw in _FIGURES.items():
        plot = draw(connection)
        if plot is not None:
            yield name, plot


def _actions(connection: duckdb.DuckDBPyConnection) -> Plot | None:
    counts = dict(connection.execute("SELECT action, count(*) FROM decisions GROUP BY ALL").fetchall())
    stopped = connection.execute("SELECT count(*) FROM whynot WHERE trial IS NULL").fetchall()
    shown = {name: counts.get(name, 0) for name in ("completed", "replaced", "unchanged")}
    shown["not curated"] = stopped[0][0]
    return bars("What became of the records", shown, caption("actions"), [BLUE, GREEN, PURPLE, GREY])


def _rates(connection: duckdb.DuckDBPyConnection) -> Plot | None:
    rows = connection.execute("SELECT metric, k, rate, ci_low, ci_high, n_entries FROM les_summary").fetchall()
    last: dict[str, int] = {}
    for metric, k, *_ in rows:
        last[metric] = max(k, last.get(metric, 0))
    found = {(metric, k): values for metric, k, *values in rows}
    shown = []
    for metric, (label, colour) in _RATES.items():
        of_released = metric.startswith(("released_les", "dft_"))
        for k in sorted({1, last.get(metric, 1)}):
            if (metric, k) in found and not (of_released and k != last[metric]):
                rate, low, high, _ = found[metric, k]
                name = label if of_released else f"{label}, {_trials(k)}"
                shown.append(Interval(name, rate, low, high, colour))
    if not shown:
        return None
    return intervals("How often the known structure is found", shown, caption("rates"))


def _trials(k: int) -> str:
    return f"{k} trial" if k == 1 else f"any of {k}"


def _curves(connection: duckdb.DuckDBPyConnection) -> Plot | None:
    bounds: dict[str, list[tuple[int, float, float]]] = {}
    for metric, *bar in connection.execute("SELECT metric, k, ci_low, ci_high FROM les_summary ORDER BY k").fetchall():
        bounds.setdefault(metric, []).append((bar[0], bar[1], bar[2]))
    lines = []
    for metric, label, total, hits, colour in _CURVES:
        query = f"SELECT {total}, {hits}, count(*) FROM les_entry WHERE {total} > 0 GROUP BY ALL ORDER BY ALL"  # noqa: S608 - names of ours
        counts = connection.execute(query).fetchall()
        if counts:
            x = list(range(1, max(n for n, _, _ in counts) + 1))
            rate = [_mean((any_of_k(n, c, k), weight) for n, c, weight in counts if n >= k) for k in x]
            lines.append(Curve(label, x, rate, colour, bounds.get(metric, []), dashed=metric.startswith("chance")))
    if not lines:
        return None
    return curves("Rate against the number of trials", lines, "trials", caption("trials"))


def _mean(weighted: Iterable[tuple[float, int]]) -> float:
    values = list(weighted)
    return sum(value * weight for value, weight in values) / sum(weight for _, weight in values)


def _chemistry(connection: duckdb.DuckDBPyConnection) -> Plot | None:
    sums = ", ".join(f"coalesce(sum({column}), 0)" for column in _CHEMISTRY.values())
    query = f"SELECT {sums} FROM chemistry JOIN decisions USING (entry_key)"  # noqa: S608 - names of ours
    counts = dict(zip(_CHEMISTRY, connection.execute(query).fetchall()[0], strict=True))
    if not sum(counts.values()):
        return None
    return bars("Chemistry", counts, caption("chemistry"), [ORANGE, BLUE, GREEN, PURPLE, GREY])


def _sizes(connection: duckdb.DuckDBPyConnection) -> Plot | None:
    sizes = _column(connection, "SELECT n_sites FROM entries WHERE n_sites > 0")
    if not sizes.size:
        return None
    edges = np.geomspace(1, max(300.0, float(sizes.max()) + 1), 25)
    return histogram(
        "Cell sizes", {"": sizes}, edges, "sites in the cell", caption("sizes"), logarithmic=True, counted="entries"
    )


def _placed(connection: duckdb.DuckDBPyConnection) -> Plot | None:
    placed = _column(connection, "SELECT n_unknown FROM tasks JOIN decisions USING (entry_key)")
    if not placed.size:
        return None
    return counts_histogram(
        "Sites to place", placed, "sites in the primitive cell", caption("placed"), counted="entries"
    )


def _confidence(connection: duckdb.DuckDBPyConnection) -> Plot | None:
    query = "SELECT confidence FROM decisions WHERE confidence IS NOT NULL AND grade = ?"
    found = {grade: (_column(connection, query, grade), colour) for grade, colour in GRADES.items()}
    shown = {f"{grade} ({values.size:,})": (values, colour) for grade, (values, colour) in found.items() if values.size}
    if not shown:
        return None
    return stacked("Confidence and grade", np.linspace(0, 1, 21), shown, "confidence", caption("confidence"))


def _reasons(connection: duckdb.DuckDBPyConnection) -> Plot | None:
    query = "SELECT reason, count(*) AS n FROM whynot WHERE trial IS NULL GROUP BY ALL ORDER BY n DESC, reason"
    counts = dict(connection.execute(query).fetchall()[:_MOST_REASONS])
    if not counts:
        return None
    return bars("Why records are not curated", counts, caption("reasons"), [ORANGE])


def _verified(connection: duckdb.DuckDBPyConnection) -> Plot | None:
    query = (
        "SELECT delta_e_dft_mev_per_atom, delta_e_mev_per_atom FROM les_verified WHERE verdict = ? AND kind = ? "
        "ORDER BY ALL"
    )
    shown = {}
    for (kind, verdict), (label, colour) in _VERDICTS.items():
        pairs = connection.execute(query, [verdict, kind]).fetchall()
        if pairs:
            shown[label] = np.array(pairs, dtype=np.float64), colour
    if not shown:
        return None
    labels = "candidate minus source by DFT (meV/atom)", "by the potential (meV/atom)"
    return agreement("DFT on the potential's verdicts", shown, labels, caption(VERIFIED))


def _column(connection: duckdb.DuckDBPyConnection, query: str, *values: Any) -> Values:
    (column,) = connection.execute(query, list(values)).fetchnumpy().values()
    return np.sort(np.asarray(column, dtype=np.float64))


_FIGURES: dict[str, Callable[[duckdb.DuckDBPyConnection], Plot | None]] = {
    "actions": _actions,
    "rates": _rates,
    "trials": _curves,
    "confidence": _confidence,
    "chemistry": _chemistry,
    "sizes": _sizes,
    "placed": _placed,
    "reasons": _reasons,
    VERIFIED: _verified,
}
NAMES = tuple(_FIGURES)
