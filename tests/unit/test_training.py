import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sample_crystals import random_crystal

from hinpaint.diffusion.checkpoints import ModelError, load_model
from hinpaint.diffusion.corruption import WrappedVE
from hinpaint.diffusion.network import ScoreNetwork
from hinpaint.training.batches import BatchSampler, hide_element, hide_independently
from hinpaint.training.dataset import TrainingSet
from hinpaint.training.loop import train
from hinpaint.training.loss import Example, denoising_loss, sigma_weight
from hinpaint.training.preparing import from_crystals
from hinpaint.training.settings import TrainingSettings, learning_rate, load_settings


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    return from_crystals([random_crystal(seed, n_host=4) for seed in range(12)])


@pytest.fixture
def settings(tiny_settings) -> TrainingSettings:
    return TrainingSettings(steps=8, warmup=2, max_batch_sites=40, bf16=False, network=tiny_settings)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_stopped_killed_and_resumed_gives_the_same_curve(
    data, settings, tmp_path, monkeypatch, workers
) -> None:
    monkeypatch.setattr("hinpaint.training.loop._SAY_EVERY", 3)
    often = replace(settings, checkpoint_s=0)
    whole = train(data, often, tmp_path / "whole", say=lambda _: None)
    assert [step for step, _ in whole.curve] == [3, 6, 8]
    stopped = train(data, often, tmp_path / "parts", say=lambda _: None, stop=lambda: True, workers=workers)
    assert stopped.step == 1

    steps = iter(range(2, 9))

    def killed_at_its_fourth_step() -> bool:
        if next(steps) == 5:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        train(data, often, tmp_path / "parts", say=lambda _: None, stop=killed_at_its_fourth_step, workers=workers)
    resumed = train(data, often, tmp_path / "parts", say=lambda _: None, workers=workers)
    assert resumed.step == whole.step == 8
    assert resumed.samples == whole.samples
    assert resumed.curve == whole.curve
    for key, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[key]), key


def test_batches_drawn_ahead_are_the_same(data, settings, tmp_path) -> None:
    alone = train(data, settings, tmp_path / "alone", say=lambda _: None)
    ahead = train(data, settings, tmp_path / "ahead", say=lambda _: None, workers=2)
    assert ahead.curve == alone.curve


def test_training_learns(rock_salt, settings, tmp_path) -> None:
    cells = [replace(rock_salt, lattice=a * np.eye(3)) for a in (3.9, 4.1, 4.3, 4.5)]
    longer = replace(settings, steps=120, learning_rate=5e-3, warmup=5)

    def loss_of(network) -> float:
        hidden = [replace(c, known=~c.is_element("H")) for c in cells * 8]
        with torch.no_grad():
            example = Example.draw(hidden, longer, np.random.default_rng(0))
            return denoising_loss(network, example, longer).item()

    state = train(from_crystals(cells), longer, tmp_path, say=lambda _: None)
    torch.manual_seed(0)
    assert loss_of(state.average) < 0.7 * loss_of(ScoreNetwork(settings.network))


def test_folder_of_another_training_is_refused(data, settings, tmp_path) -> None:
    train(data, settings, tmp_path, say=lambda _: None, stop=lambda: True)
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
    chosen = [tuple(hide_element(numbers, rng)) for _ in range(300)]
    assert set(chosen) <= {tuple(numbers == z) for z in (1, 8, 12)}
    assert sum(c == tuple(numbers == 1) for c in chosen) > 240
    elemental = hide_element(np.array([14] * 6), rng)
    assert elemental.sum() == 3


def test_published_mask_hides_most_sites_one_by_one() -> None:
    rng = np.random.default_rng(0)
    hidden = np.array([hide_independently(10, 0.2, rng) for _ in range(400)])
    assert hidden.mean() == pytest.approx(0.8, abs=0.02)
    assert hidden.any(axis=1).all()
    assert (hidden[:, 0] != hidden[:, 1]).any()
    assert hide_independently(3, 1 - 1e-12, rng).sum() == 1


def test_ablation_changes_one_thing_at_a_time() -> None:
    folder = Path(__file__).parents[2] / "config" / "training" / "ablation"
    settings = {path.stem: load_settings(path) for path in folder.glob("*.yaml")}
    baseline = asdict(settings.pop("baseline"))
    changed = {
        name: {key for key, value in asdict(each).items() if value != baseline[key]} for name, each in settings.items()
    }
    assert changed.pop("wide") == {"network", "steps", "warmup"}
    assert changed.pop("mask-independent") == {"mask"}
    assert changed
    assert all(len(keys) == 1 for keys in changed.values()), changed


def test_weighting_has_mean_one() -> None:
    process = WrappedVE()
    times = torch.linspace(0, 1, 20001)
    for power in (-1.0, 0.5, 2.0):
        weight = sigma_weight(process, times, power)
        assert float(weight.mean()) == pytest.approx(1.0, rel=1e-3)
        assert float(weight[-1] / weight[0]) == pytest.approx(
            (process.sigma_max / process.sigma_min) ** power, rel=1e-3
        )


def test_batches_are_a_function_of_seed_and_step(data) -> None:
    sampler = BatchSampler(data, TrainingSettings(max_batch_sites=30, max_structure_sites=20, seed=4))
    first, again, other = (sampler.draw(step)[0] for step in (7, 7, 8))
    assert [c.species for c in first] == [c.species for c in again]
    assert [c.frac.tolist() for c in first] != [c.frac.tolist() for c in other]
    second = replace(sampler, rank=1).draw(7)[0]
    assert [c.frac.tolist() for c in first] != [c.frac.tolist() for c in second]
    assert all(sum(c.n_sites for c in sampler.draw(s)[0]) <= 30 for s in range(20))


def test_larger_structures_are_drawn_less_often() -> None:
    small, large = (random_crystal(number, n_host=n) for number, n in ((0, 3), (1, 15)))
    data = from_crystals([small, large])
    sizes = sorted(set(data.sizes.tolist()))
    for power in (0.0, 1.0):
        sampler = BatchSampler(data, TrainingSettings(max_batch_sites=6000, size_power=power))
        drawn = [c.n_sites for c in sampler.draw(0)[0]]
        ratio = drawn.count(sizes[0]) / drawn.count(sizes[1])
        assert ratio == pytest.approx((sizes[1] / sizes[0]) ** power, rel=0.25)


def test_noise_times_stay_between_their_bounds(data, settings) -> None:
    class Recorder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.seen = torch.nn.Parameter(torch.zeros(1)), []

        def forward(self, batch, t, wanted):
            self.seen += t[wanted].tolist()
            return batch.frac * self.weight

    narrow, network = replace(settings, times=(0.3, 0.4)), Recorder()
    sampler = BatchSampler(data, narrow)
    for step in range(5):
        crystals, rng = sampler.draw(step)
        denoising_loss(network, Example.draw(crystals, narrow, rng), narrow)
    assert min(network.seen) >= 0.3
    assert 0.35 < max(network.seen) <= 0.4


@pytest.mark.parametrize("change", [{"times": (0.5, 0.5)}, {"times": (0.0, 1.1)}, {"size_power": -1.0}])
def test_bounds_that_make_no_sense_are_refused(change) -> None:
    with pytest.raises(ValueError, match="times rise"):
        TrainingSettings(**change)


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
