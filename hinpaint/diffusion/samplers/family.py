"""The samplers by name: which way each takes, and how it shows the host to which weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from hinpaint.crystal import FloatArray
from hinpaint.diffusion.checkpoints import Conditioning, LoadedModel, ModelError
from hinpaint.diffusion.samplers.field import Frame, HostView, ScoreField
from hinpaint.diffusion.samplers.jobs import PlacementJob
from hinpaint.diffusion.samplers.solvers import flow, predictor_corrector, renoise, repaint_levels
from hinpaint.sampling import Sampler, misfit

# What is not here makes no sense, and the configuration refuses it (hinpaint.sampling.WEIGHTS_OF).
_VIEWS: dict[tuple[str, Conditioning], HostView] = {
    ("td", "td"): "per_site",
    ("pos_only", "pos_only"): "clean",
    ("replacement", "pos_only"): "noised",
    ("renoise", "td"): "per_site",
    ("renoise", "pos_only"): "noised",
    ("repaint", "pos_only"): "noised",
    ("repaint", "td"): "per_site",
    ("euler", "td"): "per_site",
    ("euler", "pos_only"): "carried",
    ("dpm", "td"): "per_site",
    ("dpm", "pos_only"): "carried",
}
_FLOW_ORDER = {"euler": 1, "dpm": 2}


@dataclass(frozen=True)
class Sampled:
    """What came of a batch.

    Attributes:
        frac: (n_unknown, 3) fractional coordinates in [0, 1) of each job.
        n_evaluations: network evaluations it took; those of a batch serve all its trials.
        frames: what the network saw and, last, the result; empty unless asked for.
    """

    frac: list[FloatArray]
    n_evaluations: int
    frames: tuple[Frame, ...] = ()


def n_evaluations(settings: Sampler) -> int:
    """Network evaluations that a trial takes."""
    if settings.name == "random":
        return 0
    if settings.name == "renoise" or settings.name in _FLOW_ORDER:
        return settings.n_steps
    steps_down = sum(later < now for now, later in pairwise(_levels(settings)))
    return steps_down * (settings.n_corrector + 1)


@torch.inference_mode()
def denoise(
    jobs: Sequence[PlacementJob], settings: Sampler, seed: int, model: LoadedModel,
    progress: Callable[[int, int], None] = lambda _done, _total: None, record: bool = False,
) -> Sampled:  # fmt: skip
    """Sample one batch with the configured sampler.

    Args:
        jobs: trials that fit into memory together.
        settings: the sampler.
        seed: seed of the run.
        model: the score network.
        progress: called after each evaluation with (done, in all).
        record: keep a frame of every evaluation.

    Raises:
        ModelError: the sampler cannot use weights of this kind.
    """
    view = _VIEWS.get((settings.name, model.conditioning))
    if view is None:
        problem = misfit(settings, model.name, model.conditioning)
        raise ModelError(problem or f"sampler {settings.name} takes no way that a network leads")
    field = ScoreField(jobs, model, view, seed, n_evaluations(settings), progress, record)
    times = noise_times(model, settings)
    if settings.name == "renoise":
        x = renoise(field, times)
    elif settings.name in _FLOW_ORDER:
        x = flow(field, times, _FLOW_ORDER[settings.name])
    else:
        # Level n_steps is the first of the times; level 0, the structure, needs none.
        x = predictor_corrector(field, _levels(settings), [0.0, *times[::-1]], settings)
    field.record(0.0, field.complete(x))
    splits = np.cumsum([job.n_unknown for job in jobs])[:-1]
    wrapped = x.double().cpu().numpy() % 1.0  # in single precision a tiny negative number wraps to 1 itself
    return Sampled(np.split(wrapped, splits), field.evaluations, tuple(field.frames or ()))


def noise_times(model: LoadedModel, settings: Sampler) -> list[float]:
    """Noise time of each step, falling; their standard deviations form a geometric series.

    The series runs over the part of the trained range that matters: above ``sigma_start`` wrapped coordinates are
    uniform anyway, below ``sigma_end`` nothing is left to decide.
    """
    least, most = model.sigma_range
    start = min(most, settings.sigma_start)
    end = max(least, settings.sigma_end)
    first, last = model.process.time(start), model.process.time(min(start, end))
    return [float(t) for t in np.linspace(first, last, settings.n_steps)]


def _levels(settings: Sampler) -> list[int]:
    resample = settings.n_resample if settings.name == "repaint" else 1
    return repaint_levels(settings.n_steps, resample, settings.jump_length)
