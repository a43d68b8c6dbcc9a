"""What the scripts behind the rules share: arguments, device and threads, errors in one line."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hinpaint.config import Config, load_config

_MENDABLE = ("ConfigError", "StoreError", "ModelError", "PotentialError", "QueryError", "IsolationError",
             "ReleaseError", "VerifyError")  # fmt: skip


def parse_arguments(
    description: str | argparse.ArgumentParser | None, files: Sequence[str] = (), lists: Sequence[str] = (), *,
    shard: bool = False, compute: bool = False, workers: bool = False,
) -> tuple[argparse.Namespace, Config]:  # fmt: skip
    """Parse a script's arguments and load the configuration.

    Args:
        description: what the script does, or a parser that has options of its own.
        files: names of required path options.
        lists: names of required options that take several paths.
        shard: add ``--shard``.
        compute: add ``--device`` and ``--threads``, and apply the threads.
        workers: add ``--threads`` alone, for a stage that starts processes.

    Returns:
        The arguments and the configuration.
    """
    parser = description if isinstance(description, argparse.ArgumentParser) else argparse.ArgumentParser()
    parser.description = parser.description or str(description or "")
    parser.add_argument("--config", type=Path, required=True, help="configuration file")
    for name in files:
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in lists:
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True)
    if shard:
        parser.add_argument("--shard", type=int, required=True, help="number of the shard")
    if compute:
        parser.add_argument("--device", default="auto", help="torch device; auto takes a GPU when there is one")
        parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    if workers:
        parser.add_argument("--threads", type=int, default=1, help="processes that share the work")
    arguments = parser.parse_args()
    with plain_errors():
        config = load_config(arguments.config)
    if compute:
        arguments.device = choose_device(arguments.device, arguments.threads, arguments.shard if shard else 0)
    return arguments, config


def choose_device(name: str, threads: int, shard: int = 0) -> str:
    """Apply the number of threads and resolve ``auto`` to ``cuda`` or ``cpu``.

    Where ``CUDA_VISIBLE_DEVICES`` names several GPUs, shards take them in turn: one process uses one GPU.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if len(gpus) > 1:  # before torch looks at them
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[shard % len(gpus)]
    import torch

    torch.set_num_threads(threads)
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def available_threads() -> int:
    """CPU threads this process may use."""
    return len(os.sched_getaffinity(0))


def table_files(config: Config, results: Path) -> dict[str, list[Path]]:
    """Files of every table that stages write, as this configuration makes them.

    They are named, not searched for, so that files of an earlier run with more shards are left alone.
    """

    def numbered(table: str, prefix: str, count: int) -> list[Path]:
        return [results / table / f"{prefix}shard={number:04d}.parquet" for number in range(count)]

    n_parts, n_shards = len(config.ingest_parts), config.shards
    files = {name: numbered(name, "", n_parts) for name in ("records", "entries", "evidence", "source_text")}
    files |= {name: numbered(name, "", n_shards) for name in ("tasks", "trials", "relaxed", "matches", "arrangements")}
    files["whynot"] = numbered("whynot", "ingest-", n_parts) + numbered("whynot", "plan-", 1)
    files["runs"] = numbered("runs", "ingest-", n_parts) + numbered("runs", "plan-", 1)
    for stage in ("inpaint", "relax", "match"):
        files["runs"] += numbered("runs", f"{stage}-", n_shards)
    return files


def verify_files(config: Config, results: Path) -> dict[str, list[Path]]:
    """Files of every table that a verification's jobs write; none where there is no verification."""
    if config.verify.code is None:
        return {}
    shards = [f"{shard:04d}" for shard in range(config.verify.shards)]
    runs = ["verify_select-shard=0000", *(f"verify-shard={shard}" for shard in shards)]
    return {
        "verify_tasks": [results / f"verify_tasks/shard={shard}.parquet" for shard in shards],
        "verifications": [results / f"verifications/shard={shard}.parquet" for shard in shards],
        "whynot": [results / "whynot/verify-shard=0000.parquet"],
        "runs": [results / f"runs/{name}.parquet" for name in runs],
    }


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn the errors a user can mend into one line and exit code 1."""
    try:
        yield
    except Exception as error:
        # By name: importing the classes would load torch into stages that never use it.
        if type(error).__module__.startswith("hinpaint.") and type(error).__name__ in _MENDABLE:
            sys.exit(f"hinpaint: {error}")
        raise
