"""Ways from noise to a structure: the reverse SDE step by step, with RePaint's jumps, and few-step solvers.

Every solver takes the score field of a batch, its settings and the levels to pass, and returns the coordinates of the
unknown sites. In the variance-exploding process ``x + std^2 * score`` is the mean of the clean coordinates (Tweedie),
written ``x + std * predicted`` here as the network predicts ``score * std``. The last step of every solver goes there.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from hinpaint.diffusion.samplers.field import ScoreField
from hinpaint.sampling import Sampler


def repaint_levels(n_steps: int, n_resample: int, jump_length: int) -> list[int]:
    """Levels in the order in which they are visited, from ``n_steps`` (noise) to 0 (structure).

    After every ``jump_length`` steps down, RePaint (arXiv 2201.09865) goes as far up again and repeats them, until each
    such stretch was denoised ``n_resample`` times. The stretch that ends at 0 is not repeated.

    Args:
        n_steps: levels below the first.
        n_resample: how often a stretch is denoised; 1 goes straight down.
        jump_length: steps in a stretch.
    """
    levels = [n_steps]
    while levels[-1] > 0:
        end = max(levels[-1] - jump_length, 0)
        stretch = list(range(levels[-1] - 1, end - 1, -1))
        levels += stretch
        if end > 0:
            for _ in range(n_resample - 1):
                levels += [levels[-1] + len(stretch), *stretch]
    return levels


def predictor_corrector(field: ScoreField, levels: Sequence[int], times: Sequence[float], settings: Sampler) -> Tensor:
    """Langevin correction at each level and an ancestral step to the next (Song et al., arXiv 2011.13456).

    Algorithms 2 and 4 there. A rise between two levels adds the noise that lies between them.

    Args:
        field: score of the batch's unknown sites.
        levels: levels to visit, 0 last.
        times: noise time of each level; that of level 0 is not used, as the result has no noise.
        settings: ``n_corrector`` and ``snr``.

    Returns:
        (n_unknown, 3) fractional coordinates.
    """
    x = field.noise.uniform()
    for now, later in pairwise(levels):
        std = field.std(times[now])
        if later > now:
            x = x + (field.std(times[later]).square() - std.square()).sqrt() * field.noise.normal()
            continue
        for _ in range(settings.n_corrector):
            x = langevin(field, x, times[now], settings.snr)
        clean = x + std * field(x, times[now])
        if later == 0:
            x = clean
        else:
            kept = (field.std(times[later]) / std).square()
            spread = field.std(times[later]) * (1 - kept).sqrt()
            x = (clean + kept * (x - clean) + spread * field.noise.normal()) % 1.0
    return x % 1.0


def langevin(field: ScoreField, x: Tensor, t: float, snr: float) -> Tensor:
    """One Langevin move at a noise level.

    The step size 2 (snr |noise| / |score|)^2 uses the norms of each crystal by itself; it is capped so that the noise
    stays below the current noise level, which matters where the score almost vanishes.

    Args:
        field: score of the batch's unknown sites.
        x: (n_unknown, 3) fractional coordinates.
        t: their noise time.
        snr: signal-to-noise ratio.
    """
    std = field.std(t)
    score = field(x, t) / std
    noise = field.noise.normal()
    zeros = score.new_zeros(field.batch.n_crystals)
    score_squared = zeros.index_add(0, field.owner, score.square().sum(dim=1))[field.owner]
    noise_squared = zeros.index_add(0, field.owner, noise.square().sum(dim=1))[field.owner]
    size = 2 * snr**2 * noise_squared / score_squared.clamp_min(1e-12)
    size = torch.minimum(size[:, None], 0.5 * std.square())
    return (x + size * score + (2 * size).sqrt() * noise) % 1.0


def renoise(field: ScoreField, times: Sequence[float]) -> Tensor:
    """Estimate the clean coordinates, noise them afresh to the next lower level, and so on: one evaluation a step.

    Nothing but the estimate passes from one level to the next, so errors do not add up: every step starts from a point
    as the network met it in training. It is the multistep sampling of consistency models (Song et al., arXiv
    2303.01469, algorithm 1) with Tweedie's estimate, and the limit of the reverse SDE with ever more Langevin motion.

    Args:
        field: score of the batch's unknown sites.
        times: noise time of each level to visit, falling.

    Returns:
        (n_unknown, 3) fractional coordinates: the last estimate.
    """
    x = field.noise.uniform()
    for now, later in pairwise(times):
        x = (x + field.std(now) * field(x, now) + field.std(later) * field.noise.normal()) % 1.0
    return (x + field.std(times[-1]) * field(x, times[-1])) % 1.0


def flow(field: ScoreField, times: Sequence[float], order: int) -> Tensor:
    """Solve the probability-flow ODE: no noise but that of the start, one evaluation a step.

    First order is Euler's method. Second order is DPM-Solver++ (2M) (Lu et al., arXiv 2211.01095): between two levels
    the clean coordinates are taken to change linearly in log(std), and the rest is solved exactly.

    Args:
        field: score of the batch's unknown sites.
        times: noise time of each level to visit, falling; one more step leads to the structure.
        order: 1 or 2.

    Returns:
        (n_unknown, 3) fractional coordinates.
    """
    x = field.noise.uniform()
    earlier: tuple[Tensor, Tensor] | None = None
    for now, later in pairwise(times):
        std = field.std(now)
        clean = x + std * field(x, now)  # not wrapped, so that estimates can be compared
        step = (std / field.std(later)).log()
        target = clean
        if order > 1 and earlier is not None:
            clean_before, step_before = earlier
            target = clean + 0.5 * step / step_before * (clean - clean_before)
        earlier = clean, step
        x = target + torch.exp(-step) * (x - target)
    return (x + field.std(times[-1]) * field(x, times[-1])) % 1.0
