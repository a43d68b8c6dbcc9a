"""Which entries a system takes: all of them, or a random part that is the same for every system."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from hinpaint.benchmark.settings import REFERENCES, Benchmark, System
from hinpaint.planning import task_sites
from hinpaint.store import read_table, write_table
from hinpaint.tables import RELAXED, TASKS, TRIALS


def choose(tasks: pa.Table, max_sites: int | None, limit: int | None, seed: int) -> frozenset[str]:
    """Keys of the entries within the bounds; of two limits the smaller takes a part of what the larger takes.

    Args:
        tasks: rows of ``tasks``.
        max_sites: sites in the cell at most.
        limit: entries at most, drawn by a hash of seed and key.
        seed: the benchmark's seed.
    """
    if max_sites is not None:
        tasks = tasks.filter(pa.array(task_sites(tasks.combine_chunks()) <= max_sites))
    keys = tasks["entry_key"].to_pylist()
    return frozenset(sorted(keys, key=lambda key: _drawn(seed, key))[:limit])


def _drawn(seed: int, key: str) -> bytes:
    return hashlib.blake2b(f"{seed}\x1f{key}".encode(), digest_size=16).digest()


def plan_system(benchmark: Benchmark, name: str, tasks: Sequence[Path], folder: Path) -> None:
    """Write the tasks of one system, shard by shard: those it samples, and of these the ones it relaxes.

    For the references both are the entries that any system relaxes fully, and there is no trial.

    Args:
        benchmark: the benchmark.
        name: of the system, or :data:`REFERENCES`.
        tasks: the shards' tasks, which all systems share.
        folder: ``tasks/`` and ``to_relax/`` go there, and an empty table for what the next stage finds nothing in.
    """
    shards = [read_table(path, TASKS) for path in tasks]
    whole = pa.concat_tables(shards)
    if name == REFERENCES:
        full = [each for each in benchmark.unfolded if each.relax is not None and each.relax.level == "full"]
        sampled = frozenset[str]().union(*(_to_relax(whole, each, benchmark.seed) for each in full))
        relaxed, empty = sampled, TRIALS
    else:
        system = benchmark.system(name)
        sampled, empty = _sampled(whole, system, benchmark.seed), RELAXED
        relaxed = _to_relax(whole, system, benchmark.seed)
    for number, shard in enumerate(shards):
        file = f"shard={number:04d}.parquet"
        for place, keys in (("tasks", sampled), ("to_relax", relaxed)):
            write_table(folder / place / file, TASKS, _only(shard, keys), benchmark.name)
        write_table(folder / empty.name / file, empty, [], benchmark.name)


def _sampled(tasks: pa.Table, system: System, seed: int) -> frozenset[str]:
    return choose(tasks, system.max_sites, system.limit, seed)


def _to_relax(tasks: pa.Table, system: System, seed: int) -> frozenset[str]:
    if system.relax is None:
        return frozenset()
    sampled = _only(tasks, _sampled(tasks, system, seed))
    return choose(sampled, system.relax.max_sites, system.relax.limit, seed)


def _only(tasks: pa.Table, keys: frozenset[str]) -> pa.Table:
    return tasks.filter(pc.is_in(tasks["entry_key"], value_set=pa.array(sorted(keys), pa.string())))
