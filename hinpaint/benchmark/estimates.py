"""Any-of-k from trials made in rounds, where an entry is left alone after its first success: pure functions.

Trials are exchangeable, so "a success among the first k trials" is an unbiased estimate of any-of-k, and it is known at
the end of each round whatever was left out after a success. Within a round all trials of an open entry exist, so there
the draw can be averaged over: with n trials and c successes in the round, k' of them hold one with probability
1 - C(n - c, k') / C(n, k'). Within the first round this is the estimate of :mod:`hinpaint.deciding.les`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hinpaint.crystal import BoolArray, FloatArray, IntArray
from hinpaint.deciding.les import any_of_k, bootstrap_interval


@dataclass(frozen=True)
class Tally:
    """Successes of entries in rounds.

    Attributes:
        ends: (rounds,) number of trials after each round, rising.
        made: (entries, rounds) true where the entry's trials of the round were made.
        hits: (entries, rounds) successes among them.
    """

    ends: tuple[int, ...]
    made: BoolArray
    hits: IntArray

    def any_of(self, k: int) -> tuple[FloatArray, BoolArray]:
        """Estimate any-of-k of each entry.

        Args:
            k: number of trials, at most the last end.

        Returns:
            (entries,) estimate, and (entries,) true where it is only a lower bound: another success ended the entry
            before this kind of success came.
        """
        if not 1 <= k <= self.ends[-1]:
            raise ValueError(f"any-of-k needs 1 <= k <= {self.ends[-1]}, not {k}")
        values = np.zeros(len(self.hits))
        unknown = np.zeros(len(self.hits), dtype=bool)
        for begin, end, made, hits in zip((0, *self.ends), self.ends, self.made.T, self.hits.T, strict=False):
            drawn = min(k, end) - begin
            if drawn <= 0:
                break
            chances = np.array([any_of_k(end - begin, int(c), drawn) for c in hits])
            values = np.where(values < 1, values + (1 - values) * chances, values)
            unknown |= ~made & (values < 1)
        return values, unknown


@dataclass(frozen=True)
class Estimate:
    """A rate over entries.

    Attributes:
        rate: mean over entries.
        low: 2.5 % bootstrap bound over entries.
        high: 97.5 % bound.
        n: entries.
        n_unknown: of these, entries for which it is only a lower bound.
    """

    rate: float
    low: float
    high: float
    n: int
    n_unknown: int = 0


def estimate(values: FloatArray, samples: int, unknown: BoolArray | None = None) -> Estimate:
    """Mean and bootstrap interval of one value an entry."""
    low, high = bootstrap_interval(values, samples)
    n_unknown = 0 if unknown is None else int(unknown.sum())
    return Estimate(float(values.mean()), low, high, len(values), n_unknown)


def complete(n_trials: int, hits: IntArray) -> Tally:
    """All trials of all entries were made: one round."""
    return Tally((n_trials,), np.ones((len(hits), 1), dtype=bool), hits[:, None])


def tally(ends: Sequence[int], keys: Sequence[str], rounds: Sequence[Mapping[str, int]]) -> Tally:
    """Bring together what rounds say.

    Args:
        ends: number of trials after each round.
        keys: the entries.
        rounds: of each round, successes by entry; entries that the round left alone are absent.
    """
    made = np.array([[key in found for found in rounds] for key in keys], dtype=bool).reshape(len(keys), len(rounds))
    hits = np.array([[found.get(key, 0) for found in rounds] for key in keys]).reshape(made.shape)
    return Tally(tuple(ends), made, hits)
