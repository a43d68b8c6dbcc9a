"""Batches of a training: which structures a step sees, and what is hidden in each of them."""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from hinpaint.crystal import Crystal
from hinpaint.training.dataset import HYDROGEN, TrainingSet
from hinpaint.training.loss import Example
from hinpaint.training.settings import TrainingSettings


@dataclass(frozen=True)
class BatchSampler:
    """Draws training batches.

    A batch is a pure function of (seed, step, rank): a resumed training sees the same ones, and no two devices do.

    Attributes:
        data: the structures.
        settings: seed, bounds, shares, mask.
        rank: number of the device that draws.
    """

    data: TrainingSet
    settings: TrainingSettings
    rank: int = 0

    @cached_property
    def pools(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of the structures with and without hydrogen that may be drawn."""
        small = self.data.sizes <= self.settings.max_structure_sites
        hydrogen = self.data.with_element(HYDROGEN)
        return np.flatnonzero(small & hydrogen), np.flatnonzero(small & ~hydrogen)

    def draw(self, step: int) -> tuple[list[Crystal], np.random.Generator]:
        """Draw the batch of a step.

        Args:
            step: number of the optimiser step.

        Returns:
            Crystals with at least one hidden site each, and the generator to go on with (noise, times).
        """
        settings = self.settings
        key = np.array([settings.seed, step], dtype=np.uint64)
        counter = np.array([0, 0, 0, self.rank], dtype=np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key, counter=counter))
        crystals: list[Crystal] = []
        total = 0
        while True:
            wanted, other = self.pools if rng.random() < settings.hydrogen_share else self.pools[::-1]
            pool = wanted if len(wanted) else other
            index = int(pool[rng.integers(len(pool))])
            size = int(self.data.sizes[index])
            if settings.size_power and rng.random() >= size**-settings.size_power:
                continue
            if crystals and total + size > settings.max_batch_sites:
                return crystals, rng
            numbers = self.data.numbers[self.data.sites(index)]
            if settings.mask == "element":
                hidden = hide_element(numbers, rng)
            else:
                hidden = hide_independently(len(numbers), settings.p_known, rng)
            crystals.append(self.data.crystal(index, hidden))
            total += size


@dataclass(frozen=True)
class Steps(Dataset[Example]):
    """The batch of every step, by its number."""

    sampler: BatchSampler

    def __getitem__(self, step: int) -> Example:
        crystals, rng = self.sampler.draw(step)
        return Example.draw(crystals, self.sampler.settings, rng)


def examples(sampler: BatchSampler, first: int, workers: int = 0) -> Iterator[Example]:
    """Batches of the steps from ``first`` to the end of the schedule.

    Args:
        sampler: what decides them.
        first: number of the first step.
        workers: processes that draw ahead, so that a GPU does not wait; 0 draws when a batch is asked for.
    """
    steps = range(first, sampler.settings.steps)
    drawn = DataLoader(
        Steps(sampler), batch_size=None, sampler=steps, num_workers=workers, worker_init_fn=_leave_signals_to_training
    )
    return iter(drawn)


def _leave_signals_to_training(_worker: int) -> None:
    """A signal to the whole group is for the training, which ends with a checkpoint and then ends its workers."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)


def hide_element(numbers: Sequence[int] | NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Hide sites as inference meets them: all sites of one element, the rest known.

    Hydrogen is chosen in nine of ten structures that hold it; an element that fills the whole cell hides half of it.

    Args:
        numbers: (n,) atomic numbers.
        rng: source of randomness.

    Returns:
        (n,) true for hidden sites, at least one.
    """
    array = np.asarray(numbers)
    elements = np.unique(array)
    prefer_hydrogen = HYDROGEN in elements and rng.random() < 0.9
    chosen = HYDROGEN if prefer_hydrogen else int(elements[rng.integers(len(elements))])
    hidden = np.asarray(array == chosen)
    if hidden.all():
        hidden = rng.permutation(len(array)) < max(1, len(array) // 2)
    return hidden


def hide_independently(n_sites: int, p_known: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Hide each site with probability ``1 - p_known``, as published (Reents et al. 2026).

    Returns:
        (n_sites,) true for hidden sites, at least one.
    """
    hidden = rng.random(n_sites) >= p_known
    if not hidden.any():
        hidden[rng.integers(n_sites)] = True
    return hidden
