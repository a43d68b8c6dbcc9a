"""Hydrogen found from real potentials, by GPAW."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hinpaint.crystal import Crystal
from hinpaint.deciding.matching import compare, host_operations
from hinpaint.verification.backends import Backend
from hinpaint.verification.gpaw_wells import GpawWells, WellSettings
from hinpaint.verification.reconstruction import Reconstruction, reconstruct
from hinpaint.whynot import Reason, Stop

pytestmark = pytest.mark.dft

PROGRAM = ["/usr/bin/python3"]
CHEAP = WellSettings(k_spacing_per_a=0.7)


@pytest.fixture(scope="module")
def elements(gpaw: Backend, tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    return gpaw.installed(tmp_path_factory.mktemp("elements")).elements


def lithium_hydride() -> Crystal:
    return Crystal.build(2.0 * (1 - np.eye(3)), ["Li", "H"], [[0, 0, 0], [0.5, 0.5, 0.5]], known=[True, False])


def brucite() -> Crystal:
    """Mg(OH)2, P-3m1."""
    a, c = 3.15, 4.77
    lattice = [[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]]
    frac = [[0, 0, 0], [1 / 3, 2 / 3, 0.22], [2 / 3, 1 / 3, -0.22], [1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, -0.42]]
    return Crystal.build(lattice, ["Mg", "O", "O", "H", "H"], frac, known=[True] * 3 + [False] * 2)


@pytest.mark.parametrize(("reference", "raw_a", "relaxed_a"), [(lithium_hydride(), 0.02, 0.02), (brucite(), 0.3, 0.06)])
def test_hydrogen_is_found_in_the_potential(
    reference: Crystal, raw_a: float, relaxed_a: float, elements: frozenset[str], tmp_path: Path
) -> None:
    host = reference.take(reference.known)
    code = GpawWells(PROGRAM, elements, CHEAP, tmp_path)
    outcome = reconstruct(host, int((~reference.known).sum()), code)
    assert isinstance(outcome, Reconstruction), outcome
    assert outcome.n_rounds == 1
    assert outcome.converged
    assert outcome.energy_ev < 0
    assert code.cpu_s > 0
    assert np.array_equal(outcome.relaxed.frac[host.known.nonzero()], host.frac)
    operations = host_operations(host)
    for crystal, bound_a in ((outcome.raw, raw_a), (outcome.relaxed, relaxed_a)):
        match = compare(crystal, reference, operations)
        assert match.matched
        assert match.h_max_a is not None
        assert match.h_max_a < bound_a
    assert not list(tmp_path.rglob("*.npy"))  # potentials are large and of no further use


def test_failures_end_in_reasons(elements: frozenset[str], tmp_path: Path) -> None:
    host = lithium_hydride().take([True, False])
    unsupported = reconstruct(replace(host, species=("Gd",)), 1, GpawWells(PROGRAM, elements, CHEAP, tmp_path))
    assert unsupported == Stop(Reason.UNSUPPORTED_ELEMENT, "GPAW: Gd")
    for settings, reason in (
        (replace(CHEAP, max_iterations=1), Reason.NOT_CONVERGED),
        (replace(CHEAP, time_limit_s=0.5), Reason.TIME_LIMIT),
        (replace(CHEAP, cutoff_ev=-1.0), Reason.CODE_FAILED),
    ):
        outcome = reconstruct(host, 1, GpawWells(PROGRAM, elements, settings, tmp_path))
        assert isinstance(outcome, Stop)
        assert outcome.reason is reason, outcome
