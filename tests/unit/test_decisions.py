import pytest

from hinpaint.les import TrialVerdict
from hinpaint.stages.aggregate import decide


def row(trial: int, mode: str = "reconstruct", **other) -> dict:
    base = {"entry_key": "d|1|x", "mode": mode, "trial": trial, "element": "H", "n_unknown": 1, "n_sites": 4,
            "h_only_frac": [0.0] * 9 + [0.1 * trial, 0.2, 0.3], "potential": "p",
            "supercell": [1, 0, 0, 0, 1, 0, 0, 0, 1]}  # fmt: skip
    return {**base, "model_sha256": "m", "delta_h_only": None, **other}


def verdict(trial: int, energy: float, delta: float | None = None, **other) -> TrialVerdict:
    values = {"passed": True, "settled": True, **other}
    return TrialVerdict(trial, energy_ev=energy, delta_e_mev_per_atom=delta, **values)


def test_lowest_energy_is_completed_with_its_own_sites() -> None:
    decision, stop = decide([row(0), row(1), row(2)], [verdict(0, -1.0), verdict(1, -3.0), verdict(2, -2.999)], 1.0)
    assert stop is None
    assert (decision["action"], decision["trial"]) == ("completed", 1)
    assert decision["frac_unknown"] == pytest.approx([0.1, 0.2, 0.3])
    assert (decision["n_passed"], decision["n_agree"]) == (3, 2)


def test_sites_of_the_primitive_cell_fill_the_source_cell() -> None:
    doubled = [row(0, supercell=[2, 0, 0, 0, 1, 0, 0, 0, 1], h_only_frac=[0.0] * 9 + [0.4, 0.2, 0.3])]
    decision, _ = decide(doubled, [verdict(0, -1.0)], 1.0)
    assert decision["frac_unknown"] == pytest.approx([0.2, 0.2, 0.3, 0.7, 0.2, 0.3])


def test_controls_never_decide() -> None:
    decision, stop = decide([row(-2), row(0)], [verdict(-2, -9.0), verdict(0, -1.0, passed=False)], 1.0)
    assert decision is None
    assert (stop["reason"], stop["trial"]) == ("no_candidate", None)
    assert "none of 1 trials" in stop["detail"]


@pytest.mark.parametrize(
    ("delta", "delta_h_only", "action"),
    [(-5.0, -4.0, "replaced"), (-0.5, -4.0, None), (3.0, 3.0, None), (-5.0, 2.0, None), (None, None, None)],
)
def test_audited_entry_changes_only_when_it_gets_better(
    delta: float | None, delta_h_only: float | None, action: str | None
) -> None:
    decision, stop = decide([row(0, "audit", delta_h_only=delta_h_only)], [verdict(0, -1.0, delta)], 1.0)
    if action:
        assert decision["action"] == action
    else:
        assert stop["reason"] == "not_better"


def test_benchmark_changes_nothing() -> None:
    decision, _ = decide([row(0, "benchmark")], [verdict(0, -1.0, -50.0)], 1.0)
    assert decision["action"] == "unchanged"
