"""What a finished run with references says about its candidates: features and whether they were right."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.config import Config, load_config
from hinpaint.crystal import BoolArray, FloatArray
from hinpaint.deciding.confidence import agreement, features
from hinpaint.deciding.judging import SHARD_TABLES, Joined, join
from hinpaint.deciding.les import NO_TRIAL
from hinpaint.doubts import needs_review
from hinpaint.scripting import table_files
from hinpaint.store import read_table, read_tables
from hinpaint.tables import ALL_TABLES, ENTRIES, FIRST_CONTROL

_SUBSETS_OF_ONE_SIZE = 10


@dataclass(frozen=True)
class Samples:
    """Candidates of entries with a reference, from all trials of an entry and from some of them.

    Attributes:
        values: (n, 4) features.
        right: (n, 2) the candidate is the reference by the published match, by the strict distance.
        weight: (n,) the samples of one entry have the weight 1 together.
        is_whole: (n,) made of all trials of its entry: what a release would say.
        needs_review: (n,) a doubt about its geometry keeps the candidate from `accept`.
        formula: (n,) reduced formula of the entry, by which folds are made.
        key: (n,) key of the entry.
    """

    values: FloatArray
    right: BoolArray
    weight: FloatArray
    is_whole: BoolArray
    needs_review: BoolArray
    formula: list[str]
    key: list[str]

    def take(self, chosen: BoolArray) -> "Samples":
        """The samples where ``chosen`` (n,) is true."""
        rows = np.flatnonzero(chosen)
        arrays = {name: getattr(self, name)[rows] for name in ("values", "right", "weight", "is_whole", "needs_review")}
        return Samples(**arrays, formula=[self.formula[i] for i in rows], key=[self.key[i] for i in rows])


@dataclass(frozen=True)
class Run:
    """A run that is used.

    Attributes:
        config: its configuration.
        samples: its candidates.
        n_entries: entries with a reference.
        n_candidates: of these, entries with a candidate.
        max_sites: sites of the largest task.
        model_sha256: weights that placed.
        potential: name of the potential.
    """

    config: Config
    samples: Samples
    n_entries: int
    n_candidates: int
    max_sites: int
    model_sha256: str
    potential: str


def load_run(results: Path) -> Run:
    """Read the shards of a run that are matched.

    Args:
        results: folder of the run, ``results/<run>``.

    Raises:
        ConfigError: there is no run.
        ValueError: no shard is matched, or none has a reference.
    """
    config = load_config(results / "config.json")
    files = table_files(config, results)
    shards = [
        join({n: read_table(p, ALL_TABLES[n]) for n, p in zip(SHARD_TABLES, paths, strict=True)}, config)
        for paths in zip(*(files[name] for name in SHARD_TABLES), strict=True)
        if all(path.exists() for path in paths)
    ]
    parts = [part for joined in shards for part in _shard_samples(joined, config.les.strict_a)]
    if not parts:
        raise ValueError(f"{results} holds no matched shard with references")
    formulas = _formulas(files["entries"])
    samples = _concatenate(parts, formulas)
    return Run(
        config=config,
        samples=samples,
        n_entries=sum(int(_has_reference(joined).sum()) for joined in shards),
        n_candidates=int(samples.is_whole.sum()),
        max_sites=max(int(joined.subjects.n_sites.max()) for joined in shards if len(joined.first)),
        model_sha256=next(x for joined in shards for x in joined.rows["model_sha256"].to_pylist() if x),
        potential=next(x for joined in shards for x in joined.rows["potential"].to_pylist() if x),
    )


def _has_reference(joined: Joined) -> BoolArray:
    return np.asarray(joined.rows["has_reference"].to_numpy(zero_copy_only=False)[joined.first], dtype=bool)


def _shard_samples(joined: Joined, strict_a: float) -> Iterator[dict[str, Any]]:
    """Samples of one shard, one dictionary of columns for every subset of its trials."""
    numbers = sorted(set(joined.verdicts.trial[joined.verdicts.is_trial].tolist()))
    keys = np.array(joined.rows["entry_key"].take(joined.first).to_pylist(), dtype=object)
    for size in range(1, len(numbers) + 1):
        subsets = list(islice(combinations(numbers, size), _SUBSETS_OF_ONE_SIZE))
        for subset in subsets:
            # As if only these trials had been made: the others become controls, which no count heeds.
            trial = np.where(np.isin(joined.verdicts.trial, subset), joined.verdicts.trial, FIRST_CONTROL)
            verdicts, geometries = replace(joined.verdicts, trial=trial), joined.geometries
            found = agreement(verdicts, geometries.arrangement, joined.subjects.n_sites)
            usable = np.flatnonzero((found.chosen != NO_TRIAL) & _has_reference(joined))
            rows = found.chosen[usable]
            strain = geometries.strain_mev_per_atom[found.chosen]
            values = features(found, strain, joined.subjects.n_unknown)
            yield {
                "values": values[usable],
                "right": np.stack([verdicts.match_h_only[rows], verdicts.h_max_h_only_a[rows] < strict_a], axis=1),
                "weight": np.full(len(rows), 1.0 / (len(numbers) * len(subsets))),
                "is_whole": np.full(len(rows), size == len(numbers)),
                "needs_review": np.array([needs_review(geometries.doubts[row]) for row in rows], dtype=bool),
                "key": keys[usable].tolist(),
            }


def _formulas(entries: Sequence[Path]) -> dict[str, str]:
    from pymatgen.core import Composition

    rows = read_tables(entries, ENTRIES).select(["entry_key", "formula_sites"]).to_pylist()
    return {row["entry_key"]: Composition(row["formula_sites"]).reduced_formula for row in rows}


def _concatenate(parts: Sequence[dict[str, Any]], formulas: dict[str, str]) -> Samples:
    names = [f.name for f in fields(Samples) if f.name not in {"formula", "key"}]
    keys = [key for part in parts for key in part["key"]]
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return Samples(**arrays, formula=[formulas[key] for key in keys], key=keys)
