"""The rows of the table of all entries, as a script that a page can load from a disk."""

from collections.abc import Sequence
from typing import Any

import duckdb

from hinpaint.ids import file_name
from hinpaint.pages.render import script_data

MAX_ROWS = 100_000
"""Rows of the table; entries that are curated are always in it, the others as far as there is room."""

_MAX_DETAIL = 160
_CURATED = """
SELECT d.entry_key AS key, coalesce(e.formula_declared, e.formula_sites) AS formula, e.space_group, e.n_sites, d.mode,
    d.action, d.grade, round(d.confidence, 3) AS confidence, len(d.frac_unknown) // 3 AS n_placed, d.n_passed,
    d.n_agree, round(d.delta_e_mev_per_atom, 2) AS delta_e, NULL::VARCHAR AS reason, NULL::VARCHAR AS detail
FROM decisions d JOIN entries e USING (entry_key) ORDER BY key
"""
# Rare reasons first, so that a bounded list holds them completely.
_STOPPED = """
WITH stopped AS (
    SELECT w.entry_key AS key, r.formula_declared AS formula, r.space_group, r.n_sites, w.reason, w.detail,
        row_number() OVER (PARTITION BY w.reason ORDER BY w.entry_key) AS place
    FROM whynot w JOIN records r USING (entry_key) WHERE w.trial IS NULL
)
SELECT key, formula, space_group, n_sites, NULL, 'not curated', NULL, NULL, NULL, NULL, NULL, NULL, reason, detail
FROM (SELECT * FROM stopped ORDER BY place, key LIMIT ?) ORDER BY key
"""


def rows_script(connection: duckdb.DuckDBPyConnection) -> str:
    """Write the rows, curated entries first.

    Args:
        connection: the catalog.

    Returns:
        JavaScript that sets ``hinpaintRows``: values by column, those that repeat once each and a number for every row.
    """
    found = connection.execute(_CURATED)
    names = [column[0] for column in found.description or []]
    rows = found.fetchall()
    pages: list[str | None] = [file_name(row[0]) for row in rows]
    rows += connection.execute(_STOPPED, [max(0, MAX_ROWS - len(rows))]).fetchall()
    columns: dict[str, Any] = {}
    for name, values in zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True):
        columns[name] = _column([text and text[:_MAX_DETAIL] for text in values] if name == "detail" else values)
    columns["page"] = _column(pages + [None] * (len(rows) - len(pages)))
    return f"window.hinpaintRows={script_data({'n': len(rows), 'names': [*names, 'page'], 'columns': columns})};\n"


def _column(values: Sequence[Any]) -> dict[str, list[Any]]:
    distinct = list(dict.fromkeys(values))
    if 2 * len(distinct) > len(values):
        return {"values": list(values)}
    number = {value: index for index, value in enumerate(distinct)}
    return {"values": distinct, "codes": [number[value] for value in values]}
