"""When a GPU's memory runs out: the batch is halved, rows stay the same, and what never fits gets its reason."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sample_crystals import random_crystal

from hinpaint.crystal import FloatArray
from hinpaint.diffusion.checkpoints import LoadedModel
from hinpaint.diffusion.samplers import Placement, PlacementJob, place
from hinpaint.sampling import Sampler
from hinpaint.whynot import Reason

SHORT = Sampler(n_steps=3)


@pytest.fixture
def jobs() -> list[PlacementJob]:
    crystals = [random_crystal(seed, n_host=4 + seed) for seed in range(6)]
    return [PlacementJob(f"db|1|{i}", 0, crystal.take(crystal.known), "H", 3) for i, crystal in enumerate(crystals)]


def placed(jobs: list[PlacementJob], model: LoadedModel) -> dict[str, Placement]:
    return {each.job.key: each for each in place(jobs, SHORT, 5, model)}


def assert_same(frac: FloatArray | None, other: FloatArray | None) -> None:
    assert frac is not None
    assert other is not None
    delta = frac - other
    assert np.abs(delta - np.round(delta)).max() < 1e-4


def test_allocator_that_refuses_large_batches(
    jobs: list[PlacementJob], tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator's error, raised where it comes from, for every batch of more than 10 sites."""
    free = placed(jobs, tiny_model)
    forward, refused = tiny_model.network.forward, []

    def limited(batch, t, *more):
        if len(t) > 10:
            refused.append(len(t))
            raise torch.OutOfMemoryError
        return forward(batch, t, *more)

    monkeypatch.setattr(tiny_model.network, "forward", limited)
    limited_too = placed(jobs, tiny_model)
    assert max(refused) == sum(job.n_sites for job in jobs)
    for job in jobs:
        found = limited_too[job.key]
        if job.n_sites > 10:
            assert found.stop is not None
            assert found.stop.reason is Reason.OUT_OF_MEMORY
        else:
            assert_same(found.frac_unknown, free[job.key].frac_unknown)


@pytest.fixture
def little_gpu_memory() -> Iterator[None]:
    """Let this process have only what it holds now and 1/2000 of the GPU more."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + total / 2000) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_allocator_limit_of_a_real_gpu(tiny_model: LoadedModel, request: pytest.FixtureRequest) -> None:
    network = tiny_model.network.to("cuda")
    try:
        crystal = random_crystal(1)
        host = crystal.take(crystal.known)
        many = [PlacementJob(f"db|1|{i}", 0, host, "H", 3) for i in range(4000)]
        request.getfixturevalue("little_gpu_memory")
        found = list(place(many, SHORT.model_copy(update={"max_atoms": 100000, "max_edges": 10**7}), 5, tiny_model))
        assert len(found) == len(many)
        assert all(each.frac_unknown is not None for each in found)
    finally:
        network.to("cpu")
