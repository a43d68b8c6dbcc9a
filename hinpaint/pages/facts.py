"""Columns of an entry as lines of text: what was decided, what the record says, where numbers come from."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hinpaint.pages.model import Fact

Row = Mapping[str, Any]

_ACTIONS = {
    "completed": "completed: missing sites were added",
    "replaced": "replaced: sites that were only calculated were moved",
    "unchanged": "unchanged: the source stands",
}
_MODES = {
    "reconstruct": "reconstruct: sites are missing",
    "audit": "audit: the sites were only calculated",
    "benchmark": "benchmark: known sites were stripped and found again",
}

_CLAIMS = {
    "energetic": "it is lower in energy than the source's structure",
    "control": "it is the source's structure",
    "neither": "it is not better than the source's structure",
}
_RELAXED = {
    "none": "on the potential's geometries",
    "h_only": "placed sites relaxed by DFT",
    "full": "fully relaxed by DFT",
}


def decision_facts(decision: Row) -> tuple[Fact, ...]:
    """What was decided: a row of ``decisions``."""
    found = [
        ("Action", _ACTIONS.get(decision["action"], decision["action"])),
        ("Mode", _MODES.get(decision["mode"], decision["mode"])),
        ("Grade", decision["grade"]),
        ("Confidence: the true structure", _number(decision["confidence"], "{:.2f}")),
        ("Confidence: every site within 0.3 Å", _number(decision["confidence_strict"], "{:.2f}")),
        ("Candidate: trial", _number(decision["trial"], "{}")),
        ("Trials that passed", f"{decision['n_passed']} of {decision['n_trials']}"),
        ("Of these, agree with it", _number(decision["n_agree"], "{}")),
        ("Arrangements found", _number(decision["n_arrangements"], "{}")),
        ("Next arrangement above it", _number(decision["gap_mev_per_atom"], "{:.1f} meV/atom")),
        ("Against the source's structure", _number(decision["delta_e_mev_per_atom"], "{:+.1f} meV/atom")),
        (f"{decision['element']} to its nearest neighbour", _range(decision, "d_xh_min_a", "d_xh_max_a")),
        (f"Shortest {decision['element']}–{decision['element']}", _number(decision["d_hh_min_a"], "{:.2f} Å")),
        ("Largest shift in relaxation", _number(decision["shift_a"], "{:.2f} Å")),
    ]
    return _kept(found)


def verified_facts(verified: Row | None) -> tuple[Fact, ...]:
    """What DFT says: a row of ``les_verified``, if there is one."""
    if verified is None or verified["entry_key"] is None:
        return ()
    code = f"{verified['code']}, PBE, {_RELAXED[verified['relax']]}"
    margin = _number(verified["margin_mev_per_atom"], "{:.1f} meV/atom")
    found = [
        ("DFT on the candidate's claim", f"{verified['verdict']}: {_CLAIMS[verified['kind']]}"),
        ("Candidate against the source by DFT", _number(verified["delta_e_dft_mev_per_atom"], "{:+.1f} meV/atom")),
        ("By the potential", _number(verified["delta_e_mev_per_atom"], "{:+.1f} meV/atom")),
        ("Undecided within", margin if verified["reason"] is None else None),
        ("DFT", code),
        ("Why no verdict", f"{verified['reason']}: {verified['detail'] or ''}" if verified["reason"] else None),
    ]
    return _kept(found)


def evidence_facts(entry: Row, evidence: Row | None, element: str) -> tuple[Fact, ...]:
    """What the record says: rows of ``entries`` and ``evidence``, and the element that is counted."""
    row = evidence or {}
    found = [
        ("Formula as declared", entry["formula_declared"]),
        ("Formula of the cell from its sites", entry["formula_sites"]),
        ("Space group", entry["space_group"]),
        ("Sites in the cell", str(entry["n_sites"])),
        (f"Sites of {element} the formula asks for", _number(row.get("n_h_declared"), "{}")),
        ("Present with coordinates", _number(row.get("n_h_sites"), "{}")),
        ("Of these, only calculated", _number(row.get("n_h_calculated") or None, "{}")),
        ("Missing", _number(row.get("n_missing"), "{}")),
        ("How sure the record makes us of the count", _number(row.get("confidence"), "{:.2f}")),
    ]
    return _kept(found)


def provenance_facts(entry: Row, task: Row, decision: Row, chosen: Row | None, versions: str) -> tuple[Fact, ...]:
    """Where everything comes from: what is needed to make the page's numbers again.

    Args:
        entry: row of ``entries``.
        task: row of ``tasks``.
        decision: row of ``decisions``.
        chosen: the released trial, joined with its relaxation.
        versions: versions of the libraries, as JSON objects.
    """
    trial = chosen or {}
    found = [
        ("Database", f"{entry['database']} {entry['version']}"),
        ("Id", entry["source_id"]),
        ("Made from", entry.get("origin")),
        ("Licence", entry["licence"]),
        ("SHA-256 of the source's text", entry["source_sha256"]),
        ("SHA-256 of the host", task["host_sha256"]),
        ("Run and its seed", f"{decision['run_id']}, {trial['seed']}" if trial.get("seed") is not None else None),
        ("Sampler", f"{trial['sampler']}, {trial['n_steps']} steps" if trial.get("sampler") else None),
        ("SHA-256 of the diffusion weights", decision["model_sha256"]),
        ("Potential", decision["potential"]),
        ("SHA-256 of the potential", trial.get("potential_sha256")),
        ("Versions", versions),
    ]
    return _kept(found)


def spoken_versions(texts: Sequence[str]) -> str:
    """Versions of libraries, JSON objects, as one line; where jobs differ, all versions are named."""
    found: dict[str, set[str]] = {}
    for text in texts:
        for name, version in json.loads(text).items():
            found.setdefault(name, set()).add(str(version))
    return ", ".join(f"{name} {' and '.join(sorted(found[name]))}" for name in sorted(found))


def _kept(found: list[tuple[str, str | None]]) -> tuple[Fact, ...]:
    return tuple(Fact(name, value) for name, value in found if value)


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else form.format(value)


def _range(row: Row, low: str, high: str) -> str | None:
    if row.get(low) is None or row.get(high) is None:
        return None
    ends = dict.fromkeys(f"{row[name]:.2f}" for name in (low, high))
    return f"{' to '.join(ends)} Å"
