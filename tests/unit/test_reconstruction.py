"""The loop: potential, wells, relaxation, until no hydrogen is missing; with a proton model in place of DFT."""

from dataclasses import replace

import numpy as np
import pytest
from proton_model import ProtonModel

from hinpaint.crystal import Crystal, minimum_image_distances
from hinpaint.deciding.matching import compare, host_operations
from hinpaint.verification.reconstruction import Reconstruction, Settled, reconstruct
from hinpaint.verification.wells import Distances
from hinpaint.whynot import Reason, Stop


def brucite() -> Crystal:
    """Mg(OH)2, P-3m1."""
    a, c = 3.15, 4.77
    lattice = [[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]]
    frac = [[0, 0, 0], [1 / 3, 2 / 3, 0.22], [2 / 3, 1 / 3, -0.22], [1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, -0.42]]
    return Crystal.build(lattice, ["Mg", "O", "O", "H", "H"], frac, known=[True] * 3 + [False] * 2)


def done(outcome: Reconstruction | Stop) -> Reconstruction:
    assert isinstance(outcome, Reconstruction)
    return outcome


def test_hydroxide_is_completed_in_one_round() -> None:
    reference = brucite()
    host = reference.take(reference.known)
    code, said = ProtonModel(), list[str]()
    outcome = done(reconstruct(host, 2, code, say=said.append))
    assert outcome.n_rounds == 1
    assert code.charges == [-2, 0]
    assert said == ["round 1: 2 placed, 0 left"]
    for crystal in (outcome.raw, outcome.relaxed):
        match = compare(crystal, reference, host_operations(host))
        assert match.matched
        assert match.h_max_a is not None
        assert match.h_max_a < 0.15
    assert np.array_equal(outcome.relaxed.frac[:3], host.frac)


def test_water_takes_two_rounds_and_the_second_knows_the_first() -> None:
    host = Crystal.build(5.0 * np.eye(3), ["O", "Mg"], [[0.5, 0.5, 0.5], [0.5, 0.5, 0.08]])
    code = ProtonModel()
    outcome = done(reconstruct(host, 2, code, Distances(placed=1.2)))
    assert outcome.n_rounds == 2
    assert code.charges == [-2, -1, 0]
    placed = outcome.relaxed.frac[2:]
    to_oxygen = minimum_image_distances(host.lattice, placed, host.frac[:1])[:, 0]
    assert to_oxygen == pytest.approx([0.97, 0.97], abs=0.1)
    assert minimum_image_distances(host.lattice, placed[:1], placed[1:])[0, 0] > 1.2


@pytest.mark.parametrize("shift", [[0.0, 0.0, 0.0], [0.13, 0.57, 0.91]])
def test_where_the_cell_begins_does_not_matter(shift: list[float]) -> None:
    reference = brucite()
    moved = reference.with_frac(reference.frac + shift)
    host = moved.take(moved.known)
    outcome = done(reconstruct(host, 2, ProtonModel()))
    match = compare(outcome.relaxed, moved, host_operations(host))
    assert match.h_max_a is not None
    assert match.h_max_a < 0.1


class Failing(ProtonModel):
    """Fails at the potential of the host, or once something is placed."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at

    def settle(self, crystal: Crystal, charge: int) -> Settled | Stop:  # type: ignore[override]
        if (self.at == "host") == bool(crystal.known.all()):
            return Stop(Reason.NOT_CONVERGED, self.at)
        return super().settle(crystal, charge)


@pytest.mark.parametrize("at", ["host", "placed"])
def test_a_code_that_fails_ends_in_its_reason(at: str) -> None:
    host = Crystal.build(4 * np.eye(3), ["O"], [[0, 0, 0]])
    assert reconstruct(host, 1, Failing(at)) == Stop(Reason.NOT_CONVERGED, at)


class Broken(ProtonModel):
    """Gives a potential that is no number."""

    def settle(self, crystal: Crystal, charge: int) -> Settled:
        return replace(super().settle(crystal, charge), proton_energy_ev=np.full((4, 4, 4), np.nan))


def test_a_potential_that_is_no_number_is_a_reason() -> None:
    outcome = reconstruct(Crystal.build(4 * np.eye(3), ["O"], [[0, 0, 0]]), 1, Broken())
    assert isinstance(outcome, Stop)
    assert outcome.reason == Reason.NOT_FINITE


def test_no_free_well_is_a_reason() -> None:
    host = Crystal.build(3.0 * np.eye(3), ["O"], [[0, 0, 0]])
    outcome = reconstruct(host, 1, ProtonModel(), Distances(host=3.0))
    assert isinstance(outcome, Stop)
    assert outcome.reason == Reason.NO_ROOM


def test_nothing_missing_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="0 sites"):
        reconstruct(brucite(), 0, ProtonModel())
