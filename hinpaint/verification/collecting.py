"""Energies of a verification -> verdicts, errors of the potential, and what they change in a catalog."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import duckdb
import numpy as np

from hinpaint.config import Config
from hinpaint.deciding.les import Rate
from hinpaint.doubts import Doubt
from hinpaint.tables import REFERENCE
from hinpaint.verification.settings import CHECK, MAIN
from hinpaint.verification.verdicts import Subject, compare, confirmed_rates, verdict

Row = Mapping[str, Any]

# A structural match stands by itself; of the others the LES of the candidate rests on energy where it holds at all.
_SUBJECTS = """
SELECT CASE WHEN NOT l.released_les THEN 'neither' WHEN v.structural THEN 'control' ELSE 'energetic' END,
    nullif(d.verdict, 'failed')
FROM les_entry l LEFT JOIN trial_verdicts v ON v.entry_key = l.entry_key AND v.trial = l.released_trial
LEFT JOIN les_verified d ON d.entry_key = l.entry_key
"""
_REFUTE = """
UPDATE decisions SET action = 'unchanged', grade = 'reject', doubts = list_append(doubts, ?)
WHERE entry_key IN (SELECT entry_key FROM les_verified WHERE verdict = 'refuted' AND kind = 'energetic')
    OR action = 'replaced' AND entry_key IN (SELECT entry_key FROM les_verified WHERE verdict = 'refuted')
"""


def verified_rows(tasks: Iterable[Row], verifications: Iterable[Row], config: Config) -> list[dict[str, Any]]:
    """Rows of ``les_verified``.

    Args:
        tasks: rows of ``verify_tasks``.
        verifications: rows of ``verifications``.
        config: the run's configuration.
    """
    found = {(row["entry_key"], row["trial"], row["settings"]): row for row in verifications}
    rows = []
    for task in tasks:
        if task["trial"] == REFERENCE:
            continue
        key, trial = task["entry_key"], task["trial"]
        of_pair = {
            name: [found.get((key, each, name)) for each in (REFERENCE, trial)]
            for name in ((MAIN, CHECK) if task["check"] else (MAIN,))
        }
        computed = [row for pair in of_pair.values() for row in pair if row is not None]
        failed = next((row for row in of_pair[MAIN] if row is not None and row["energy_ev"] is None), None)
        delta = _delta(of_pair[MAIN], len(task["species"]))
        check = _delta(of_pair.get(CHECK, [None, None]), len(task["species"]))
        rows.append(
            {
                "entry_key": key,
                "trial": trial,
                "kind": task["kind"],
                "delta_e_mev_per_atom": task["delta_e_mev_per_atom"],
                "delta_e_dft_mev_per_atom": delta,
                "check_mev_per_atom": None if delta is None or check is None else check - delta,
                "relax": config.verify.relax,
                "code": config.verify.code,
                "settings_sha256": next((row["settings_sha256"] for row in computed), None),
                "wall_s": sum(row["wall_s"] or 0.0 for row in computed),
                "cpu_s": sum(row["cpu_s"] or 0.0 for row in computed),
                "reason": failed["reason"] if failed else None,
                "detail": failed["detail"] if failed else None,
            }
        )
    margin = max(config.les.tol_mev_per_atom, *(abs(row["check_mev_per_atom"] or 0.0) for row in rows), 0.0)
    for row in rows:
        delta = row["delta_e_dft_mev_per_atom"]
        row["margin_mev_per_atom"] = margin
        row["verdict"] = "failed" if delta is None else verdict(row["kind"], delta, margin)
    return rows


def _delta(pair: Sequence[Row | None], n_sites: int) -> float | None:
    """Candidate minus reference, meV per atom; None where an energy is missing."""
    reference, candidate = (None if row is None else row["energy_ev"] for row in pair)
    return None if reference is None or candidate is None else 1000 * (candidate - reference) / n_sites


def summary_row(
    verified: Sequence[Row], verifications: Sequence[Row], potential: str | None, code: str
) -> dict[str, Any]:
    """The row of ``verify_summary``."""
    pairs = [row for row in verified if row["delta_e_dft_mev_per_atom"] is not None]
    errors = compare(
        np.array([row["delta_e_mev_per_atom"] for row in pairs], dtype=np.float64),
        np.array([row["delta_e_dft_mev_per_atom"] for row in pairs], dtype=np.float64),
    )
    checks = [abs(row["check_mev_per_atom"]) for row in verified if row["check_mev_per_atom"] is not None]
    return {
        "code": code,
        "code_version": next((row["code_version"] for row in verifications), None),
        "potential": potential,
        "n_picked": len(verified),
        "n_failed": len(verified) - len(pairs),
        "n_pairs": errors.n_pairs,
        "mean_error_mev_per_atom": errors.mean,
        "rms_error_mev_per_atom": errors.rms,
        "median_error_mev_per_atom": errors.median,
        "sign_agreement": errors.sign_agreement,
        "trust_from_mev_per_atom": errors.trust_from,
        "n_checked": len(checks),
        "check_mev_per_atom": max(checks, default=None),
        "wall_s": sum(row["wall_s"] for row in verified),
        "cpu_s": sum(row["cpu_s"] for row in verified),
    }


def rates(catalog: duckdb.DuckDBPyConnection, bootstrap: int) -> list[dict[str, Any]]:
    """Rows that a catalog with verdicts adds to ``les_summary``."""
    subjects = [Subject(kind, found) for kind, found in catalog.execute(_SUBJECTS).fetchall()]
    most = catalog.execute("SELECT max(n_trials), any_value(tol) FROM les_entry, "
                           "(SELECT any_value(tol_mev_per_atom) AS tol FROM les_summary)").fetchall()[0]  # fmt: skip
    if not subjects:
        return []
    found: list[Rate] = confirmed_rates(subjects, int(most[0]), bootstrap)
    return [{**asdict(rate), "tol_mev_per_atom": most[1]} for rate in found]


def change_decisions(catalog: duckdb.DuckDBPyConnection) -> int:
    """Let the source stand where DFT refutes the potential; return the number of decisions that change.

    The candidate keeps its row, with a doubt and the grade ``reject``, so that a curator sees what was refuted.
    """
    catalog.execute(_REFUTE, [Doubt.DFT_REFUTED.value])
    (changed,) = catalog.execute("SELECT count(*) FROM decisions WHERE list_contains(doubts, ?)",
                                 [Doubt.DFT_REFUTED.value]).fetchall()[0]  # fmt: skip
    return int(changed)
