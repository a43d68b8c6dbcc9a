"""Weights on disk: safetensors with a JSON card beside them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load, save

from hinpaint.diffusion.corruption import WrappedVE
from hinpaint.diffusion.network import NetworkSettings, ScoreNetwork
from hinpaint.files import sha256_file, write_atomic
from hinpaint.sampling import read_card, weights_path

Conditioning = Literal["td", "pos_only"]


class ModelError(Exception):
    """Weights are missing, altered, or do not fit. The message says what to do."""


@dataclass(frozen=True)
class LoadedModel:
    """A score network ready to sample.

    Attributes:
        name: name or path it was asked for by.
        network: the network, in evaluation mode.
        process: the forward process it was trained on.
        conditioning: ``td`` (noise level per site) or ``pos_only`` (per crystal).
        sha256: hash of the weights file.
        card: everything the card says.
    """

    name: str
    network: ScoreNetwork
    process: WrappedVE
    conditioning: Conditioning
    sha256: str
    card: dict[str, Any]

    @property
    def known_time(self) -> float:
        """Noise time that known sites had in training (``td``), and have in sampling."""
        return float(self.card.get("known_time", 0.0))

    @property
    def sigma_range(self) -> tuple[float, float]:
        """Least and most noise that the weights met in training, as a sampler's ``sigma_end`` and ``sigma_start``."""
        first, last = self.card.get("training", {}).get("settings", {}).get("times", (0.0, 1.0))
        return self.process.sigma(first), self.process.sigma(last)


def load_model(name: str, device: torch.device | str = "cpu") -> LoadedModel:
    """Load weights by shipped name or path of a ``.safetensors`` file.

    Raises:
        ModelError: missing file, a card that says too little, or a hash that differs from the card's.
    """
    try:
        path, card = weights_path(name), read_card(name)
    except ValueError as error:
        raise ModelError(str(error)) from error
    digest = sha256_file(path)
    if card["sha256"] != digest:
        raise ModelError(f"{path}: the weights do not belong to their card (sha256 {digest[:12]} is not the card's)")
    network = ScoreNetwork(NetworkSettings(**card["network"]))
    state = {key: value.float() for key, value in load(path.read_bytes()).items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ModelError(f"{path} does not fit its card: missing {missing[:3]}, unexpected {unexpected[:3]}")
    network.eval().requires_grad_(requires_grad=False).to(device)
    return LoadedModel(name, network, WrappedVE(**card["process"]), card["conditioning"], digest, card)


def save_model(
    path: Path, network: ScoreNetwork, process: WrappedVE, conditioning: Conditioning, card: dict[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:  # fmt: skip
    """Write weights and card.

    Args:
        path: ``.safetensors`` file; the card goes beside it.
        network: network whose weights are written.
        process: its forward process.
        conditioning: what the noise level belongs to.
        card: what else should be known: data, steps, seconds, hardware, rates.
        dtype: precision of the stored weights.
    """
    state = {key: value.detach().to("cpu", dtype).contiguous() for key, value in network.state_dict().items()}
    write_atomic(path, lambda handle: handle.write(save(state)))
    full = {
        **card,
        "network": network.describe(),
        "process": asdict(process),
        "conditioning": conditioning,
        "parameters": network.n_parameters,
        "sha256": sha256_file(path),
    }
    text = json.dumps(full, indent=2, sort_keys=True) + "\n"
    write_atomic(path.with_suffix(".json"), lambda handle: handle.write(text.encode()))
