from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from hinpaint.config import Grades
from hinpaint.deciding.confidence import shipped
from hinpaint.deciding.decision import Decisions, Geometries, Subjects, decide
from hinpaint.deciding.les import Verdicts
from hinpaint.doubts import Doubt

# A trial: (number, energy), and what differs from a good one.
Trial = dict[str, Any]


def trial(number: int, energy: float, **other: Any) -> Trial:
    base = {"entry": 0, "trial": number, "match_raw": False, "match_h_only": False, "match_full": False,
            "h_max_raw_a": None, "h_max_h_only_a": None, "delta_e_mev_per_atom": None, "passed": True, "settled": True,
            "gated": False, "energy_ev": energy, "arrangement": number, "strain": 0.5, "delta_h_only": None,
            "doubts": ()}  # fmt: skip
    return {**base, **other}


def decided(
    trials: Sequence[Trial], mode: str = "reconstruct", element: str = "H", n_sites: int = 4, *, unsure: bool = False
) -> Decisions:
    columns = {name: [each[name] for each in trials] for name in trials[0]}
    geometries = Geometries(
        arrangement=np.array(columns["arrangement"]),
        strain_mev_per_atom=np.array(columns["strain"], dtype=float),
        delta_h_only=np.array(columns["delta_h_only"], dtype=float),
        doubts=columns["doubts"],
    )
    n = 1 + max(columns["entry"])
    subjects = Subjects([mode] * n, [element] * n, np.full(n, n_sites), np.full(n, 2), np.full(n, unsure))
    return decide(Verdicts.build(columns), geometries, subjects, 1.0, Grades(), shipped())


def test_lowest_energy_is_the_candidate_and_agreement_is_counted_by_arrangement() -> None:
    trials = [
        trial(0, -1.0),
        trial(1, -3.0, arrangement=0),
        trial(2, -2.9, arrangement=0),
        trial(3, -2.8),
        trial(4, -9.0, passed=False),
    ]
    found = decided(trials).found
    assert found.chosen.tolist() == [1]
    assert (found.n_trials[0], found.n_passed[0], found.n_agree[0], found.n_arrangements[0]) == (5, 4, 3, 2)
    assert found.gap_mev_per_atom[0] == pytest.approx(1000 * 0.2 / 4)


def test_controls_never_decide_and_never_count() -> None:
    found = decided([trial(-2, -9.0), trial(0, -1.0, passed=False)])
    assert found.stops[0].reason == "no_candidate"
    assert "none of 1 trials" in found.stops[0].detail
    agreed = decided([trial(-2, -9.0, arrangement=0), trial(-3, -0.5), trial(0, -1.0)]).found
    assert (agreed.n_trials[0], agreed.n_agree[0], agreed.n_arrangements[0]) == (1, 1, 1)
    assert np.isnan(agreed.gap_mev_per_atom[0])


def test_confidence_never_looks_at_the_reference() -> None:
    blind = [trial(0, -1.0), trial(1, -0.9)]
    seeing = [{**each, "match_raw": True, "match_h_only": True, "match_full": True, "h_max_h_only_a": 0.01,
               "delta_e_mev_per_atom": -7.0} for each in blind]  # fmt: skip
    assert decided(blind, "benchmark").confidence == decided(seeing, "benchmark").confidence


@pytest.mark.parametrize(
    ("delta", "delta_h_only", "taken"),
    [(-5.0, -4.0, True), (-0.5, -4.0, False), (3.0, 3.0, False), (-5.0, 2.0, False), (None, None, False)],
)
def test_audited_entry_changes_only_when_it_gets_better(
    delta: float | None, delta_h_only: float | None, taken: bool
) -> None:
    one = trial(0, -1.0, delta_e_mev_per_atom=delta, delta_h_only=delta_h_only)
    (stop,) = decided([one], "audit").stops
    assert (stop is None) == taken
    if stop is not None:
        assert stop.reason == "not_better"
        assert ("did not relax" in stop.detail) == (delta is None)
        assert delta_h_only is None or f"{delta_h_only:+.1f} meV/atom on the fixed host" in stop.detail
    assert decided([one], "benchmark").stops == [None]


@pytest.mark.parametrize(
    ("trials", "options", "expected"),
    [
        ([trial(0, -1.0)], {}, {Doubt.ONE_TRIAL_ONLY}),
        ([trial(0, -1.0), trial(1, -0.5)], {}, {Doubt.NO_AGREEMENT}),
        ([trial(0, -1.0), trial(1, -0.99)], {}, {Doubt.NO_AGREEMENT, Doubt.CLOSE_RIVAL}),
        ([trial(0, -1.0), trial(1, -1.0, arrangement=0), trial(2, 0, passed=False)], {}, set()),
        (
            [trial(0, -1.0), *(trial(i, 0.0, passed=False) for i in (1, 2))],
            {},
            {Doubt.ONE_TRIAL_ONLY, Doubt.MOST_FAILED},
        ),
        ([trial(i, -1.0, arrangement=0, strain=25.0) for i in (0, 1)], {}, {Doubt.HOST_STRAINED}),
        ([trial(i, -1.0, arrangement=0, doubts=["short_x_h"]) for i in (0, 1)], {}, {Doubt.SHORT_X_H}),
        ([trial(i, -1.0, arrangement=0) for i in (0, 1)], {"unsure": True}, {Doubt.COUNT_UNSURE}),
        ([trial(i, -1.0, arrangement=0) for i in (0, 1)], {"n_sites": 500}, {Doubt.BEYOND_CALIBRATION}),
        ([trial(i, -1.0, arrangement=0) for i in (0, 1)], {"element": "Li"}, {Doubt.OTHER_ELEMENT}),
    ],
)
def test_doubts(trials: list[Trial], options: dict[str, Any], expected: set[Doubt]) -> None:
    assert set(decided(trials, **options).doubts[0]) == expected


def test_grave_doubts_keep_a_candidate_from_being_accepted() -> None:
    agreed = [trial(i, -1.0, arrangement=0, strain=0.0) for i in range(10)]
    assert decided(agreed).grades == ["accept"]
    assert decided(agreed, unsure=True).grades == ["review"]
    assert decided(agreed, element="Li").grades == ["review"]


def test_entries_are_decided_one_by_one() -> None:
    first = [trial(0, -1.0), trial(1, -2.0, arrangement=0)]
    second = [trial(0, -5.0, entry=1, passed=False)]
    third = [trial(0, -4.0, entry=2, strain=40.0), trial(1, -3.0, entry=2)]
    together = decided(first + second + third)
    for number, alone in enumerate((first, second, third)):
        one = decided([{**each, "entry": 0} for each in alone])
        assert one.stops[0] == together.stops[number]
        assert one.doubts[0] == together.doubts[number]
        if one.stops[0] is None:
            assert one.confidence[0] == pytest.approx(together.confidence[number])
