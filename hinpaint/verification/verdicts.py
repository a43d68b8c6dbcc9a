"""What DFT energies say of a potential's verdicts: pure functions, no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np

from hinpaint.crystal import FloatArray
from hinpaint.deciding.les import Rate, bootstrap_interval

Kind = Literal["energetic", "control", "neither"]
Verdict = Literal["confirmed", "refuted", "undecided"]
TRUSTED_SHARE = 0.95
"""A potential's verdict is believed from that delta on above which this share of the signs is DFT's."""
_Z = 1.959963984540054  # of a 95 % interval


def verdict(kind: str, delta_dft: float, margin: float) -> Verdict:
    """What DFT says of a potential's claim.

    That a candidate is lower (``energetic``) is confirmed below minus the margin and refuted above it. A ``control``
    claims that it is the reference, which holds unless it lies above the reference by more than the margin; ``neither``
    claims that it is not lower.

    Args:
        kind: what the claim is.
        delta_dft: candidate minus reference by DFT, meV per atom.
        margin: differences up to this cannot be told from none.
    """
    if kind == "neither":
        return "refuted" if delta_dft < -margin else "confirmed"
    if delta_dft > margin:
        return "refuted"
    return "confirmed" if kind == "control" or delta_dft < -margin else "undecided"


@dataclass(frozen=True)
class Errors:
    """How a potential's deltas differ from DFT's, meV per atom; None without pairs.

    Attributes:
        n_pairs: pairs compared.
        mean: mean of potential minus DFT.
        rms: root mean square of that.
        median: median of its absolute value.
        sign_agreement: share of pairs with equal signs.
        trust_from: see :func:`trust_from`.
    """

    n_pairs: int
    mean: float | None
    rms: float | None
    median: float | None
    sign_agreement: float | None
    trust_from: float | None


def compare(potential: FloatArray, dft: FloatArray) -> Errors:
    """Compare deltas of a potential with DFT's, (n,) meV per atom."""
    if not len(potential):
        return Errors(0, None, None, None, None, None)
    error = potential - dft
    return Errors(
        n_pairs=len(error),
        mean=float(error.mean()),
        rms=float(np.sqrt((error**2).mean())),
        median=float(np.median(np.abs(error))),
        sign_agreement=float((np.sign(potential) == np.sign(dft)).mean()),
        trust_from=trust_from(potential, dft),
    )


def trust_from(potential: FloatArray, dft: FloatArray, share: float = TRUSTED_SHARE) -> float | None:
    """The smallest size of a potential's delta from which on its sign is to be believed.

    Of all pairs whose delta by the potential is at least so large, ``share`` or more have DFT's sign. With few pairs it
    is a rough number.

    Args:
        potential: (n,) candidate minus reference by the potential, meV per atom.
        dft: (n,) the same by DFT.
        share: of the signs that have to agree.

    Returns:
        A size among those given; None when there is none.
    """
    order = np.argsort(-np.abs(potential), kind="stable")
    size = np.abs(potential)[order]
    agree = (np.sign(potential) == np.sign(dft))[order]
    shares = np.cumsum(agree) / np.arange(1, len(agree) + 1)
    last_of_size = np.append(size[1:] < size[:-1], True)  # pairs of one size stand or fall together
    good = np.flatnonzero(last_of_size & (shares >= share))
    return float(size[good[-1]]) if len(good) else None


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson, J. Am. Stat. Assoc. 22, 209, 1927): honest where all of a few agree.

    Raises:
        ValueError: not 0 <= successes <= n or n is 0.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"no share of {successes} in {n}")
    share = successes / n
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Subject:
    """One entry with a reference.

    Attributes:
        kind: what the LES of its candidate rests on.
        verdict: DFT's; None where there is none.
    """

    kind: str
    verdict: str | None


def confirmed_rates(subjects: Sequence[Subject], k: int, bootstrap: int) -> list[Rate]:
    """LES of released candidates, with DFT having the last word on energetic ones.

    Args:
        subjects: all entries with a reference, verified or not.
        k: trials an entry.
        bootstrap: samples of the intervals over entries.

    Returns:
        Rows of ``les_summary``; none where no energetic match and no control was verified.
    """
    verdicts = [each.verdict for each in subjects if each.kind == "energetic" and each.verdict]
    controls = [each.verdict for each in subjects if each.kind == "control" and each.verdict]
    names = ("confirmed", "refuted", "undecided")
    shares = [_share(f"dft_{name}", k, verdicts.count(name), len(verdicts)) for name in names]
    shares.append(_share("dft_control", k, controls.count("confirmed"), len(controls)))
    found = [rate for rate in shares if rate is not None]
    if not found:
        return []
    for metric, counted in (("confirmed", ("confirmed",)), ("not_refuted", ("confirmed", "undecided", None))):
        values = np.array([_holds(each, counted) for each in subjects], dtype=np.float64)
        found.append(
            Rate(f"released_les_{metric}", k, float(values.mean()), *bootstrap_interval(values, bootstrap), len(values))
        )
    if verdicts:
        found.append(_expected(subjects, verdicts.count("confirmed"), len(verdicts), k, bootstrap))
    return found


def _holds(subject: Subject, counted: Sequence[str | None]) -> bool:
    """A structural match stands by itself; an energetic one by what DFT says."""
    return subject.kind == "control" or (subject.kind == "energetic" and subject.verdict in counted)


def _share(metric: str, k: int, successes: int, n: int) -> Rate | None:
    return Rate(metric, k, successes / n, *wilson(successes, n), n) if n else None


def _expected(
    subjects: Sequence[Subject], confirmed: int, n_verified: int, k: int, bootstrap: int, seed: int = 0
) -> Rate:
    """LES with every energetic match counted by the confirmed share; entries and verified ones are drawn anew."""
    n = len(subjects)
    n_structural = sum(each.kind == "control" for each in subjects)
    n_energetic = sum(each.kind == "energetic" for each in subjects)
    share = confirmed / n_verified
    generator = np.random.default_rng(seed)
    chances = np.array([n_structural, n_energetic, n - n_structural - n_energetic]) / n
    drawn = generator.multinomial(n, chances, size=bootstrap)
    # The share has a posterior even where all of a few agree (Jeffreys' prior).
    shares = generator.beta(confirmed + 0.5, n_verified - confirmed + 0.5, size=bootstrap)
    low, high = np.percentile((drawn[:, 0] + drawn[:, 1] * shares) / n, [2.5, 97.5])
    return Rate("released_les_expected", k, (n_structural + n_energetic * share) / n, float(low), float(high), n)
