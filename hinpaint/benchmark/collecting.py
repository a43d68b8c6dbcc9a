"""The tables of a system -> its row: rates, costs, and what the figures show."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.compute as pc

from hinpaint.benchmark.estimates import Tally, complete, estimate, tally
from hinpaint.benchmark.rounds import read_shard
from hinpaint.benchmark.settings import Benchmark, System
from hinpaint.catalog.chemistry import KINDS, kinds_of
from hinpaint.config import Config, load_config, stage_settings
from hinpaint.crystal import BoolArray, Crystal, FloatArray
from hinpaint.deciding.judging import SHARD_TABLES
from hinpaint.deciding.les import NO_TRIAL, Verdicts, released
from hinpaint.store import StoreError, read_tables
from hinpaint.tables import MATCHES, RUNS, TASKS, TRIALS

DRAWS = (1, 5, 10, 20, 30)
"""Numbers of trials in the table."""
RMSD_EDGES = np.round(np.linspace(0.0, 1.0, 41), 3)
"""Edges of the histogram of displacements, ångström."""
MISSING = {"1": 1, "2": 2, "3-4": 4, "5-8": 8, "9-16": 16, "17+": 10**9}
"""Groups of the number of missing sites, by the largest number in them."""
SIZES = {"up to 12": 12, "13-19": 19, "20-29": 29, "30-39": 39, "40-49": 49, "50-64": 64, "65+": 10**9}
"""Groups of the number of sites in the cell, by the largest number in them."""
MIXED = "mixed"
"""Group of the entries whose missing hydrogen is of several kinds."""


@dataclass(frozen=True)
class Trials:
    """The trials of one folder over all of its shards.

    Attributes:
        keys: entry of each trial.
        verdicts: what became of it.
    """

    keys: list[str]
    verdicts: Verdicts

    @property
    def numbers(self) -> set[int]:
        """Numbers of the model's trials."""
        return set(self.verdicts.trial[self.verdicts.is_trial].tolist())

    @classmethod
    def read(cls, folder: Path, config: Config) -> "Trials":
        """Read all shards.

        Raises:
            StoreError: a file is absent or damaged.
        """
        shards = [read_shard(folder, shard, config) for shard in range(config.shards)]
        keys = [key for each in shards for key in each.rows["entry_key"].to_pylist()]
        offsets = np.cumsum([0, *(each.verdicts.n_entries for each in shards)])
        columns: dict[str, list[Any]] = {}
        for offset, each in zip(offsets[:-1], shards, strict=True):
            for name, values in vars(each.verdicts).items():
                columns.setdefault(name, []).append(values + offset if name == "entry" else values)
        return cls(keys, Verdicts.build({name: np.concatenate(parts) for name, parts in columns.items()}))

    def hits(self, which: BoolArray, *, controls: bool = False) -> dict[str, int]:
        """Successes by entry among the model's trials, or among the controls."""
        chosen = ~self.verdicts.is_trial if controls else self.verdicts.is_trial
        keys = np.array(self.keys, dtype=object)
        counts = Counter(keys[which & chosen].tolist())
        return {key: counts[key] for key in dict.fromkeys(keys[chosen].tolist())}


def collect(benchmark: Benchmark, system: System) -> dict[str, Any]:
    """Everything the table and the figures say of one system, from those of its rounds that all shards finished.

    Raises:
        StoreError: its trials or their matches are not there, or are those of other settings, or no entry fits it.
        ConfigError: its weights are not there.
    """
    config, folder = benchmark.config_of(system), benchmark.results / "systems" / system.name
    tasks = read_tables(_shards(folder / "tasks", config), TASKS).to_pylist()
    if not tasks:
        raise StoreError(f"{folder} has no entries")
    _check_settings(folder, config, ("inpaint", "relax", "aggregate") if system.relax else ("inpaint",))
    raw = Trials.read(folder, config)
    keys = sorted(task["entry_key"] for task in tasks)
    if int(raw.verdicts.is_trial.sum()) != system.trials * len(keys):
        raise StoreError(f"{folder} has another number of trials than {system.trials} an entry; run it again")
    strict = config.les.strict_a
    metrics = {"match_raw": raw.verdicts.match_raw, "strict_raw": raw.verdicts.h_max_raw_a < strict}
    shares = {name: _array(raw.hits(which), keys) / system.trials for name, which in metrics.items()}
    rates = []
    for name, which in metrics.items():
        rates += _rates(name, complete(system.trials, _array(raw.hits(which), keys)), config)
    return {
        "name": system.name, "label": system.label, "sampler": system.sampler.name, "model": system.model,
        "n_steps": system.sampler.n_steps, "settings": system.sampler.model_dump(mode="json", exclude_defaults=True),
        "trials": system.trials, "n_entries": len(keys), "max_sites": _largest(tasks),
        "rates": rates, "cost": _cost(folder, config), "rmsd": {"raw": _rmsd(folder, config, "raw")},
        "by_kind": _groups(shares["match_raw"], _by_kind(tasks, keys), config.les.bootstrap),
        "by_missing": _groups(shares["match_raw"], _by_number(tasks, keys, _missing, MISSING), config.les.bootstrap),
        "by_size": _groups(shares["match_raw"], _by_number(tasks, keys, _sites, SIZES), config.les.bootstrap),
        "relaxed": _relaxed(folder, config, system),
    }  # fmt: skip


def _check_settings(folder: Path, config: Config, stages: Sequence[str]) -> None:
    """Refuse what was computed before the benchmark's file was changed."""
    made = load_config(folder / "config.json")
    for stage in stages:
        if stage_settings(made, stage) != stage_settings(config, stage):
            raise StoreError(f"{folder} was made with other settings; run it again")


def _relaxed(folder: Path, config: Config, system: System) -> dict[str, Any] | None:
    """Rates after relaxation from the rounds that are there; None when there is no round."""
    ends = []
    for end in system.round_ends:
        if not all((folder / f"rounds/{end:04d}/{name}/shard={shard:04d}.parquet").exists()
                   for name in SHARD_TABLES for shard in range(config.shards)):  # fmt: skip
            break
        ends.append(end)
    if not ends or system.relax is None:
        return None
    rounds = [Trials.read(folder / f"rounds/{end:04d}", config) for end in ends]
    for begin, end, each in zip([0, *ends], ends, rounds, strict=False):
        if each.numbers - set(range(begin, end)) or (begin == 0 and len(each.numbers) < end):
            raise StoreError(f"{folder}/rounds/{end:04d} was made with other ends of rounds; run it again")
    keys = sorted(rounds[0].hits(rounds[0].verdicts.is_trial))
    if not keys:
        return None
    rates = []
    for name in _levels(config):
        hits = [each.hits(_which(name, each.verdicts, config)) for each in rounds]
        rates += _rates(name, tally(ends, keys, hits), config)
    first = folder / f"rounds/{ends[0]:04d}"
    runs = [path for end in ends for path in _shards(folder / f"rounds/{end:04d}/runs", config, "relax-")]
    return {
        "level": system.relax.level, "ends": ends, "n_entries": len(keys), "rates": rates,
        "max_sites": _largest(read_tables(_shards(first / "tasks", config), TASKS).to_pylist()),
        "chance": _chance(rounds[0], keys, config, system.relax.controls),
        "pick": _pick(rounds[0], keys, ends[0], config), "rmsd": _rmsd(first, config, "h_only"),
        "cpu_s": _cpu_s(runs),
    }  # fmt: skip


def _levels(config: Config) -> tuple[str, ...]:
    h_only = ("match_h_only", "strict_h_only")
    full = ("match_full", "les", "structural", "lower", "les_ungated") if config.relax.max_steps_full else ()
    return (*h_only, *full)


def _which(name: str, verdicts: Verdicts, config: Config) -> BoolArray:
    """(n,) trials that are a success of this kind; a relaxation that failed is none."""
    tolerance, strict = config.les.tol_mev_per_atom, config.les.strict_a
    found: dict[str, BoolArray] = {
        "match_h_only": verdicts.match_h_only,
        "strict_h_only": verdicts.h_max_h_only_a < strict,
        "match_full": verdicts.match_full,
        "les": verdicts.les(tolerance),
        "structural": verdicts.structural,
        "lower": verdicts.lower(tolerance),
        "les_ungated": verdicts.les_ungated(tolerance),
    }
    return found[name]


def _rates(name: str, found: Tally, config: Config) -> list[dict[str, Any]]:
    """Estimates at every number of trials up to the last."""
    rates = []
    for k in range(1, found.ends[-1] + 1):
        values, unknown = found.any_of(k)
        rates.append({"metric": name, "k": k, **_rounded(estimate(values, config.les.bootstrap, unknown))})
    return rates


def _chance(first: Trials, keys: Sequence[str], config: Config, controls: int) -> dict[str, Any] | None:
    """Rates of one random placement through the same relaxation."""
    if not controls:
        return None
    rates = {}
    for name in _levels(config):
        hits = first.hits(_which(name, first.verdicts, config), controls=True)
        rates[name] = _rounded(estimate(_array(hits, keys) / controls, config.les.bootstrap))
    return rates


def _pick(first: Trials, keys: Sequence[str], n_trials: int, config: Config) -> dict[str, Any] | None:
    """The lowest-energy candidate of the first round, against the best and a random one of the same trials."""
    if n_trials == 1 or not config.relax.max_steps_full:
        return None
    chosen = released(first.verdicts)
    rows = chosen[chosen != NO_TRIAL]
    picked = {}
    for name in ("structural", "les"):
        which = _which(name, first.verdicts, config)
        right = {first.keys[row]: int(which[row]) for row in rows}
        hits = _array(first.hits(which), keys)
        of = {"lowest": _array(right, keys), "oracle": (hits > 0).astype(float), "random": hits / n_trials}
        picked[name] = {kind: _rounded(estimate(values, config.les.bootstrap)) for kind, values in of.items()}
    return {"of": n_trials, **picked}


def _rmsd(folder: Path, config: Config, level: str) -> dict[str, Any] | None:
    """Displacement of the placed sites in trials that match: how many, median, 95th percentile, histogram."""
    rows = read_tables(_shards(folder / "matches", config), MATCHES)
    chosen = pc.and_(pc.and_(pc.equal(rows["level"], level), rows["matched"]), pc.greater_equal(rows["trial"], 0))
    values = rows.filter(chosen)["h_rmsd_a"].drop_null().to_numpy()
    if not len(values):
        return None
    counts, _ = np.histogram(np.minimum(values, np.nextafter(RMSD_EDGES[-1], 0)), RMSD_EDGES)
    median, p95 = np.percentile(values, [50, 95])
    return {"n": len(values), "median_a": round(float(median), 4), "p95_a": round(float(p95), 4),
            "histogram": counts.tolist()}  # fmt: skip


def _cost(folder: Path, config: Config) -> dict[str, Any]:
    trials = read_tables(_shards(folder / "trials", config), TRIALS)
    models = set(trials["model_sha256"].drop_null().to_pylist())
    return {
        "n_evaluations": pc.max(trials["n_evaluations"]).as_py() or 0,
        "cpu_s": _cpu_s(_shards(folder / "runs", config, "inpaint-")),
        "model_sha256": next(iter(models), None),
    }


def _cpu_s(runs: Sequence[Path]) -> float | None:
    """CPU seconds for each trial or structure, of the jobs that computed half of their rows or more themselves.

    What is left over where most was taken from a journal is no fair sample, nor is a processor that feeds a GPU.
    """
    query = """
        WITH jobs AS (SELECT *, trials_per_hour * seconds_s / 3600 AS n_computed FROM found)
        SELECT sum(cpu_s), sum(n_computed) FROM jobs WHERE n_computed > 0 AND 2 * n_reused <= n_out
        AND hardware LIKE 'cpu,%'
    """
    with duckdb.connect(":memory:") as connection:
        connection.register("found", read_tables(runs, RUNS))
        seconds, count = connection.sql(query).fetchall()[0]
    return None if not count else round(seconds / count, 3)


def _by_kind(tasks: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, BoolArray]:
    """For each kind of hydrogen the entries whose missing sites are all of it; ``MIXED`` for the others."""
    if any(task["element"] != "H" for task in tasks):
        return {}
    kinds = {}
    for task in tasks:
        host = Crystal.build(task["lattice"], task["host_species"], task["host_frac"])
        found = set(kinds_of(host.add_unknown(task["element"], task["reference_frac"])))
        kinds[task["entry_key"]] = next(iter(found)) if len(found) == 1 else MIXED
    return {kind: np.array([kinds[key] == kind for key in keys]) for kind in (*KINDS, MIXED)}


def _by_number(
    tasks: Sequence[Mapping[str, Any]], keys: Sequence[str], number: Callable[[Mapping[str, Any]], int],
    groups: Mapping[str, int],
) -> dict[str, BoolArray]:  # fmt: skip
    """For each group the entries whose number lies in it; groups go by the largest number in them."""
    counts = {task["entry_key"]: number(task) for task in tasks}
    found = np.searchsorted(list(groups.values()), [counts[key] for key in keys])
    return {name: found == position for position, name in enumerate(groups)}


def _missing(task: Mapping[str, Any]) -> int:
    return int(task["n_unknown"])


def _sites(task: Mapping[str, Any]) -> int:
    return len(task["host_species"]) + _missing(task)


def _groups(values: FloatArray, members: Mapping[str, BoolArray], samples: int) -> dict[str, Any]:
    return {name: _rounded(estimate(values[mask], samples)) for name, mask in members.items() if mask.any()}


def _array(hits: Mapping[str, int], keys: Sequence[str]) -> Any:
    return np.array([hits.get(key, 0) for key in keys])


def _shards(folder: Path, config: Config, before: str = "") -> list[Path]:
    return [folder / f"{before}shard={shard:04d}.parquet" for shard in range(config.shards)]


def _largest(tasks: Sequence[Mapping[str, Any]]) -> int:
    return max(map(_sites, tasks), default=0)


def _rounded(found: Any) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(found).items()}
