import numpy as np
import pytest

from hinpaint.crystal import Crystal
from hinpaint.gates import Gate, failed_contact, failed_gate
from hinpaint.relaxing import Relax

START = Crystal.build(
    4 * np.eye(3), ["Mg", "O", "H"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.75]], known=[True, True, False]
)


def moved(site: int, shift: float) -> Crystal:
    frac = START.frac.copy()
    frac[site, 0] += shift / 4
    return START.with_frac(frac)


def test_nothing_moved() -> None:
    assert failed_gate(START, START, Relax()) is None


def test_placed_sites_may_move_and_the_whole_may_drift() -> None:
    assert failed_gate(START, moved(2, 3.0), Relax()) is None
    assert failed_gate(START, START.with_frac(START.frac + 0.4), Relax()) is None


@pytest.mark.parametrize(("shift", "gated"), [(1.9, False), (2.1, True)])
def test_host_shift(shift: float, gated: bool) -> None:
    # One of two host sites moves by `shift`, so each is half of it away from their mean.
    gate = failed_gate(START, moved(0, shift), Relax(max_host_shift_a=1.0))
    assert (gate is not None) == gated


@pytest.mark.parametrize(("scale", "gated"), [(1.04, False), (1.06, True), (0.94, True)])
def test_volume(scale: float, gated: bool) -> None:
    swollen = Crystal.build(scale * START.lattice, START.species, START.frac, START.known)
    gate = failed_gate(START, swollen, Relax())
    assert (gate is not None) == gated
    assert gate is None or (gate.gate, gate.detail[:17]) == (Gate.VOLUME, "volume changed by")


def test_shape_at_one_volume() -> None:
    sheared = START.lattice * np.array([[1.2], [1 / 1.2], [1.0]])
    breach = failed_gate(START, Crystal.build(sheared, START.species, START.frac, START.known), Relax())
    assert breach is not None
    assert breach.gate == Gate.STRETCH
    rotated = START.lattice @ np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert failed_gate(START, Crystal.build(rotated, START.species, START.frac, START.known), Relax()) is None


@pytest.mark.parametrize(
    ("first", "second", "gate"),
    [(0.25, 0.39, Gate.H_H), (0.25, 0.41, None), (0.13, 0.8, Gate.SHORT_CONTACT), (0.9, 0.03, Gate.H_H)],
)
def test_contacts(first: float, second: float, gate: Gate | None) -> None:
    """Hydrogens on an axis of 4 Å that begins at Mg, by their fractional coordinate; through the boundary, too."""
    frac = [[0, 0, 0], [0, 0, first], [0, 0, second]]
    crystal = Crystal.build(4 * np.eye(3), ["Mg", "H", "H"], frac, known=[True, False, False])
    breach = failed_contact(crystal, Relax())
    assert (breach.gate if breach else None) == gate
