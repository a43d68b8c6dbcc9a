"""A small catalog to pick from: matches, candidates that are lower, and some that no code could compute."""

from pathlib import Path
from typing import Any

import numpy as np
from small_release import filled

from hinpaint.catalog import build
from hinpaint.config import Config, parse_config
from hinpaint.tables import ALL_TABLES

CELL = (4.0 * np.eye(3)).ravel().tolist()


def make_config(folder: Path, **verify: Any) -> Config:
    source = {"database": "d", "version": "1", "format": "cif", "path": str(folder), "licence": "CC0-1.0"}
    values = {"run": "t", "seed": 5, "sources": [source | {"mode": "benchmark"}]}
    return parse_config(values | {"verify": {"code": "gpaw", "max_sites": 4, **verify}})


# name: structural, delta, LES of the candidate, mode, host
ENTRIES: dict[str, tuple[bool, float, bool, str, list[str]]] = {
    "lower": (False, -20.0, True, "benchmark", ["Mg", "O"]),
    "audited": (False, -30.0, True, "audit", ["Mg", "O"]),
    "close": (False, -1.5, True, "benchmark", ["Mg"]),
    "match": (True, 0.1, True, "benchmark", ["Mg"]),
    "match2": (True, -5.0, True, "benchmark", ["O"]),
    "higher": (False, 8.0, False, "benchmark", ["Mg"]),
    "large": (False, -9.0, True, "benchmark", ["Mg"] * 4),
    "strange": (False, -9.0, True, "benchmark", ["Eu"]),
}


def make_catalog(path: Path) -> Path:
    """A catalog of one entry each, with a reference, a candidate and a decision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = build.create(path)

    def add(table: str, **values: Any) -> None:
        build.insert_rows(connection, ALL_TABLES[table], [filled(ALL_TABLES[table], **values)], "t")

    for name, (structural, delta, les, mode, host) in ENTRIES.items():
        key = f"d|1|{name}"
        add("records", entry_key=key)
        add("entries", entry_key=key)
        sites = np.linspace(0, 0.7, 3 * len(host)).tolist()
        add("tasks", entry_key=key, element="H", n_unknown=1, host_species=host, lattice=CELL, host_frac=sites,
            reference_frac=[0.9] * 3)  # fmt: skip
        add("trials", entry_key=key, trial=2)
        add("les_entry", entry_key=key, n_trials=3, released_trial=2, released_les=les)
        add("matches", entry_key=key, trial=2, level="full", matched=structural, delta_e_mev_per_atom=delta)
        for trial in (-1, 2):
            frac = np.linspace(0, 0.8 + 0.01 * trial, 3 * (len(host) + 1)).tolist()
            add("relaxed", entry_key=key, trial=trial, level="full", lattice=CELL, frac=frac, potential="p")
        action = "replaced" if mode == "audit" else "unchanged"
        add("decisions", entry_key=key, mode=mode, action=action, grade="accept", trial=2, delta_e_mev_per_atom=delta)
    add("les_summary", metric="les", k=3, tol_mev_per_atom=1.0)
    build.complete(connection)
    build.close(connection)
    return path
