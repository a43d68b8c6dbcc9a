"""The page of a census: one HTML file that needs nothing else and asks nobody for anything."""

import base64
import hashlib
import re
from collections.abc import Iterator
from importlib import resources
from importlib.metadata import version

import duckdb
import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup, escape

from hinpaint.census.classes import CLASSES, named, spoken
from hinpaint.census.counts import N_EXAMPLES, Counts, numbers, stopped
from hinpaint.codes import CODES, Code
from hinpaint.config import Source
from hinpaint.evidence.geometry import NEUTRON_XH_A
from hinpaint.pages.plots import Plot, bars, counts_histogram, histogram
from hinpaint.whynot import EXPLANATIONS, Reason

N_STOPPED = 2000
"""Records in the page's list; the Parquet file holds all."""


def render_page(source: Source, element: str, counts: Counts, connection: duckdb.DuckDBPyConnection) -> str:
    """Write the page.

    Args:
        source: what was read.
        element: whose sites were looked for.
        counts: what was found.
        connection: the tables, from :func:`hinpaint.census.counts.open_tables`.

    Returns:
        HTML; everything that came from the source is escaped, and the page's policy forbids every request.
    """
    shared = PrefixLoader({"pages": PackageLoader("hinpaint.pages", ".")})
    loader = ChoiceLoader([PackageLoader("hinpaint.census", "."), shared])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    script = (resources.files("hinpaint.census") / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.filters["with_code"] = _with_code
    return environment.get_template("page.html").render(
        source=source,
        what=spoken(element),
        version=version("hinpaint"),
        counts=counts,
        n_examples=N_EXAMPLES,
        n_stopped=counts.n_records - counts.n_entries,
        n_incomplete=sum(counts.classes[name].n for name in ("missing_all", "missing_some") if name in counts.classes),
        n_lost=sum(each.n_missing for name, each in counts.classes.items() if not name.startswith("missing_")),
        classes=[
            (CLASSES[name], named(CLASSES[name].title, element), named(CLASSES[name].meaning, element),
             CLASSES[name].action, each)
            for name, each in counts.classes.items()
        ],
        codes=[(name, CODES[Code(name)], n) for name, n in counts.codes.items()],
        reasons=[(name, EXPLANATIONS[Reason(name)], n) for name, n in counts.reasons.items()],
        plots=list(_plots(element, counts, connection)),
        stopped=stopped(connection, N_STOPPED),
        script=Markup(script),  # noqa: S704 - a file of ours
        script_sha256=digest,
    )  # fmt: skip


def _with_code(text: str) -> Markup:
    """Escape a text and set what stands in backquotes as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)))  # noqa: S704 - escaped


def _plots(element: str, counts: Counts, connection: duckdb.DuckDBPyConnection) -> Iterator[Plot]:
    classes = {named(CLASSES[name].title, element): each.n for name, each in counts.classes.items()}
    yield bars(
        "Classes", classes, "Every record is in exactly one class.", [CLASSES[name].colour for name in counts.classes]
    )
    reasons = {name: n for name, n in counts.reasons.items() if name != Reason.NO_TARGET_ELEMENT}
    if reasons:
        note = f"Explained in a table below. Not shown: {counts.n_records - counts.n_entries - sum(reasons.values()):,}"
        yield bars("Reasons why records stop", reasons, f"{note} records without {element}.")
    missing = numbers(connection, "n_missing", "n_missing > 0")
    if missing.size:
        yield counts_histogram(
            "Missing sites", missing, f"missing {element} sites in the cell", "Only records that lack any."
        )
        sure = numbers(connection, "confidence", "n_missing > 0")
        yield histogram(
            "Confidence in the count", {"": sure}, np.linspace(0, 1, 21), "confidence",
            "Records that lack sites; 1 means that independent statements of the record agree.",
        )  # fmt: skip
    if element == "H":
        yield from _bonds(connection)
    sizes = numbers(connection, "n_sites", "n_sites > 0")
    if sizes.size:
        yield histogram(
            "Cell sizes", {"": sizes}, np.geomspace(1, max(1000.0, float(sizes.max()) + 1), 25), "sites in the cell",
            "Every record that could be parsed.", logarithmic=True,
        )  # fmt: skip


def _bonds(connection: duckdb.DuckDBPyConnection) -> Iterator[Plot]:
    columns = {"shortest in the record": "d_xh_min_a", "longest in the record": "d_xh_max_a"}
    lengths = {label: numbers(connection, column) for label, column in columns.items()}
    if all(values.size for values in lengths.values()):
        yield histogram(
            "Distance of hydrogen to its nearest neighbour", lengths, np.linspace(0.6, 1.8, 49), "X–H distance (Å)",
            "Dashed: lengths found with neutrons. X-rays see these bonds about 0.1 Å too short; values beyond the ends "
            "of the axis are in the outer bars.", {f"{name}–H": length for name, length in NEUTRON_XH_A.items()},
        )  # fmt: skip
