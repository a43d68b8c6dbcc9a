"""The configuration of sampling: which weights, which sampler, and whether the two fit."""

import json
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from hinpaint.block import Block

SamplerName = Literal["td", "renoise", "dpm", "euler", "repaint", "replacement", "pos_only", "random"]

# Weights that a sampler can use: td have one noise level per site, pos_only one per crystal.
WEIGHTS_OF: dict[SamplerName, tuple[str, ...]] = {
    "td": ("td",),
    "renoise": ("td", "pos_only"),
    "dpm": ("td", "pos_only"),
    "euler": ("td", "pos_only"),
    "repaint": ("td", "pos_only"),
    "replacement": ("pos_only",),
    "pos_only": ("pos_only",),
    "random": ("td", "pos_only"),
}


class Sampler(Block):
    """How the unknown sites are denoised."""

    name: Annotated[
        SamplerName,
        Field(
            description="td: predictor-corrector, one noise level a site (TD-Paint); renoise: estimates the structure "
            "and noises it afresh to the next level, few steps; dpm: probability-flow ODE by DPM-Solver++ (2M); euler: "
            "the same by Euler's method; repaint: predictor-corrector that jumps back and resamples; replacement: "
            "known sites noised to the level of the others; pos_only: known sites left as they are at the level of the "
            "others; random: chance placement"
        ),
    ] = "renoise"
    n_steps: Annotated[int, Field(ge=1, le=5000, description="steps from noise to structure")] = 50
    n_corrector: Annotated[int, Field(ge=0, le=10, description="td, repaint, replacement, pos_only: Langevin corrector steps before each step")] = 1  # fmt: skip  # noqa: E501
    snr: Annotated[float, Field(gt=0, le=1, description="signal-to-noise ratio that sets the corrector's step")] = 0.2
    n_resample: Annotated[int, Field(ge=1, le=100, description="repaint: how often each stretch is denoised")] = 5
    jump_length: Annotated[int, Field(ge=1, le=1000, description="repaint: steps in a stretch")] = 5
    sigma_start: Annotated[float, Field(gt=0, description="noise of the first step, fractional units x sites^(1/3); at most that of the weights' training")] = 0.8  # fmt: skip  # noqa: E501
    sigma_end: Annotated[float, Field(gt=0, description="noise of the last step, same units; at least that of the weights' training")] = 0.03  # fmt: skip  # noqa: E501
    max_atoms: Annotated[int, Field(ge=1, description="atoms in a batch at most (a CPU takes 128)")] = 4096
    max_edges: Annotated[int, Field(ge=1, description="edges in a batch at most (a larger crystal runs alone)")] = 100000  # fmt: skip  # noqa: E501

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.sigma_end > self.sigma_start:
            raise ValueError("sigma_end lies above sigma_start")
        return self


# What a card must say for a run to be configured; the network's own settings are checked when it is loaded.
_CARD = ("conditioning", "sha256")


def weights_path(name: str) -> Path:
    """Find diffusion weights by shipped name, or by the path of a ``.safetensors`` file; the card lies beside them.

    Raises:
        ValueError: no such weights, or no card.
    """
    shipped = Path(str(resources.files("hinpaint") / "models"))
    path = Path(name) if name.endswith(".safetensors") else shipped / f"{name}.safetensors"
    if not path.is_file():
        names = ", ".join(sorted(each.stem for each in shipped.glob("*.safetensors")))
        raise ValueError(f"no weights {name!r}; shipped are: {names or 'none'}")
    if not path.with_suffix(".json").is_file():
        raise ValueError(f"{path} has no card {path.with_suffix('.json').name} beside it")
    return path


def read_card(name: str) -> dict[str, Any]:
    """What the card beside the weights says.

    Raises:
        ValueError: no such weights, no card, or one that does not say what the weights are.
    """
    path = weights_path(name).with_suffix(".json")
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    missing = [key for key in _CARD if key not in card] if isinstance(card, dict) else _CARD
    if missing:
        raise ValueError(f"{path} is no card of weights: it has no {' and no '.join(missing)}")
    return card


def misfit(sampler: Sampler, model: str, conditioning: str) -> str | None:
    """Why a sampler cannot use weights of a kind, in one line; None when it can."""
    wanted = WEIGHTS_OF[sampler.name]
    if conditioning in wanted:
        return None
    has = {"td": "one noise level per site", "pos_only": "one noise level per crystal"}.get(conditioning, conditioning)
    able = ", ".join(name for name, kinds in WEIGHTS_OF.items() if conditioning in kinds)
    return f"sampler {sampler.name} cannot use {model}, which has {has}; samplers that can: {able or 'none'}"
