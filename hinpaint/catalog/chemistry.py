"""What hydrogen is bound to, from the nearest neighbours of its sites: the table ``chemistry``."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np

from hinpaint.crystal import Crystal, minimum_image_distances
from hinpaint.store import to_table
from hinpaint.tables import CHEMISTRY

KINDS = ("hydride", "OH", "H2O", "NH", "other")
# Beside any other element, metal or metalloid, hydrogen is a hydride: NaH, PdH, LiBH4, SiH4.
_NON_METALS = frozenset({"C", "N", "O", "F", "P", "S", "Cl", "Se", "Br", "I", "At", "He", "Ne", "Ar", "Kr", "Xe", "Rn"})
_BATCH = 2048

# The reference says what is true; without one the candidate is the best guess. The first in the task's cell, the
# second in the source's.
_SITES = """
SELECT t.entry_key, 'reference' AS sites, t.lattice, t.host_species AS species, t.host_frac AS frac,
    t.reference_frac AS placed, t.run_id
FROM tasks t WHERE t.element = 'H' AND t.reference_frac IS NOT NULL
UNION ALL
SELECT d.entry_key, 'candidate', e.lattice, e.species, e.frac, d.frac_unknown, d.run_id
FROM decisions d JOIN entries e USING (entry_key) JOIN tasks t USING (entry_key)
WHERE d.element = 'H' AND t.reference_frac IS NULL AND d.frac_unknown IS NOT NULL AND d.mode = 'reconstruct'
"""


def fill_chemistry(connection: duckdb.DuckDBPyConnection) -> None:
    """Classify the hydrogen of every entry that has a reference or a candidate, a batch at a time."""
    with connection.cursor() as reading:
        reading.execute("USE catalog")
        found = reading.sql(_SITES).to_arrow_reader(_BATCH)
        for batch in found:
            rows = batch.to_pylist()
            # Rows of a run share its name.
            arrow = to_table(CHEMISTRY, (_row(row) for row in rows), rows[0]["run_id"]) if rows else None
            if arrow is not None:
                connection.register("incoming", arrow)
                connection.execute("INSERT INTO chemistry SELECT * FROM incoming")
                connection.unregister("incoming")


def _row(row: dict[str, Any]) -> dict[str, Any]:
    host = Crystal.build(row["lattice"], row["species"], row["frac"])
    counts = Counter(kinds_of(host.add_unknown("H", row["placed"])))
    kind = next(iter(counts)) if len(counts) == 1 else "mixed"
    numbers = {f"n_{name.lower()}": counts[name] for name in KINDS}
    return {"entry_key": row["entry_key"], "sites": row["sites"], "kind": kind, **numbers}


def kinds_of(crystal: Crystal) -> Iterator[str]:
    """Kind of each hydrogen that is not ``known``, by its nearest neighbour that is no hydrogen.

    Oxygen's hydrogens are counted with those of the host, so a second one placed on a half-complete water is ``H2O``.

    Args:
        crystal: host, and placed hydrogen sites marked as not known.

    Yields:
        One of :data:`KINDS` a site, in their order.
    """
    hydrogen = crystal.is_element("H")
    others = np.flatnonzero(~hydrogen)
    if not len(others):
        yield from ["other"] * int((~crystal.known).sum())
        return
    distances = minimum_image_distances(crystal.lattice, crystal.frac[hydrogen], crystal.frac[others])
    nearest = others[distances.argmin(axis=1)]
    attached = Counter(nearest.tolist())
    for neighbour, known in zip(nearest.tolist(), crystal.known[hydrogen].tolist(), strict=True):
        if not known:
            yield _kind(crystal.species[neighbour], attached[neighbour])


def _kind(element: str, n_attached: int) -> str:
    if element == "O":
        return {1: "OH", 2: "H2O"}.get(n_attached, "other")
    if element == "N":
        return "NH"
    return "other" if element in _NON_METALS else "hydride"
