"""What hinpaint makes of the answers of GPAW's worker; without GPAW."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hinpaint.crystal import Crystal
from hinpaint.verification.gpaw_wells import GpawWells, WellSettings, _settled
from hinpaint.verification.reconstruction import Settled
from hinpaint.whynot import Reason, Stop

HOST = Crystal.build(4.0 * np.eye(3), ["Li"], [[1.1, 0.0, 0.0]])
PLACED = HOST.add_unknown("H", [[0.4, 0.5, 0.5]])


def answer(**changed: Any) -> dict[str, Any]:
    good = {"energy_ev": -3.0, "frac": [[0.1, 0.0, 0.0], [0.5, 0.5, 0.5]], "converged": True, "n_steps": 4}
    return {**good, **changed}


def test_the_host_stays_to_the_last_bit_and_the_grid_goes(tmp_path: Path) -> None:
    grid = tmp_path / "proton.npy"
    np.save(grid, np.zeros((4, 4, 4), np.float32))
    settled = _settled(answer(), PLACED, grid)
    assert isinstance(settled, Settled)
    assert settled.crystal.frac.tolist() == [[1.1, 0.0, 0.0], [0.5, 0.5, 0.5]]
    assert settled.proton_energy_ev is not None
    assert settled.proton_energy_ev.shape == (4, 4, 4)
    assert not grid.exists()
    neutral = _settled(answer(converged=False), PLACED, None)
    assert isinstance(neutral, Settled)
    assert neutral.proton_energy_ev is None
    assert not neutral.converged


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (answer(energy_ev="none"), Reason.CODE_FAILED),
        (answer(frac=[[0.0, 0.0, 0.0]]), Reason.CODE_FAILED),
        ({"frac": []}, Reason.CODE_FAILED),
        (answer(energy_ev=float("nan")), Reason.NOT_FINITE),
        (answer(frac=[[0.0, 0.0, 0.0], [float("inf"), 0.0, 0.0]]), Reason.NOT_FINITE),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_reason(given: dict[str, Any], reason: Reason) -> None:
    stop = _settled(given, PLACED, None)
    assert isinstance(stop, Stop)
    assert stop.reason is reason


def test_a_grid_that_is_no_array_is_a_reason(tmp_path: Path) -> None:
    for content in (b"", b"\x80\x04}.", b"\x93NUMPY\x01\x00"):
        grid = tmp_path / "proton.npy"
        grid.write_bytes(content)
        stop = _settled(answer(), PLACED, grid)
        assert isinstance(stop, Stop)
        assert stop.reason is Reason.CODE_FAILED


def test_without_gpaw_and_without_data_there_are_reasons(tmp_path: Path) -> None:
    code = GpawWells([sys.executable, "-S"], frozenset({"Li", "H"}), WellSettings(time_limit_s=60.0), tmp_path)
    no_gpaw = code.settle(HOST, -1)
    assert isinstance(no_gpaw, Stop)
    assert no_gpaw.reason is Reason.CODE_FAILED
    assert "ModuleNotFoundError" in no_gpaw.detail
    assert code.cpu_s > 0
    no_data = GpawWells([], frozenset({"O"}), WellSettings(), tmp_path).settle(PLACED, -1)
    assert no_data == Stop(Reason.UNSUPPORTED_ELEMENT, "GPAW: H, Li")
