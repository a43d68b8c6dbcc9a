"""Rows of a catalog become what pages show, a bounded number of entries at a time."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import batched
from typing import Any

import duckdb
import numpy as np

from hinpaint.codes import Code
from hinpaint.doubts import DOUBTS, Doubt
from hinpaint.ids import file_name
from hinpaint.pages.facts import decision_facts, evidence_facts, provenance_facts, spoken_versions, verified_facts
from hinpaint.pages.model import CANDIDATE, EntryPage, Fact, TrialView
from hinpaint.reduction import expand_sites
from hinpaint.release.entry import source_host
from hinpaint.whynot import Reason

Row = Mapping[str, Any]

_BATCH = 2000
_ENTRIES = """
SELECT d AS decision, e AS entry, t AS task, v AS evidence, f AS verified
FROM decisions d JOIN entries e USING (entry_key) JOIN tasks t USING (entry_key) LEFT JOIN evidence v USING (entry_key)
LEFT JOIN les_verified f USING (entry_key)
WHERE d.entry_key BETWEEN $first AND $last ORDER BY d.entry_key
"""
# Energies of two levels do not compare: the last level that an entry reached ranks its trials ('full' < 'h_only').
_TRIALS = """
WITH rows AS (
    SELECT *, min(level) OVER (PARTITION BY entry_key) AS last FROM relaxed WHERE entry_key BETWEEN $first AND $last
), levels AS (
    SELECT entry_key, trial, max(potential_sha256) AS potential_sha256,
        any_value(struct_pack(energy_ev, converged, reason, detail, n_sites := len(frac) // 3))
            FILTER (level = last) AS judged,
        any_value(frac) FILTER (level = 'h_only') AS frac, any_value(reason) FILTER (level = 'h_only') AS reason_h_only
    FROM rows GROUP BY ALL
), placed AS (
    SELECT entry_key, trial, seed, sampler, n_steps, reason FROM trials WHERE entry_key BETWEEN $first AND $last
)
SELECT entry_key, trial, p.seed, p.sampler, p.n_steps, l.potential_sha256,
    l.judged.energy_ev AS energy_ev, l.judged.n_sites AS n_sites, coalesce(l.judged.converged, false) AS converged,
    coalesce(l.judged.reason, p.reason, l.reason_h_only, CASE WHEN a.gate IS NOT NULL THEN 'gated' END) AS reason,
    coalesce(nullif(l.judged.detail, ''), a.gate, '') AS detail,
    l.frac[greatest(1, len(l.frac) - 3 * k.n_unknown + 1):] AS frac, a.arrangement
FROM placed p FULL JOIN levels l USING (entry_key, trial) JOIN tasks k USING (entry_key)
    LEFT JOIN arrangements a USING (entry_key, trial)
ORDER BY entry_key, trial
"""


def entry_pages(
    connection: duckdb.DuckDBPyConnection, keys: Sequence[str], library_versions: Sequence[str] = ()
) -> Iterator[EntryPage]:
    """Fill one page an entry.

    Args:
        connection: the catalog.
        keys: keys of the entries with a decision, sorted.
        library_versions: values of ``runs.versions``, for the provenance.
    """
    versions = spoken_versions(library_versions)
    for batch in batched(keys, _BATCH):
        bounds = {"first": batch[0], "last": batch[-1]}
        trials: dict[str, list[Row]] = {}
        for row in connection.sql(_TRIALS, params=bounds).to_arrow_table().to_pylist():
            trials.setdefault(row["entry_key"], []).append(row)
        for row in connection.sql(_ENTRIES, params=bounds).to_arrow_table().to_pylist():
            yield _page(row, trials.pop(row["decision"]["entry_key"], []), versions)


def _page(row: Row, trials: Sequence[Row], versions: str) -> EntryPage:
    decision, entry, task, evidence = row["decision"], row["entry"], row["task"], row["evidence"]
    key, element = decision["entry_key"], decision["element"]
    able = [each["energy_ev"] for each in trials if each["trial"] >= 0 and _counts(each)]
    lowest = min(able, default=None)
    chosen = next((each for each in trials if each["trial"] == decision["trial"]), None)
    whole = np.asarray(entry["frac"], dtype=np.float64).reshape(-1, 3)
    taken_out = [entry["mode"] != "reconstruct" and species == element for species in entry["species"]]
    return EntryPage(
        key=key,
        name=file_name(key),
        formula=entry["formula_declared"] or entry["formula_sites"],
        action=decision["action"],
        element=element,
        host=source_host(entry, element),
        source_frac=whole[np.array(taken_out, dtype=bool)],
        placed_frac=np.asarray(decision["frac_unknown"] or [], dtype=np.float64).reshape(-1, 3),
        trials=tuple(_view(each, decision["trial"], task["supercell"], lowest) for each in trials),
        decision=decision_facts(decision) + verified_facts(row["verified"]),
        doubts=tuple(Fact(code, DOUBTS[Doubt(code)].text) for code in decision["doubts"]),
        evidence=evidence_facts(entry, evidence, element),
        codes=tuple(Code(code) for code in (evidence or {}).get("codes") or ()),
        provenance=provenance_facts(entry, task, decision, chosen, versions),
        grade=decision["grade"],
        confidence=decision["confidence"],
    )


def _counts(trial: Row) -> bool:
    return trial["energy_ev"] is not None and trial["converged"] and trial["reason"] is None


def _view(trial: Row, candidate: int | None, supercell: Sequence[int], lowest: float | None) -> TrialView:
    energy = None
    if lowest is not None and trial["energy_ev"] is not None and trial["n_sites"]:
        energy = 1e3 * (trial["energy_ev"] - lowest) / trial["n_sites"]
    outcome = trial["reason"] or ("passed" if trial["converged"] else Reason.NOT_CONVERGED.value)
    if trial["trial"] == candidate:
        outcome = CANDIDATE
    frac = expand_sites(trial["frac"], supercell) if trial["frac"] else None
    return TrialView(trial["trial"], outcome, energy, trial["arrangement"], frac, trial["detail"])
