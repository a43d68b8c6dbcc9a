"""Build a catalog from many shards and ask it: how long, how much memory.

    python tests/bench/catalog.py --scratch FOLDER [--shards 1000] [--rows 10000]

Every shard holds `rows` rows of each of trials, relaxed (full level), matches (full level) and arrangements: 100
entries with 100 trials each at the defaults, so 10 million trial rows and as many relaxations and comparisons.
Decisions of a tenth of the trials are not what is measured; `chemistry` and `les_entry` have one row an entry.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from synthetic import filled, lists

from hinpaint.catalog import build
from hinpaint.catalog.query import ask, open_catalog
from hinpaint.store import write_table
from hinpaint.tables import ALL_TABLES, ARRANGEMENTS, CHEMISTRY, LES_ENTRY, MATCHES, RELAXED, TASKS, TRIALS

_TRIALS_PER_ENTRY = 100
_N_PLACED = 4
_N_SITES = 16
_KINDS = np.array(["hydride", "OH", "H2O", "NH", "other", "mixed"])
_QUESTIONS = {
    "LES by chemistry, view over les_entry": "SELECT * FROM les_by_chemistry",
    "trials by trial number: rows, matches, lower": "SELECT trial % 10 AS g, count(*), avg(matched::INTEGER), "
    "avg((delta_e_mev_per_atom < -1)::INTEGER) FROM matches WHERE level = 'full' GROUP BY g",
    "matches by entry, then by chemistry": "SELECT kind, avg(c) FROM (SELECT entry_key, avg((matched OR "
    "delta_e_mev_per_atom < -1)::INTEGER) AS c FROM matches WHERE level = 'full' GROUP BY entry_key) "
    "JOIN chemistry USING (entry_key) GROUP BY kind",
    "LES of every trial by chemistry at 5 meV/atom: les_at(5.0)": "SELECT * FROM les_at(5.0)",
    "entries whose verdict flips": "SELECT count(*) FROM verdict_flips",
    "one entry's trials": "SELECT * FROM trials WHERE entry_key = 'bench|1|0000007'",
}


def write_shard(folder: Path, shard: int, n_rows: int) -> None:
    """Write one shard of every table that has rows a trial or an entry."""
    rng = np.random.default_rng(shard)
    n_entries = max(1, n_rows // _TRIALS_PER_ENTRY)
    numbers = shard * n_entries + np.arange(n_entries)
    names = pa.array([f"bench|1|{number:07d}" for number in numbers])
    keys = names.take(pa.array(np.repeat(np.arange(n_entries), _TRIALS_PER_ENTRY)))
    trial = pa.array(np.tile(np.arange(_TRIALS_PER_ENTRY), n_entries).astype(np.int32))
    full = pa.repeat(pa.scalar("full"), n_rows)
    matched = rng.random(n_rows) < 0.5
    rows = {
        TRIALS: {"entry_key": keys, "trial": trial,
                 "frac_unknown": lists(np.full(n_rows, 3 * _N_PLACED), pa.array(rng.random(n_rows * 3 * _N_PLACED)))},
        RELAXED: {"entry_key": keys, "trial": trial, "level": full, "energy_ev": pa.array(rng.normal(size=n_rows)),
                  "converged": pa.array(rng.random(n_rows) < 0.9),
                  "lattice": lists(np.full(n_rows, 9), pa.array(rng.random(n_rows * 9))),
                  "frac": lists(np.full(n_rows, 3 * _N_SITES), pa.array(rng.random(n_rows * 3 * _N_SITES)))},
        MATCHES: {"entry_key": keys, "trial": trial, "level": full, "matched": pa.array(matched),
                  "delta_e_mev_per_atom": pa.array(rng.normal(0, 20, n_rows))},
        ARRANGEMENTS: {"entry_key": keys, "trial": trial},
    }  # fmt: skip
    counts = pa.array(np.full(n_entries, _TRIALS_PER_ENTRY, np.int32))
    found = pa.array(matched.reshape(n_entries, -1).sum(axis=1).astype(np.int32))
    candidate = pa.repeat(pa.scalar(7, pa.int32()), n_entries)
    places = lists(np.full(n_entries, 3 * _N_PLACED), pa.array(rng.random(n_entries * 3 * _N_PLACED)))
    by_entry = {
        TASKS: {"entry_key": names, "reference_frac": places},  # of no element, so that chemistry stays as it is given
        CHEMISTRY: {"entry_key": names, "kind": pa.array(rng.choice(_KINDS, n_entries))},
        LES_ENTRY: {"entry_key": names, "n_trials": counts, "n_les": found, "released_trial": candidate},
    }  # fmt: skip
    for table, columns in rows.items():
        write_table(folder / table.name / f"{shard:04d}.parquet", table, filled(table, columns, n_rows), "bench")
    for table, columns in by_entry.items():
        write_table(folder / table.name / f"{shard:04d}.parquet", table, filled(table, columns, n_entries), "bench")


def _timed(name: str, action: Callable[[], object]) -> None:
    started, worked = time.monotonic(), time.process_time()
    action()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name}: {time.monotonic() - started:.2f} s ({time.process_time() - worked:.2f} CPU-s), peak {peak:.2f} GiB",
          flush=True)  # fmt: skip


def build_catalog(folder: Path) -> None:
    """Build the catalog as the stage aggregate does."""
    path = folder / "catalog.duckdb"
    path.unlink(missing_ok=True)
    connection = build.create(path)
    for table in ALL_TABLES.values():
        files = sorted((folder / table.name).glob("*.parquet"))
        if files:
            _timed(f"  {table.name}, {len(files)} files", partial(build.insert_files, connection, table, files))
    _timed("  views and checkpoint", partial(_finish, connection))
    print(f"  {path.stat().st_size / 2**30:.2f} GiB on disk", flush=True)


def _finish(connection: duckdb.DuckDBPyConnection) -> None:
    build.complete(connection)
    build.close(connection)


def ask_all(folder: Path) -> None:
    """Ask every question once, in one process, whose peak memory counts."""
    with open_catalog(folder / "catalog.duckdb") as connection:
        for name, sql in _QUESTIONS.items():
            _timed(name, partial(ask, connection, sql))


def main() -> None:
    """Write the shards (once), build and ask, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for the shards; they are kept")
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--only", choices=("write", "build", "ask"), help="one part, in this process")
    arguments = parser.parse_args()
    if arguments.only == "write":
        for shard in range(arguments.shards):
            if not (arguments.scratch / LES_ENTRY.name / f"{shard:04d}.parquet").exists():
                write_shard(arguments.scratch, shard, arguments.rows)
    elif arguments.only == "build":
        _timed("build", lambda: build_catalog(arguments.scratch))
    elif arguments.only == "ask":
        ask_all(arguments.scratch)
    else:
        for part in ("write", "build", "ask"):
            subprocess.run([sys.executable, *sys.argv, "--only", part], check=True)  # noqa: S603 - itself


if __name__ == "__main__":
    main()
