"""What is trained, how, and how it is watched."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import yaml
from pydantic import TypeAdapter

from hinpaint.diffusion.checkpoints import Conditioning
from hinpaint.diffusion.corruption import WrappedVE
from hinpaint.diffusion.network import NetworkSettings

Mask = Literal["element", "independent"]


@dataclass(frozen=True)
class ValidationSettings:
    """How a training is watched; nothing of it changes the weights.

    Attributes:
        every: steps between two validations; there is one at the end in any case.
        element: element whose sites are hidden.
        max_sites: larger structures are not used.
        n_loss: structures whose loss is measured.
        n_match: structures whose hidden sites are sampled and compared with the truth.
        n_steps: network evaluations a sampled structure, sampler ``renoise``.
        seed: seed of the noise, the same at every validation.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    every: int = 1000
    element: str = "H"
    max_sites: int = 19
    n_loss: int = 64
    n_match: int = 32
    n_steps: int = 25
    seed: int = 0


@dataclass(frozen=True)
class TrainingSettings:
    """What is trained and how long.

    Attributes:
        conditioning: ``td`` hides some sites and keeps the rest clean; ``pos_only`` noises every site alike.
        steps: optimiser steps of the whole schedule.
        restarts: steps at which the schedule starts anew (warm restarts of SGDR, Loshchilov and Hutter 2017), rising.
        learning_rate: peak of each cosine, reached after ``warmup`` steps.
        warmup: steps of linear warm-up.
        weight_decay: of AdamW.
        clip: largest gradient norm.
        ema: decay of the averaged weights that are saved.
        hydrogen_share: fraction of draws from structures with hydrogen.
        size_power: structures are drawn with a probability that falls with their sites to this power; 0 draws all
            alike, 1 spends as many sites on each size as there are structures of it.
        mask: what ``td`` hides: all sites of one ``element``, as inference meets them, or each site ``independent`` of
            the others, as published.
        p_known: ``independent``: probability that a site is known; 0.2 as published.
        known_time: noise time of known sites, in training and then in sampling; at least 0.
        times: noise times of hidden sites are drawn uniformly between these; between 0 and 1.
        sigma_power: the loss of a site is weighted by its sigma to this power (with mean 1 over times); 0 weights all
            noise levels alike.
        max_batch_sites: sites in a batch at most. It bounds the edges too: a site keeps at most ``max_neighbors``
            bonds of its own choice, so there are at most twice ``max_neighbors`` edges a site.
        max_structure_sites: larger structures are not drawn.
        seed: seed of initialisation, draws and noise.
        bf16: run the matrix products of the network in bfloat16 (coordinates, distances and the loss stay single).
        checkpoint_s: seconds between checkpoints.
        start_from: weights to start from (shipped name or ``.safetensors`` file) instead of random ones, for example
            ``pos_only`` from ``td``; ``network`` and ``process`` must be theirs.
        network: size of the network.
        process: forward process.
        validation: how the training is watched, where structures for it are given.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    conditioning: Conditioning = "td"
    steps: int = 10000
    restarts: tuple[int, ...] = ()
    learning_rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    hydrogen_share: float = 0.6
    size_power: float = 0.0
    mask: Mask = "element"
    p_known: float = 0.2
    known_time: float = 0.0
    times: tuple[float, float] = (0.0, 1.0)
    sigma_power: float = 0.0
    max_batch_sites: int = 320
    max_structure_sites: int = 40
    seed: int = 1
    bf16: bool = True
    checkpoint_s: float = 60.0
    start_from: str | None = None
    network: NetworkSettings = field(default_factory=NetworkSettings)
    process: WrappedVE = field(default_factory=WrappedVE)
    validation: ValidationSettings = field(default_factory=ValidationSettings)

    def __post_init__(self) -> None:
        if not 0 <= self.known_time < 1 or not 0 <= self.p_known < 1:
            raise ValueError("known_time and p_known lie between 0 and 1")
        if not 0 <= self.times[0] < self.times[1] <= 1 or self.size_power < 0:
            raise ValueError("times rise and lie between 0 and 1, size_power is at least 0")
        if min(self.steps, self.max_batch_sites, self.validation.every) < 1:
            raise ValueError("steps, max_batch_sites and validation.every are at least 1")


def load_settings(path: Path) -> TrainingSettings:
    """Read training settings from YAML; the keys are the attributes of :class:`TrainingSettings`.

    Raises:
        ValueError: a key is unknown, a value has the wrong type or makes no sense, or the file is no YAML.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    return TypeAdapter(TrainingSettings).validate_python(values or {})


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then half a cosine down to 1 % of the peak; the same again after each restart."""
    start = max((restart for restart in settings.restarts if restart <= step), default=0)
    end = min((restart for restart in settings.restarts if restart > step), default=settings.steps)
    if step < start + settings.warmup:
        return settings.learning_rate * (step - start + 1) / settings.warmup
    progress = (step - start - settings.warmup) / max(1, end - start - settings.warmup)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
