"""Plan a synthetic database: how long, how much memory, how well balanced.

    python tests/bench/planning.py [--entries 1000000] [--shards 1000] [--parts 8]

Entries have 4 to 60 host sites in random cells; every tenth is body-centred, so that its primitive cell is taken.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from synthetic import filled, lists

from hinpaint.config import parse_config
from hinpaint.reduction import IDENTITY
from hinpaint.stages import plan
from hinpaint.store import write_table
from hinpaint.tables import ENTRIES, EVIDENCE, TASKS

_ELEMENTS = np.array(["O", "Si", "Al", "Ca", "Na", "H"])
# Centred on the body diagonal; the primitive cell is (-a+b+c)/2, (a-b+c)/2, (a+b-c)/2.
_BODY_CENTRED = (0, 1, 1, 1, 0, 1, 1, 1, 0)


def write_part(folder: Path, number: int, n_entries: int) -> tuple[Path, Path]:
    """Write one partition of a synthetic database."""
    rng = np.random.default_rng(number)
    half = rng.integers(2, 30, n_entries)
    centred = rng.random(n_entries) < 0.1
    frac, codes = [], []
    for n_half, is_centred in zip(half, centred, strict=True):
        first, kinds = rng.random((n_half, 3)), rng.integers(0, 5, n_half)
        frac += [first, (first + 0.5) % 1.0 if is_centred else rng.random((n_half, 3))]
        codes += [kinds, kinds if is_centred else rng.integers(0, 5, n_half)]
    n_sites = 2 * half
    edge = np.cbrt(12.0 * n_sites)
    lattice = np.zeros((n_entries, 9))
    lattice[:, [0, 4, 8]] = edge[:, None] * rng.uniform(0.8, 1.2, (n_entries, 3))
    keys = pa.array([f"bench|1|{number:03d}{i:07d}" for i in range(n_entries)])
    supercell = np.where(centred[:, None], np.array(_BODY_CENTRED), np.array(IDENTITY))
    entries = filled(ENTRIES, {
        "entry_key": keys,
        "mode": pa.array(["reconstruct"] * n_entries),
        "lattice": lists(np.full(n_entries, 9), pa.array(lattice.ravel())),
        "species": lists(n_sites, pa.array(_ELEMENTS).take(pa.array(np.concatenate(codes)))),
        "frac": lists(3 * n_sites, pa.array(np.concatenate(frac).ravel())),
        "supercell": lists(np.full(n_entries, 9), pa.array(supercell.ravel())),
    }, n_entries)  # fmt: skip
    missing = pa.array(2 * rng.integers(1, 9, n_entries), type=pa.int32())
    evidence = filled(EVIDENCE, {"entry_key": keys, "n_missing": missing}, n_entries)
    paths = folder / f"entries-{number}.parquet", folder / f"evidence-{number}.parquet"
    write_table(paths[0], ENTRIES, entries, "bench")
    write_table(paths[1], EVIDENCE, evidence, "bench")
    return paths


def main() -> None:
    """Write the database, plan it, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--parts", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = [write_part(folder, i, arguments.entries // arguments.parts) for i in range(arguments.parts)]
        source = {"database": "bench", "version": "1", "format": "cif", "path": str(folder), "licence": "CC0-1.0"}
        values = {"run": "bench", "sources": [source | {"mode": "reconstruct"}], "shards": arguments.shards}
        config = parse_config(values)
        tasks = [folder / TASKS.name / f"shard={i:04d}.parquet" for i in range(arguments.shards)]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        for attempt in ("first plan", "planned again"):
            started, worked = time.monotonic(), time.process_time()
            plan.run(
                config, [p[0] for p in parts], [p[1] for p in parts], tasks, folder / "w.parquet", folder / "r.parquet"
            )
            seconds, cpu = time.monotonic() - started, time.process_time() - worked
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"{attempt}: {arguments.entries} entries, {arguments.shards} shards: {seconds:.1f} s"
                  f" ({cpu:.1f} CPU-s), peak {peak:.2f} GiB ({before:.2f} before)")  # fmt: skip


if __name__ == "__main__":
    main()
