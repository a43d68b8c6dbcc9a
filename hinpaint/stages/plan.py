"""Plan: entries and their evidence become tasks, spread over shards; the rest get their reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hinpaint.config import Config
from hinpaint.crystal import IntArray
from hinpaint.files import write_atomic
from hinpaint.jobs import Job, job
from hinpaint.planning import assign_shards, imbalance, make_tasks, refusals
from hinpaint.store import StoreError, read_table, write_table
from hinpaint.tables import ENTRIES, EVIDENCE, SCHEMA_VERSION, TASKS, WHYNOT, Table
from hinpaint.whynot import Reason, Stop

STAGE = "plan"


@dataclass(frozen=True)
class _Plan:
    """Distinct hosts and their shards.

    Attributes:
        shard_of: shard by host hash.
        hosts: hashes, in the order of ``costs``.
        costs: predicted cost of each host.
    """

    shard_of: dict[str, int]
    hosts: list[str]
    costs: list[float]


def run(
    config: Config, entries: Sequence[Path], evidence: Sequence[Path], tasks: Sequence[Path], whynot: Path, runs: Path
) -> None:
    """Turn every entry into one task or one row of ``whynot``.

    Which shard a task had is remembered beside the results (``journal/plan/assignment.parquet``), so that a database
    that grew moves nothing that was computed. Entries with identical hosts share a shard and are sampled once.

    Args:
        config: the run's configuration.
        entries: ``entries`` files of all ingest jobs.
        evidence: ``evidence`` files in the same order.
        tasks: where the shards' tasks go, one file a shard (an empty shard is an empty table).
        whynot: where the reasons go.
        runs: where the job's own row goes.

    Raises:
        ValueError: the number of files does not fit.
        StoreError: an input is absent or damaged, or an entry has no evidence.
    """
    if len(tasks) != config.shards or len(entries) != len(evidence):
        raise ValueError(f"{len(tasks)} task files for {config.shards} shards, {len(entries)} entries files, "
                         f"{len(evidence)} evidence files")  # fmt: skip
    with job(STAGE, 0, config.run, runs) as current:
        parts: list[pa.Table] = []
        stopped: list[tuple[str, Stop]] = []
        for entry_path, evidence_path in zip(entries, evidence, strict=True):
            made = _tasks_of(config, entry_path, evidence_path)
            refused = refusals(made, config.select)
            keys = made["entry_key"]
            stopped += [(keys[row].as_py(), stop) for row, stop in refused.items()]
            taken = np.ones(len(made), dtype=bool)
            taken[list(refused)] = False
            parts.append(made.filter(pa.array(taken)))
            current.n_in += len(made)
            current.say(f"{current.n_in} entries read, {len(stopped)} refused")
        if config.select.limit is not None:
            parts, over = _limit(parts, config.select.limit)
            stopped += over
        plan = _assign(parts, config.shards, tasks[0].parent.parent / "journal" / "plan" / "assignment.parquet")
        current.n_out = _write_shards(parts, plan, tasks, config.run, current)
        write_table(whynot, WHYNOT, _whynot(stopped, config.run), config.run)


def _tasks_of(config: Config, entry_path: Path, evidence_path: Path) -> pa.Table:
    names = ["entry_key", "mode", "lattice", "species", "frac", "supercell"]
    found = read_table(entry_path, ENTRIES).select(names)
    weighed = read_table(evidence_path, EVIDENCE).select(["entry_key", "n_missing"])
    rows = pc.index_in(found["entry_key"], value_set=weighed["entry_key"])
    missing = weighed["n_missing"].take(rows)
    if missing.null_count:
        key = found["entry_key"].filter(pc.is_null(missing))[0]
        raise StoreError(f"{entry_path}: entry {key} has no count in {evidence_path}; delete both and run again")
    counts: IntArray = missing.to_numpy().astype(np.int64)
    return make_tasks(found, counts, config.element, primitive=config.select.primitive_cell)


def _limit(parts: list[pa.Table], limit: int) -> tuple[list[pa.Table], list[tuple[str, Stop]]]:
    """Keep the first tasks in key order."""
    keys = sorted(key for part in parts for key in part["entry_key"].to_pylist())
    over = pa.array(keys[limit:], type=pa.string())
    stop = Stop(Reason.OVER_LIMIT, f"select.limit is {limit}")
    kept = [part.filter(pc.invert(pc.is_in(part["entry_key"], value_set=over))) for part in parts]
    return kept, [(key, stop) for key in keys[limit:]]


def _assign(parts: Sequence[pa.Table], shards: int, path: Path) -> _Plan:
    """Give each distinct host a shard, with the heed to an earlier plan that :func:`assign_shards` takes."""
    cost_of: dict[str, float] = {}
    for part in parts:
        cost_of.update(zip(part["host_sha256"].to_pylist(), part["cost"].to_pylist(), strict=True))
    hosts, costs = list(cost_of), list(cost_of.values())
    chosen = assign_shards(hosts, costs, shards, _previous(path, shards))
    remembered = pa.table({"host_sha256": pa.array(hosts, type=pa.string()), "shard": pa.array(chosen, pa.int32())})
    remembered = remembered.replace_schema_metadata({"shards": str(shards)}).sort_by("host_sha256")
    write_atomic(path, lambda handle: pq.write_table(remembered, handle))
    return _Plan(dict(zip(hosts, chosen, strict=True)), hosts, costs)


def _previous(path: Path, shards: int) -> dict[str, int]:
    """Shards of an earlier plan; none when there was none, when it is damaged, or when it had other shards."""
    try:
        remembered = pq.read_table(path)
    except (OSError, pa.ArrowException):
        return {}
    if (remembered.schema.metadata or {}).get(b"shards") != str(shards).encode():
        return {}
    return dict(zip(remembered["host_sha256"].to_pylist(), remembered["shard"].to_pylist(), strict=True))


def _write_shards(parts: list[pa.Table], plan: _Plan, paths: Sequence[Path], run_id: str, current: Job) -> int:
    """Write one file a shard; ``parts`` is emptied on the way, as the tasks of a whole database fill the memory."""
    sorted_parts = []
    while parts:
        part = parts.pop()
        shard = np.array([plan.shard_of[host] for host in part["host_sha256"].to_pylist()], dtype=np.int32)
        order = np.argsort(shard, kind="stable")
        ordered = part.append_column("shard", pa.array(shard)).take(pa.array(order))
        sorted_parts.append((ordered, np.searchsorted(shard[order], np.arange(len(paths) + 1))))
        del part
    n_tasks = sum(len(part) for part, _ in sorted_parts)
    for number, path in enumerate(paths):
        slices = [part.slice(ends[number], ends[number + 1] - ends[number]) for part, ends in sorted_parts]
        rows = pa.concat_tables([TASKS.schema.empty_table(), *(_typed(each, TASKS, run_id) for each in slices)])
        write_table(path, TASKS, rows.combine_chunks().sort_by("entry_key"), run_id)
        if (number + 1) % 200 == 0:
            current.say(f"{number + 1} of {len(paths)} shards written")
    heaviest = imbalance([plan.shard_of[host] for host in plan.hosts], plan.costs, len(paths))
    current.say(f"{n_tasks} tasks, {len(plan.hosts)} distinct hosts; heaviest shard {heaviest:.2f} of the mean")
    return n_tasks


def _typed(rows: pa.Table, table: Table, run_id: str) -> pa.Table:
    """Complete rows with the columns every table has, in the declared order and types."""
    complete = rows.append_column("run_id", pa.repeat(run_id, len(rows)))
    complete = complete.append_column("schema_version", pa.repeat(SCHEMA_VERSION, len(rows)))
    return complete.select(table.schema.names).cast(table.schema)


def _whynot(stopped: Sequence[tuple[str, Stop]], run_id: str) -> pa.Table:
    columns: dict[str, Any] = {
        "entry_key": [key for key, _ in stopped],
        "trial": pa.nulls(len(stopped), pa.int32()),
        "stage": [STAGE] * len(stopped),
        "reason": [stop.reason.value for _, stop in stopped],
        "detail": [stop.detail for _, stop in stopped],
    }
    return _typed(pa.table(columns), WHYNOT, run_id).sort_by("entry_key")
