from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import spglib
import torch
from cheap_potential import pair_potential

from hinpaint.crystal import Crystal
from hinpaint.relaxation.batch import Answer, RelaxJob
from hinpaint.relaxation.descent import Descent
from hinpaint.relaxation.engine import RelaxOutcome, relax
from hinpaint.relaxation.potentials import LoadedPotential, load_potential
from hinpaint.relaxation.sharing import plan_full
from hinpaint.relaxation.symmetry import averaged_tensor, averaged_vectors, space_group
from hinpaint.relaxing import Potential, Relax

_LEVELS: Any = ["h_only", "full"]
_FREE = Relax(fmax_ev_per_a=0.02, max_steps_h_only=40, max_steps_full=40)
_KEPT = _FREE.model_copy(update={"fix_symmetry": True})
_BRUCITE = 164  # P-3m1


def brucite(squeeze: float = 0.02, sign: int = 1) -> Crystal:
    """Mg(OH)2 with both O-H bonds stretched alike, in a right-handed cell or a left-handed one."""
    z = 0.43 + squeeze
    frac: list[list[float]] = [
        [0, 0, 0],
        [1 / 3, 2 / 3, 0.22],
        [2 / 3, 1 / 3, 0.78],
        [1 / 3, 2 / 3, z],
        [2 / 3, 1 / 3, 1 - z],
    ]
    lattice = np.array([[3.14, 0.0, 0.0], [-1.57, 1.57 * np.sqrt(3), 0.0], [0.0, 0.0, 4.77]])
    return Crystal.build(sign * lattice, ["Mg", "O", "O", "H", "H"], sign * np.array(frac), [1, 1, 1, 0, 0])


def cube(side: float, place: list[float]) -> Crystal:
    """MgO in the structure of CsCl with one H."""
    frac: list[list[float]] = [[0, 0, 0], [0.5, 0.5, 0.5], place]
    return Crystal.build(side * np.eye(3), ["Mg", "O", "H"], frac, [1, 1, 0])


def job_of(crystal: Crystal, number: int = 0) -> RelaxJob:
    return RelaxJob(("x|1|start", number), crystal, ~crystal.known)


def number_of(crystal: Crystal, symprec: float) -> int:
    numbers = [ord(symbol[0]) for symbol in crystal.species]
    return int(spglib.get_symmetry_dataset((crystal.lattice, crystal.frac, numbers), symprec=symprec).number)


class _Noisy(torch.nn.Module):
    """A potential whose forces and stress know no symmetry below 1e-3."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.device, self.dtype = model, model.device, model.dtype
        self.stream = torch.Generator().manual_seed(7)

    def forward(self, state: Any) -> dict[str, torch.Tensor]:
        output: dict[str, torch.Tensor] = self.model(state)
        for key in ("forces", "stress"):
            noise = torch.randn(output[key].shape, generator=self.stream, dtype=self.dtype)
            output[key] = output[key] + 1e-3 * noise
        return output


def noisy() -> LoadedPotential:
    potential = pair_potential()
    return replace(potential, model=_Noisy(potential.model))


@pytest.mark.parametrize("level", _LEVELS)
@pytest.mark.parametrize("sign", [1, -1])
def test_noisy_forces_lose_the_group_unless_it_is_kept(level: Any, sign: int) -> None:
    job = job_of(brucite(sign=sign))
    assert number_of(job.crystal, 1e-9) == _BRUCITE
    free = relax(noisy(), [job], _FREE, level)[0]
    kept = relax(noisy(), [job], _KEPT, level)[0]
    assert free.n_steps > 2
    assert kept.n_steps > 2
    assert np.abs(kept.crystal.frac - job.crystal.frac).max() > 1e-3
    assert number_of(free.crystal, 1e-6) != _BRUCITE
    assert number_of(kept.crystal, 1e-9) == _BRUCITE  # no drift either


def test_a_site_on_a_ridge_stays_there_only_where_the_group_is_kept() -> None:
    job = job_of(cube(3.3, [0.5, 0.5, 0.25]))
    free, kept = (relax(noisy(), [job], settings, "h_only")[0] for settings in (_FREE, _KEPT))
    assert number_of(job.crystal, 0.01) == number_of(kept.crystal, 0.01) == 99  # P4mm
    assert number_of(free.crystal, 0.01) != 99


@pytest.mark.parametrize("level", _LEVELS)
def test_a_shipped_potential_keeps_the_group(level: Any) -> None:
    job = job_of(brucite())
    kept = relax(load_potential(Potential(name="sevennet-0")), [job], _KEPT, level)[0]
    assert kept.converged
    assert kept.n_steps > 2
    assert number_of(kept.crystal, 1e-9) == _BRUCITE


@pytest.mark.parametrize("level", _LEVELS)
def test_a_start_without_symmetry_takes_the_very_same_way(level: Any) -> None:
    job = job_of(cube(2.8, [0.3, 0.4, 0.1]))
    assert space_group(job.crystal) is None
    free, kept = (relax(pair_potential(), [job], settings, level)[0] for settings in (_FREE, _KEPT))
    assert free.n_steps == kept.n_steps > 2
    assert free.energy_ev == kept.energy_ev
    assert (free.crystal.frac == kept.crystal.frac).all()
    assert (free.crystal.lattice == kept.crystal.lattice).all()


def test_averages_are_what_the_group_leaves_alone() -> None:
    group = space_group(brucite())
    assert group is not None
    assert (group.number, len(group.rotations)) == (_BRUCITE, 12)
    stream = np.random.default_rng(1)
    vectors = averaged_vectors(stream.standard_normal((5, 3)), group)
    assert np.allclose(vectors[0], 0.0)  # Mg sits on the inversion
    assert np.allclose(vectors[3], -vectors[4])
    assert np.allclose(vectors[3, :2], 0.0)
    assert abs(vectors[3, 2]) > 1e-3
    assert np.allclose(averaged_vectors(vectors, group), vectors)
    tensor = averaged_tensor(stream.standard_normal((3, 3)), group)
    assert np.allclose(tensor, np.diag(np.diag(tensor)))
    assert tensor[0, 0] == pytest.approx(tensor[1, 1])
    assert abs(tensor[0, 0] - tensor[2, 2]) > 1e-3


def test_no_operation_takes_a_placed_site_to_a_fixed_one() -> None:
    """At h_only one of the two hydrogens moves: the inversion between them is lost, the threefold axis is not."""
    crystal = brucite()
    movable = np.array([False, False, False, True, False])
    group = space_group(crystal, movable)
    assert group is not None
    assert len(group.rotations) == 6
    assert (group.targets[:, 3] == 3).all()
    one = Descent(RelaxJob(("x", 0), crystal, movable), "h_only", fix_symmetry=True)
    push = np.array([[0.0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 1, 1], [5, 5, 5]])
    assert one.read(Answer(0.0, push, np.zeros((3, 3)))).fmax_ev_per_a == pytest.approx(1.0)


def test_two_sites_on_one_spot_are_no_reason_to_fail() -> None:
    crystal = Crystal.build(3.0 * np.eye(3), ["H", "H"], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.001]])
    assert space_group(crystal) is None


def test_ends_of_unlike_symmetry_do_not_share() -> None:
    symmetric = brucite()
    tilted = symmetric.with_frac(symmetric.frac + 0.015 * np.array([[0.0], [0], [0], [1], [0]]))
    jobs = [job_of(tilted, 0), job_of(symmetric, 1), job_of(symmetric, 2)]
    ends = {job.key: RelaxOutcome(job.key, -1.0, -2.0, 0.01, 5, True, job.crystal, 0.0, None) for job in jobs}
    numbers = [[key[1] for key in group] for group in plan_full(jobs, ends, _FREE).groups]
    assert numbers == [[0, 1, 2]]
    numbers = [[key[1] for key in group] for group in plan_full(jobs, ends, _KEPT).groups]
    assert numbers == [[0], [1, 2]]
