"""What changes while training, and how it is kept on disk so that a training goes on to the step."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import load, save
from torch import Tensor

from hinpaint.diffusion.checkpoints import LoadedModel, load_model, save_model
from hinpaint.diffusion.graph import Batch
from hinpaint.diffusion.network import ScoreNetwork, fit_scale_factors
from hinpaint.files import write_atomic
from hinpaint.jobs import library_versions
from hinpaint.sampling import read_card
from hinpaint.training.batches import BatchSampler
from hinpaint.training.dataset import TrainingSet
from hinpaint.training.plot import draw
from hinpaint.training.settings import TrainingSettings
from hinpaint.training.validation import Measured, Validation, as_card, as_csv

_FIRST_BATCH = 2**62  # a batch no step uses


@dataclass
class TrainingState:
    """Everything that changes while training.

    Attributes:
        network: weights that are trained.
        average: their running mean, which is saved and validated.
        optimizer: AdamW and its moments.
        step: optimiser steps done.
        seconds: wall-clock seconds they took, validation included.
        samples: structures seen.
        curve: (step, mean loss of the steps since the point before).
        losses: losses of the steps since its last point.
        validations: what was measured on the fixed set.
    """

    network: ScoreNetwork
    average: ScoreNetwork
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    samples: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    validations: list[Measured] = field(default_factory=list)

    def model(self, settings: TrainingSettings) -> LoadedModel:
        """The averaged weights, ready to sample."""
        card = {"known_time": settings.known_time, "training": {"settings": asdict(settings)}}
        return LoadedModel("training", self.average, settings.process, settings.conditioning, "", card)


@dataclass(frozen=True)
class TrainingFolder:
    """Where one training is kept.

    Attributes:
        path: the folder.
        settings: what is trained.
        data: structures it sees.
        validation: structures it is watched on, if any.
        replicas: number of processes, which decides what a step sees.
        device: torch device.
    """

    path: Path
    settings: TrainingSettings
    data: TrainingSet
    validation: Validation | None
    replicas: int
    device: str

    @property
    def weights(self) -> Path:
        """Averaged weights; their card lies beside them."""
        return self.path / "weights.safetensors"

    def write(self, state: TrainingState) -> None:
        """Write the state, the averaged weights with their card, the curves and their picture."""
        tensors = {f"network.{k}": v for k, v in state.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
        for index, slot in state.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in slot.items()}
        contiguous = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        header = {
            **self._identity(),
            "step": state.step,
            "seconds": state.seconds,
            "samples": state.samples,
            "curve": state.curve,
            "losses": state.losses,
            "validation_sha256": self.validation.data_sha256 if self.validation else None,
            "validations": [asdict(each) for each in state.validations],
        }
        blob = save(contiguous, metadata={"header": json.dumps(header)})
        write_atomic(self.path / "state.safetensors", lambda handle: handle.write(blob))
        settings = self.settings
        save_model(self.weights, state.average, settings.process, settings.conditioning, self._card(state))
        lines = "step,loss\n" + "".join(f"{step},{loss:.6f}\n" for step, loss in state.curve)
        write_atomic(self.path / "curve.csv", lambda handle: handle.write(lines.encode()))
        if self.validation is not None:
            table = as_csv(state.validations)
            write_atomic(self.path / "validation.csv", lambda handle: handle.write(table.encode()))
        draw(state.curve, state.validations, self.path / "curves.png")

    def read_into(self, state: TrainingState) -> None:
        """Go on with the training found here, if there is one.

        Raises:
            ValueError: it has other settings, data or number of processes, or cannot be read.
        """
        path = self.path / "state.safetensors"
        if not path.exists():
            return
        blob = path.read_bytes()
        length = int.from_bytes(blob[:8], "little")
        try:
            header = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"]["header"])
            settings = TypeAdapter(TrainingSettings).validate_python(header["settings"])  # new keys get their defaults
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no state of a training: {error}") from error
        theirs = {"replicas": 1, **header, "settings": asdict(settings)}
        if any(theirs.get(key) != value for key, value in self._identity().items()):
            raise ValueError(f"{self.path} holds a training with other settings or data; choose another folder")
        _restore(state, load(blob))
        state.step, state.seconds, state.samples = header["step"], header["seconds"], header["samples"]
        state.curve = [(int(step), float(loss)) for step, loss in header["curve"]]
        state.losses = header.get("losses", [])
        if self.validation is not None and header.get("validation_sha256") == self.validation.data_sha256:
            rows = header["validations"]
            state.validations = [Measured(**{**row, "losses": tuple(row["losses"])}) for row in rows]

    def _identity(self) -> dict[str, Any]:
        """What decides the weights; a folder holds one training."""
        settings = self.settings
        identity: dict[str, Any] = {
            "settings": asdict(settings),
            "data_sha256": self.data.digest,
            "replicas": self.replicas,
        }
        if settings.start_from is not None:
            identity["start_sha256"] = read_card(settings.start_from)["sha256"]
        return identity

    def _card(self, state: TrainingState) -> dict[str, Any]:
        machine = f"{torch.get_num_threads()} threads, {platform.machine()}, {os.cpu_count()} cores"
        card: dict[str, Any] = {
            "training": self._identity(),
            "known_time": self.settings.known_time,
            "steps": state.step,
            "samples": state.samples,
            "seconds": round(state.seconds, 1),
            "hardware": f"{self.replicas} x {_hardware(self.device)}, {machine}",
            "versions": library_versions(),
            "final_loss": state.curve[-1][1] if state.curve else None,
        }
        if self.validation is not None:
            card["validation"] = as_card(state.validations, self.validation)
        return card


def start(sampler: BatchSampler, settings: TrainingSettings, device: str) -> TrainingState:
    """Weights as a training begins: random with measured scale factors, or those of ``start_from``.

    Raises:
        ValueError: ``start_from`` has another network or process.
        ModelError: ``start_from`` cannot be loaded.
    """
    network = ScoreNetwork(settings.network).to(device)
    if settings.start_from is None:
        crystals, rng = sampler.draw(_FIRST_BATCH)
        batch = Batch.build(crystals, device)
        times = torch.tensor(rng.random(len(batch.frac)), dtype=torch.float32, device=device)
        fit_scale_factors(network, batch, times)
    else:
        given = load_model(settings.start_from, device)
        if (given.network.settings, given.process) != (settings.network, settings.process):
            raise ValueError(f"start_from: {settings.start_from} has another network or process than these settings")
        network.load_state_dict(given.network.state_dict())
    average = ScoreNetwork(settings.network).to(device)
    average.load_state_dict(network.state_dict())
    average.requires_grad_(requires_grad=False)
    trainable = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    return TrainingState(network, average, optimizer)


def _restore(state: TrainingState, tensors: dict[str, Tensor]) -> None:
    state.network.load_state_dict(_part(tensors, "network."))
    state.average.load_state_dict(_part(tensors, "average."))
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in _part(tensors, "optimizer.").items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": slots})


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _hardware(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
