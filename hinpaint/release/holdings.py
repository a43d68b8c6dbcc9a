"""What a release holds for an entry, and how that differs from the source."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import duckdb
import numpy as np

from hinpaint.catalog.build import insert_query
from hinpaint.crystal import Crystal
from hinpaint.release.entry import Changed, Released
from hinpaint.release.pairing import source_diff
from hinpaint.sources.chemistry import hill_formula
from hinpaint.tables import HOLDINGS


def released_crystal(line: str) -> Crystal:
    """The structure of a line of ``structures.jsonl``: what is listed is what was written."""
    attributes = json.loads(line)["attributes"]
    lattice = np.asarray(attributes["lattice_vectors"], dtype=np.float64)
    positions = np.asarray(attributes["cartesian_site_positions"], dtype=np.float64)
    return Crystal.build(lattice, attributes["species_at_sites"], positions @ np.linalg.inv(lattice))


def holding(
    changed: Changed, result: Released, entry: Mapping[str, Any], decision: Mapping[str, Any], h_only_ev: float | None
) -> dict[str, Any]:
    """Row of ``holdings`` for an entry that the release changes.

    Args:
        changed: the entry.
        result: what was written for it.
        entry: its row of ``entries``.
        decision: its row of ``decisions``.
        h_only_ev: energy of the hydrogen-only level in the released cell, eV.
    """
    crystal = released_crystal(result.line)
    source = Crystal.build(entry["lattice"], entry["species"], entry["frac"])
    taken = ("entry_key", "database", "version", "source_id", "source_sha256", "licence")
    decided = ("action", "grade", "confidence", "trial", "energy_ev", "potential", "model_sha256")
    return {
        **{name: entry[name] for name in taken},
        **{name: decision[name] for name in decided},
        **vars(source_diff(source, crystal)),
        "cif": f"cif/{changed.name}.cif",
        "symmetry": result.symmetry,
        "energy_h_only_ev": h_only_ev,
        "formula_source": entry["formula_sites"],
        "formula_released": hill_formula(Counter(crystal.species)),
        "n_placed": len(changed.frac),
        "lattice": crystal.lattice.ravel().tolist(),
        "species": list(crystal.species),
        "frac": crystal.frac.ravel().tolist(),
    }


def keep_unchanged(connection: duckdb.DuckDBPyConnection) -> None:
    """Add the rows of ``holdings`` for entries whose source stands, to the release's ledger."""
    given = {
        "action": "'unchanged'", "grade": "d.grade", "confidence": "d.confidence",
        "formula_source": "e.formula_sites", "formula_released": "e.formula_sites",
        "n_placed": "0", "n_added": "0", "n_removed": "0",
        "n_moved": "0", "max_move_a": "0", "cell_unchanged": "true",
    }  # fmt: skip
    absent = ("cif", "trial", "energy_ev", "energy_h_only_ev", "potential", "model_sha256", "symmetry")
    columns = {name: f"e.{name}" for name in HOLDINGS.schema.names} | dict.fromkeys(absent, "NULL") | given
    insert_query(
        connection,
        HOLDINGS,
        columns,
        "run.entries e LEFT JOIN run.decisions d USING (entry_key) WHERE coalesce(d.action, 'unchanged') = 'unchanged' "
        "AND entry_key NOT IN (SELECT entry_key FROM stopped)",
    )
