"""Placing the unknown sites of many crystals at once: TD-Paint denoising and random placement.

Every trial draws its noise from its own stream (:mod:`hinpaint.rng`), and nothing in a step mixes crystals, so a trial
does not depend on what shares its batch. The host is never written to.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase.data import atomic_numbers, covalent_radii
from torch import Tensor

from hinpaint.config import Sampler
from hinpaint.crystal import Crystal, FloatArray, minimum_image_distances
from hinpaint.diffusion.checkpoints import LoadedModel, ModelError
from hinpaint.diffusion.graph import Batch
from hinpaint.rng import stream
from hinpaint.whynot import Reason, Stop

_LARGEST_ATOMIC_NUMBER = 100  # rows of MatterGen's atom embedding
_RADII_SHARE = 0.8  # of the sum of covalent radii: shorter contacts are not chemistry
_PLACEMENT_TRIES = 500
_CPU_BATCH_ATOMS = 128  # larger batches fall out of the cache and become slower, see docs/benchmarks.md


@dataclass(frozen=True)
class PlacementJob:
    """One trial to sample.

    Attributes:
        key: what is sampled, the hash of the task's host in a run; part of the random stream's name.
        trial: trial number; part of the random stream's name.
        host: the known sites.
        element: element to place.
        n_unknown: number of sites to place, at least 1.
    """

    key: str
    trial: int
    host: Crystal
    element: str
    n_unknown: int

    @property
    def n_sites(self) -> int:
        """Sites of the completed crystal."""
        return self.host.n_sites + self.n_unknown


@dataclass(frozen=True)
class Placement:
    """Outcome of one trial: coordinates, or the reason why there are none.

    Attributes:
        job: what was asked for.
        frac_unknown: (n_unknown, 3) fractional coordinates within [0, 1), or None.
        stop: the reason when there are none.
    """

    job: PlacementJob
    frac_unknown: FloatArray | None
    stop: Stop | None = None


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
    if model.conditioning != "td":
        raise ModelError(f"{model.name} has one noise level per crystal; sampler {settings.name} needs one per site")
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
    try:
        sampled = denoise(jobs, settings, seed, model, progress)
    except (torch.cuda.OutOfMemoryError, MemoryError):
        if len(jobs) == 1:
            detail = f"{jobs[0].n_sites} sites do not fit into memory"
            return [Placement(jobs[0], None, Stop(Reason.OUT_OF_MEMORY, detail))]
        middle = len(jobs) // 2
        return [
            *_place_batch(jobs[:middle], settings, seed, model, progress),
            *_place_batch(jobs[middle:], settings, seed, model, progress),
        ]
    return [_checked(job, frac) for job, frac in zip(jobs, sampled, strict=True)]


def _checked(job: PlacementJob, frac: FloatArray) -> Placement:
    if not np.isfinite(frac).all():
        return Placement(job, None, Stop(Reason.NOT_FINITE, "the sampler produced a coordinate that is not a number"))
    return Placement(job, frac)


@torch.inference_mode()
def denoise(
    jobs: Sequence[PlacementJob], settings: Sampler, seed: int, model: LoadedModel,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[FloatArray]:  # fmt: skip
    """Predictor-corrector sampling of one batch with one noise level per site (TD-Paint).

    Each step runs ``n_corrector`` Langevin steps at the current noise level and one ancestral step to the next one
    (Song et al., arXiv 2011.13456, algorithms 2 and 4); the last step returns the mean. Known sites carry time 0 and
    stay where they are. The Langevin step size is taken from each crystal's own norms.

    Args:
        jobs: trials that fit into memory together.
        settings: ``n_steps``, ``n_corrector``, ``snr``.
        seed: seed of the run.
        model: the score network.
        progress: called after each evaluation with (done, in all).

    Returns:
        (n_unknown, 3) fractional coordinates in [0, 1) for each job.
    """
    device = next(model.network.parameters()).device
    start, noise = _streams(jobs, settings, seed, device)
    crystals = [j.host.add_unknown(j.element, np.zeros((j.n_unknown, 3))) for j in jobs]
    batch = Batch.build(crystals, device)
    unknown = (~batch.known).nonzero().squeeze(1)
    owner = batch.crystal[unknown]
    sites = batch.counts[owner]
    frac = batch.frac.clone()
    frac[unknown] = start

    def score(time: Tensor) -> Tensor:
        """Score of the unknown sites at their current positions, (n_unknown, 3)."""
        t = torch.zeros_like(frac[:, 0])
        t[unknown] = time
        predicted = model.network(batch.with_frac(frac), t)[unknown]
        return torch.div(predicted, model.process.std(time, sites)[:, None])

    times = torch.linspace(1.0, 0.0, settings.n_steps + 1, device=device)
    total, done = settings.n_steps * (settings.n_corrector + 1), 0
    for step in range(settings.n_steps):
        now, later = times[step].expand(len(unknown)), times[step + 1].expand(len(unknown))
        std_now, std_later = model.process.std(now, sites)[:, None], model.process.std(later, sites)[:, None]
        for _ in range(settings.n_corrector):
            move = _langevin(score(now), noise[done], owner, batch.n_crystals, settings.snr, std_now)
            frac[unknown] = (frac[unknown] + move) % 1.0
            done += 1
            progress(done, total)
        gained = std_now.square() - std_later.square()
        mean = frac[unknown] + gained * score(now)
        last = step == settings.n_steps - 1
        spread = 0.0 if last else std_later * gained.sqrt() / std_now
        frac[unknown] = (mean + spread * noise[done]) % 1.0
        done += 1
        progress(done, total)
    result = frac[unknown].double().cpu().numpy()
    return np.split(result, np.cumsum([j.n_unknown for j in jobs])[:-1])


def _streams(jobs: Sequence[PlacementJob], settings: Sampler, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Start coordinates (n_unknown, 3) and noise (n_evaluations, n_unknown, 3), each trial's from its own stream."""
    evaluations = settings.n_steps * (settings.n_corrector + 1)
    starts, noises = [], []
    for job in jobs:
        rng = stream(seed, job.key, job.trial, "denoise")
        starts.append(rng.random((job.n_unknown, 3)))
        noises.append(rng.standard_normal((evaluations, job.n_unknown, 3)))
    return (
        torch.tensor(np.concatenate(starts), dtype=torch.float32, device=device),
        torch.tensor(np.concatenate(noises, axis=1), dtype=torch.float32, device=device),
    )


def _langevin(score: Tensor, noise: Tensor, owner: Tensor, n_crystals: int, snr: float, std: Tensor) -> Tensor:
    """One Langevin move, (n_unknown, 3).

    The step size 2 (snr |noise| / |score|)^2 uses the norms of each crystal by itself; it is capped so that the noise
    stays below the current noise level, which matters where the score almost vanishes.
    """
    zeros = score.new_zeros(n_crystals)
    score_squared = zeros.index_add(0, owner, score.square().sum(dim=1))[owner]
    noise_squared = zeros.index_add(0, owner, noise.square().sum(dim=1))[owner]
    size = 2 * snr**2 * noise_squared / score_squared.clamp_min(1e-12)
    size = torch.minimum(size[:, None], 0.5 * std.square())
    return size * score + (2 * size).sqrt() * noise


def place_at_random(job: PlacementJob, seed: int) -> Placement:
    """Place the sites one by one, uniformly among the positions that keep minimum distances: the chance baseline.

    The minimum is 0.8 times the sum of covalent radii; it shrinks gradually while no position is found.

    Args:
        job: what to place.
        seed: seed of the run.

    Returns:
        Coordinates, or ``no_room``.
    """
    rng = stream(seed, job.key, job.trial, "random")
    crystal = job.host
    for _ in range(job.n_unknown):
        position = _free_position(crystal, job.element, rng)
        if position is None:
            return Placement(job, None, Stop(Reason.NO_ROOM, f"no free position for {job.element}"))
        crystal = crystal.add_unknown(job.element, position)
    return Placement(job, crystal.frac[job.host.n_sites :])


def _free_position(crystal: Crystal, element: str, rng: np.random.Generator) -> FloatArray | None:
    radii = np.array([covalent_radii[atomic_numbers[s]] for s in crystal.species])
    limit = _RADII_SHARE * (radii + covalent_radii[atomic_numbers[element]])
    for shrink in (1.0, 0.9, 0.8, 0.7):
        candidates: FloatArray = rng.random((_PLACEMENT_TRIES, 3))
        if crystal.n_sites == 0:
            return candidates[:1]
        distances = minimum_image_distances(crystal.lattice, candidates, crystal.frac)
        free = np.flatnonzero((distances >= shrink * limit).all(axis=1))
        if free.size:
            return candidates[free[:1]]
    return None
