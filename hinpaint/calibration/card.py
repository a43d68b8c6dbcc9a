"""The card of a confidence model: what it is, on what it was fitted, what it reaches."""

from importlib.metadata import version
from typing import Any

import numpy as np

from hinpaint.calibration.fit import coefficients, cross_validate, fit, measures
from hinpaint.calibration.samples import Run
from hinpaint.deciding.confidence import FEATURES


def make_card(fitted_on: Run, check: Run | None) -> dict[str, Any]:
    """Fit, cross-validate by formula, check on a run that was not seen, and write everything down.

    Args:
        fitted_on: run to fit on.
        check: run to check on; formulas of the first one are left out of it.

    Raises:
        ValueError: nothing of the run to check on is new.
    """
    element, grades = fitted_on.config.element, fitted_on.config.grades
    model = fit(fitted_on.samples, element, fitted_on.max_sites)
    checked = None
    if check is not None:
        seen = set(fitted_on.samples.formula)
        is_new = [formula not in seen for formula in check.samples.formula]
        unseen = check.samples.take(check.samples.is_whole & np.array(is_new, dtype=bool))
        if not unseen.key:
            raise ValueError("the run to check on holds no formula that the fit has not seen")
        checked = {**_run(check), **measures(unseen, model.predict(unseen.values), grades)}
    return {
        "name": "confidence",
        "what": "logistic models of: the released candidate is the reference by the published match; every placed site"
        " lies within the strict distance, both after the hydrogen-only relaxation",
        "features": list(FEATURES),
        "models": coefficients(model),
        "mean": {name: round(float(value), 6) for name, value in zip(FEATURES, model.mean, strict=True)},
        "element": element,
        "max_sites": fitted_on.max_sites,
        "fitted_on": _run(fitted_on),
        "method": f"scikit-learn {version('scikit-learn')} LogisticRegression (L2, C = 1, standardised features); every"
        " subset of an entry's trials is a sample, the entry's weight is 1; folds by reduced formula",
        "grades": grades.model_dump(),
        "cross_validated": measures(*cross_validate(fitted_on.samples, element, fitted_on.max_sites), grades),
        "checked": checked,
    }


def _run(run: Run) -> dict[str, Any]:
    config = run.config
    return {
        "run": config.run,
        "sources": [f"{source.database} {source.version}" for source in config.sources],
        "n_entries": run.n_entries,
        "n_without_candidate": run.n_entries - run.n_candidates,
        "trials": config.trials,
        "sampler": config.sampler.model_dump(),
        "model_sha256": run.model_sha256,
        "potential": run.potential,
        "relax": config.relax.model_dump(),
        "strict_a": config.les.strict_a,
    }
