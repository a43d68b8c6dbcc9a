"""What sharing of full relaxations saves, and whether LES stays as it is.

python tests/bench/sharing.py --run results/mc3d-dev --within 0.1

The run is one in which every trial was relaxed by itself (``relax.share_within_a: 0``). The rule of
``hinpaint.relaxation.sharing`` is applied to what it found: a trial that shares gets the end of the one that goes for
it. Nothing is evaluated, so this takes seconds.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from hinpaint.benchmark.rounds import read_shard
from hinpaint.config import Config, load_config
from hinpaint.relaxation.levels import relax_levels
from hinpaint.stages.relax import outcome_of, relax_jobs
from hinpaint.store import read_table
from hinpaint.tables import RELAXED, TASKS, TRIALS


@dataclass(frozen=True)
class Trial:
    """One trial: verdict of its own end and of the one it would get, steps of its full level, whether it shares."""

    entry_key: str
    own: bool
    given: bool
    steps: int
    shares: bool


def trials_of(run: Path, config: Config, shard: int, within_a: float) -> Iterator[Trial]:
    """Trials of one shard; controls are left out."""
    file = f"shard={shard:04d}.parquet"
    jobs = relax_jobs(
        read_table(run / "tasks" / file, TASKS).to_pylist(), read_table(run / "trials" / file, TRIALS).to_pylist()
    )
    job_of = {job.key: job for job in jobs}
    known = {}
    for row in read_table(run / "relaxed" / file, RELAXED).to_pylist():
        key = row["entry_key"], row["trial"]
        known[key, row["level"]] = outcome_of(row, job_of[key])
    settings = config.relax.model_copy(update={"share_within_a": within_a})
    outcomes = relax_levels(_no_potential, jobs, settings, lambda _level: lambda _done, _total: None, known)
    joined = read_shard(run, shard, config)
    keys = zip(joined.rows["entry_key"].to_pylist(), joined.rows["trial"].to_pylist(), strict=True)
    les = dict(zip(keys, joined.verdicts.les(config.les.tol_mev_per_atom).tolist(), strict=True))
    for level, outcome in outcomes:
        entry_key, trial = outcome.key
        if level == "full" and trial >= 0:
            source = trial if outcome.shared_from is None else outcome.shared_from
            steps = known[outcome.key, "full"].n_steps
            yield Trial(entry_key, les[outcome.key], les[entry_key, source], steps, source != trial)


def _no_potential() -> NoReturn:
    raise AssertionError("the run holds every end")


def summary(trials: list[Trial]) -> str:
    """One line of the table."""
    keys = np.array([each.entry_key for each in trials])
    own, given = np.array([each.own for each in trials]), np.array([each.given for each in trials])
    shares, steps = np.array([each.shares for each in trials]), np.array([each.steps for each in trials])
    entries = np.unique(keys)

    def rates(verdicts: np.ndarray) -> str:
        one = np.mean([verdicts[keys == key].mean() for key in entries])
        some = np.mean([verdicts[keys == key].any() for key in entries])
        return f"{one:.1%} / {some:.1%}"

    changed = int((own != given).sum())
    return (f"| {len(entries)} | {len(trials)} | {shares.mean():.1%} | {steps[shares].sum() / steps.sum():.1%} "
            f"| {rates(own)} | {rates(given)} | {changed} |")  # fmt: skip


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="results/<run>")
    parser.add_argument("--within", type=float, nargs="+", default=[0.1], help="relax.share_within_a, ångström")
    options = parser.parse_args()
    config = load_config(options.run / "config.json")
    if config.relax.share_within_a:
        parser.error(f"{options.run} shared already: relax.share_within_a must be 0 there")
    shards = [int(path.stem.removeprefix("shard=")) for path in sorted((options.run / "matches").glob("*.parquet"))]
    print("| within / Å | entries | trials | saved | steps saved | LES 1 / any, each by itself | shared | changed |")
    print("|---|---|---|---|---|---|---|---|")
    for within_a in options.within:
        trials = [each for shard in shards for each in trials_of(options.run, config, shard, within_a)]
        print(f"| {within_a:g} {summary(trials)}", flush=True)


if __name__ == "__main__":
    main()
