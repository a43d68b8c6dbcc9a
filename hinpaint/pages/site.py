"""Write the pages of a release: plain files that open from a disk."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version as installed
from pathlib import Path

import duckdb

from hinpaint.ids import file_name
from hinpaint.pages.entry import Links, render_entry
from hinpaint.pages.figures import figures
from hinpaint.pages.gather import entry_pages
from hinpaint.pages.model import EntryPage
from hinpaint.pages.render import address, asset, beside, environment
from hinpaint.pages.rows import MAX_ROWS, rows_script
from hinpaint.whynot import EXPLANATIONS, Reason

_ASSETS = (
    "style.css", "site.css", "entry.js", "entries.js", "table.css", "table.js", "plot.js", "3dmol.js", "LICENCES.txt",
)  # fmt: skip
_COUNTS = """
SELECT (SELECT count(*) FROM records), (SELECT count(*) FROM entries),
    (SELECT count(*) FROM decisions WHERE action <> 'unchanged'), (SELECT count(*) FROM whynot WHERE trial IS NULL)
"""
_GRADES = """
SELECT grade, count(*) FROM decisions WHERE action <> 'unchanged' AND grade IS NOT NULL GROUP BY ALL ORDER BY ALL
"""
_REASONS = """
SELECT stage, reason, count(*) AS n FROM whynot WHERE trial IS NULL GROUP BY ALL ORDER BY n DESC, stage, reason
"""


def write_site(
    connection: duckdb.DuckDBPyConnection, folder: Path, title: str, version: str, library_versions: Sequence[str] = ()
) -> int:
    """Write overview, table and one page an entry; equal catalogs give equal bytes.

    Entries are read and written a bounded number at a time. A page offers the CIF that lies in ``cif/`` beside the
    folder, so the site is written after the CIFs.

    Args:
        connection: the catalog, with all tables.
        folder: where the site goes; made if absent.
        title: title of the release.
        version: its version.
        library_versions: values of ``runs.versions`` for the provenance; a release has no table ``runs``.

    Returns:
        Number of pages of entries.
    """
    for name in _ASSETS:
        _write(folder / "assets" / name, asset(name))
    query = "SELECT entry_key FROM decisions JOIN entries USING (entry_key) ORDER BY entry_key"
    keys = [row[0] for row in connection.execute(query).fetchall()]
    _write(folder / "index.html", _overview(connection, title, version))
    _write(folder / "assets" / "rows.js", rows_script(connection))
    _write(folder / "entries.html", _table(connection, title, version))
    (folder / "entry").mkdir(exist_ok=True)
    heading = f"{title} {version}"
    for page, links in _linked(entry_pages(connection, keys, library_versions), keys):
        complete = replace(page, downloads=_downloads(folder, page.name))
        (folder / "entry" / f"{page.name}.html").write_text(
            render_entry(complete, heading, links), encoding="utf-8", newline="\n"
        )
    return len(keys)


def _linked(pages: Iterator[EntryPage], keys: Sequence[str]) -> Iterator[tuple[EntryPage, Links]]:
    names = [None, *(file_name(key) for key in keys), None]
    neighbours = zip(names, names[2:], strict=False)
    for page, (before, after) in zip(pages, neighbours, strict=True):
        yield page, Links(before, after)


def _downloads(folder: Path, name: str) -> tuple[tuple[str, str], ...]:
    if (folder.parent / "cif" / f"{name}.cif").is_file():
        return (("CIF with the placed sites", f"../../cif/{address(name)}.cif"),)
    return ()


def _overview(connection: duckdb.DuckDBPyConnection, title: str, version: str) -> str:
    records, entries, changed, stopped = connection.execute(_COUNTS).fetchall()[0]
    counts = {"records": records, "entries": entries, "changed": changed, "stopped": stopped}
    rates = "SELECT metric, k, rate, ci_low, ci_high, n_entries FROM les_summary ORDER BY metric, k"
    return environment().get_template("index.html").render(
        assets=beside("", ("style.css", "site.css"), ()), title=title, version=version, software=installed("hinpaint"),
        counts=counts, grades=connection.execute(_GRADES).fetchall(),
        plots=list(figures(connection)), rates=connection.execute(rates).fetchall(),
        reasons=[(*row, EXPLANATIONS[Reason(row[1])]) for row in connection.execute(_REASONS).fetchall()],
    )  # fmt: skip


def _table(connection: duckdb.DuckDBPyConnection, title: str, version: str) -> str:
    (n_records,) = connection.execute("SELECT count(*) FROM records").fetchall()[0]
    (n_entries,) = connection.execute("SELECT count(*) FROM entries").fetchall()[0]
    n_listed = min(n_records, max(MAX_ROWS, n_entries))
    assets = beside("", ("table.css", "style.css", "site.css"), ("table.js", "rows.js", "entries.js"))
    return environment().get_template("entries.html").render(
        assets=assets, title=title, version=version, n_listed=n_listed, n_left_out=n_records - n_listed,
    )  # fmt: skip


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
