"""LES (Lower Energy or Structural match) statistics: pure functions, no I/O.

For a task with a reference and trial i, ``structural_i`` says that the fully relaxed trial is the reference according
to pymatgen's matcher, ``lower_i`` that its energy lies more than a tolerance below the reference's, both fully relaxed
with the same potential and settings; ``les_i`` is either (Reents et al., npj Comput. Mater. 12, 203, 2026). Trials that
failed count as failures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from math import comb
from typing import Any, Self

import numpy as np

from hinpaint.crystal import BoolArray, FloatArray, IntArray
from hinpaint.tables import FIRST_CONTROL

_DTYPES: dict[Any, Any] = {IntArray: np.int64, BoolArray: np.bool_, FloatArray: np.float64}


@dataclass(frozen=True)
class Verdicts:
    """What is known of the trials of one or many entries, as columns: a million trials are judged in a second.

    Attributes:
        entry: (n,) number of the entry, 0, 1, ... and never falling.
        trial: number of the trial; below -1 for random-placement controls.
        match_raw: matches before relaxation.
        match_h_only: matches after the hydrogen-only relaxation.
        match_full: matches after the full relaxation.
        h_max_raw_a: largest distance of a placed site before relaxation, ångström; NaN when not comparable.
        h_max_h_only_a: the same after the hydrogen-only relaxation.
        delta_e_mev_per_atom: fully relaxed energy minus the reference's; NaN when either is missing.
        passed: the full relaxation converged and no gate stopped the trial.
        settled: the hydrogen-only relaxation converged, so that its geometry can be released.
        gated: a gate stopped it.
        energy_ev: energy after the full relaxation; NaN when it failed.
    """

    entry: IntArray
    trial: IntArray
    match_raw: BoolArray
    match_h_only: BoolArray
    match_full: BoolArray
    h_max_raw_a: FloatArray
    h_max_h_only_a: FloatArray
    delta_e_mev_per_atom: FloatArray
    passed: BoolArray
    settled: BoolArray
    gated: BoolArray
    energy_ev: FloatArray

    @classmethod
    def build(cls, columns: Mapping[str, Any]) -> Self:
        """Take the attributes out of columns by name; None becomes NaN."""
        return cls(**{f.name: np.asarray(columns[f.name], dtype=_DTYPES[f.type]) for f in fields(cls)})

    @property
    def n_entries(self) -> int:
        """Number of entries."""
        return int(self.entry[-1]) + 1 if len(self.entry) else 0

    @property
    def is_trial(self) -> BoolArray:
        """(n,) true for model trials, false for controls."""
        return self.trial >= 0

    @property
    def able(self) -> BoolArray:
        """(n,) model trials that could be released: converged at both levels, every gate passed."""
        return self.is_trial & self.passed & self.settled & np.isfinite(self.energy_ev)

    @property
    def structural(self) -> BoolArray:
        """(n,) the fully relaxed trial is the reference."""
        return self.passed & self.match_full

    def lower(self, tol_mev_per_atom: float) -> BoolArray:
        """(n,) the fully relaxed trial lies below the reference by more than the tolerance."""
        return self.passed & (self.delta_e_mev_per_atom < -tol_mev_per_atom)

    def les(self, tol_mev_per_atom: float) -> BoolArray:
        """(n,) either arm."""
        return self.structural | self.lower(tol_mev_per_atom)

    def les_ungated(self, tol_mev_per_atom: float) -> BoolArray:
        """(n,) either arm, also where a gate stopped the trial: what published rates without gates count."""
        return (self.passed | self.gated) & (self.match_full | (self.delta_e_mev_per_atom < -tol_mev_per_atom))


@dataclass(frozen=True)
class EntryLes:
    """Counts of each entry, (entries,); the attributes are the columns of ``les_entry``."""

    n_trials: IntArray
    n_structural: IntArray
    n_lower: IntArray
    n_les: IntArray
    n_les_ungated: IntArray
    n_match_raw: IntArray
    n_match_h_only: IntArray
    n_strict_raw: IntArray
    n_strict_h_only: IntArray
    n_gated: IntArray
    n_failed: IntArray
    released_trial: IntArray
    released_les: BoolArray
    chance_n_trials: IntArray
    chance_n_les: IntArray
    chance_n_match_raw: IntArray
    chance_n_match_h_only: IntArray


NO_TRIAL = -1
"""Stands in ``released_trial`` for "none can be released"."""


def released(verdicts: Verdicts) -> IntArray:
    """The candidate of each entry that would be released: the lowest energy among the trials that could be.

    Ties go to the lower number.

    Returns:
        (entries,) row of the candidate in the verdicts, ``NO_TRIAL`` where there is none.
    """
    rows = np.flatnonzero(verdicts.able)
    rows = rows[np.lexsort((verdicts.trial[rows], verdicts.energy_ev[rows], verdicts.entry[rows]))]
    entries, first = np.unique(verdicts.entry[rows], return_index=True)
    chosen = np.full(verdicts.n_entries, NO_TRIAL)
    chosen[entries] = rows[first]
    return chosen


def count_entries(verdicts: Verdicts, tol_mev_per_atom: float, strict_a: float) -> EntryLes:
    """Count the verdicts of each entry.

    Args:
        verdicts: one a trial, controls included; the references themselves left out.
        tol_mev_per_atom: tolerance of the lower-energy arm, meV per atom.
        strict_a: bound of the strict rate, ångström.
    """

    def count(which: BoolArray) -> IntArray:
        return np.bincount(verdicts.entry[which], minlength=verdicts.n_entries)

    trials, controls = verdicts.is_trial, verdicts.trial <= FIRST_CONTROL
    les = verdicts.les(tol_mev_per_atom)
    chosen = released(verdicts)
    has_one = chosen != NO_TRIAL
    return EntryLes(
        n_trials=count(trials),
        n_structural=count(trials & verdicts.structural),
        n_lower=count(trials & verdicts.lower(tol_mev_per_atom)),
        n_les=count(trials & les),
        n_les_ungated=count(trials & verdicts.les_ungated(tol_mev_per_atom)),
        n_match_raw=count(trials & verdicts.match_raw),
        n_match_h_only=count(trials & verdicts.match_h_only),
        n_strict_raw=count(trials & (verdicts.h_max_raw_a < strict_a)),
        n_strict_h_only=count(trials & (verdicts.h_max_h_only_a < strict_a)),
        n_gated=count(trials & verdicts.gated),
        n_failed=count(trials & ~verdicts.passed),
        released_trial=np.where(has_one, verdicts.trial[chosen], NO_TRIAL),
        released_les=has_one & les[chosen],
        chance_n_trials=count(controls),
        chance_n_les=count(controls & les),
        chance_n_match_raw=count(controls & verdicts.match_raw),
        chance_n_match_h_only=count(controls & verdicts.match_h_only),
    )


@cache
def any_of_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate that at least one of k trials succeeds, from c successes in n trials.

    1 - C(n - c, k) / C(n, k); the estimator of Chen et al. (arXiv 2107.03374, equation 1).

    Raises:
        ValueError: not 0 <= c <= n or not 1 <= k <= n.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"any_of_k needs 0 <= c <= n and 1 <= k <= n, not n={n}, c={c}, k={k}")
    return 1.0 - comb(n - c, k) / comb(n, k)


def bootstrap_interval(values: FloatArray, samples: int, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap over entries.

    Entries with equal values are drawn together, by their number: the same distribution as drawing them one by one, at
    a cost that does not grow with the number of entries.

    Args:
        values: (n,) one estimate an entry.
        samples: bootstrap samples.
        seed: seed of the resampling.

    Returns:
        2.5 % and 97.5 % bounds of the mean.

    Raises:
        ValueError: there is no entry.
    """
    if len(values) == 0:
        raise ValueError("an interval needs at least one entry")
    different, counts = np.unique(values, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), size=samples)
    low, high = np.percentile(drawn @ different / len(values), [2.5, 97.5])
    return float(low), float(high)


_METRICS = {
    "les": ("n_trials", "n_les"),
    "structural": ("n_trials", "n_structural"),
    "lower": ("n_trials", "n_lower"),
    "les_ungated": ("n_trials", "n_les_ungated"),
    "match_raw": ("n_trials", "n_match_raw"),
    "match_h_only": ("n_trials", "n_match_h_only"),
    "strict_raw": ("n_trials", "n_strict_raw"),
    "strict_h_only": ("n_trials", "n_strict_h_only"),
    "chance_les": ("chance_n_trials", "chance_n_les"),
    "chance_match_raw": ("chance_n_trials", "chance_n_match_raw"),
    "chance_match_h_only": ("chance_n_trials", "chance_n_match_h_only"),
}
_DRAWS = (1, 5, 10, 30)


@dataclass(frozen=True)
class Rate:
    """One row of ``les_summary`` without the tolerance."""

    metric: str
    k: int
    rate: float
    ci_low: float
    ci_high: float
    n_entries: int


def summarise(entries: EntryLes, bootstrap: int) -> list[Rate]:
    """Average over entries: each metric at k = 1, 5, 10, 30 and at the number of trials made.

    An entry with fewer trials than k is left out of that k, and ``n_entries`` says how many remained. What is lost
    (trials that a gate kept from counting, trials without a converged relaxation) is a share of the trials, at k = 1
    alone.

    Args:
        entries: counts of the entries with a reference.
        bootstrap: bootstrap samples of the intervals.
    """
    rates = []
    for metric, (total, hits) in _METRICS.items():
        pairs = np.stack([getattr(entries, total), getattr(entries, hits)], axis=1)
        most = int(pairs[:, 0].max(initial=0))
        for k in sorted({k for k in _DRAWS if k <= most} | ({most} if most else set())):
            different, which = np.unique(pairs[pairs[:, 0] >= k], axis=0, return_inverse=True)
            estimates = np.array([any_of_k(int(n), int(c), k) for n, c in different])
            rates.append(_rate(metric, k, estimates[which.ravel()], bootstrap))
    if len(entries.n_trials):
        values = entries.released_les.astype(np.float64)
        rates.append(_rate("released_les", int(entries.n_trials.max()), values, bootstrap))
        made = np.maximum(entries.n_trials, 1)
        rates.append(_rate("gated", 1, entries.n_gated / made, bootstrap))
        rates.append(_rate("failed", 1, entries.n_failed / made, bootstrap))
    return rates


def _rate(metric: str, k: int, values: FloatArray, bootstrap: int) -> Rate:
    low, high = bootstrap_interval(values, bootstrap)
    return Rate(metric, k, float(values.mean()), low, high, len(values))
