"""LES (Lower Energy or Structural match) statistics: pure functions, no I/O.

For a task with a reference and trial i, ``structural_i`` says that the fully relaxed trial is the reference according
to pymatgen's matcher, ``lower_i`` that its energy lies more than a tolerance below the reference's, both fully relaxed
with the same potential and settings; ``les_i`` is either (Reents et al., npj Comput. Mater. 12, 203, 2026). Trials that
failed count as failures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from hinpaint.crystal import FloatArray
from hinpaint.tables import FIRST_CONTROL


@dataclass(frozen=True)
class TrialVerdict:
    """What is known of one trial.

    Attributes:
        trial: its number; below -1 for random-placement controls.
        match_raw: matches before relaxation.
        match_h_only: matches after the hydrogen-only relaxation.
        match_full: matches after the full relaxation.
        h_max_raw_a: largest distance of a placed site before relaxation, ångström.
        h_max_h_only_a: the same after the hydrogen-only relaxation.
        delta_e_mev_per_atom: fully relaxed energy minus the reference's; None when either is missing.
        passed: the full relaxation converged and no gate stopped it.
        settled: the hydrogen-only relaxation converged, so that its geometry can be released.
        gated: a gate stopped it.
        energy_ev: energy after the full relaxation.
    """

    trial: int
    match_raw: bool = False
    match_h_only: bool = False
    match_full: bool = False
    h_max_raw_a: float | None = None
    h_max_h_only_a: float | None = None
    delta_e_mev_per_atom: float | None = None
    passed: bool = False
    settled: bool = False
    gated: bool = False
    energy_ev: float | None = None

    def structural(self) -> bool:
        """The fully relaxed trial is the reference."""
        return self.passed and self.match_full

    def lower(self, tol_mev_per_atom: float) -> bool:
        """The fully relaxed trial lies below the reference by more than the tolerance."""
        delta = self.delta_e_mev_per_atom
        return self.passed and delta is not None and delta < -tol_mev_per_atom

    def les(self, tol_mev_per_atom: float) -> bool:
        """Either arm."""
        return self.structural() or self.lower(tol_mev_per_atom)


@dataclass(frozen=True)
class EntryLes:
    """Counts of one entry; the attributes are the columns of ``les_entry``."""

    n_trials: int
    n_structural: int
    n_lower: int
    n_les: int
    n_match_raw: int
    n_match_h_only: int
    n_strict_raw: int
    n_strict_h_only: int
    n_gated: int
    n_failed: int
    released_trial: int | None
    released_les: bool
    chance_n_trials: int
    chance_n_les: int
    chance_n_match_raw: int
    chance_n_match_h_only: int


def released(verdicts: Sequence[TrialVerdict]) -> TrialVerdict | None:
    """The candidate that would be released: the lowest energy among model trials that passed and settled.

    Ties go to the lower number.
    """
    able = [v for v in verdicts if v.trial >= 0 and v.passed and v.settled and v.energy_ev is not None]
    return min(able, key=lambda v: (v.energy_ev, v.trial), default=None)


def count_entry(verdicts: Sequence[TrialVerdict], tol_mev_per_atom: float, strict_a: float) -> EntryLes:
    """Count the verdicts of one entry.

    Args:
        verdicts: one a trial, controls included; the reference itself left out.
        tol_mev_per_atom: tolerance of the lower-energy arm, meV per atom.
        strict_a: bound of the strict rate, ångström.
    """
    trials = [v for v in verdicts if v.trial >= 0]
    controls = [v for v in verdicts if v.trial <= FIRST_CONTROL]
    chosen = released(trials)
    return EntryLes(
        n_trials=len(trials),
        n_structural=sum(v.structural() for v in trials),
        n_lower=sum(v.lower(tol_mev_per_atom) for v in trials),
        n_les=sum(v.les(tol_mev_per_atom) for v in trials),
        n_match_raw=sum(v.match_raw for v in trials),
        n_match_h_only=sum(v.match_h_only for v in trials),
        n_strict_raw=sum(v.h_max_raw_a is not None and v.h_max_raw_a < strict_a for v in trials),
        n_strict_h_only=sum(v.h_max_h_only_a is not None and v.h_max_h_only_a < strict_a for v in trials),
        n_gated=sum(v.gated for v in trials),
        n_failed=sum(not v.passed for v in trials),
        released_trial=chosen.trial if chosen else None,
        released_les=chosen.les(tol_mev_per_atom) if chosen else False,
        chance_n_trials=len(controls),
        chance_n_les=sum(v.les(tol_mev_per_atom) for v in controls),
        chance_n_match_raw=sum(v.match_raw for v in controls),
        chance_n_match_h_only=sum(v.match_h_only for v in controls),
    )


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
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(samples)])
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


_METRICS = {
    "les": ("n_trials", "n_les"),
    "structural": ("n_trials", "n_structural"),
    "lower": ("n_trials", "n_lower"),
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


def summarise(entries: Sequence[EntryLes], bootstrap: int) -> list[Rate]:
    """Average over entries: each metric at k = 1, 5, 10, 30 and at the number of trials made.

    An entry with fewer trials than k is left out of that k, and ``n_entries`` says how many remained.

    Args:
        entries: entries with a reference.
        bootstrap: bootstrap samples of the intervals.
    """
    rates = []
    for metric, (total, hits) in _METRICS.items():
        counts = [(getattr(e, total), getattr(e, hits)) for e in entries]
        most = max((n for n, _ in counts), default=0)
        for k in sorted({k for k in _DRAWS if k <= most} | ({most} if most else set())):
            values = np.array([any_of_k(n, c, k) for n, c in counts if n >= k])
            rates.append(_rate(metric, k, values, bootstrap))
    if entries:
        values = np.array([float(e.released_les) for e in entries])
        rates.append(_rate("released_les", max(e.n_trials for e in entries), values, bootstrap))
    return rates


def _rate(metric: str, k: int, values: FloatArray, bootstrap: int) -> Rate:
    low, high = bootstrap_interval(values, bootstrap)
    return Rate(metric, k, float(values.mean()), low, high, len(values))
