"""What a distilled potential learns from and how; one YAML file, one class."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import yaml
from pydantic import TypeAdapter

from hinpaint.shipped import DEFAULT_WEIGHTS

_FORBID = {"extra": "forbid"}


@dataclass(frozen=True)
class LabelSettings:
    """Structures that the teacher labels. Every one of them is a function of ``seed`` and the host it is made from.

    Attributes:
        seed: seed of every arrangement.
        max_hosts: hosts at most, of a random order; empty: all.
        max_sites: hosts with hydrogen have at most so many sites.
        max_displacement_a: hydrogen is displaced by up to so much.
        n_displaced: structures a host with displaced hydrogen.
        n_rattled: structures a host with every site and the cell displaced a little.
        n_strained: structures a host with a strained cell.
        n_short: structures a host with one hydrogen too close to another site.
        trials: one raw sample of the diffusion model, one random placement of every hydrogen, or both.
        model: diffusion weights that sample.
        sampler_steps: steps of the sampler ``renoise`` for these.
        steps_h_only: optimiser steps of the hydrogen-only level, from raw samples and from random placements.
        steps_full: optimiser steps of the full level after these.
        every: a step of a path is kept where its number is a multiple of this; the last one always is.
        path_starts: what paths start from.
        path_sites: hosts with more sites than this have no paths.
        per_element: structures without hydrogen for every element, for those that few hydrides hold.
        element_sites: these have at most so many sites.
        elements: what the potential is to know beside the elements of the hosts.
        min_distance_a: structures with a shorter distance are left out.
        max_force_ev_per_a: labels with a larger force are left out: so far out the teacher itself has holes.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID

    seed: int = 1
    max_hosts: int | None = None
    max_sites: int = 16
    max_displacement_a: float = 0.6
    n_displaced: int = 2
    n_rattled: int = 1
    n_strained: int = 1
    n_short: int = 1
    trials: tuple[Literal["sampled", "random"], ...] = ("sampled", "random")
    model: str = DEFAULT_WEIGHTS
    sampler_steps: int = 12
    steps_h_only: int = 12
    steps_full: int = 6
    every: int = 3
    path_starts: tuple[Literal["sampled", "random"], ...] = ("sampled", "random")
    path_sites: int = 16
    per_element: int = 8
    element_sites: int = 8
    elements: tuple[str, ...] = ()
    min_distance_a: float = 0.5
    max_force_ev_per_a: float = 50.0


@dataclass(frozen=True)
class NetworkSettings:
    """Size of the network, in the words of ``nequip.model.NequIPGNNModel``; the ZBL repulsion is always added."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID

    r_max: float = 4.5
    num_layers: int = 2
    l_max: int = 1
    parity: bool = False
    num_features: int | list[int] = 32
    radial_mlp_depth: int = 1
    radial_mlp_width: int = 64
    num_bessels: int = 8
    compile_mode: Literal["eager", "compile"] = "eager"


@dataclass(frozen=True)
class FitSettings:
    """How it is trained.

    Attributes:
        seed: seed of initialisation and of the batches.
        steps: optimiser steps of the whole schedule.
        learning_rate: peak, reached after ``warmup`` steps; then half a cosine down to 1 % of it.
        warmup: steps of linear warm-up.
        hosts: hosts in a batch.
        arrangements: structures of each host in a batch, whose energies are compared with each other.
        ema: decay of the averaged weights.
        clip: largest gradient norm.
        weights: of the terms of the loss: ``energy`` per site, ``within`` hosts per site, ``forces``, ``stress``.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID

    seed: int = 1
    steps: int = 20000
    learning_rate: float = 5e-3
    warmup: int = 300
    hosts: int = 4
    arrangements: int = 3
    ema: float = 0.999
    clip: float = 10.0
    weights: dict[Literal["energy", "within", "forces", "stress"], float] = field(
        default_factory=lambda: {"energy": 2.0, "within": 8.0, "forces": 1.0, "stress": 20.0}
    )


@dataclass(frozen=True)
class DistillationSettings:
    """All of it: who teaches, on what, which network, how long.

    Attributes:
        teacher: potential whose energies, forces and stresses are learnt.
        labels: structures to learn from.
        held_out: structures of other formulas, only to measure with.
        network: size.
        fit: training.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID

    teacher: Literal["sevennet-0", "sevennet-l3i5"] = "sevennet-0"
    labels: LabelSettings = field(default_factory=LabelSettings)
    held_out: LabelSettings = field(default_factory=LabelSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    fit: FitSettings = field(default_factory=FitSettings)


def load_settings(path: Path) -> DistillationSettings:
    """Read settings from YAML; the keys are the attributes of :class:`DistillationSettings`.

    Raises:
        ValueError: a key is unknown or a value has the wrong type.
    """
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    return TypeAdapter(DistillationSettings).validate_python(values)
