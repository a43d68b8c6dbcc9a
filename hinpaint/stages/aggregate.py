"""Stage aggregate: all tables -> catalog.duckdb with LES statistics and decisions."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import duckdb

from hinpaint.catalog import build
from hinpaint.config import Config
from hinpaint.deciding.decision import COUNT_UNSURE
from hinpaint.deciding.judging import SHARD_TABLES, concatenate, join, judge
from hinpaint.deciding.les import EntryLes, summarise
from hinpaint.jobs import Job, job
from hinpaint.store import read_table
from hinpaint.tables import ALL_TABLES, DECISIONS, LES_ENTRY, LES_SUMMARY, WHYNOT

# Tables of other jobs than one a shard.
_PLAIN = ("records", "entries", "evidence", "whynot", "runs")
_SAY_EVERY = 50


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
            for name in _PLAIN:
                build.insert_files(connection, ALL_TABLES[name], files[name])
                current.say(f"{name}: {len(files[name])} files")
            les = _judge_shards(connection, config, files, current)
            rows = [
                {**asdict(rate), "tol_mev_per_atom": config.les.tol_mev_per_atom}
                for rate in summarise(les, config.les.bootstrap)
            ]
            build.insert_rows(connection, LES_SUMMARY, rows, config.run)
            _keep_curated_entries(connection)
            build.complete(connection)
            build.close(connection)
            os.replace(temporary, catalog)


def _judge_shards(
    connection: duckdb.DuckDBPyConnection, config: Config, files: Mapping[str, Sequence[Path]], current: Job
) -> EntryLes:
    """Add the tables of every shard and what follows from them; return the LES counts of all entries."""
    unsure = frozenset(
        key for (key,) in connection.execute(
            "SELECT entry_key FROM evidence WHERE confidence < ?", [COUNT_UNSURE]
        ).fetchall()
    )  # fmt: skip
    les: list[EntryLes] = []
    inserter = build.Inserter(connection)
    shards = list(zip(*(files[name] for name in SHARD_TABLES), strict=True))
    for number, paths in enumerate(shards, start=1):
        tables = {name: read_table(path, ALL_TABLES[name]) for name, path in zip(SHARD_TABLES, paths, strict=True)}
        judged = judge(join(tables, config, unsure), config)
        for name, rows in tables.items():
            inserter.add(ALL_TABLES[name], rows)
        inserter.add(LES_ENTRY, judged.les_rows)
        inserter.add(DECISIONS, judged.decisions)
        inserter.add(WHYNOT, judged.reasons)
        les.append(judged.les)
        current.n_in += len(tables["trials"])
        current.n_out += len(judged.decisions)
        if number % _SAY_EVERY == 0 or number == len(shards):
            current.say(f"{number}/{len(shards)} shards judged, {current.n_out} decisions")
    inserter.flush()
    return concatenate(les)


def _keep_curated_entries(connection: duckdb.DuckDBPyConnection) -> None:
    """Leave in ``entries`` what is curated: the rest is in ``records`` and has its row in ``whynot``."""
    connection.execute("DELETE FROM entries WHERE entry_key IN (SELECT entry_key FROM whynot WHERE trial IS NULL)")
