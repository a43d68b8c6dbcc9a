import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from cheap_potential import pair_potential

from hinpaint.crystal import Crystal
from hinpaint.relaxation.engine import BrokenPotentialError, RelaxJob, relax
from hinpaint.relaxation.potentials import LoadedPotential, load_potential
from hinpaint.relaxing import Potential, Relax
from hinpaint.whynot import Reason

_FRAC = [[0, 0, 0], [1 / 3, 2 / 3, 0.22], [2 / 3, 1 / 3, 3.78], [1 / 3, 2 / 3, 0.43], [2 / 3, 1 / 3, 0.57]]
_LATTICE = np.array([[3.14, 0.0, 0.0], [-1.57, 2.7193, 0.0], [0.0, 0.0, 4.77]])
_QUICK = Relax(fmax_ev_per_a=0.2, max_steps_h_only=40, max_steps_full=40)


@pytest.fixture(scope="module")
def sevennet() -> LoadedPotential:
    return load_potential(Potential(name="sevennet-0"))


def brucite(dz: float = 0.0, number: int = 0) -> RelaxJob:
    frac = np.array(_FRAC)
    frac[3, 2] += dz
    crystal = Crystal.build(_LATTICE, ["Mg", "O", "O", "H", "H"], frac, [1, 1, 1, 0, 0])
    return RelaxJob(("x|1|brucite", number), crystal, ~crystal.known)


def lithium_hydride(number: int = 9) -> RelaxJob:
    lattice = 2.04 * (np.ones((3, 3)) - np.eye(3))
    crystal = Crystal.build(lattice, ["Li", "H"], [[0, 0, 0], [0.45, 0.5, 0.5]], [1, 0])
    return RelaxJob(("x|1|lih", number), crystal, ~crystal.known)


def oxide() -> RelaxJob:
    """A made-up crystal for the pair potential, its hydrogen away from where it wants to be."""
    frac = [[0, 0, 0], [0.5, 0.5, 0.5], [0.3, 0.4, 0.1]]
    crystal = Crystal.build(2.8 * np.eye(3), ["Mg", "O", "H"], frac, [1, 1, 0])
    return RelaxJob(("x|1|oxide", 0), crystal, ~crystal.known)


class _Spoiled(torch.nn.Module):
    """The potential with one behaviour added before it answers."""

    def __init__(self, model: Any, before: Callable[[Any], None], after: Callable[[Any, Any], None]) -> None:
        super().__init__()
        self.model, self.before, self.after = model, before, after
        self.device, self.dtype = model.device, model.dtype

    def forward(self, state: Any) -> dict[str, torch.Tensor]:
        self.before(state)
        output = self.model(state)
        self.after(state, output)
        return output


def _spoiled(
    potential: LoadedPotential,
    before: Callable[[Any], None] = lambda _s: None,
    after: Callable[[Any, Any], None] = lambda _s, _o: None,
) -> LoadedPotential:
    return replace(potential, model=_Spoiled(potential.model, before, after))


def test_only_movable_sites_move_at_h_only(sevennet: LoadedPotential) -> None:
    job = brucite(0.02)
    outcome = relax(sevennet, [job], _QUICK, "h_only")[0]
    assert outcome.converged
    assert outcome.reason is None
    assert outcome.energy_ev is not None
    assert outcome.energy_start_ev is not None
    assert outcome.energy_ev < outcome.energy_start_ev - 0.05
    assert outcome.fmax_ev_per_a is not None
    assert outcome.fmax_ev_per_a < 0.2
    assert (outcome.crystal.frac[:3] == job.crystal.frac[:3]).all()  # bit for bit, in the source's own cell
    assert (outcome.crystal.lattice == job.crystal.lattice).all()
    assert outcome.volume_change == 0.0
    assert abs(outcome.crystal.frac[3] - job.crystal.frac[3]).max() > 0.01


def test_host_and_cell_move_at_full(sevennet: LoadedPotential) -> None:
    job = brucite()
    after_h_only = relax(sevennet, [job], _QUICK, "h_only")[0]
    start = RelaxJob(job.key, after_h_only.crystal, job.movable)
    outcome = relax(sevennet, [start], replace_settings(fmax_ev_per_a=0.05), "full")[0]
    shift = outcome.crystal.frac - job.crystal.frac
    assert abs(shift[1:3]).max() > 1e-3  # no constraint is left over on the host
    assert abs(shift[:3]).max() < 0.2  # and it is still in the cell the record placed it in
    assert abs(outcome.crystal.lattice - job.crystal.lattice).max() > 1e-2
    assert outcome.volume_change is not None
    assert 0.0 < outcome.volume_change < 0.1
    assert outcome.volume_change == pytest.approx(outcome.crystal.volume / job.crystal.volume - 1, abs=1e-5)


def replace_settings(**changes: float) -> Relax:
    return _QUICK.model_copy(update=changes)


@pytest.mark.parametrize("level", ["h_only", "full"])
def test_a_result_does_not_depend_on_the_batch(sevennet: LoadedPotential, level: Any) -> None:
    jobs = [brucite(0.0, 0), lithium_hydride(1), brucite(0.03, 2), brucite(-0.02, 3)]
    together = relax(sevennet, jobs, replace_settings(max_atoms=10), level)
    for job, outcome in zip(jobs, together, strict=True):
        alone = relax(sevennet, [job], _QUICK, level)[0]
        assert outcome.key == alone.key == job.key
        assert outcome.n_steps == alone.n_steps
        assert outcome.energy_ev == pytest.approx(alone.energy_ev, abs=1e-3)
        assert np.allclose(outcome.crystal.frac, alone.crystal.frac, atol=2e-3)


def test_bad_structures_harm_only_themselves(sevennet: LoadedPotential) -> None:
    good = brucite(0.0, 0)
    nan = good.crystal.with_frac(np.where(np.arange(15).reshape(5, 3) == 4, np.nan, good.crystal.frac))
    on_one_spot = good.crystal.frac.copy()
    on_one_spot[4] = on_one_spot[3]
    single = Crystal.build(np.eye(3) * 12, ["H"], [[0, 0, 0]], [0])
    tiny = Crystal.build(np.eye(3) * 0.3, ["H"], [[0, 0, 0]], [0])
    jobs = [
        good,
        RelaxJob(("nan", 0), nan, good.movable),
        RelaxJob(("spot", 0), good.crystal.with_frac(on_one_spot), good.movable),
        RelaxJob(("single", 0), single, ~single.known),
        RelaxJob(("tiny", 0), tiny, ~tiny.known),
        RelaxJob(("none movable", 0), good.crystal, np.zeros(5, dtype=bool)),
    ]
    counts: list[tuple[int, int]] = []
    outcomes = relax(sevennet, jobs, _QUICK, "h_only", lambda done, total: counts.append((done, total)))
    reasons = [outcome.reason for outcome in outcomes]
    assert reasons == [None, Reason.NOT_FINITE, Reason.COLLAPSED, None, Reason.COLLAPSED, None]
    assert counts == [(done, 6) for done in range(1, 7)]
    assert outcomes[1].energy_ev is None
    assert outcomes[5].n_steps == 0
    assert outcomes[5].energy_ev == outcomes[5].energy_start_ev


def test_an_exception_is_traced_to_its_structure(sevennet: LoadedPotential) -> None:
    def choke_on_lithium(state: Any) -> None:
        if (state.atomic_numbers == 3).any():
            raise RuntimeError("lithium")

    jobs = [brucite(0.0, 0), brucite(0.02, 1), lithium_hydride(2), brucite(-0.01, 3)]
    outcomes = relax(_spoiled(sevennet, choke_on_lithium), jobs, _QUICK, "h_only")
    assert [outcome.reason for outcome in outcomes] == [None, None, Reason.NOT_FINITE, None]
    assert outcomes[2].detail == "RuntimeError: lithium"
    assert outcomes[2].crystal is jobs[2].crystal


def test_a_potential_that_is_gone_is_no_failure_of_the_structures(sevennet: LoadedPotential) -> None:
    calls: list[int] = []

    def gone(_state: Any) -> None:
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(BrokenPotentialError, match="fails on every structure: CUDA error"):
        relax(_spoiled(sevennet, gone), [brucite(0.02, number) for number in range(3)], _QUICK, "h_only")


@pytest.mark.parametrize("name", ["stepped", "ended", "progress"])
def test_a_failure_of_the_caller_is_its_own(sevennet: LoadedPotential, name: str) -> None:
    def full(*_told: object) -> None:
        raise OSError(28, "No space left on device")

    given: dict[str, Any] = {name: full}
    with pytest.raises(OSError, match="No space left"):
        relax(sevennet, [brucite(0.02, number) for number in range(2)], _QUICK, "h_only", **given)


def test_tensors_of_a_batch_that_did_not_fit_are_gone_before_the_next(sevennet: LoadedPotential) -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def small_memory(state: Any) -> None:
        assert not [each for each in held if each() is not None]
        if state.n_atoms > 5:
            large = torch.zeros(state.n_atoms)
            held.append(weakref.ref(large))
            raise torch.OutOfMemoryError

    outcomes = relax(_spoiled(sevennet, small_memory), [brucite(0.0, number) for number in range(4)], _QUICK, "h_only")
    assert [outcome.reason for outcome in outcomes] == [None] * 4
    assert len(held) == 2


def test_running_out_of_memory_makes_smaller_batches(sevennet: LoadedPotential) -> None:
    largest: list[int] = []

    def small_memory(state: Any) -> None:
        if state.n_atoms > 10:
            raise torch.OutOfMemoryError
        largest.append(state.n_atoms)

    jobs = [brucite(0.0, number) for number in range(4)]
    outcomes = relax(_spoiled(sevennet, small_memory), jobs, _QUICK, "h_only")
    assert all(outcome.converged for outcome in outcomes)
    assert max(largest) == 10
    alone = relax(_spoiled(sevennet, lambda _s: (_ for _ in ()).throw(MemoryError())), jobs[:1], _QUICK, "h_only")
    assert alone[0].reason == Reason.OUT_OF_MEMORY


def test_nan_from_the_potential_ends_only_that_structure(sevennet: LoadedPotential) -> None:
    def nan_for_lithium(state: Any, output: Any) -> None:
        systems = state.system_idx[state.atomic_numbers == 3]
        output["energy"][systems] = float("nan")

    outcomes = relax(_spoiled(sevennet, after=nan_for_lithium), [lithium_hydride(), brucite()], _QUICK, "full")
    assert outcomes[0].reason == Reason.NOT_FINITE
    assert outcomes[1].energy_ev is not None


def test_step_limit_keeps_the_energy(sevennet: LoadedPotential) -> None:
    outcomes = relax(sevennet, [brucite(0.05)], replace_settings(max_steps_h_only=2), "h_only")
    assert outcomes[0].reason == Reason.NOT_CONVERGED
    assert not outcomes[0].converged
    assert outcomes[0].n_steps == 2
    assert outcomes[0].energy_ev is not None
    untouched = relax(sevennet, [brucite(0.05)], replace_settings(max_steps_h_only=0), "h_only")[0]
    assert untouched.n_steps == 0
    assert np.allclose(untouched.crystal.frac, brucite(0.05).crystal.frac, atol=1e-6)


def test_time_limit_loses_that_structure() -> None:
    outcome = relax(pair_potential(), [oxide()], replace_settings(time_limit_s=1e-9), "h_only")[0]
    assert outcome.reason == Reason.TIME_LIMIT
    assert outcome.energy_ev is None
    assert relax(pair_potential(), [oxide()], replace_settings(time_limit_s=None), "h_only")[0].converged


def test_the_end_of_one_level_is_not_evaluated_again_for_the_next() -> None:
    counted: list[int] = []
    potential = _spoiled(pair_potential(), lambda state: counted.append(state.n_atoms))
    end = relax(potential, [oxide()], _QUICK, "h_only")[0]
    assert len(counted) == end.n_steps + 1
    start = RelaxJob(end.key, end.crystal, oxide().movable)
    counted.clear()
    plain = relax(potential, [start], _QUICK, "full")[0]
    assert len(counted) == plain.n_steps + 1
    counted.clear()
    taken_along = relax(potential, [replace(start, answer=end.answer)], _QUICK, "full")[0]
    assert len(counted) == plain.n_steps
    assert taken_along.n_steps == plain.n_steps > 0
    assert taken_along.energy_ev == pytest.approx(plain.energy_ev, abs=1e-9)


def test_runaway_cells_and_collapse_are_stopped(sevennet: LoadedPotential) -> None:
    def blow_up(_state: Any, output: Any) -> None:
        output["stress"] -= 5.0 * torch.eye(3)

    outcome = relax(_spoiled(sevennet, after=blow_up), [brucite()], replace_settings(max_steps_full=200), "full")[0]
    assert outcome.reason == Reason.EXPLODED
    assert outcome.crystal is not None
    assert outcome.energy_ev is None
    assert (outcome.crystal.frac == brucite().crystal.frac).all()
    collapsed = relax(sevennet, [brucite()], replace_settings(min_distance_a=1.5), "h_only")[0]
    assert collapsed.reason == Reason.COLLAPSED
    assert not collapsed.converged


def test_a_hole_of_the_potential_is_not_a_low_energy(sevennet: LoadedPotential) -> None:
    def dig(_state: Any, output: Any) -> None:
        output["energy"] -= 1e4 * (output["forces"].norm(dim=1).max() < 3.0)

    outcome = relax(_spoiled(sevennet, after=dig), [brucite(0.03)], _QUICK, "h_only")[0]
    assert outcome.reason == Reason.EXPLODED
    assert outcome.energy_ev is None
    assert "outside of what the potential knows" in outcome.detail


@pytest.mark.parametrize("level", ["h_only", "full"])
def test_left_handed_cells_relax_like_right_handed_ones(sevennet: LoadedPotential, level: Any) -> None:
    job = brucite(0.02)
    swapped = Crystal.build(
        job.crystal.lattice[[1, 0, 2]], job.crystal.species, job.crystal.frac[:, [1, 0, 2]], job.crystal.known
    )
    mirrored = RelaxJob(job.key, swapped, job.movable)
    assert np.linalg.det(swapped.lattice) < 0
    right, left = relax(sevennet, [job, mirrored], _QUICK, level)
    assert left.energy_ev == pytest.approx(right.energy_ev, abs=1e-3)
    assert left.n_steps == right.n_steps
    assert np.linalg.det(left.crystal.lattice) < 0
    assert np.allclose(left.crystal.frac[:, [1, 0, 2]], right.crystal.frac, atol=2e-3)


def test_a_mask_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="movable mask"):
        RelaxJob(("x", 0), brucite().crystal, np.ones(3, dtype=bool))


def test_nothing_to_do(sevennet: LoadedPotential) -> None:
    assert relax(sevennet, [], _QUICK, "full") == []
