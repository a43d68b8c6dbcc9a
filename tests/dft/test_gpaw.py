"""GPAW through our code: the energies are GPAW's own, and whatever goes wrong is a reason."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picked_catalog import make_catalog

from hinpaint.config import Config, parse_config
from hinpaint.crystal import Crystal
from hinpaint.stages import verify
from hinpaint.store import read_table, write_table
from hinpaint.tables import RUNS, VERIFICATIONS, VERIFY_TASKS, WHYNOT
from hinpaint.verification.backends import Backend, Energy, Request
from hinpaint.verification.picks import Pick, task_rows
from hinpaint.verification.settings import k_grid, settings_of

pytestmark = pytest.mark.dft

LIH = Crystal.build(2.04 * (np.ones((3, 3)) - np.eye(3)), ["Li", "H"], [[0, 0, 0], [0.5, 0.5, 0.5]], [True, False])
MGH2 = Crystal.build(
    np.diag([4.50, 4.50, 3.01]), ["Mg", "Mg", "H", "H", "H", "H"],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.304, 0.304, 0], [0.696, 0.696, 0], [0.196, 0.804, 0.5], [0.804, 0.196, 0.5]],
    [True, True, False, False, False, False],
)  # fmt: skip
BRUCITE = Crystal.build(
    [[3.147, 0, 0], [-1.5735, 2.7254, 0], [0, 0, 4.769]], ["Mg", "O", "O", "H", "H"],
    [[0, 0, 0], [1 / 3, 2 / 3, 0.2203], [2 / 3, 1 / 3, 0.7797], [1 / 3, 2 / 3, 0.4203], [2 / 3, 1 / 3, 0.5797]],
    [True, True, True, False, False],
)  # fmt: skip
BY_HAND = """
import json, sys
from ase import Atoms
from gpaw import GPAW, PW, FermiDirac
lattice, species, frac, kpoints, cutoff, width = json.loads(sys.argv[1])
atoms = Atoms(species, scaled_positions=frac, cell=lattice, pbc=True)
atoms.calc = GPAW(mode=PW(cutoff), xc='PBE', kpts={'size': kpoints, 'gamma': True}, occupations=FermiDirac(width),
                  txt='hand.txt')
print(json.dumps(atoms.get_potential_energy()))
"""


def make_config(folder: Path, **settings: Any) -> Config:
    source = {"database": "d", "version": "1", "format": "cif", "path": str(folder), "licence": "CC0-1.0"}
    values = {"run": "t", "sources": [source | {"mode": "benchmark"}]}
    small = {"code": "gpaw", "cutoff_ev": 300, "k_spacing_per_a": 0.9, "check": 0}
    return parse_config(values | {"verify": small | settings})


@pytest.mark.parametrize("crystal", [LIH, MGH2, BRUCITE], ids=["LiH", "MgH2", "Mg(OH)2"])
def test_an_energy_is_gpaw_s_own(gpaw: Backend, tmp_path: Path, crystal: Crystal) -> None:
    settings = settings_of(make_config(tmp_path, k_spacing_per_a=0.6, cutoff_ev=340).verify)
    grid = k_grid(crystal.lattice, settings.k_spacing_per_a)
    found = gpaw.compute(Request(crystal, grid, settings, tmp_path / "w", 600))
    assert isinstance(found, Energy)
    given = [crystal.lattice.tolist(), crystal.species, crystal.frac.tolist(), grid, 340, settings.smearing_ev]
    by_hand = subprocess.run(  # noqa: S603
        ["/usr/bin/python3", "-c", BY_HAND, json.dumps(given)],
        cwd=tmp_path, check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    assert found.energy_ev == pytest.approx(json.loads(by_hand.stdout.splitlines()[-1]), abs=1e-3)
    assert found.cpu_s > 0
    assert found.moment_mb is None


def test_hydrogen_alone_and_everything_relax(gpaw: Backend, tmp_path: Path) -> None:
    moved, wide = LIH.with_frac([[0, 0, 0], [0.47, 0.51, 0.5]]), replace(LIH, lattice=1.03 * LIH.lattice)
    energies = {}
    for crystal, relax in ((moved, "none"), (moved, "h_only"), (wide, "full")):
        settings = settings_of(make_config(tmp_path, relax=relax).verify)
        found = gpaw.compute(Request(crystal, (3, 3, 3), settings, tmp_path / relax, 600))
        assert isinstance(found, Energy)
        energies[relax] = found
    assert energies["h_only"].energy_ev < energies["none"].energy_ev - 1e-3
    assert energies["h_only"].fmax_ev_per_a < 0.06 < energies["none"].fmax_ev_per_a
    assert energies["h_only"].crystal.frac[0].tolist() == [0, 0, 0]
    assert energies["full"].n_steps > 0
    assert LIH.volume * 0.9 < energies["full"].crystal.volume < wide.volume


def test_iron_is_magnetic(gpaw: Backend, tmp_path: Path) -> None:
    iron = Crystal.build(1.415 * (np.ones((3, 3)) - 2 * np.eye(3)), ["Fe"], [[0, 0, 0]])
    found = gpaw.compute(Request(iron, (4, 4, 4), settings_of(make_config(tmp_path).verify), tmp_path / "w", 600))
    assert isinstance(found, Energy)
    assert found.moment_mb == pytest.approx(2.2, abs=0.4)


def run_stage(folder: Path, name: str = "v", **settings: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Lithium hydride and a distorted candidate of it through the stage."""
    config = make_config(folder, **settings)
    candidate = LIH.with_frac([[0, 0, 0], [0.46, 0.5, 0.5]])
    tasks = task_rows([Pick("d|1|lih", 0, "energetic", -9.0, "p", LIH, candidate)], config.verify)
    write_table(folder / "tasks.parquet", VERIFY_TASKS, tasks, "t")
    paths = [folder / f"{name}.parquet", folder / "runs.parquet", folder / "work"]
    verify.run(config, 0, folder / "tasks.parquet", *paths, journal=folder / "journal")
    return read_table(paths[0], VERIFICATIONS).to_pylist(), read_table(paths[1], RUNS).to_pylist()[0]


def wrapper(folder: Path, energy: str) -> str:
    """A program that is GPAW's Python but for what it does when asked for an energy."""
    path = folder / "gpaw-python"
    path.write_text(f'#!/bin/sh\ngrep -q \'"task": "energy"\' "$2" && {{ {energy}; }}\nexec /usr/bin/python3 "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.usefixtures("gpaw")
def test_what_goes_wrong_is_a_reason_and_computed_at_the_next_try(tmp_path: Path) -> None:
    killed, run = run_stage(tmp_path, command=wrapper(tmp_path, "kill -9 $$"))
    assert [row["reason"] for row in killed] == ["killed", "killed"]
    assert run["n_reused"] == 0
    hung, _ = run_stage(tmp_path, command=wrapper(tmp_path, "sleep 60 & sleep 60"), time_limit_s=1)
    assert [row["reason"] for row in hung] == ["time_limit", "time_limit"]
    garbage, _ = run_stage(tmp_path, command=wrapper(tmp_path, "echo no licence; exit 3"))
    assert [row["reason"] for row in garbage] == ["code_failed", "code_failed"]
    assert "no licence" in garbage[0]["detail"]
    assert all(row["energy_ev"] is None for row in (*killed, *hung, *garbage))
    # With more time and a program that works, nothing of that is taken from the journal; then everything is.
    good, run = run_stage(tmp_path)
    assert [row["reason"] for row in good] == [None, None]
    assert run["n_reused"] == 0
    again, run = run_stage(tmp_path, "again")
    assert run["n_reused"] == 2
    assert again == good
    by_trial = {row["trial"]: row["energy_ev"] for row in good}
    assert by_trial[0] > by_trial[-1]  # the candidate was distorted


@pytest.mark.usefixtures("gpaw")
def test_an_element_without_data_has_its_row_before_anything_is_computed(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path / "catalog.duckdb")
    config = make_config(tmp_path, max_sites=4)
    paths = [tmp_path / name for name in ("whynot.parquet", "runs.parquet", "work")]
    verify.select(config, catalog, [tmp_path / "tasks.parquet"], *paths)
    reasons = {row["entry_key"]: row for row in read_table(paths[0], WHYNOT).to_pylist()}
    assert reasons["d|1|strange"]["reason"] == "unsupported_element"
    assert reasons["d|1|strange"]["detail"] == "gpaw has no data for Eu"
    assert reasons["d|1|large"]["reason"] == "too_many_sites"
    assert {row["stage"] for row in reasons.values()} == {"verify"}
    picked = {row["entry_key"] for row in read_table(tmp_path / "tasks.parquet", VERIFY_TASKS).to_pylist()}
    assert "d|1|lower" in picked
    assert not picked & reasons.keys()


@pytest.mark.usefixtures("gpaw")
def test_settings_that_do_not_converge_end_in_a_reason(tmp_path: Path) -> None:
    rows, _ = run_stage(tmp_path, max_iterations=2)
    assert [row["reason"] for row in rows] == ["not_converged", "not_converged"]
    assert "3 ways of at most 2 iterations" in rows[0]["detail"]
