import numpy as np
import pytest
import torch

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


def random_crystal(seed: int, n_host: int = 5, n_unknown: int = 3) -> Crystal:
    """A skewed cell with sites anywhere."""
    rng = np.random.default_rng(seed)
    lattice = np.diag(rng.uniform(3.5, 7.0, 3)) + rng.uniform(-1.0, 1.0, (3, 3))
    species = [str(s) for s in rng.choice(["Mg", "O", "Na", "Si"], n_host)] + ["H"] * n_unknown
    frac = rng.random((n_host + n_unknown, 3))
    return Crystal.build(lattice, species, frac, known=[True] * n_host + [False] * n_unknown)


@pytest.fixture
def crystals() -> list[Crystal]:
    return [random_crystal(seed, n_host=3 + seed, n_unknown=1 + seed % 3) for seed in range(5)]
