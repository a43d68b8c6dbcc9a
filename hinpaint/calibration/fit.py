"""Fit of the confidence model, and measures of calibration."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hinpaint.calibration.samples import Samples
from hinpaint.config import Grades
from hinpaint.crystal import BoolArray, FloatArray
from hinpaint.deciding.confidence import FEATURES, GRADES, TARGETS, ConfidenceModel, grade

# Agreement and a far rival speak for a candidate, strain and many sites against it. Few entries can say the opposite by
# accident; such a feature is left out of that model.
_SIGNS = np.array([1.0, 1.0, -1.0, -1.0])
_FOLDS = 10
_REGULARISATION = 1.0  # scikit-learn's C on standardised features: its default
_BINS = 10
_BOOTSTRAP = 1000


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram: mean confidence, share that was right, number of candidates."""

    confidence: float
    right: float
    n: int


def fit(samples: Samples, element: str, max_sites: int) -> ConfidenceModel:
    """Fit one logistic model a target by weighted, regularised maximum likelihood.

    Args:
        samples: candidates whose answers are known.
        element: element they are of.
        max_sites: sites of the largest cell among them.
    """
    mean, scale = samples.values.mean(axis=0), samples.values.std(axis=0) + 1e-9
    intercepts, weights = [], []
    for target in range(len(TARGETS)):
        intercept, weight = _logistic((samples.values - mean) / scale, samples.right[:, target], samples.weight)
        weights.append(weight / scale)
        intercepts.append(intercept - float(weights[-1] @ mean))
    return ConfidenceModel(np.array(intercepts), np.array(weights), mean, element, max_sites)


def _logistic(standard: FloatArray, right: BoolArray, weight: FloatArray) -> tuple[float, FloatArray]:
    """Intercept and weights (features,) of one model; features of the wrong sign are taken out one after the other."""
    from sklearn.linear_model import LogisticRegression

    kept = np.ones(len(FEATURES), dtype=bool)
    while True:
        model = LogisticRegression(C=_REGULARISATION, max_iter=1000)
        model.fit(standard[:, kept], right, sample_weight=weight)
        weights = np.zeros(len(FEATURES))
        weights[kept] = model.coef_[0]
        wrong = weights * _SIGNS
        if wrong.min() >= 0.0:
            return float(model.intercept_[0]), weights
        kept[int(wrong.argmin())] = False


def cross_validate(samples: Samples, element: str, max_sites: int) -> tuple[Samples, FloatArray]:
    """Confidence of each whole entry by models that saw no entry of its formula.

    Returns:
        The samples of whole entries, and their confidence (entries, 2).
    """
    from sklearn.model_selection import GroupKFold

    confidence = np.full((len(samples.weight), len(TARGETS)), np.nan)
    folds = GroupKFold(min(_FOLDS, len(set(samples.formula))))
    for train, test in folds.split(samples.values, groups=samples.formula):
        seen = np.zeros(len(samples.weight), dtype=bool)
        seen[train] = True
        confidence[test] = fit(samples.take(seen), element, max_sites).predict(samples.values[test])
    return samples.take(samples.is_whole), confidence[samples.is_whole]


def reliability(confidence: FloatArray, right: BoolArray) -> list[Bin]:
    """Candidates in ten bins of equal width by their confidence (n,); empty bins are left out."""
    which = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    groups = [which == number for number in range(_BINS)]
    return [Bin(float(confidence[g].mean()), float(right[g].mean()), int(g.sum())) for g in groups if g.any()]


def calibration_error(confidence: FloatArray, right: BoolArray) -> float:
    """Expected calibration error: mean distance of confidence and share right over the bins, weighted by their number.

    Naeini et al., AAAI 2015. Of few candidates even perfect confidences have one above 0.
    """
    bins = reliability(confidence, right)
    return float(sum(each.n * abs(each.confidence - each.right) for each in bins) / len(confidence))


def measures(samples: Samples, confidence: FloatArray, grades: Grades) -> dict[str, Any]:
    """What a confidence is worth on entries whose answers are known: the numbers of the card.

    Args:
        samples: whole entries.
        confidence: (n, 2) for the two targets.
        grades: thresholds.
    """
    found: dict[str, Any] = {"n_candidates": len(confidence)}
    for number, target in enumerate(TARGETS):
        found[target] = _target_measures(confidence[:, number], samples.right[:, number])
    names = np.array(grade(confidence[:, 0], samples.needs_review, grades))
    for name in GRADES:
        chosen = names == name
        n = int(chosen.sum())
        found[name] = {
            "share": round(float(chosen.mean()), 4),
            "n": n,
            "right_match": _share(samples.right[chosen, 0]),
            "right_match_interval": share_interval(int(samples.right[chosen, 0].sum()), n) if n else None,
            "right_strict": _share(samples.right[chosen, 1]),
        }
    return found


def _target_measures(confidence: FloatArray, right: BoolArray) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    picks = rng.integers(len(right), size=(_BOOTSTRAP, len(right)))
    brier = (confidence - right) ** 2
    low, high = np.percentile(brier[picks].mean(axis=1), [2.5, 97.5])
    perfect = [calibration_error(confidence, rng.random(len(right)) < confidence) for _ in range(_BOOTSTRAP)]
    return {
        "base_rate": round(float(right.mean()), 4),
        "mean_confidence": round(float(confidence.mean()), 4),
        "brier": round(float(brier.mean()), 4),
        "brier_interval": [round(float(low), 4), round(float(high), 4)],
        "brier_of_base_rate": round(float(right.mean() * (1 - right.mean())), 4),
        "calibration_error": round(calibration_error(confidence, right), 4),
        "calibration_error_of_perfect": [round(float(v), 4) for v in np.percentile(perfect, [50, 95])],
        "bins": [[round(b.confidence, 4), round(b.right, 4), b.n] for b in reliability(confidence, right)],
    }


def _share(right: BoolArray) -> float | None:
    return round(float(right.mean()), 4) if len(right) else None


def share_interval(n_right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share by Clopper and Pearson, which stays honest where everything was right."""
    from scipy.stats import binomtest

    bounds = binomtest(n_right, n).proportion_ci(method="exact")
    return round(float(bounds.low), 4), round(float(bounds.high), 4)


def coefficients(model: ConfidenceModel) -> dict[str, Any]:
    """Intercepts and weights by name, as the card holds them."""
    return {
        target: {
            "intercept": round(float(model.intercept[number]), 6),
            "weights": {name: round(float(w), 6) for name, w in zip(FEATURES, model.weights[number], strict=True)},
        }
        for number, target in enumerate(TARGETS)
    }
