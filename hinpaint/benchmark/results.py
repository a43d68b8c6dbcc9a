"""A benchmark's results in one JSON file, from which its figures and documents are made."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hinpaint.benchmark.collecting import RMSD_EDGES, collect
from hinpaint.benchmark.settings import Benchmark, System
from hinpaint.config import ConfigError
from hinpaint.deciding.matching import matcher_settings
from hinpaint.files import sha256_tree, write_atomic
from hinpaint.jobs import library_versions
from hinpaint.store import StoreError


def gather(benchmark: Benchmark, systems: Sequence[System], say: Callable[[str], None]) -> dict[str, Any]:
    """What a benchmark found, of those systems that are finished.

    Args:
        benchmark: the benchmark.
        systems: of these.
        say: told of each system that is left out, and why.
    """
    rows = []
    for system in systems:
        try:
            rows.append(collect(benchmark, system))
        except (StoreError, ConfigError) as error:
            say(f"{system.name} is left out: {error}")
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "seed": benchmark.seed,
        "element": benchmark.element,
        "source": {"database": benchmark.source.database, "version": benchmark.source.version,
                   "licence": benchmark.source.licence, "sha256": sha256_tree(benchmark.source.path)},
        "potential": benchmark.potential.name,
        "relax": benchmark.relax.model_dump(mode="json"),
        "les": benchmark.les.model_dump(mode="json", exclude={"chance_trials"}),
        "matcher": json.loads(matcher_settings()),
        "versions": library_versions(),
        "rmsd_edges_a": RMSD_EDGES.tolist(),
        "systems": rows,
    }  # fmt: skip


def write_results(found: dict[str, Any], path: Path) -> None:
    """Write the JSON file."""
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    write_atomic(path, lambda handle: handle.write(text.encode()))


def rate(row: Mapping[str, Any] | None, metric: str, k: int) -> dict[str, Any] | None:
    """The estimate of a metric at k among ``rates`` of a system or of its ``relaxed``; None when there is none."""
    found = (each for each in (row or {}).get("rates", ()) if each["metric"] == metric and each["k"] == k)
    return next(found, None)
