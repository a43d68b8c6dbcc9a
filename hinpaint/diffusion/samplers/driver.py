"""Jobs to batches, batches to placements."""

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress

import numpy as np
import torch
from ase.data import atomic_numbers

from hinpaint.crystal import FloatArray
from hinpaint.diffusion.checkpoints import LoadedModel
from hinpaint.diffusion.samplers.chance import place_at_random
from hinpaint.diffusion.samplers.family import denoise
from hinpaint.diffusion.samplers.jobs import Placement, PlacementJob
from hinpaint.sampling import Sampler
from hinpaint.whynot import Reason, Stop

_LARGEST_ATOMIC_NUMBER = 100  # rows of MatterGen's atom embedding
_CPU_BATCH_ATOMS = 128  # larger batches fall out of the cache and become slower, see docs/benchmarks.md


def make_batches(jobs: Sequence[PlacementJob], settings: Sampler, max_neighbors: int) -> list[list[PlacementJob]]:
    """Group jobs of similar size into batches bounded by atoms and by edges; a job over the bound runs alone.

    Args:
        jobs: trials in any order.
        settings: ``max_atoms`` and ``max_edges``.
        max_neighbors: neighbours the network keeps per site, which bounds the edges.
    """
    # The symmetric graph keeps a bond that either end asks for, hence up to twice max_neighbors edges a site.
    bound = max(1, min(settings.max_atoms, settings.max_edges // (2 * max_neighbors)))
    batches: list[list[PlacementJob]] = []
    room = 0
    for job in sorted(jobs, key=lambda j: (j.n_sites, j.key, j.trial)):
        if not batches or job.n_sites > room:
            batches.append([])
            room = bound
        batches[-1].append(job)
        room -= job.n_sites
    return batches


def place(
    jobs: Sequence[PlacementJob], settings: Sampler, seed: int, model: LoadedModel | None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Iterator[Placement]:  # fmt: skip
    """Sample all jobs with the configured sampler: :func:`place_batches`, one placement after the other."""
    for batch in place_batches(jobs, settings, seed, model, progress):
        yield from batch


def place_batches(
    jobs: Sequence[PlacementJob], settings: Sampler, seed: int, model: LoadedModel | None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    finished: Container[tuple[str, int]] = (),
) -> Iterator[list[Placement]]:  # fmt: skip
    """Sample jobs with the configured sampler, a batch at a time.

    Args:
        jobs: trials in any order, finished ones too: batches are the same whatever was finished before.
        settings: sampler and batch bounds.
        seed: seed of the run.
        model: the score network; not needed for ``random``.
        progress: called with (network evaluations done, in all) of the current batch.
        finished: (key, trial) of the jobs to leave out.

    Yields:
        Placements of one batch; one for each job that is not finished, in no particular order.

    Raises:
        ModelError: the sampler cannot use weights of this kind.
    """
    if settings.name == "random":
        yield from ([place_at_random(job, seed)] for job in jobs if (job.key, job.trial) not in finished)
        return
    possible = []
    for job in jobs:
        stop = _unsupported(job)
        if stop is None:
            possible.append(job)
        elif (job.key, job.trial) not in finished:
            yield [Placement(job, None, stop)]
    if all((job.key, job.trial) in finished for job in possible):
        return
    if model is None:
        raise ValueError(f"sampler {settings.name} needs a model")
    on_cpu = next(model.network.parameters()).device.type == "cpu"
    most = min(settings.max_atoms, _CPU_BATCH_ATOMS) if on_cpu else settings.max_atoms
    bounds = settings.model_copy(update={"max_atoms": most})
    for batch in _open_batches(possible, bounds, model.network.settings.max_neighbors, finished):
        yield _place_batch(batch, settings, seed, model, progress)


def _open_batches(
    jobs: Sequence[PlacementJob], settings: Sampler, max_neighbors: int, finished: Container[tuple[str, int]]
) -> list[list[PlacementJob]]:
    """Batches that are left to do.

    Batches of all jobs, less those that are finished: after an interruption the same batches run as without it, which
    gives the same numbers to the last bit. Where only a part of a batch is finished (``trials`` was raised), what is
    left of such batches is batched anew, so that they are full.
    """
    whole: list[list[PlacementJob]] = []
    rest: list[PlacementJob] = []
    for batch in make_batches(jobs, settings, max_neighbors):
        left = [job for job in batch if (job.key, job.trial) not in finished]
        if len(left) == len(batch):
            whole.append(batch)
        else:
            rest += left
    return whole + make_batches(rest, settings, max_neighbors)


def _unsupported(job: PlacementJob) -> Stop | None:
    for symbol in {*job.host.species, job.element}:
        if not 1 <= atomic_numbers.get(symbol, 0) <= _LARGEST_ATOMIC_NUMBER:
            return Stop(Reason.UNSUPPORTED_ELEMENT, f"the network does not know {symbol}")
    return None


def _place_batch(
    jobs: list[PlacementJob], settings: Sampler, seed: int, model: LoadedModel, progress: Callable[[int, int], None]
) -> list[Placement]:
    """Sample one batch; when memory runs out the batch is halved, down to single jobs."""
    sampled = None
    with suppress(torch.cuda.OutOfMemoryError, MemoryError):
        sampled = denoise(jobs, settings, seed, model, progress)
    if sampled is None:  # beyond the handler, where the exception no longer holds the tensors of the whole batch
        if len(jobs) == 1:
            detail = f"{jobs[0].n_sites} sites do not fit into memory"
            return [Placement(jobs[0], None, Stop(Reason.OUT_OF_MEMORY, detail))]
        middle = len(jobs) // 2
        return [
            *_place_batch(jobs[:middle], settings, seed, model, progress),
            *_place_batch(jobs[middle:], settings, seed, model, progress),
        ]
    return [_checked(job, frac, sampled.n_evaluations) for job, frac in zip(jobs, sampled.frac, strict=True)]


def _checked(job: PlacementJob, frac: FloatArray, n_evaluations: int) -> Placement:
    if not np.isfinite(frac).all():
        stop = Stop(Reason.NOT_FINITE, "the sampler produced a coordinate that is not a number")
        return Placement(job, None, stop, n_evaluations)
    return Placement(job, frac, None, n_evaluations)
