import json
from pathlib import Path

import numpy as np
import pytest

from hinpaint.calibration.fit import calibration_error, cross_validate, fit, measures, reliability
from hinpaint.calibration.samples import Samples
from hinpaint.calibration.text import with_numbers
from hinpaint.config import Grades
from hinpaint.deciding.confidence import FEATURES, Agreement, ConfidenceModel, features, grade, shipped

ROOT = Path(__file__).parents[2]
CARD = json.loads((ROOT / "hinpaint/models/confidence.json").read_text())


def confidence(n_trials: int, n_agree: int, gap: float = np.nan, strain: float = 0.5, n_unknown: int = 2) -> float:
    one = np.array([1])
    found = Agreement(0 * one, n_trials * one, n_trials * one, n_agree * one, one, gap * np.ones(1))
    return float(shipped().predict(features(found, strain * np.ones(1), n_unknown * one))[0, 0])


def test_what_speaks_for_a_candidate_raises_its_confidence() -> None:
    assert confidence(10, 10) > confidence(10, 5) > confidence(10, 1)
    assert confidence(30, 30) > confidence(3, 3) > confidence(1, 1)
    assert confidence(10, 5, gap=30.0) >= confidence(10, 5, gap=0.1)  # too few rivals to weigh it
    assert confidence(3, 3, strain=0.0) > confidence(3, 3, strain=10.0) >= confidence(3, 3, strain=30.0)
    assert 0.0 < confidence(30, 1, 0.0, 500.0) < confidence(30, 30, 50.0, 0.0) < 1.0


def test_what_is_not_known_counts_as_usual() -> None:
    usual = float(np.expm1(CARD["mean"]["strain"]))
    assert confidence(3, 3, strain=np.nan) == pytest.approx(confidence(3, 3, strain=usual))


def test_strict_is_never_more_sure() -> None:
    values = np.random.default_rng(0).normal(0, 3, (200, len(FEATURES)))
    predicted = shipped().predict(values)
    assert (predicted[:, 1] <= predicted[:, 0]).all()


def test_grades() -> None:
    found = grade(
        np.array([0.95, 0.95, 0.5, 0.1]), np.array([False, True, False, True]), Grades(accept=0.9, reject=0.3)
    )
    assert found == ["accept", "review", "review", "reject"]
    with pytest.raises(ValueError, match="below accept"):
        Grades(accept=0.5, reject=0.6)


def test_a_card_for_other_features_is_refused() -> None:
    with pytest.raises(ValueError, match="other features"):
        ConfidenceModel.from_card({**CARD, "features": ["luck"]})


def test_the_card_says_what_it_reaches() -> None:
    for name in ("cross_validated", "checked"):
        if CARD[name] is not None:
            assert CARD[name]["n_candidates"] > 50
            assert CARD[name]["accept"]["right_match"] >= 0.95
            assert CARD[name]["match"]["brier"] <= CARD[name]["match"]["brier_of_base_rate"] + 0.005
    assert CARD["fitted_on"]["n_entries"] > 50


def test_the_documentation_holds_the_numbers_of_the_card() -> None:
    text = (ROOT / "docs/confidence.md").read_text()
    assert with_numbers(text, CARD) == text
    with pytest.raises(ValueError, match="no <!-- numbers"):
        with_numbers("a document", CARD)


def made_up(n: int, seed: int) -> tuple[Samples, np.ndarray]:
    """Entries whose true chance follows the features."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (n, len(FEATURES)))
    chance = 1 / (1 + np.exp(-(1.0 + values @ [1.0, 0.5, -1.5, -0.5])))
    right = rng.random((n, 2)) < np.stack([chance, 0.8 * chance], axis=1)
    everyone = np.ones(n, dtype=bool)
    formulas = [str(i // 2) for i in range(n)]
    return Samples(values, right, np.ones(n), everyone, ~everyone, formulas, [str(i) for i in range(n)]), chance


def test_fit_finds_the_chance_back() -> None:
    samples, chance = made_up(1000, 0)
    model = fit(samples, "H", 12)
    assert np.abs(model.predict(samples.values)[:, 0] - chance).mean() < 0.04
    whole, predicted = cross_validate(samples, "H", 12)
    assert len(whole.key) == 1000
    assert calibration_error(predicted[:, 0], whole.right[:, 0]) < 0.05
    found = measures(whole, predicted, Grades())
    assert found["match"]["brier"] < found["match"]["brier_of_base_rate"] - 0.05
    assert sum(found[name]["n"] for name in ("accept", "review", "reject")) == 1000


def test_formulas_stay_together() -> None:
    """Labels that only the formula tells cannot be predicted across folds."""
    samples, _ = made_up(200, 1)
    coin = np.random.default_rng(2).random(100) < 0.5
    right = np.repeat(coin, 2)[:, None] & np.ones(2, dtype=bool)
    told = Samples(samples.values, right, *(getattr(samples, n) for n in ("weight", "is_whole", "needs_review")),
                   samples.formula, samples.key)  # fmt: skip
    _, predicted = cross_validate(told, "H", 12)
    assert ((predicted[:, 0] - right[:, 0]) ** 2).mean() > 0.2


def test_calibration_error_by_hand() -> None:
    confidences, right = np.array([0.05, 0.05, 0.95, 0.95]), np.array([False, True, True, True])
    assert [(b.n, b.right) for b in reliability(confidences, right)] == [(2, 0.5), (2, 1.0)]
    assert calibration_error(confidences, right) == pytest.approx(0.5 * 0.45 + 0.5 * 0.05)
