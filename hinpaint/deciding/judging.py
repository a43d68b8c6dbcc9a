"""The tables of one shard -> LES counts, decisions and reasons of its entries.

A shard holds all that is known of its entries, so shards are judged one after the other, and memory does not grow with
the database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hinpaint.config import Config
from hinpaint.crystal import IntArray
from hinpaint.deciding.confidence import shipped
from hinpaint.deciding.decision import ACTIONS, Decisions, Geometries, Subjects, decide
from hinpaint.deciding.les import NO_TRIAL, EntryLes, Verdicts, count_entries
from hinpaint.reduction import IDENTITY, expand_sites
from hinpaint.store import to_table
from hinpaint.tables import DECISIONS, LES_ENTRY, SCHEMA_VERSION, WHYNOT, Table
from hinpaint.whynot import Reason, Stop

SHARD_TABLES = ("tasks", "trials", "relaxed", "matches", "arrangements")
"""Tables with one file a shard."""

_GATES = pa.array([Reason.GATED.value, Reason.COLLAPSED.value, Reason.EXPLODED.value])
_VERDICTS = """
SELECT
    t.entry_key, k.mode, k.element, k.reference_frac IS NOT NULL AS has_reference, t.trial, t.model_sha256,
    coalesce(mr.matched, false) AS match_raw,
    coalesce(mh.matched, false) AS match_h_only,
    coalesce(mf.matched, false) AS match_full,
    mr.h_max_a AS h_max_raw_a,
    mh.h_max_a AS h_max_h_only_a,
    mf.delta_e_mev_per_atom,
    coalesce(f.converged AND f.reason IS NULL AND a.gate IS NULL, false) AS passed,
    coalesce(h.converged AND h.reason IS NULL, false) AS settled,
    -- a trial whose first level did not settle counts for LES but cannot be released: that is its reason
    coalesce(f.reason, t.reason, h.reason, CASE WHEN a.gate IS NOT NULL THEN 'gated' END) AS reason,
    CASE WHEN f.reason IS NULL AND h.reason IS NOT NULL THEN 'hydrogen-only level'
        WHEN f.reason IS NULL AND a.gate IS NOT NULL THEN a.gate ELSE coalesce(f.detail, '') END AS detail,
    mh.delta_e_mev_per_atom AS delta_h_only,
    CASE WHEN t.reason IS NOT NULL THEN 'inpaint' WHEN f.reason IS NULL AND a.gate IS NOT NULL THEN 'match'
        ELSE 'relax' END AS stage,
    f.energy_ev, f.potential, len(k.host_species) + k.n_unknown AS n_sites,
    CASE WHEN f.level = 'full' THEN 1000 * (h.energy_ev - f.energy_ev) / n_sites END AS strain_mev_per_atom,
    h.frac[-3 * k.n_unknown:] AS placed_frac, k.n_unknown, k.supercell,
    coalesce(a.arrangement, -1) AS arrangement, coalesce(a.doubts, []) AS doubts,
    a.shift_a, a.d_xh_min_a, a.d_xh_max_a, a.d_hh_min_a
FROM trials t
JOIN tasks k USING (entry_key)
LEFT JOIN relaxed h ON h.entry_key = t.entry_key AND h.trial = t.trial AND h.level = 'h_only'
LEFT JOIN relaxed f ON f.entry_key = t.entry_key AND f.trial = t.trial AND f.level = $last
LEFT JOIN matches mr ON mr.entry_key = t.entry_key AND mr.trial = t.trial AND mr.level = 'raw'
LEFT JOIN matches mh ON mh.entry_key = t.entry_key AND mh.trial = t.trial AND mh.level = 'h_only'
LEFT JOIN matches mf ON mf.entry_key = t.entry_key AND mf.trial = t.trial AND mf.level = $last
LEFT JOIN arrangements a ON a.entry_key = t.entry_key AND a.trial = t.trial
ORDER BY t.entry_key, t.trial
"""


@dataclass(frozen=True)
class Joined:
    """All trials of a shard, one row each, ordered by entry and trial.

    Attributes:
        rows: the joined columns.
        verdicts: the same for LES.
        geometries: the same for decisions.
        subjects: the entries.
        first: (entries,) row of each entry's first trial.
    """

    rows: pa.Table
    verdicts: Verdicts
    geometries: Geometries
    subjects: Subjects
    first: IntArray


@dataclass(frozen=True)
class Judged:
    """What a shard gives: counts of the entries with a reference, and rows of three tables."""

    les: EntryLes
    les_rows: pa.Table
    decisions: pa.Table
    reasons: pa.Table


def join(tables: Mapping[str, pa.Table], config: Config, unsure: frozenset[str] = frozenset()) -> Joined:
    """Bring together what is known of each trial of a shard.

    Args:
        tables: ``SHARD_TABLES`` of the shard.
        config: the run's configuration.
        unsure: keys of entries whose number of missing sites is not sure.
    """
    last = "full" if config.relax.max_steps_full else "h_only"
    with duckdb.connect(":memory:") as connection:
        for name in SHARD_TABLES:
            connection.register(name, tables[name])
        rows = connection.sql(_VERDICTS, params={"last": last}).to_arrow_table().combine_chunks()
    rows = rows.append_column("gated", pc.is_in(rows["reason"], value_set=_GATES))
    keys = rows["entry_key"].combine_chunks().dictionary_encode()  # numbered as they come, so in their order
    entry = keys.indices.to_numpy()
    first = np.flatnonzero(np.diff(entry, prepend=-1))
    names = [f.name for f in fields(Verdicts) if f.name != "entry"]
    columns = {name: rows[name].to_numpy(zero_copy_only=False) for name in (*names, "arrangement", "n_sites")}
    numbers = {name: _floats(rows, name) for name in ("strain_mev_per_atom", "delta_h_only")}
    n_unknown = rows["n_unknown"].to_numpy(zero_copy_only=False)
    return Joined(
        rows=rows,
        verdicts=Verdicts.build({**columns, "entry": entry}),
        geometries=Geometries(columns["arrangement"], **numbers, doubts=rows["doubts"].to_pylist()),
        subjects=Subjects(
            mode=rows["mode"].take(first).to_pylist(),
            element=rows["element"].take(first).to_pylist(),
            n_sites=columns["n_sites"][first],
            n_unknown=n_unknown[first],
            count_unsure=np.array([key in unsure for key in keys.dictionary.to_pylist()], dtype=bool),
        ),
        first=first,
    )


def judge(joined: Joined, config: Config) -> Judged:
    """Count LES, decide, and give the reasons that only all trials together give."""
    tolerance = config.les.tol_mev_per_atom
    decided = decide(joined.verdicts, joined.geometries, joined.subjects, tolerance, config.grades, shipped())
    counts = count_entries(joined.verdicts, tolerance, config.les.strict_a)
    has_reference = joined.rows["has_reference"].to_numpy(zero_copy_only=False)[joined.first].astype(bool)
    les = EntryLes(**{f.name: getattr(counts, f.name)[has_reference] for f in fields(EntryLes)})
    columns = {name: getattr(les, name) for name in (f.name for f in fields(EntryLes))}
    columns["released_trial"] = pa.array(les.released_trial, pa.int32(), mask=les.released_trial == NO_TRIAL)
    columns["entry_key"] = joined.rows["entry_key"].take(joined.first[has_reference])
    return Judged(
        les=les,
        les_rows=_from_columns(LES_ENTRY, columns, config.run),
        decisions=_decisions(joined, decided, config.run),
        reasons=to_table(WHYNOT, _reasons(joined, decided.stops), config.run),
    )


def _decisions(joined: Joined, decided: Decisions, run_id: str) -> pa.Table:
    """Rows of ``decisions``: the entries whose candidate is taken."""
    kept = np.array([number for number, stop in enumerate(decided.stops) if stop is None], dtype=np.int64)
    found, rows = decided.found, joined.rows.take(decided.found.chosen[kept])
    taken = ("entry_key", "mode", "trial", "element", "energy_ev", "delta_e_mev_per_atom", "potential", "model_sha256",
             "shift_a", "strain_mev_per_atom", "d_xh_min_a", "d_xh_max_a", "d_hh_min_a")  # fmt: skip
    counted = ("n_trials", "n_passed", "n_agree", "n_arrangements", "gap_mev_per_atom")
    columns: dict[str, Any] = {name: rows[name] for name in taken}
    columns |= {name: getattr(found, name)[kept] for name in counted}
    columns |= {
        "action": [ACTIONS[mode] for mode in rows["mode"].to_pylist()],
        "frac_unknown": _in_source_cell(rows["placed_frac"].to_pylist(), rows["supercell"].to_pylist()),
        "confidence": decided.confidence[kept],
        "confidence_strict": decided.confidence_strict[kept],
        "grade": [decided.grades[number] for number in kept],
        "doubts": [decided.doubts[number] for number in kept],
    }
    return _from_columns(DECISIONS, columns, run_id)


def _in_source_cell(placed: Sequence[Sequence[float]], supercells: Sequence[Sequence[int]]) -> list[Any]:
    """Placed sites of the tasks' cells in the cells of their sources."""
    return [
        frac if tuple(cell) == IDENTITY else expand_sites(frac, cell).ravel()
        for frac, cell in zip(placed, supercells, strict=True)
    ]


def _reasons(joined: Joined, stops: Sequence[Stop | None]) -> list[dict[str, Any]]:
    """Rows of ``whynot``: of entries that keep their source, and of trials that failed."""
    keys = joined.rows["entry_key"].take(joined.first).to_pylist()
    stage = {Reason.NO_CANDIDATE: "relax", Reason.NOT_BETTER: "match"}
    rows: list[dict[str, Any]] = [
        {"entry_key": key, "trial": None, "stage": stage[stop.reason], "reason": stop.reason, "detail": stop.detail}
        for key, stop in zip(keys, stops, strict=True)
        if stop is not None
    ]
    failed = joined.rows.filter(joined.rows["reason"].is_valid())
    rows += failed.select(["entry_key", "trial", "stage", "reason", "detail"]).to_pylist()
    return rows


def _floats(rows: pa.Table, name: str) -> Any:
    return np.asarray(rows[name].to_numpy(zero_copy_only=False), dtype=np.float64)


def _from_columns(table: Table, columns: Mapping[str, Any], run_id: str) -> pa.Table:
    """An Arrow table of the declared schema from columns; NaN is empty."""
    n_rows = len(columns["entry_key"])
    common = {"run_id": [run_id] * n_rows, "schema_version": [SCHEMA_VERSION] * n_rows}
    arrays = [_array({**columns, **common}[field.name], field.type) for field in table.schema]
    return pa.Table.from_arrays(arrays, schema=table.schema)


def _array(values: Any, kind: pa.DataType) -> Any:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values.cast(kind)
    return pa.array(values, kind, from_pandas=True)


def concatenate(parts: Sequence[EntryLes]) -> EntryLes:
    """Counts of several shards as one."""
    return EntryLes(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(EntryLes)})
