import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hinpaint.les import TrialVerdict, any_of_k, bootstrap_interval, count_entry, released, summarise


@given(
    st.integers(1, 8).flatmap(lambda n: st.tuples(st.lists(st.booleans(), min_size=n, max_size=n), st.integers(1, n)))
)
def test_any_of_k_is_the_share_of_draws_with_a_success(case: tuple[list[bool], int]) -> None:
    outcomes, k = case
    draws = list(itertools.combinations(outcomes, k))
    expected = sum(any(draw) for draw in draws) / len(draws)
    assert any_of_k(len(outcomes), sum(outcomes), k) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4)])
def test_any_of_k_refuses_nonsense(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="any_of_k"):
        any_of_k(n, c, k)


GOOD = TrialVerdict(0, True, True, True, 0.1, 0.05, 0.0, passed=True, settled=True, energy_ev=-10.0)


def test_arms() -> None:
    assert GOOD.structural()
    assert not GOOD.lower(1.0)
    lower = replace(GOOD, match_full=False, delta_e_mev_per_atom=-1.5)
    assert not lower.structural()
    assert lower.lower(1.0)
    assert not lower.lower(1.5)
    assert lower.les(1.0)


def test_trial_that_failed_is_a_failure_whatever_it_looked_like() -> None:
    failed = replace(GOOD, passed=False, delta_e_mev_per_atom=-50.0)
    assert not failed.les(1.0)


def test_counts_of_one_entry() -> None:
    verdicts = [
        GOOD,
        replace(GOOD, trial=1, match_full=False, match_raw=False, delta_e_mev_per_atom=-5.0, energy_ev=-11.0),
        replace(GOOD, trial=2, match_full=False, passed=False, gated=True, energy_ev=-99.0, h_max_h_only_a=0.5),
        replace(GOOD, trial=-2, match_full=True),
        replace(GOOD, trial=-3, match_full=False, match_raw=False, match_h_only=False, energy_ev=-50.0),
    ]
    entry = count_entry(verdicts, tol_mev_per_atom=1.0, strict_a=0.3)
    assert (entry.n_trials, entry.n_structural, entry.n_lower, entry.n_les) == (3, 1, 1, 2)
    assert (entry.n_match_raw, entry.n_match_h_only, entry.n_strict_raw, entry.n_strict_h_only) == (2, 3, 3, 2)
    assert (entry.n_gated, entry.n_failed) == (1, 1)
    assert (entry.released_trial, entry.released_les) == (1, True)
    assert (entry.chance_n_trials, entry.chance_n_les, entry.chance_n_match_raw) == (2, 1, 1)


def test_controls_and_failures_are_never_released() -> None:
    assert released([replace(GOOD, trial=-2), replace(GOOD, passed=False), replace(GOOD, settled=False)]) is None
    tie = [replace(GOOD, trial=3), replace(GOOD, trial=1)]
    assert released(tie).trial == 1


def test_summary_has_every_arm_at_each_k() -> None:
    entries = [
        count_entry([replace(GOOD, trial=i, match_full=i < hits) for i in range(6)], 1.0, 0.3) for hits in (0, 6)
    ]
    rates = {(r.metric, r.k): r for r in summarise(entries, bootstrap=50)}
    assert {k for m, k in rates if m == "les"} == {1, 5, 6}
    assert rates["structural", 1].rate == pytest.approx(0.5)
    assert rates["lower", 6].rate == 0.0
    assert rates["structural", 1].ci_low <= 0.5 <= rates["structural", 1].ci_high
    assert ("chance_les", 1) not in rates
    assert rates["released_les", 6].n_entries == 2
    assert summarise([], bootstrap=50) == []


def test_interval_covers_the_mean() -> None:
    values = np.array([0.0] * 70 + [1.0] * 30)
    low, high = bootstrap_interval(values, 500)
    assert low < 0.3 < high
    assert 0.15 < high - low < 0.25
    assert bootstrap_interval(np.ones(5), 20) == (1.0, 1.0)
