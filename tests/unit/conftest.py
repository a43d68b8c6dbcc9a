import numpy as np
import pytest
import torch
from sample_crystals import random_crystal

from hinpaint.crystal import Crystal
from hinpaint.diffusion.checkpoints import LoadedModel
from hinpaint.diffusion.corruption import WrappedVE
from hinpaint.diffusion.network import NetworkSettings, ScoreNetwork


@pytest.fixture(scope="session")
def tiny_settings() -> NetworkSettings:
    return NetworkSettings(hidden=16, n_blocks=2, emb_trip=8, num_radial=8, num_spherical=3, max_neighbors=8)


@pytest.fixture(scope="session")
def tiny_model(tiny_settings: NetworkSettings) -> LoadedModel:
    """A network with random weights: enough for everything that must hold whatever was learned."""
    torch.manual_seed(3)
    network = ScoreNetwork(tiny_settings).eval().requires_grad_(requires_grad=False)
    return LoadedModel("tiny", network, WrappedVE(), "td", "0" * 64, {})


@pytest.fixture
def rock_salt() -> Crystal:
    frac = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    shifted = np.asarray(frac) + [0.5, 0.5, 0.5]
    return Crystal.build(4.1 * np.eye(3), ["Li"] * 4 + ["H"] * 4, np.concatenate([frac, shifted]) % 1.0)


@pytest.fixture
def crystals() -> list[Crystal]:
    return [random_crystal(seed, n_host=3 + seed, n_unknown=1 + seed % 3) for seed in range(5)]
