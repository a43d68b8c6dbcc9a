import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sample_crystals import random_crystal

from hinpaint.diffusion.checkpoints import load_model
from hinpaint.diffusion.network import ScoreNetwork
from hinpaint.sampling import Sampler
from hinpaint.training.loop import train
from hinpaint.training.loss import Example, denoising_loss
from hinpaint.training.preparing import from_crystals
from hinpaint.training.settings import TrainingSettings, ValidationSettings
from hinpaint.training.validation import SIGMAS, Validation, held_out, losses_at_fixed_noise, raw_rates


@pytest.fixture(scope="module")
def crystals():
    return [random_crystal(seed, n_host=4) for seed in range(10)]


@pytest.fixture
def watched() -> ValidationSettings:
    return ValidationSettings(every=3, n_loss=4, n_match=2, n_steps=2)


@pytest.fixture
def settings(tiny_settings, watched) -> TrainingSettings:
    return TrainingSettings(
        steps=5, warmup=2, max_batch_sites=30, bf16=False, network=tiny_settings, validation=watched
    )  # fmt: skip


def quiet(_: str) -> None:
    pass


def test_held_out_structures_hide_one_element_whole(crystals) -> None:
    data = from_crystals(crystals)
    found = held_out(data, "H", 20, 6, seed=1)
    assert len(found) == 6
    for each in found:
        assert (~each.known == each.is_element("H")).all()
    assert [c.frac.tolist() for c in found] == [c.frac.tolist() for c in held_out(data, "H", 20, 6, seed=1)]
    fewer = held_out(data, "H", 20, 3, seed=1)
    assert {c.frac.tobytes() for c in fewer} < {c.frac.tobytes() for c in found}
    assert not held_out(data, "H", 5, 6, seed=1)


def test_validation_loss_knows_the_weights_and_nothing_else(crystals, settings) -> None:
    hidden = held_out(from_crystals(crystals), "H", 20, 4, seed=0)
    torch.manual_seed(1)
    network, other = ScoreNetwork(settings.network), ScoreNetwork(settings.network)
    first = losses_at_fixed_noise(network, hidden, settings, seed=0)
    assert len(first) == len(SIGMAS)
    assert losses_at_fixed_noise(network, hidden, settings, seed=0) == first
    assert losses_at_fixed_noise(other, hidden, settings, seed=0) != first
    # The noise levels are those of the sigmas, so a training with another range is measured at the same ones.
    assert losses_at_fixed_noise(network, hidden, replace(settings, conditioning="pos_only"), seed=0) != first


def test_a_network_that_answers_zero_has_the_loss_of_the_target(crystals, settings) -> None:
    """At a small noise nothing wraps, so the target is a standard normal number."""
    hidden = held_out(from_crystals(crystals * 8), "H", 20, 80, seed=0)

    network = ScoreNetwork(settings.network)
    network.forward = lambda batch, *_: torch.zeros_like(batch.frac)
    losses = losses_at_fixed_noise(network, hidden, settings, seed=0)
    assert losses[0] == pytest.approx(1.0, abs=0.15)
    assert losses[-1] < losses[0]  # wrapped noise of a large sigma is nearly uniform, and its score vanishes


def test_raw_rates_see_the_truth_and_miss_chance(crystals, settings, monkeypatch) -> None:
    from hinpaint.diffusion.samplers import Placement
    from hinpaint.training import validation

    hidden = held_out(from_crystals(crystals), "H", 20, 5, seed=0)

    def truth(jobs, *_):
        for job in jobs:
            crystal = hidden[int(job.key)]
            yield Placement(job, crystal.frac[~crystal.known] if job.key != "3" else None)

    chance = raw_rates(hidden, Sampler(name="random"), 0, None)
    assert sum(chance.strict) < 3
    monkeypatch.setattr(validation, "place", truth)
    found = raw_rates(hidden, Sampler(name="random"), 0, None)
    assert found.matched == found.strict == (True, True, True, False, True)


def test_validation_is_written_and_survives_a_stop(crystals, settings, tmp_path: Path) -> None:
    data = from_crystals(crystals)
    validation = Validation.of(data, settings.validation)
    whole = train(data, settings, tmp_path / "whole", say=quiet, validation=validation)
    assert [each.step for each in whole.validations] == [3, 5]
    asked = iter([False] * 3)
    train(data, settings, tmp_path / "parts", say=quiet, validation=validation, stop=lambda: next(asked, True))
    resumed = train(data, settings, tmp_path / "parts", say=quiet, validation=validation)
    assert [each.step for each in resumed.validations] == [3, 5]
    for ours, theirs in zip(resumed.validations, whole.validations, strict=True):
        assert ours.losses == pytest.approx(theirs.losses, abs=1e-5)
    rows = list(csv.DictReader((tmp_path / "parts" / "validation.csv").open()))
    assert [row["step"] for row in rows] == ["3", "5"]
    assert float(rows[-1]["loss"]) == pytest.approx(np.mean(resumed.validations[-1].losses), abs=1e-4)
    card = json.loads((tmp_path / "parts" / "weights.json").read_text())
    assert card["validation"]["data_sha256"] == data.digest
    assert [row["step"] for row in card["validation"]["rows"]] == [3, 5]
    assert (tmp_path / "parts" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_validation_does_not_change_the_weights(crystals, settings, tmp_path: Path) -> None:
    data = from_crystals(crystals)
    plain = train(data, settings, tmp_path / "plain", say=quiet)
    watched = train(
        data, settings, tmp_path / "watched", say=quiet, validation=Validation.of(data, settings.validation)
    )
    for key, value in plain.average.state_dict().items():
        assert torch.equal(value, watched.average.state_dict()[key]), key


def test_known_time_of_training_is_that_of_sampling(crystals, settings, tmp_path: Path) -> None:
    later = replace(settings, known_time=0.01, steps=1)
    seen = []
    network = ScoreNetwork(settings.network)
    network.forward = lambda batch, t, _: (seen.append(t[batch.known]), torch.zeros_like(batch.frac))[1]
    denoising_loss(network, Example.draw(crystals, later, np.random.default_rng(0)), later)
    assert (seen[0] == torch.tensor(0.01)).all()
    train(from_crystals(crystals), later, tmp_path, say=quiet)
    assert load_model(str(tmp_path / "weights.safetensors")).known_time == 0.01


def test_noise_met_in_training_bounds_validation_as_it_bounds_sampling(crystals, settings, tmp_path: Path) -> None:
    narrow = replace(settings, times=(0.5, 0.9), steps=1)
    state = train(from_crystals(crystals), narrow, tmp_path, say=quiet)
    met = state.model(narrow).sigma_range
    assert met == load_model(str(tmp_path / "weights.safetensors")).sigma_range
    assert met == (narrow.process.sigma(0.5), narrow.process.sigma(0.9))


def test_nothing_to_validate_on_is_said(crystals) -> None:
    with pytest.raises(ValueError, match="none holds Pu"):
        Validation.of(from_crystals(crystals), ValidationSettings(element="Pu"))
