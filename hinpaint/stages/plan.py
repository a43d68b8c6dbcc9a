"""Plan: entries and their evidence become tasks, spread over shards; the rest get their reason."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hinpaint.config import Config
from hinpaint.jobs import job
from hinpaint.planning import Candidate, assign_shards, cost_of, make_candidate, select, task_row
from hinpaint.store import read_table, write_table
from hinpaint.tables import ENTRIES, EVIDENCE, TASKS, WHYNOT
from hinpaint.whynot import Stop

STAGE = "plan"


def run(
    config: Config, entries: Sequence[Path], evidence: Sequence[Path], tasks: Sequence[Path], whynot: Path, runs: Path
) -> None:
    """Turn every entry into one task or one row of ``whynot``.

    Args:
        config: the run's configuration.
        entries: ``entries`` files of all ingest jobs.
        evidence: ``evidence`` files in the same order.
        tasks: where the shards' tasks go, one file a shard (an empty shard is an empty table).
        whynot: where the reasons go.
        runs: where the job's own row goes.

    Raises:
        ValueError: the number of files does not fit, or an entry has no evidence.
    """
    if len(tasks) != config.shards or len(entries) != len(evidence):
        raise ValueError(f"{len(tasks)} task files for {config.shards} shards, {len(entries)} entries files, "
                         f"{len(evidence)} evidence files")  # fmt: skip
    with job(STAGE, 0, config.run, runs) as current:
        candidates: list[Candidate] = []
        for entry_path, evidence_path in zip(entries, evidence, strict=True):
            candidates.extend(_candidates(entry_path, evidence_path, config.element))
            current.say(f"{len(candidates)} entries read")
        current.n_in = len(candidates)
        taken, stopped = select(candidates, config.select)
        shards = assign_shards([c.entry_key for c in taken], [cost_of(c.n_sites) for c in taken], config.shards)
        rows: list[list[dict[str, Any]]] = [[] for _ in range(config.shards)]
        for candidate, shard in zip(taken, shards, strict=True):
            rows[shard].append(task_row(candidate, shard))
        for path, shard_rows in zip(tasks, rows, strict=True):
            write_table(path, TASKS, shard_rows, config.run)
        write_table(whynot, WHYNOT, [_whynot(key, stop) for key, stop in stopped.items()], config.run)
        current.n_out = len(taken)


def _candidates(entry_path: Path, evidence_path: Path, element: str) -> list[Candidate]:
    table = read_table(evidence_path, EVIDENCE).select(["entry_key", "n_missing"])
    missing = dict(zip(table["entry_key"].to_pylist(), table["n_missing"].to_pylist(), strict=True))
    found = []
    for entry in read_table(entry_path, ENTRIES).to_pylist():
        if missing.get(entry["entry_key"]) is None:
            raise ValueError(f"{entry_path}: entry {entry['entry_key']} has no evidence in {evidence_path}")
        found.append(make_candidate(entry, missing[entry["entry_key"]], element))
    return found


def _whynot(key: str, stop: Stop) -> dict[str, Any]:
    return {"entry_key": key, "trial": None, "stage": STAGE, "reason": stop.reason.value, "detail": stop.detail}
