import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.data import atomic_numbers
from sample_crystals import random_crystal

from hinpaint.crystal import Crystal
from hinpaint.diffusion.checkpoints import ModelError, load_model
from hinpaint.diffusion.dataset import BatchSampler, TrainingSet, choose_hidden
from hinpaint.diffusion.network import ScoreNetwork
from hinpaint.diffusion.training import TrainingSettings, denoising_loss, learning_rate, load_settings, train


def training_set(crystals: list[Crystal]) -> TrainingSet:
    return TrainingSet.from_arrays(
        lattice=np.stack([c.lattice for c in crystals]).astype(np.float32),
        start=np.cumsum([0] + [c.n_sites for c in crystals]),
        numbers=np.array([atomic_numbers[s] for c in crystals for s in c.species], dtype=np.uint8),
        frac=np.concatenate([c.frac for c in crystals]).astype(np.float32),
    )


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    return training_set([random_crystal(seed, n_host=4) for seed in range(12)])


@pytest.fixture
def settings(tiny_settings) -> TrainingSettings:
    return TrainingSettings(steps=8, warmup=2, max_batch_sites=40, bf16=False, network=tiny_settings)


def test_training_killed_and_resumed_gives_the_same_curve(data, settings, tmp_path) -> None:
    whole = train(data, settings, tmp_path / "whole", say=lambda _: None)
    train(data, settings, tmp_path / "parts", say=lambda _: None, stop_after_s=0.0)
    resumed = train(data, settings, tmp_path / "parts", say=lambda _: None)
    assert resumed.step == whole.step == 8
    assert resumed.samples == whole.samples
    for key, value in whole.average.state_dict().items():
        assert torch.allclose(value, resumed.average.state_dict()[key], atol=1e-6), key


def test_training_learns(rock_salt, settings, tmp_path) -> None:
    cells = [replace(rock_salt, lattice=a * np.eye(3)) for a in (3.9, 4.1, 4.3, 4.5)]
    longer = replace(settings, steps=120, learning_rate=5e-3, warmup=5)

    def loss_of(network) -> float:
        hidden = [replace(c, known=~c.is_element("H")) for c in cells * 8]
        with torch.no_grad():
            return denoising_loss(network, hidden, longer, np.random.default_rng(0)).item()

    state = train(training_set(cells), longer, tmp_path, say=lambda _: None)
    torch.manual_seed(0)
    assert loss_of(state.average) < 0.7 * loss_of(ScoreNetwork(settings.network))


def test_folder_of_another_training_is_refused(data, settings, tmp_path) -> None:
    train(data, settings, tmp_path, say=lambda _: None, stop_after_s=0.0)
    with pytest.raises(ValueError, match="other settings"):
        train(data, replace(settings, seed=9), tmp_path, say=lambda _: None)


def test_pos_only_noises_every_site(data, settings, tmp_path) -> None:
    state = train(data, replace(settings, conditioning="pos_only", steps=2), tmp_path, say=lambda _: None)
    assert state.step == 2
    assert json.loads((tmp_path / "weights.json").read_text())["conditioning"] == "pos_only"


def test_training_starts_from_other_weights(data, settings, tmp_path) -> None:
    first = train(data, settings, tmp_path / "td", say=lambda _: None)
    start = str(tmp_path / "td" / "weights.safetensors")
    after = replace(settings, conditioning="pos_only", start_from=start, steps=1, learning_rate=0.0, weight_decay=0.0)
    second = train(data, after, tmp_path / "pos_only", say=lambda _: None)
    for ours, theirs in zip(second.network.parameters(), first.average.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    other = replace(after, network=replace(settings.network, hidden=settings.network.hidden * 2))
    with pytest.raises(ValueError, match="start_from"):
        train(data, other, tmp_path / "other", say=lambda _: None)


def test_weights_load_back_and_altered_ones_do_not(data, settings, tmp_path) -> None:
    state = train(data, replace(settings, steps=2), tmp_path, say=lambda _: None)
    path = tmp_path / "weights.safetensors"
    model = load_model(str(path))
    for key, value in state.average.state_dict().items():
        assert torch.equal(value, model.network.state_dict()[key])
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(blob)
    with pytest.raises(ModelError, match="do not belong"):
        load_model(str(path))


def test_unknown_weights_are_named() -> None:
    with pytest.raises(ModelError, match="shipped are"):
        load_model("no-such-model")


def test_shipped_weights_load() -> None:
    assert load_model("td-small").conditioning == "td"


def test_hidden_sites_are_all_of_one_element() -> None:
    rng = np.random.default_rng(0)
    numbers = np.array([1, 1, 8, 8, 12])
    chosen = [tuple(choose_hidden(numbers, rng)) for _ in range(300)]
    assert set(chosen) <= {tuple(numbers == z) for z in (1, 8, 12)}
    assert sum(c == tuple(numbers == 1) for c in chosen) > 240
    elemental = choose_hidden(np.array([14] * 6), rng)
    assert elemental.sum() == 3


def test_batches_are_a_function_of_seed_and_step(data) -> None:
    sampler = BatchSampler(data, 0.6, 30, 20, seed=4)
    pools = sampler.pools()
    first, again, other = (sampler.draw(step, pools)[0] for step in (7, 7, 8))
    assert [c.species for c in first] == [c.species for c in again]
    assert [c.frac.tolist() for c in first] != [c.frac.tolist() for c in other]
    assert all(sum(c.n_sites for c in sampler.draw(s, pools)[0]) <= 30 for s in range(20))


def test_learning_rate_warms_up_and_decays(settings) -> None:
    rates = [learning_rate(step, settings) for step in range(settings.steps)]
    assert rates[0] == pytest.approx(settings.learning_rate / 2)
    assert max(rates) == pytest.approx(settings.learning_rate)
    assert rates[-1] < rates[-2] < rates[3]


def test_unknown_training_key_is_refused(tmp_path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("steps: 3\nnetwork: {hiden: 3}\n")
    with pytest.raises(ValueError, match="hiden"):
        load_settings(path)
