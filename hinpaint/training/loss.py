"""Denoising score matching: the loss of a batch of structures."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from hinpaint.crystal import Crystal
from hinpaint.diffusion.corruption import WrappedVE
from hinpaint.diffusion.graph import Batch
from hinpaint.diffusion.network import ScoreNetwork
from hinpaint.training.settings import TrainingSettings


@dataclass(frozen=True)
class Example:
    """What one step sees, drawn on the CPU.

    Attributes:
        batch: clean structures; hidden sites are those not known.
        times: (n_crystals,) noise times.
        noise: (n_sites, 3) standard normal numbers.
    """

    batch: Batch
    times: Tensor
    noise: Tensor

    @classmethod
    def draw(cls, crystals: list[Crystal], settings: TrainingSettings, rng: np.random.Generator) -> Self:
        """Draw one time a crystal and the noise of structures."""
        batch = Batch.build(crystals)
        times = torch.tensor(rng.uniform(*settings.times, size=len(crystals)), dtype=torch.float32)
        noise = torch.tensor(rng.standard_normal((len(batch.frac), 3)), dtype=torch.float32)
        return cls(batch, times, noise)

    def to(self, device: torch.device | str) -> Self:
        """Return the same on a device."""
        return type(self)(self.batch.to(device), self.times.to(device), self.noise.to(device))


def denoising_loss(network: ScoreNetwork, example: Example, settings: TrainingSettings) -> Tensor:
    """Loss of one batch: mean squared error of the predicted noise over the noised sites.

    Args:
        network: score network.
        example: structures, times and noise, on the network's device.
        settings: conditioning, process, time of known sites, weighting.

    Returns:
        Scalar loss.
    """
    batch, times = example.batch, example.times
    noised = ~batch.known if settings.conditioning == "td" else torch.ones_like(batch.known)
    predicted, target = predict(network, batch, times, example.noise, noised, settings)
    if not settings.sigma_power:
        return mse_loss(predicted, target)
    weight = sigma_weight(settings.process, times[batch.crystal][noised], settings.sigma_power)
    return (weight[:, None] * (predicted - target).square()).mean()


def predict(
    network: ScoreNetwork, batch: Batch, times: Tensor, noise: Tensor, noised: Tensor, settings: TrainingSettings
) -> tuple[Tensor, Tensor]:
    """Noise a batch and let the network predict the noise.

    Args:
        network: score network.
        batch: clean structures.
        times: (n_crystals,) noise times.
        noise: (n_sites, 3) standard normal numbers.
        noised: (n_sites,) true for the sites that get noise; the others are shown clean at the time of known sites.
        settings: process, time of known sites, precision.

    Returns:
        Prediction and target, (n_noised, 3) each: score times standard deviation.
    """
    of_site = times[batch.crystal]
    t = torch.where(noised, of_site, torch.full_like(of_site, settings.known_time))
    std = settings.process.std(t, batch.counts[batch.crystal])
    displacement = torch.where(noised[:, None], noise * std[:, None], torch.zeros_like(noise))
    with torch.autocast(batch.frac.device.type, dtype=torch.bfloat16, enabled=settings.bf16):
        predicted = network(batch.with_frac((batch.frac + displacement) % 1.0), t, noised).float()
    return predicted[noised], settings.process.score_times_std(displacement[noised], std[noised])


def sigma_weight(process: WrappedVE, t: Tensor, power: float) -> Tensor:
    """Sigma to a power, scaled so that its mean over uniform times is 1, (n,)."""
    exponent = power * math.log(process.sigma_max / process.sigma_min)
    return (exponent * t).exp() * (exponent / math.expm1(exponent))
