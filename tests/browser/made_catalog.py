"""Catalogs that tests make up: as many entries as wanted, names as hostile as wanted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hinpaint.catalog import build
from hinpaint.deciding.les import any_of_k
from hinpaint.tables import (
    ALL_TABLES,
    DECISIONS,
    ENTRIES,
    EVIDENCE,
    LES_ENTRY,
    LES_SUMMARY,
    RECORDS,
    RELAXED,
    RUNS,
    TASKS,
    TRIALS,
    WHYNOT,
    Table,
)  # fmt: skip
from hinpaint.whynot import Reason

HOSTILE = (
    "<script>window.broken=1</script>", '"><img src=x onerror="window.broken=2">', "</script><b>bold</b>",
    "{{ 7 * 7 }}",
    "a\u2028b'c&amp;d", "${window.broken=3}", "javascript:alert(1)", "x" * 190, "ünï/cödé ..",
)  # fmt: skip
"""Ids that a page must show as they are."""

# Brucite: Mg at the origin, O at 1/3 2/3 z.
_LATTICE = [3.147, 0.0, 0.0, -1.5735, 2.7254, 0.0, 0.0, 0.0, 4.769]
_HOST = [0.0, 0.0, 0.0, 1 / 3, 2 / 3, 0.2203, 2 / 3, 1 / 3, 0.7797]
_PLACED = np.array([[1 / 3, 2 / 3, 0.4303], [2 / 3, 1 / 3, 0.5697]])
_GRADES = ("accept", "review", "reject")
_REASONS = (Reason.NO_CANDIDATE, Reason.TOO_MANY_SITES, Reason.UNREADABLE)
_IDENTITY = {"database": "made", "version": "1", "licence": "CC0-1.0", "source_sha256": "0" * 64}
_SUPERCELL = [1, 0, 0, 0, 1, 0, 0, 0, 1]


def make_catalog(path: Path, curated: Sequence[str], stopped: Sequence[str] = (), n_trials: int = 3) -> None:
    """Write a catalog of brucite cells with these ids."""
    connection = build.create(path)
    records: list[dict[str, Any]] = []
    rows: dict[str, list[dict[str, Any]]] = {name: records if name == "records" else [] for name in ALL_TABLES}
    for number, source_id in enumerate(curated):
        _add_entry(rows, number, source_id, n_trials)
        if number % 5000 == 4999:
            _flush(connection, rows)
    for number, source_id in enumerate(stopped):
        identity = {
            "entry_key": f"made|1|{source_id}",
            "source_id": source_id,
            **_IDENTITY,
            "formula_declared": "Ca O2 H2",
        }
        records.append({**identity, "source_path": "x", "n_sites": 5, "is_ordered": True})
        reason = _REASONS[number % len(_REASONS)]
        rows["whynot"].append(
            {"entry_key": identity["entry_key"], "stage": "plan", "reason": reason, "detail": source_id}
        )
    for metric, rate in (("les", 0.8), ("match_h_only", 0.7), ("strict_h_only", 0.6), ("chance_les", 0.1)):
        for k in (1, n_trials):
            value = any_of_k(10, round(10 * rate), k)
            rows["les_summary"].append(
                {"metric": metric, "k": k, "rate": value, "ci_low": value - 0.05, "ci_high": min(1, value + 0.05),
                 "n_entries": len(curated), "tol_mev_per_atom": 1.0}
            )  # fmt: skip
    rows["runs"].append({"stage": "relax", "versions": '{"hinpaint": "0.1.0", "torch": "2.0"}'})
    _flush(connection, rows)
    build.complete(connection)
    build.close(connection)


def _add_entry(rows: dict[str, list[dict[str, Any]]], number: int, source_id: str, n_trials: int) -> None:
    key = f"made|1|{source_id}"
    formula = ("Mg H2 O2", "Ca H2 O2", "Fe H2 O2")[number % 3]
    metal = formula.split()[0]
    identity = {"entry_key": key, "source_id": source_id, **_IDENTITY, "formula_declared": formula}
    sites = {"lattice": _LATTICE, "species": [metal, "O", "O"], "frac": _HOST, "supercell": _SUPERCELL}
    rows["records"].append({**identity, "source_path": "x", "n_sites": 3, "is_ordered": True})
    rows["entries"].append(
        {**identity, **sites, "formula_sites": f"{metal} O2", "n_sites": 3 + number % 50, "is_ordered": True,
         "mode": "reconstruct", "space_group": "P -3 m 1"}
    )  # fmt: skip
    rows["evidence"].append({"entry_key": key, "n_missing": 2, "confidence": 0.98, "codes": ["missing_all", "dummy"]})
    rows["tasks"].append({**sites, "entry_key": key, "mode": "reconstruct", "element": "H", "n_unknown": 2})
    for trial in range(n_trials):
        frac = (_PLACED + 0.02 * trial).ravel().tolist()
        rows["trials"].append({"entry_key": key, "trial": trial, "seed": 7, "sampler": "td", "n_steps": 50})
        for level in ("h_only", "full"):
            rows["relaxed"].append(
                {"entry_key": key, "trial": trial, "level": level, "energy_ev": -20.0 + 0.02 * trial, "converged": True,
                 "potential": "made", "lattice": _LATTICE, "frac": _HOST + frac}
            )  # fmt: skip
    rows["decisions"].append(
        {"entry_key": key, "mode": "reconstruct", "action": "completed", "trial": 0, "element": "H",
         "n_passed": n_trials, "n_agree": 1 + number % n_trials, "frac_unknown": _PLACED.ravel().tolist(),
         "energy_ev": -20.0, "potential": "made", "confidence": number % 100 / 99, "grade": _GRADES[number % 3],
         "doubts": ["one_trial_only"]}
    )  # fmt: skip
    rows["les_entry"].append(
        {"entry_key": key, "n_trials": n_trials, "n_les": number % (n_trials + 1), "n_match_h_only": number % n_trials,
         "n_strict_h_only": number % 2, "chance_n_trials": 1}
    )  # fmt: skip


def _flush(connection: Any, rows: dict[str, list[dict[str, Any]]]) -> None:
    for table in (RECORDS, ENTRIES, EVIDENCE, TASKS, TRIALS, RELAXED, DECISIONS, LES_ENTRY, LES_SUMMARY, WHYNOT, RUNS):
        if rows[table.name]:
            build.insert(connection, table, _filled(table, rows[table.name]))
            rows[table.name].clear()


def _filled(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows with an empty value of the right type wherever a column that cannot be null is not given."""
    columns = []
    for field in table.schema:
        empty = None if field.nullable else _empty(field.type)
        columns.append(pa.array([row.get(field.name, empty) for row in rows], type=field.type))
    return pa.table(columns, schema=table.schema)


def _empty(type_: pa.DataType) -> Any:
    if pa.types.is_list(type_):
        return []
    if pa.types.is_string(type_):
        return ""
    return False if pa.types.is_boolean(type_) else 0
