"""What a run has computed with the same settings, taken over by a benchmark."""

from collections.abc import Sequence
from pathlib import Path

from hinpaint.benchmark.settings import Benchmark
from hinpaint.journal import adopt
from hinpaint.store import read_table
from hinpaint.tables import RELAXED, TASKS, TRIALS

_STAGES = {"inpaint": TRIALS, "relax": RELAXED}


def take_over(benchmark: Benchmark, systems: Sequence[str], run: Path) -> int:
    """Copy the rows of a run's journals into those of a benchmark, by entry.

    A job drops what it would not compute in the same way, so a row that does not fit costs nothing but a look.

    Args:
        benchmark: the benchmark; its systems' tasks must be there.
        systems: names of the systems.
        run: ``results/<run>``; its entries carry the same keys.

    Returns:
        Number of rows taken over.
    """
    folders = [benchmark.results / "references", *(benchmark.results / "systems" / name for name in systems)]
    taken = 0
    for folder in folders:
        for tasks in sorted((folder / "tasks").glob("shard=*.parquet")):
            keys = frozenset(read_table(tasks, TASKS)["entry_key"].to_pylist())
            for stage, table in _STAGES.items():
                for source in sorted((run / "journal" / stage).glob("shard=*")):
                    taken += adopt(source, folder / "journal" / stage / tasks.stem, table, keys)
    return taken
