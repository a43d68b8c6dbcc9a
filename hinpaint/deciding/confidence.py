"""How sure a released candidate is: a small calibrated model on what its trials say, never on a reference.

Four numbers of an entry enter two logistic models, one for the published match and one for the strict distance. They
are shipped as JSON with the record of how they were fitted and what they reach (``docs/confidence.md``); evaluating
them needs NumPy alone. :mod:`hinpaint.calibration` fits them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from hinpaint.config import Grades
from hinpaint.crystal import BoolArray, FloatArray, IntArray
from hinpaint.deciding.les import Verdicts, released

FEATURES = ("agreement", "gap", "strain", "n_unknown")
TARGETS = ("match", "strict")
GRADES = ("accept", "review", "reject")
"""What a grade can be, the best first."""

_GAP_MEV_PER_ATOM = 50.0  # beyond this a rival is no rival
_STRAIN_MEV_PER_ATOM = 10.0  # beyond this more of it says no more: best of five bounds in cross-validation


@dataclass(frozen=True)
class Agreement:
    """What the trials of each entry say together, (entries,); without a candidate the numbers mean nothing.

    Attributes:
        chosen: row of the candidate in the verdicts, ``NO_TRIAL`` without one.
        n_trials: model trials, failed ones counted.
        n_passed: of these, trials that could be released.
        n_agree: of these, trials in the candidate's arrangement, itself included.
        n_arrangements: different arrangements among those that could be released.
        gap_mev_per_atom: lowest of the other arrangements above the candidate, fully relaxed; NaN without another one.
    """

    chosen: IntArray
    n_trials: IntArray
    n_passed: IntArray
    n_agree: IntArray
    n_arrangements: IntArray
    gap_mev_per_atom: FloatArray


def agreement(verdicts: Verdicts, arrangement: IntArray, n_sites: IntArray) -> Agreement:
    """Compare the trials of each entry with its candidate.

    Args:
        verdicts: one a trial; controls are left out of every count.
        arrangement: (n,) number of each trial's arrangement in its entry.
        n_sites: (entries,) sites in the task's cell.
    """
    n_entries, able = verdicts.n_entries, verdicts.able
    chosen = released(verdicts)
    same = able & (arrangement == arrangement[chosen][verdicts.entry])
    pairs = np.unique(np.stack([verdicts.entry[able], arrangement[able]], axis=1), axis=0)
    rival = np.full(n_entries, np.inf)
    others = able & ~same
    np.minimum.at(rival, verdicts.entry[others], verdicts.energy_ev[others])
    gap = 1000.0 * (rival - verdicts.energy_ev[chosen]) / n_sites
    return Agreement(
        chosen=chosen,
        n_trials=np.bincount(verdicts.entry[verdicts.is_trial], minlength=n_entries),
        n_passed=np.bincount(verdicts.entry[able], minlength=n_entries),
        n_agree=np.bincount(verdicts.entry[same], minlength=n_entries),
        n_arrangements=np.bincount(pairs[:, 0], minlength=n_entries),
        gap_mev_per_atom=np.where(np.isfinite(rival), gap, np.nan),
    )


def features(found: Agreement, strain_mev_per_atom: FloatArray, n_unknown: IntArray) -> FloatArray:
    """The numbers that the models see, (entries, 4), in the order of ``FEATURES``.

    - agreement: log odds of the other trials reaching the candidate's arrangement, half a trial added to either side,
      so that one trial says nothing and many say more than few;
    - gap: log of the gap to the next arrangement in meV/atom, 0 without one;
    - strain: log of what the host gains, in meV/atom, once it may relax too: sites in a wrong place do not fit it;
    - n_unknown: log of the number of sites.

    Args:
        found: what the trials say together.
        strain_mev_per_atom: (entries,) energy gained by the candidate's full relaxation; NaN when there was none.
        n_unknown: (entries,) placed sites.
    """
    agree, n_trials = np.maximum(found.n_agree, 1), np.maximum(found.n_trials, 1)
    gap = np.clip(np.nan_to_num(found.gap_mev_per_atom, nan=0.0), 0.0, _GAP_MEV_PER_ATOM)
    columns = [
        np.log((agree - 0.5) / (n_trials - agree + 0.5)),
        np.log1p(gap),
        np.log1p(np.clip(strain_mev_per_atom, 0.0, _STRAIN_MEV_PER_ATOM)),
        np.log(n_unknown),
    ]
    return np.stack(columns, axis=1).astype(np.float64)


@dataclass(frozen=True)
class ConfidenceModel:
    """Two logistic models.

    Attributes:
        intercept: (2,) for each of ``TARGETS``.
        weights: (2, 4) for each target and feature.
        mean: (4,) of the features in the fit; stands in for one that is not known.
        element: element they were fitted on.
        max_sites: sites of the largest cell they were fitted on.
    """

    intercept: FloatArray
    weights: FloatArray
    mean: FloatArray
    element: str
    max_sites: int

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> "ConfidenceModel":
        """Read the models out of a card.

        Raises:
            ValueError: the card is for other features.
        """
        if tuple(card["features"]) != FEATURES:
            raise ValueError(f"the confidence model is for other features: {', '.join(card['features'])}")
        models = [card["models"][target] for target in TARGETS]
        weights = [[each["weights"][name] for name in FEATURES] for each in models]
        return cls(
            intercept=np.array([each["intercept"] for each in models], dtype=np.float64),
            weights=np.array(weights, dtype=np.float64),
            mean=np.array([card["mean"][name] for name in FEATURES], dtype=np.float64),
            element=card["element"],
            max_sites=int(card["max_sites"]),
        )

    def predict(self, values: FloatArray) -> FloatArray:
        """Confidence in the published match and in the strict distance, (entries, 2), from features (entries, 4).

        Who is near to 0.3 Å also matches, so the second is never above the first.
        """
        values = np.where(np.isnan(values), self.mean, values)
        confidence = 1.0 / (1.0 + np.exp(-(values @ self.weights.T + self.intercept)))
        confidence[:, 1] = confidence.min(axis=1)
        return np.asarray(confidence, dtype=np.float64)


@cache
def shipped() -> ConfidenceModel:
    """The model that comes with hinpaint."""
    text = (resources.files("hinpaint") / "models/confidence.json").read_text(encoding="utf-8")
    return ConfidenceModel.from_card(json.loads(text))


def grade(confidence: FloatArray, needs_review: BoolArray, grades: Grades) -> list[str]:
    """`accept`, `review` or `reject` for each candidate.

    Args:
        confidence: (entries,) in the published match.
        needs_review: (entries,) a doubt keeps the candidate from `accept`.
        grades: thresholds.
    """
    accepted = (confidence >= grades.accept) & ~needs_review
    names = np.where(accepted, "accept", np.where(confidence < grades.reject, "reject", "review"))
    return [str(name) for name in names]
