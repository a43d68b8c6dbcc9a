"""One round of relaxations: the next trials of the entries that have no success yet.

Relaxation is by far the most expensive part, and any-of-k asks only whether one of k trials succeeds. So a system's
trials are relaxed in rounds, and an entry is left alone after the round in which it first had a success. Each round's
folder holds the tables that a run's shard has, so the workflow's own judging reads it.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from hinpaint.config import Config
from hinpaint.crystal import BoolArray
from hinpaint.deciding.judging import SHARD_TABLES, Joined, join
from hinpaint.journal import adopt
from hinpaint.stages import match, relax
from hinpaint.store import read_table, write_table
from hinpaint.tables import ALL_TABLES, RELAXED, TASKS, TRIALS


def read_shard(folder: Path, shard: int, config: Config) -> Joined:
    """All trials of one shard's folder with their verdicts."""
    file = f"shard={shard:04d}.parquet"
    return join({name: read_table(folder / name / file, ALL_TABLES[name]) for name in SHARD_TABLES}, config)


def succeeded(joined: Joined, config: Config) -> BoolArray:
    """(n,) trials after which an entry needs no more: LES, or the match where hydrogen alone is relaxed."""
    verdicts = joined.verdicts
    if config.relax.max_steps_full:
        return verdicts.is_trial & verdicts.les(config.les.tol_mev_per_atom)
    return verdicts.is_trial & verdicts.match_h_only


def run_round(
    config: Config, shard: int, end: int, earlier: Sequence[int], system: Path, references: Path, device: str = "cpu"
) -> None:
    """Select, relax and match the trials of one round of one shard.

    Args:
        config: the system's configuration.
        shard: number of the shard.
        end: the round has the trials below this number that earlier rounds have not.
        earlier: ends of the earlier rounds, rising.
        system: folder of the system.
        references: folder in which the references were relaxed; they are taken from its journal.
        device: where to relax.
    """
    file = f"shard={shard:04d}.parquet"
    folders = [system / "rounds" / f"{each:04d}" for each in earlier]
    closed = frozenset(key for folder in folders for key in _solved(folder, shard, config))
    tasks = read_table(system / "to_relax" / file, TASKS)
    tasks = tasks.filter(pc.invert(_among(tasks, closed)))
    trials = read_table(system / "trials" / file, TRIALS)
    trials = trials.filter(_among(trials, frozenset(tasks["entry_key"].to_pylist())))
    trials = trials.filter(_in_round(trials["trial"], earlier[-1] if earlier else 0, end))
    if not trials.num_rows:  # every entry is solved: there is nothing to relax, the references included
        tasks = tasks.slice(0, 0)
    folder = system / "rounds" / f"{end:04d}"
    write_table(folder / "tasks" / file, TASKS, tasks, config.run)
    write_table(folder / "trials" / file, TRIALS, trials, config.run)
    place = {name: folder / name / file for name in SHARD_TABLES}
    journal = Path("journal/relax") / f"shard={shard:04d}"
    adopt(references / journal, system / journal, RELAXED, frozenset(tasks["entry_key"].to_pylist()))
    relax.run(config, shard, place["tasks"], place["trials"], place["relaxed"], folder / "runs" / f"relax-{file}",
              device, system / journal)  # fmt: skip
    match.run(config, shard, **place, runs=folder / "runs" / f"match-{file}")


def _solved(folder: Path, shard: int, config: Config) -> frozenset[str]:
    joined = read_shard(folder, shard, config)
    return frozenset(joined.rows["entry_key"].filter(pa.array(succeeded(joined, config))).to_pylist())


def _among(rows: pa.Table, keys: frozenset[str]) -> pa.ChunkedArray:
    return pc.is_in(rows["entry_key"], value_set=pa.array(sorted(keys), pa.string()))


def _in_round(trial: pa.ChunkedArray, begin: int, end: int) -> pa.ChunkedArray:
    """True for the trials of a round; the first one has the controls too."""
    inside = pc.and_(pc.greater_equal(trial, begin), pc.less(trial, end))
    return inside if begin else pc.or_(inside, pc.less(trial, 0))
