"""Quantum ESPRESSO through our code: a real pw.x with the pseudopotentials that Debian ships."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hinpaint.crystal import Crystal
from hinpaint.dft import Verify
from hinpaint.verification.backends import Backend, Energy, Request, VerifyError, load_backend
from hinpaint.verification.settings import CHECK, settings_of
from hinpaint.whynot import Reason, Stop

pytestmark = pytest.mark.dft

BOX_A = 6.0
BOND_A = 0.80


def molecule(bond_a: float) -> Crystal:
    return Crystal.build(BOX_A * np.eye(3), ["H", "H"], [[0, 0, 0], [bond_a / BOX_A, 0, 0]], [True, False])


@pytest.fixture(scope="module")
def table(pseudos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pseudo")
    (folder / "H.UPF").symlink_to(pseudos / "H.pbe-kjpaw.UPF")
    path = folder / "table.json"
    path.write_text(json.dumps({"H": {"filename": "H.UPF", "md5": "", "cutoff_wfc": 25.0, "cutoff_rho": 100.0}}))
    return path


def espresso(table: Path, **settings: Any) -> tuple[Backend, Verify]:
    verify = Verify(code="espresso", pseudo_table=table, **settings)
    return load_backend(verify, 1), verify


def compute(table: Path, folder: Path, crystal: Crystal, name: str = "main", **settings: Any) -> Energy | Stop:
    backend, verify = espresso(table, **settings)
    return backend.compute(Request(crystal, (1, 1, 1), settings_of(verify, name), folder, 300))


def test_hydrogen_in_a_box(table: Path, tmp_path: Path) -> None:
    backend, _ = espresso(table)
    installed = backend.installed(tmp_path / "i")
    assert installed.elements == {"H"}
    assert installed.version[0].isdigit()
    found = compute(table, tmp_path / "a", molecule(BOND_A))
    assert isinstance(found, Energy)
    # Two hydrogen atoms have -27.2 eV and PBE's bond is worth 4.5 eV.
    assert -33 < found.energy_ev < -30
    assert found.cutoff_ev == pytest.approx(25 * 13.6057, rel=1e-4)
    relaxed = compute(table, tmp_path / "b", molecule(BOND_A), relax="h_only", fmax_ev_per_a=0.05)
    assert isinstance(relaxed, Energy)
    assert relaxed.energy_ev < found.energy_ev
    bond = np.linalg.norm((relaxed.crystal.frac[1] - relaxed.crystal.frac[0]) @ relaxed.crystal.lattice)
    assert bond == pytest.approx(0.75, abs=0.015)  # PBE: 0.750 Å
    assert relaxed.n_steps > 0
    check = compute(table, tmp_path / "c", molecule(BOND_A), CHECK)
    assert isinstance(check, Energy)
    assert check.cutoff_ev == pytest.approx(1.3 * found.cutoff_ev, rel=1e-4)


def test_what_goes_wrong_is_a_reason(table: Path, tmp_path: Path) -> None:
    stop = compute(table, tmp_path / "a", molecule(BOND_A), max_iterations=1)
    assert isinstance(stop, Stop)
    assert stop.reason is Reason.NOT_CONVERGED
    (table.parent / "bad.UPF").write_text("no pseudopotential")
    bad = table.with_name("bad.json")
    bad.write_text(json.dumps({"H": {"filename": "bad.UPF", "cutoff_wfc": 25.0, "cutoff_rho": 100.0}}))
    stop = compute(bad, tmp_path / "b", molecule(BOND_A))
    assert isinstance(stop, Stop)
    assert stop.reason in (Reason.CODE_FAILED, Reason.KILLED)
    assert stop.detail


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"H": 3}', '{"H": {"filename": "gone.UPF", "cutoff_wfc": 1}}'])
def test_a_bad_table_is_one_clear_line(table: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    backend, _ = espresso(path)
    with pytest.raises(VerifyError, match=r"verify\.pseudo_table: ") as caught:
        backend.installed(tmp_path / "i")
    assert "\n" not in str(caught.value)


def test_a_program_that_is_no_pw_x(table: Path, tmp_path: Path) -> None:
    backend, _ = espresso(table, command="/bin/echo hello")
    with pytest.raises(VerifyError, match=r"does not answer as pw\.x: hello"):
        backend.installed(tmp_path / "i")
