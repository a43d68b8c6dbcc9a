from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from ase.io import read

from hinpaint.crystal import Crystal, minimum_image_distances
from hinpaint.diffusion.checkpoints import LoadedModel, ModelError
from hinpaint.diffusion.corruption import WrappedVE
from hinpaint.diffusion.graph import Batch
from hinpaint.diffusion.samplers import (
    PlacementJob,
    denoise,
    make_batches,
    n_evaluations,
    place,
    place_at_random,
    write_trajectory,
)
from hinpaint.diffusion.samplers.family import noise_times
from hinpaint.diffusion.samplers.solvers import repaint_levels
from hinpaint.rng import stream
from hinpaint.sampling import WEIGHTS_OF, Sampler, misfit
from hinpaint.whynot import Reason

SHORT = Sampler(n_steps=6)
FAMILY = [(name, kind) for name, kinds in WEIGHTS_OF.items() for kind in kinds if name != "random"]


def jobs_of(crystals: list[Crystal], trials: int = 2) -> list[PlacementJob]:
    return [
        PlacementJob(f"db|1|{i}", trial, crystal.take(crystal.known), "H", int((~crystal.known).sum()))
        for i, crystal in enumerate(crystals)
        for trial in range(trials)
    ]


def settings_of(name: str) -> Sampler:
    return Sampler(name=name, n_steps=4, n_resample=2, jump_length=2)


def outcomes(jobs: list[PlacementJob], settings: Sampler, model, seed: int = 5) -> dict[tuple[str, int], np.ndarray]:
    return {(p.job.key, p.job.trial): p.frac_unknown for p in place(jobs, settings, seed, model)}


@pytest.mark.parametrize(("name", "kind"), FAMILY)
def test_trial_does_not_depend_on_batch_or_order(tiny_model, crystals, name: str, kind: str) -> None:
    jobs, model = jobs_of(crystals[:3]), replace(tiny_model, conditioning=kind)
    together = outcomes(jobs, settings_of(name), model)
    alone = outcomes(jobs[::-1], settings_of(name).model_copy(update={"max_atoms": 1}), model)
    assert together.keys() == alone.keys()
    for key, frac in together.items():
        delta = frac - alone[key]
        assert np.abs(delta - np.round(delta)).max() < 1e-4


@pytest.mark.parametrize(("name", "kind"), FAMILY)
def test_the_host_is_the_same_to_the_last_bit(tiny_model, crystals, name: str, kind: str) -> None:
    """What comes back are the placed sites; where the network's view of the host moved, the result shows it unmoved."""
    jobs = jobs_of(crystals, trials=1)
    before = [(job.host.frac.tobytes(), job.host.lattice.tobytes()) for job in jobs]
    sampled = denoise(jobs, settings_of(name), 1, replace(tiny_model, conditioning=kind), record=True)
    assert before == [(job.host.frac.tobytes(), job.host.lattice.tobytes()) for job in jobs]
    clean = Batch.build([job.host.add_unknown("H", np.zeros((job.n_unknown, 3))) for job in jobs])
    assert torch.equal(sampled.frames[-1].frac[clean.known], clean.frac[clean.known])
    noised = any(not torch.equal(f.frac[clean.known], clean.frac[clean.known]) for f in sampled.frames)
    assert noised == (kind == "pos_only" and name != "pos_only")
    for job, frac in zip(jobs, sampled.frac, strict=True):
        completed = job.host.add_unknown("H", frac)
        assert completed.frac[: job.host.n_sites].tobytes() == job.host.frac.tobytes()


@pytest.mark.parametrize(("name", "kind"), FAMILY)
def test_evaluations_are_counted_as_they_are_announced(tiny_model, crystals, name: str, kind: str) -> None:
    settings, seen = settings_of(name), []
    model = replace(tiny_model, conditioning=kind)
    (placed,) = place(jobs_of(crystals[:1], 1), settings, 1, model, lambda *s: seen.append(s))
    total = n_evaluations(settings)
    assert placed.n_evaluations == total > 0
    assert seen == [(i, total) for i in range(1, total + 1)]


def test_what_makes_no_sense_is_refused_in_one_line(tiny_model, crystals) -> None:
    for name in WEIGHTS_OF:
        for kind in ("td", "pos_only"):
            problem = misfit(settings_of(name), "weights", kind)
            assert (problem is None) == (kind in WEIGHTS_OF[name])
            if problem is None:
                continue
            assert "\n" not in problem
            with pytest.raises(ModelError, match=f"sampler {name} cannot use tiny, which has one noise level per"):
                list(place(jobs_of(crystals[:1]), settings_of(name), 1, replace(tiny_model, conditioning=kind)))


def test_repaint_goes_back_and_resamples() -> None:
    assert repaint_levels(4, 1, 2) == [4, 3, 2, 1, 0]
    assert repaint_levels(4, 3, 2) == [4, 3, 2, 4, 3, 2, 4, 3, 2, 1, 0]
    levels = repaint_levels(11, 4, 3)
    assert levels[0] == 11
    assert levels[-1] == 0
    assert all(later - now in (-1, 3) for now, later in pairwise(levels))
    assert sum(later > now for now, later in pairwise(levels)) == 3 * 3


def test_noise_stays_within_what_the_weights_met_and_the_wanted_range(tiny_model) -> None:
    process = WrappedVE(0.01, 5.0)
    model = replace(tiny_model, process=process)
    times = noise_times(model, Sampler(n_steps=7, sigma_start=0.8, sigma_end=0.02))
    assert [process.sigma(times[0]), process.sigma(times[-1])] == pytest.approx([0.8, 0.02])
    assert all(later < now for now, later in pairwise(times))
    wider = Sampler(n_steps=7, sigma_start=50.0, sigma_end=1e-4)
    whole = noise_times(model, wider)
    assert [whole[0], whole[-1]] == pytest.approx([1.0, 0.0])
    trained = noise_times(replace(model, card={"training": {"settings": {"times": [0.3, 0.92]}}}), wider)
    assert [trained[0], trained[-1]] == pytest.approx([0.92, 0.3])


class Exact(torch.nn.Module):
    """The exact noise estimate of a distribution that is one point: every solver must find it."""

    def __init__(self, clean: torch.Tensor, process: WrappedVE, network) -> None:
        super().__init__()
        self.clean, self.process, self.neighbourhood, self.settings = clean, process, network.neighbourhood, None
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, batch: Batch, t: torch.Tensor, wanted: torch.Tensor, _: object) -> torch.Tensor:
        std = self.process.std(t, batch.counts[batch.crystal])
        return self.process.score_times_std(batch.frac - self.clean, std) * wanted[:, None]


@pytest.mark.parametrize(("name", "kind"), FAMILY)
def test_every_solver_finds_the_only_structure_there_is(tiny_model, crystals, name: str, kind: str) -> None:
    crystal = crystals[2]
    clean = Batch.build([crystal]).frac
    model = LoadedModel("exact", Exact(clean, WrappedVE(), tiny_model.network), WrappedVE(), kind, "0" * 64, {})
    settings = Sampler(name=name, n_steps=30, n_resample=2, jump_length=5)
    (frac,) = denoise(jobs_of([crystal], 1), settings, 3, model).frac
    delta = frac - crystal.frac[~crystal.known]
    assert np.abs(delta - np.round(delta)).max() < 1e-3


def test_trajectory_is_the_way_of_the_trial(tiny_model, crystals, tmp_path) -> None:
    jobs = jobs_of(crystals)
    settings = Sampler(name="renoise", n_steps=4)
    path = tmp_path / "way.extxyz"
    assert write_trajectory(path, jobs[3], settings, 5, tiny_model) == 5
    frames = read(path, ":")
    assert [frame.info["trial"] for frame in frames] == [1] * 5
    assert [frame.info["t"] for frame in frames] == sorted((frame.info["t"] for frame in frames), reverse=True)
    assert frames[-1].info["t"] == frames[-1].info["sigma"] == 0
    assert frames[0].info["sigma"] == pytest.approx(0.8 * jobs[3].n_sites ** (-1 / 3))
    last = frames[-1].get_scaled_positions(wrap=False)[~frames[-1].arrays["known"]]
    delta = last - outcomes(jobs, settings, tiny_model)[jobs[3].key, jobs[3].trial]
    assert np.abs(delta - np.round(delta)).max() < 1e-4


def test_known_sites_have_the_time_of_their_training(tiny_model, crystals) -> None:
    jobs = jobs_of(crystals[:1], 1)
    own = replace(tiny_model, card={"known_time": 0.3})
    assert not np.allclose(denoise(jobs, SHORT, 1, own).frac[0], denoise(jobs, SHORT, 1, tiny_model).frac[0])


def test_trials_and_seeds_differ(tiny_model, crystals) -> None:
    first = outcomes(jobs_of(crystals[:1]), SHORT, tiny_model)
    other = outcomes(jobs_of(crystals[:1]), SHORT, tiny_model, seed=6)
    assert not np.allclose(first["db|1|0", 0], first["db|1|0", 1])
    assert not np.allclose(first["db|1|0", 0], other["db|1|0", 0])


@pytest.mark.parametrize("n_corrector", [0, 1, 2])
def test_every_job_comes_back_once_inside_the_cell(tiny_model, crystals, n_corrector: int) -> None:
    jobs = jobs_of(crystals)
    placed = list(place(jobs, Sampler(n_steps=3, n_corrector=n_corrector), 1, tiny_model))
    assert sorted((p.job.key, p.job.trial) for p in placed) == sorted((j.key, j.trial) for j in jobs)
    for p in placed:
        assert p.frac_unknown.shape == (p.job.n_unknown, 3)
        assert ((p.frac_unknown >= 0) & (p.frac_unknown < 1)).all()


def test_nothing_to_place_needs_no_model() -> None:
    assert list(place([], SHORT, 1, None)) == []


def test_unknown_element_is_a_reason_not_an_error(tiny_model, crystals) -> None:
    job = replace(jobs_of(crystals[:1], 1)[0], element="Lr")
    (placed,) = place([job], SHORT, 1, tiny_model)
    assert placed.frac_unknown is None
    assert placed.stop.reason is Reason.UNSUPPORTED_ELEMENT


def test_batches_are_bounded_and_complete(crystals) -> None:
    jobs = jobs_of(crystals, trials=7)
    batches = make_batches(jobs, Sampler(max_atoms=20), max_neighbors=12)
    assert sorted(map(id, (j for b in batches for j in b))) == sorted(map(id, jobs))
    assert all(len(b) == 1 or sum(j.n_sites for j in b) <= 20 for b in batches)
    by_edges = make_batches(jobs, Sampler(max_edges=240), max_neighbors=12)
    assert all(len(b) == 1 or sum(j.n_sites for j in b) <= 10 for b in by_edges)


def test_random_placement_keeps_distances(rock_salt) -> None:
    job = PlacementJob("db|1|x", -2, rock_salt.take(rock_salt.is_element("Li")), "H", 4)
    placed = place_at_random(job, seed=1)
    whole = job.host.add_unknown("H", placed.frac_unknown)
    distances = minimum_image_distances(whole.lattice, whole.frac, whole.frac) + 10 * np.eye(8)
    assert distances[4:, :4].min() > 0.7 * 0.8 * (1.28 + 0.31)
    assert np.array_equal(placed.frac_unknown, place_at_random(job, seed=1).frac_unknown)


def test_random_placement_says_when_there_is_no_room() -> None:
    full = Crystal.build(1.5 * np.eye(3), ["Cs"], [[0, 0, 0]])
    placed = place_at_random(PlacementJob("db|1|x", 0, full, "H", 1), seed=1)
    assert placed.stop.reason is Reason.NO_ROOM


def test_streams_are_fixed_for_ever() -> None:
    """These numbers are part of every release: a change of the stream changes all results."""
    numbers = stream(2026, "cod|1|2", 3, "denoise").random(2)
    assert numbers.tolist() == stream(2026, "cod|1|2", 3, "denoise").random(2).tolist()
    assert stream(2026, "cod|1|2", 3, "random").random() != numbers[0]
    assert stream(2026, "cod|1|2", 4, "denoise").random() != numbers[0]
    assert stream(2027, "cod|1|2", 3, "denoise").random() != numbers[0]
