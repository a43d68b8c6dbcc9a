"""Denoising score matching on positions; resumable to the step."""

import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import yaml
from pydantic import TypeAdapter
from safetensors.torch import load, save
from torch import Tensor

from hinpaint.crystal import Crystal
from hinpaint.diffusion.checkpoints import Conditioning, load_model, save_model
from hinpaint.diffusion.corruption import WrappedVE
from hinpaint.diffusion.dataset import BatchSampler, TrainingSet
from hinpaint.diffusion.graph import Batch
from hinpaint.diffusion.network import NetworkSettings, ScoreNetwork, fit_scale_factors
from hinpaint.files import write_atomic
from hinpaint.jobs import library_versions
from hinpaint.sampling import read_card


@dataclass(frozen=True)
class TrainingSettings:
    """What is trained and how long.

    Attributes:
        conditioning: ``td`` hides one element and keeps the rest clean; ``pos_only`` noises every site alike.
        steps: optimiser steps of the whole schedule.
        restarts: steps at which the schedule starts anew (warm restarts of SGDR, Loshchilov and Hutter 2017), rising.
        learning_rate: peak of each cosine, reached after ``warmup`` steps.
        warmup: steps of linear warm-up.
        weight_decay: of AdamW.
        clip: largest gradient norm.
        ema: decay of the averaged weights that are saved.
        hydrogen_share: fraction of draws from structures with hydrogen.
        max_batch_sites: sites in a batch at most.
        max_structure_sites: larger structures are not drawn.
        seed: seed of initialisation, draws and noise.
        bf16: run the matrix products of the network in bfloat16 (coordinates, distances and the loss stay single).
        checkpoint_s: seconds between checkpoints.
        start_from: weights to start from (shipped name or ``.safetensors`` file) instead of random ones, for example
            ``pos_only`` from ``td``; ``network`` and ``process`` must be theirs.
        network: size of the network.
        process: forward process.
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
    max_batch_sites: int = 320
    max_structure_sites: int = 40
    seed: int = 1
    bf16: bool = True
    checkpoint_s: float = 60.0
    start_from: str | None = None
    network: NetworkSettings = field(default_factory=NetworkSettings)
    process: WrappedVE = field(default_factory=WrappedVE)


@dataclass
class TrainingState:
    """Everything that changes while training."""

    network: ScoreNetwork
    average: ScoreNetwork
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    samples: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)


def load_settings(path: Path) -> TrainingSettings:
    """Read training settings from YAML; the keys are the attributes of :class:`TrainingSettings`.

    Raises:
        ValueError: a key is unknown or a value has the wrong type.
    """
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    return TypeAdapter(TrainingSettings).validate_python(values)


def denoising_loss(
    network: ScoreNetwork, crystals: list[Crystal], settings: TrainingSettings, rng: np.random.Generator
) -> Tensor:
    """Loss of one batch: mean squared error of the predicted noise over the noised sites.

    Args:
        network: score network.
        crystals: clean structures; hidden sites are those not known.
        settings: conditioning and process.
        rng: draws one time a crystal and the noise.

    Returns:
        Scalar loss.
    """
    device = next(network.parameters()).device
    batch = Batch.build(crystals, device)
    times = torch.tensor(rng.random(len(crystals)), dtype=torch.float32, device=device)
    noise = torch.tensor(rng.standard_normal((len(batch.frac), 3)), dtype=torch.float32, device=device)
    noised = ~batch.known if settings.conditioning == "td" else torch.ones_like(batch.known)
    t = torch.where(noised, times[batch.crystal], torch.zeros_like(times[batch.crystal]))
    std = settings.process.std(t, batch.counts[batch.crystal])
    displacement = torch.where(noised[:, None], noise * std[:, None], torch.zeros_like(noise))
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.bf16):
        predicted = network(batch.with_frac((batch.frac + displacement) % 1.0), t).float()
    target = settings.process.score_times_std(displacement[noised], std[noised])
    return torch.nn.functional.mse_loss(predicted[noised], target)


def train(
    data: TrainingSet, settings: TrainingSettings, folder: Path, device: str = "cpu",
    say: Callable[[str], None] = print, stop_after_s: float | None = None,
) -> TrainingState:  # fmt: skip
    """Train, or go on with the training found in ``folder``.

    Args:
        data: structures.
        settings: what to train; a folder holds one training, and another setting there is refused.
        folder: receives ``state.safetensors``, ``state.json``, ``curve.csv`` and ``weights.safetensors`` + card.
        device: torch device.
        say: takes progress lines.
        stop_after_s: stop (resumably) after so many seconds in this call.

    Returns:
        The final state.

    Raises:
        ValueError: the folder holds a training with other settings or data, or ``start_from`` does not fit.
        ModelError: ``start_from`` cannot be loaded.
    """
    torch.manual_seed(settings.seed)
    sampler = BatchSampler(
        data, settings.hydrogen_share, settings.max_batch_sites, settings.max_structure_sites, settings.seed
    )
    pools = sampler.pools()
    state = _start(sampler, pools, settings, device)
    _resume(state, folder, settings, data)
    began, last_saved, losses = time.monotonic(), time.monotonic(), []
    seconds_before = state.seconds
    while state.step < settings.steps:
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(state.step, settings)
        crystals, rng = sampler.draw(state.step, pools)
        loss = denoising_loss(state.network, crystals, settings, rng)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip)
        state.optimizer.step()
        state.step += 1
        state.samples += len(crystals)
        _average(state, settings.ema)
        losses.append(loss.item())
        state.seconds = seconds_before + time.monotonic() - began
        done = state.step == settings.steps or (stop_after_s is not None and time.monotonic() - began > stop_after_s)
        if state.step % 50 == 0 or done:
            state.curve.append((state.step, float(np.mean(losses))))
            losses = []
            left = (settings.steps - state.step) * state.seconds / max(state.step, 1)
            say(f"step {state.step}/{settings.steps} loss {state.curve[-1][1]:.4f} eta {left / 60:.0f} min")
        if done or time.monotonic() - last_saved > settings.checkpoint_s:
            _checkpoint(state, folder, settings, data, device)
            last_saved = time.monotonic()
        if done:
            break
    if not (folder / "weights.safetensors").exists():  # a finished training whose weights were deleted
        _checkpoint(state, folder, settings, data, device)
    return state


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then half a cosine down to 1 % of the peak; the same again after each restart."""
    start = max((restart for restart in settings.restarts if restart <= step), default=0)
    end = min((restart for restart in settings.restarts if restart > step), default=settings.steps)
    if step < start + settings.warmup:
        return settings.learning_rate * (step - start + 1) / settings.warmup
    progress = (step - start - settings.warmup) / max(1, end - start - settings.warmup)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def _start(sampler: BatchSampler, pools: tuple[Any, Any], settings: TrainingSettings, device: str) -> TrainingState:
    network = ScoreNetwork(settings.network).to(device)
    if settings.start_from is None:
        crystals, rng = sampler.draw(2**62, pools)  # a batch no step uses
        batch = Batch.build(crystals, device)
        times = torch.tensor(rng.random(len(batch.frac)), dtype=torch.float32, device=device)
        fit_scale_factors(network, batch, times)
    else:
        start = load_model(settings.start_from, device)
        if (start.network.settings, start.process) != (settings.network, settings.process):
            raise ValueError(f"start_from: {settings.start_from} has another network or process than these settings")
        network.load_state_dict(start.network.state_dict())
    average = ScoreNetwork(settings.network).to(device)
    average.load_state_dict(network.state_dict())
    average.requires_grad_(requires_grad=False)
    trainable = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    return TrainingState(network, average, optimizer)


@torch.no_grad()
def _average(state: TrainingState, decay: float) -> None:
    """Move the averaged weights; the decay grows in over the first steps so that the start is forgotten."""
    current = min(decay, (1 + state.step) / (10 + state.step))
    pairs = zip(state.average.parameters(), state.network.parameters(), strict=True)
    for mean, value in pairs:
        mean.lerp_(value, 1 - current)


def _identity(settings: TrainingSettings, data: TrainingSet) -> dict[str, Any]:
    identity = {"settings": asdict(settings), "data_sha256": data.digest}
    if settings.start_from is not None:
        identity["start_sha256"] = read_card(settings.start_from)["sha256"]
    return identity


def _checkpoint(state: TrainingState, folder: Path, settings: TrainingSettings, data: TrainingSet, device: str) -> None:
    tensors = {f"network.{k}": v for k, v in state.network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    for index, slot in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in slot.items()}
    contiguous = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    header = {
        **_identity(settings, data),
        "step": state.step,
        "seconds": state.seconds,
        "samples": state.samples,
        "curve": state.curve,
    }
    blob = save(contiguous, metadata={"header": json.dumps(header)})
    write_atomic(folder / "state.safetensors", lambda handle: handle.write(blob))
    lines = "step,loss\n" + "".join(f"{step},{loss:.6f}\n" for step, loss in state.curve)
    write_atomic(folder / "curve.csv", lambda handle: handle.write(lines.encode()))
    card = {
        "training": _identity(settings, data),
        "steps": state.step,
        "samples": state.samples,
        "seconds": round(state.seconds, 1),
        "hardware": f"{device}, {torch.get_num_threads()} threads, {platform.machine()}, {os.cpu_count()} cores",
        "versions": library_versions(),
        "final_loss": state.curve[-1][1] if state.curve else None,
    }
    save_model(folder / "weights.safetensors", state.average, settings.process, settings.conditioning, card)


def _resume(state: TrainingState, folder: Path, settings: TrainingSettings, data: TrainingSet) -> None:
    path = folder / "state.safetensors"
    if not path.exists():
        return
    blob = path.read_bytes()
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"]["header"])
    identity = json.loads(json.dumps(_identity(settings, data)))
    if any(header.get(key) != value for key, value in identity.items()):
        raise ValueError(f"{folder} holds a training with other settings or data; choose another folder")
    tensors = load(blob)
    state.network.load_state_dict(_part(tensors, "network."))
    state.average.load_state_dict(_part(tensors, "average."))
    full = state.optimizer.state_dict()
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in _part(tensors, "optimizer.").items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    state.optimizer.load_state_dict({**full, "state": slots})
    state.step, state.seconds, state.samples = header["step"], header["seconds"], header["samples"]
    state.curve = [(int(step), float(loss)) for step, loss in header["curve"]]


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
