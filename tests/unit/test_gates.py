import numpy as np
import pytest

from hinpaint.config import Relax
from hinpaint.crystal import Crystal
from hinpaint.gates import failed_gate

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
    assert gate is None or gate.startswith("volume changed by")
