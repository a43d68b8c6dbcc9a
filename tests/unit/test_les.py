import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hinpaint.deciding.les import NO_TRIAL, Verdicts, any_of_k, bootstrap_interval, count_entries, released, summarise

GOOD: dict[str, Any] = {
    "entry": 0, "trial": 0, "match_raw": True, "match_h_only": True, "match_full": True, "h_max_raw_a": 0.1,
    "h_max_h_only_a": 0.05, "delta_e_mev_per_atom": 0.0, "passed": True, "settled": True, "gated": False,
    "energy_ev": -10.0,
}  # fmt: skip


def verdicts(*changes: dict[str, Any]) -> Verdicts:
    rows = [{**GOOD, **each} for each in changes]
    return Verdicts.build({name: [row[name] for row in rows] for name in GOOD})


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


def test_arms() -> None:
    found = verdicts({}, {"match_full": False, "delta_e_mev_per_atom": -1.5}, {"delta_e_mev_per_atom": None})
    assert found.structural.tolist() == [True, False, True]
    assert found.lower(1.0).tolist() == [False, True, False]
    assert found.lower(1.5).tolist() == [False, False, False]
    assert found.les(1.0).tolist() == [True, True, True]


def test_trial_that_failed_is_a_failure_whatever_it_looked_like() -> None:
    assert not verdicts({"passed": False, "delta_e_mev_per_atom": -50.0}).les(1.0).any()


def test_gated_trials_count_where_gates_are_ignored_and_failed_ones_never() -> None:
    stopped = {"passed": False, "gated": True}
    found = verdicts(
        {}, stopped, stopped | {"match_full": False, "delta_e_mev_per_atom": -50.0},
        stopped | {"match_full": False, "delta_e_mev_per_atom": None}, {"passed": False},
    )  # fmt: skip
    assert found.les_ungated(1.0).tolist() == [True, True, True, False, False]
    assert found.les(1.0).tolist() == [True, False, False, False, False]


def test_counts_of_one_entry() -> None:
    found = count_entries(
        verdicts(
            {},
            {"trial": 1, "match_full": False, "match_raw": False, "delta_e_mev_per_atom": -5.0, "energy_ev": -11.0},
            {
                "trial": 2,
                "match_full": False,
                "passed": False,
                "gated": True,
                "energy_ev": -99.0,
                "h_max_h_only_a": 0.5,
            },
            {"trial": -2},
            {"trial": -3, "match_full": False, "match_raw": False, "match_h_only": False, "energy_ev": -50.0},
        ),
        tol_mev_per_atom=1.0,
        strict_a=0.3,
    )
    assert (found.n_trials[0], found.n_structural[0], found.n_lower[0], found.n_les[0]) == (3, 1, 1, 2)
    assert found.n_les_ungated[0] == 2
    assert (found.n_match_raw[0], found.n_match_h_only[0]) == (2, 3)
    assert (found.n_strict_raw[0], found.n_strict_h_only[0]) == (3, 2)
    assert (found.n_gated[0], found.n_failed[0]) == (1, 1)
    assert (found.released_trial[0], found.released_les[0]) == (1, True)
    assert (found.chance_n_trials[0], found.chance_n_les[0], found.chance_n_match_raw[0]) == (2, 1, 1)


def test_controls_and_failures_are_never_released() -> None:
    assert released(verdicts({"trial": -2}, {"passed": False}, {"settled": False})).tolist() == [NO_TRIAL]
    assert released(verdicts({"energy_ev": None})).tolist() == [NO_TRIAL]
    assert released(verdicts({"trial": 3}, {"trial": 1})).tolist() == [1]


def test_entries_do_not_mix() -> None:
    many = verdicts(
        {"energy_ev": -1.0},
        {"trial": 1, "energy_ev": -2.0},
        {"entry": 1, "passed": False, "energy_ev": -9.0},
        {"entry": 2, "energy_ev": -5.0, "match_full": False},
        {"entry": 2, "trial": 1, "energy_ev": -4.0},
    )
    assert released(many).tolist() == [1, NO_TRIAL, 3]
    counts = count_entries(many, 1.0, 0.3)
    assert counts.n_structural.tolist() == [2, 0, 1]
    assert counts.released_trial.tolist() == [1, NO_TRIAL, 0]
    assert counts.released_les.tolist() == [True, False, False]


def test_summary_has_every_arm_at_each_k() -> None:
    rows = [{"entry": e, "trial": i, "match_full": i < hits} for e, hits in enumerate((0, 6)) for i in range(6)]
    entries = count_entries(verdicts(*rows), 1.0, 0.3)
    rates = {(r.metric, r.k): r for r in summarise(entries, bootstrap=50)}
    assert {k for m, k in rates if m == "les"} == {1, 5, 6}
    assert rates["structural", 1].rate == pytest.approx(0.5)
    assert rates["lower", 6].rate == 0.0
    assert rates["structural", 1].ci_low <= 0.5 <= rates["structural", 1].ci_high
    assert ("chance_les", 1) not in rates
    assert rates["released_les", 6].n_entries == 2
    nothing = replace(entries, **{name: np.zeros(0, dtype=int) for name in vars(entries)})
    assert summarise(nothing, bootstrap=50) == []


def test_summary_says_what_share_of_the_trials_was_lost() -> None:
    rows = [{"entry": 0, "gated": i == 0, "passed": i > 1} for i in range(4)] + [{"entry": 1, "match_full": False}]
    rates = {(r.metric, r.k): r.rate for r in summarise(count_entries(verdicts(*rows), 1.0, 0.3), bootstrap=50)}
    assert rates["gated", 1] == pytest.approx((1 / 4 + 0) / 2)
    assert rates["failed", 1] == pytest.approx((2 / 4 + 0) / 2)
    assert [k for metric, k in rates if metric in {"gated", "failed"}] == [1, 1]


def test_interval_covers_the_mean() -> None:
    values = np.array([0.0] * 70 + [1.0] * 30)
    low, high = bootstrap_interval(values, 500)
    assert low < 0.3 < high
    assert 0.15 < high - low < 0.25
    assert bootstrap_interval(np.ones(5), 20) == (1.0, 1.0)


def test_interval_is_that_of_drawing_entries_one_by_one() -> None:
    rng = np.random.default_rng(1)
    values = rng.choice([0.0, 0.25, 0.5, 1.0], size=60)
    means = [values[rng.integers(60, size=60)].mean() for _ in range(4000)]
    assert bootstrap_interval(values, 4000) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.02)
