"""The smallest Snakemake command that makes a part of a run again."""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from hinpaint.journal import forget
from hinpaint.status import STAGES, TABLE_OF, StatusError, run_settings, run_status
from hinpaint.tables import ALL_TABLES, TASKS


@dataclass(frozen=True)
class Rerun:
    """What to make again.

    Attributes:
        targets: files to ask Snakemake for.
        forced: files to make even though they are there.
        journals: (stage, folder) of the journals that the jobs would go on from.
    """

    targets: tuple[Path, ...]
    forced: tuple[Path, ...]
    journals: tuple[tuple[str, Path], ...]

    def arguments(self, results: Path, profile: str, more: Sequence[str] = ()) -> list[str]:
        """Words behind ``snakemake``: the run's own configuration, whatever ``config.yaml`` says by now."""
        forced = ["--forcerun", *map(str, self.forced)] if self.forced else []
        config = str(results / "config.json")
        return [*map(str, self.targets), *forced, "--profile", profile, *more, "--configfile", config]


def shard_of(results: Path, entry_key: str) -> int:
    """The shard that holds an entry's task.

    Raises:
        StatusError: there is no run, or no task of that entry.
    """
    files = [results / "tasks" / f"shard={number:04d}.parquet" for number in range(run_settings(results)["shards"])]
    present = [str(path) for path in files if path.exists()]
    try:
        tasks = ds.dataset(present, format="parquet", schema=TASKS.schema)
        found = tasks.to_table(columns=["shard"], filter=pc.field("entry_key") == entry_key)
    except (OSError, pa.ArrowException) as error:
        raise StatusError(f"the tasks of {results} cannot be read: {error}") from error
    if found.num_rows == 0:
        raise StatusError(f"no task of {entry_key} in {results}; `hinpaint query` on whynot says what became of it")
    return int(found["shard"][0].as_py())


def rerun_shard(results: Path, stage: str, number: int) -> Rerun:
    """Make one shard again from one stage on, to the end of the shard's own chain.

    Raises:
        StatusError: there is no run, no such stage, or no such shard.
    """
    n_shards = run_settings(results)["shards"]
    if stage not in STAGES:
        raise StatusError(f"no stage {stage!r} with one job a shard; these are {', '.join(STAGES)}")
    if not 0 <= number < n_shards:
        raise StatusError(f"no shard {number}; the run has {n_shards}, counted from 0")
    files = [_output(results, each, number) for each in STAGES[STAGES.index(stage) :]]
    return Rerun(
        targets=(files[-1],),
        forced=(files[0],),
        journals=tuple(_journal(results, each, number) for each in STAGES[STAGES.index(stage) : -1]),
    )


def rerun_failed(results: Path) -> Rerun:
    """Make everything again that failed or was stopped.

    Raises:
        StatusError: there is no run, or nothing failed.
    """
    status = run_status(results)
    if not status.failed:
        raise StatusError(f"nothing failed in {results}")
    journals = [
        _journal(results, stage.name, shard.number)
        for stage in status.stages
        for shard in stage.shards
        if stage.name in STAGES[:-1] and shard.target in status.failed
    ]
    return Rerun(tuple(status.failed), (), tuple(journals))


def drop(rerun: Rerun, entry_key: str | None = None) -> None:
    """Take from the journals what has to be computed again.

    Args:
        rerun: what is made again.
        entry_key: drop the rows of this entry only, so that the rest of its shard is not computed again.
    """
    for stage, folder in rerun.journals:
        if entry_key is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            forget(folder, ALL_TABLES[TABLE_OF[stage]], entry_key)


def command_line(arguments: Sequence[str]) -> str:
    """The command as one would type it."""
    return shlex.join(["snakemake", *arguments])


def _output(results: Path, stage: str, number: int) -> Path:
    return results / TABLE_OF[stage] / f"shard={number:04d}.parquet"


def _journal(results: Path, stage: str, number: int) -> tuple[str, Path]:
    return stage, results / "journal" / stage / f"shard={number:04d}"
