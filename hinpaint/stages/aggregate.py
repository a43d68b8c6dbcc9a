"""Stage aggregate: all tables -> catalog.duckdb with LES statistics and decisions."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb

from hinpaint.catalog import build
from hinpaint.config import Config
from hinpaint.jobs import Job, job
from hinpaint.les import EntryLes, TrialVerdict, count_entry, released, summarise
from hinpaint.reduction import expand_sites
from hinpaint.tables import ALL_TABLES, DECISIONS, LES_ENTRY, LES_SUMMARY, WHYNOT
from hinpaint.whynot import Reason

# Tables that stages write; the others are made here.
FROM_STAGES = ("records", "entries", "evidence", "whynot", "tasks", "trials", "relaxed", "matches", "runs")

_VERDICTS = """
SELECT
    t.entry_key, k.mode, k.element, k.reference_frac IS NOT NULL AS has_reference, t.trial, t.model_sha256,
    coalesce(mr.matched, false) AS match_raw,
    coalesce(mh.matched, false) AS match_h_only,
    coalesce(mf.matched, false) AS match_full,
    mr.h_max_a AS h_max_raw_a,
    mh.h_max_a AS h_max_h_only_a,
    mf.delta_e_mev_per_atom,
    coalesce(f.converged AND f.reason IS NULL, false) AS passed,
    coalesce(h.converged AND h.reason IS NULL, false) AS settled,
    -- a trial whose first level did not settle counts for LES but cannot be released: that is its reason
    coalesce(f.reason, t.reason, h.reason) AS reason,
    CASE WHEN f.reason IS NULL AND h.reason IS NOT NULL THEN 'hydrogen-only level' ELSE coalesce(f.detail, '') END
        AS detail,
    mh.delta_e_mev_per_atom AS delta_h_only,
    CASE WHEN t.reason IS NOT NULL THEN 'inpaint' ELSE 'relax' END AS stage,
    f.energy_ev, f.potential, len(f.frac) // 3 AS n_sites,
    h.frac AS h_only_frac, k.n_unknown, k.supercell
FROM trials t
JOIN tasks k USING (entry_key)
LEFT JOIN relaxed h ON h.entry_key = t.entry_key AND h.trial = t.trial AND h.level = 'h_only'
LEFT JOIN relaxed f ON f.entry_key = t.entry_key AND f.trial = t.trial AND f.level = $last
LEFT JOIN matches mr ON mr.entry_key = t.entry_key AND mr.trial = t.trial AND mr.level = 'raw'
LEFT JOIN matches mh ON mh.entry_key = t.entry_key AND mh.trial = t.trial AND mh.level = 'h_only'
LEFT JOIN matches mf ON mf.entry_key = t.entry_key AND mf.trial = t.trial AND mf.level = $last
ORDER BY t.entry_key, t.trial
"""

_GATES = {Reason.GATED.value, Reason.COLLAPSED.value, Reason.EXPLODED.value}
_BATCH = 10000


def run(config: Config, files: Mapping[str, Sequence[Path]], catalog: Path, runs: Path) -> None:
    """Build the catalog.

    Args:
        config: the run's configuration.
        files: Parquet files of each table that stages write.
        catalog: DuckDB file to write; replaced as a whole.
        runs: Parquet for the job's row.
    """
    with job("aggregate", 0, config.run, runs) as current:
        catalog.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".catalog-", dir=catalog.parent) as folder:
            temporary = Path(folder) / "catalog.duckdb"
            connection = build.create(temporary)
            for name in FROM_STAGES:
                build.insert_files(connection, ALL_TABLES[name], files[name])
                current.say(f"{name}: {len(files[name])} files")
            _judge(connection, config, current)
            _keep_curated_entries(connection)
            build.create_views(connection)
            build.close(connection)
            os.replace(temporary, catalog)


def _judge(connection: duckdb.DuckDBPyConnection, config: Config, current: Job) -> None:
    """Add LES, decisions and the reasons that only all trials together give."""
    les: list[EntryLes] = []
    les_rows, decisions, reasons = [], [], []
    for rows in _entries(connection, "full" if config.relax.max_steps_full else "h_only"):
        verdicts = [_verdict(row) for row in rows]
        first = rows[0]
        if first["has_reference"]:
            entry = count_entry(verdicts, config.les.tol_mev_per_atom, config.les.strict_a)
            les.append(entry)
            les_rows.append({"entry_key": first["entry_key"], **asdict(entry)})
        decision, stop = decide(rows, verdicts, config.les.tol_mev_per_atom)
        decisions += [decision] if decision else []
        reasons += [stop] if stop else []
        reasons += [
            _reason(row, row["trial"], row["stage"], row["reason"], row["detail"]) for row in rows if row["reason"]
        ]
        current.n_in += len(rows)
    build.insert_rows(connection, LES_ENTRY, les_rows, config.run)
    build.insert_rows(connection, DECISIONS, decisions, config.run)
    build.insert_rows(connection, WHYNOT, reasons, config.run)
    rates = summarise(les, config.les.bootstrap)
    tolerance = config.les.tol_mev_per_atom
    rows = [{**asdict(rate), "tol_mev_per_atom": tolerance} for rate in rates]
    build.insert_rows(connection, LES_SUMMARY, rows, config.run)
    current.n_out = len(decisions)
    current.say(f"{len(decisions)} decisions, {len(les)} entries with LES")


def _entries(connection: duckdb.DuckDBPyConnection, last_level: str) -> Iterator[list[dict[str, Any]]]:
    """All rows of one entry after the other, without holding the whole table."""
    reader = connection.execute(_VERDICTS, {"last": last_level}).to_arrow_reader(_BATCH)
    rows = (row for batch in reader for row in batch.to_pylist())
    for _, group in groupby(rows, key=lambda row: row["entry_key"]):
        yield list(group)


def _verdict(row: Mapping[str, Any]) -> TrialVerdict:
    names = ("trial", "match_raw", "match_h_only", "match_full", "h_max_raw_a", "h_max_h_only_a",
             "delta_e_mev_per_atom", "passed", "settled", "energy_ev")  # fmt: skip
    return TrialVerdict(**{name: row[name] for name in names}, gated=row["reason"] in _GATES)


def decide(
    rows: Sequence[Mapping[str, Any]], verdicts: Sequence[TrialVerdict], tol_mev_per_atom: float
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Decide what the release does with one entry.

    Args:
        rows: joined rows of its trials.
        verdicts: the same as verdicts.
        tol_mev_per_atom: energy tolerance, meV per atom.

    Returns:
        A row of ``decisions`` or a row of ``whynot``, the other one None.
    """
    first = rows[0]
    chosen = released(verdicts)
    if chosen is None:
        n_trials = sum(v.trial >= 0 for v in verdicts)
        detail = f"none of {n_trials} trials converged at both levels and passed the gates"
        return None, _reason(first, None, "relax", Reason.NO_CANDIDATE.value, detail)
    row = next(r for r in rows if r["trial"] == chosen.trial)
    if first["mode"] == "audit" and not _better(chosen, row["delta_h_only"], tol_mev_per_atom):
        detail = "the source structure did not relax, so nothing can be said"
        if chosen.delta_e_mev_per_atom is not None:
            detail = f"best candidate {chosen.delta_e_mev_per_atom:+.1f} meV/atom against the source"
        return None, _reason(first, None, "match", Reason.NOT_BETTER.value, detail)
    action = {"reconstruct": "completed", "audit": "replaced", "benchmark": "unchanged"}[first["mode"]]
    passed = [v for v in verdicts if v.trial >= 0 and v.passed and v.energy_ev is not None]
    limit = chosen.energy_ev + 1e-3 * tol_mev_per_atom * row["n_sites"] if chosen.energy_ev is not None else 0.0
    placed = row["h_only_frac"][-3 * first["n_unknown"] :]
    decision = {
        "entry_key": first["entry_key"],
        "mode": first["mode"],
        "action": action,
        "trial": chosen.trial,
        "element": first["element"],
        "frac_unknown": expand_sites(placed, first["supercell"]).ravel().tolist(),
        "energy_ev": chosen.energy_ev,
        "delta_e_mev_per_atom": chosen.delta_e_mev_per_atom,
        "n_passed": len(passed),
        "n_agree": sum(v.energy_ev is not None and v.energy_ev <= limit for v in passed),
        "potential": row["potential"],
        "model_sha256": row["model_sha256"],
    }
    return decision, None


def _better(chosen: TrialVerdict, delta_h_only: float | None, tol_mev_per_atom: float) -> bool:
    """The candidate is lower than the source after the full relaxation and in the geometry that is released."""
    return chosen.lower(tol_mev_per_atom) and delta_h_only is not None and delta_h_only < -tol_mev_per_atom


def _reason(row: Mapping[str, Any], trial: int | None, stage: str, reason: str, detail: str) -> dict[str, Any]:
    return {"entry_key": row["entry_key"], "trial": trial, "stage": stage, "reason": reason, "detail": detail}


def _keep_curated_entries(connection: duckdb.DuckDBPyConnection) -> None:
    """Leave in ``entries`` what is curated: the rest is in ``records`` and has its row in ``whynot``."""
    connection.execute("DELETE FROM entries WHERE entry_key IN (SELECT entry_key FROM whynot WHERE trial IS NULL)")
