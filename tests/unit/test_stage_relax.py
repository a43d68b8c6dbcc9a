from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hinpaint.config import Config, parse_config
from hinpaint.relaxation import canary
from hinpaint.relaxation.potentials import PotentialError
from hinpaint.stages import relax
from hinpaint.store import read_provenance, read_table, write_table
from hinpaint.tables import RELAXED, RUNS, TASKS, TRIALS

_PATHS = ("tasks", "trials", "relaxed", "runs")


def _config(folder: Path, **settings: Any) -> Config:
    source = {"database": "x", "version": "1", "format": "cif", "path": str(folder), "licence": "CC0-1.0"}
    return parse_config(
        {
            "run": "relax-test",
            "sources": [source | {"mode": "benchmark"}],
            "relax": {"fmax_ev_per_a": 0.1, "max_steps_h_only": 30, "max_steps_full": 12} | settings,
        }
    )


def _task(key: str, lattice: Any, species: list[str], frac: Any, n_unknown: int, reference: Any) -> dict[str, Any]:
    return {
        "entry_key": key, "mode": "benchmark", "element": "H", "n_unknown": n_unknown, "shard": 3, "cost": 1.0,
        "host_sha256": key, "supercell": [1, 0, 0, 0, 1, 0, 0, 0, 1],
        "lattice": np.ravel(lattice).tolist(), "host_species": species, "host_frac": np.ravel(frac).tolist(),
        "reference_frac": reference,
    }  # fmt: skip


def _trial(key: str, trial: int, frac: list[float] | None, reason: str | None = None) -> dict[str, Any]:
    return {
        "entry_key": key, "trial": trial, "seed": 0, "sampler": "random" if trial < 0 else "td", "n_steps": 1,
        "n_evaluations": 2, "model_sha256": None, "frac_unknown": frac, "d_min_a": None, "reason": reason,
    }  # fmt: skip


_LIH = 2.04 * (np.ones((3, 3)) - np.eye(3))
_TASKS = [
    _task("x|1|brucite", [[3.14, 0, 0], [-1.57, 2.7193, 0], [0, 0, 4.77]], ["Mg", "O", "O"],
          [0, 0, 0, 1 / 3, 2 / 3, 0.22, 2 / 3, 1 / 3, 0.78], 2, [1 / 3, 2 / 3, 0.43, 2 / 3, 1 / 3, 0.57]),
    _task("x|1|lih", _LIH, ["Li"], [0, 0, 0], 1, None),
    _task("x|1|odd", np.eye(3) * 4, ["Og"], [0, 0, 0], 1, [0.5, 0.5, 0.5]),
]  # fmt: skip
_TRIALS = [
    _trial("x|1|brucite", 0, [1 / 3, 2 / 3, 0.44, 2 / 3, 1 / 3, 0.56]),
    _trial("x|1|brucite", 1, None, "no_room"),
    _trial("x|1|brucite", -2, [0.3, 0.6, 0.42, 0.7, 0.3, 0.57]),
    _trial("x|1|lih", 0, [0.5, 0.5, 0.47]),
    _trial("x|1|lih", 1, [1.0, 0.0, -1.0]),  # on top of the lithium
    _trial("x|1|odd", 0, [0.4, 0.5, 0.5]),
]


def _run(folder: Path, config: Config, trials: list[dict[str, Any]] = _TRIALS) -> list[dict[str, Any]]:
    tasks, trials_path, relaxed, runs = (folder / f"{name}.parquet" for name in _PATHS)
    write_table(tasks, TASKS, _TASKS, config.run)
    write_table(trials_path, TRIALS, trials, config.run)
    relax.run(config, 3, tasks, trials_path, relaxed, runs)
    rows: list[dict[str, Any]] = read_table(relaxed, RELAXED).to_pylist()
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relax")
    _run(folder, _config(folder))
    return folder


@pytest.fixture
def rows(folder: Path) -> dict[tuple[str, int, str], dict[str, Any]]:
    table = read_table(folder / "relaxed.parquet", RELAXED).to_pylist()
    return {(row["entry_key"].split("|")[2], row["trial"], row["level"]): row for row in table}


def test_every_placed_trial_and_reference_has_both_levels(rows: dict[tuple[str, int, str], Any]) -> None:
    keys = {("brucite", -2), ("brucite", -1), ("brucite", 0), ("lih", 0), ("lih", 1), ("odd", -1), ("odd", 0)}
    assert set(rows) == {(*key, level) for key in keys for level in ("h_only", "full")}


def test_levels_do_what_they_say(rows: dict[tuple[str, int, str], Any]) -> None:
    h_only, full = rows["brucite", 0, "h_only"], rows["brucite", 0, "full"]
    host = np.ravel(_TASKS[0]["host_frac"]).tolist()
    assert h_only["frac"][:9] == host
    assert h_only["lattice"] == _TASKS[0]["lattice"]
    assert h_only["converged"]
    assert full["frac"][:9] != host
    assert full["energy_start_ev"] == pytest.approx(h_only["energy_ev"], abs=1e-4)
    assert full["energy_ev"] < h_only["energy_ev"]
    assert rows["brucite", -1, "full"]["energy_ev"] == pytest.approx(full["energy_ev"], abs=0.1)


def test_lost_trials_carry_their_reason_at_both_levels(rows: dict[tuple[str, int, str], Any]) -> None:
    for level in ("h_only", "full"):
        collapsed, odd = rows["lih", 1, level], rows["odd", 0, level]
        assert (collapsed["reason"], collapsed["converged"], collapsed["energy_ev"]) == ("collapsed", False, None)
        assert collapsed["frac"] == [0, 0, 0, 1.0, 0.0, -1.0]
        assert (odd["reason"], odd["converged"], odd["n_steps"]) == ("unsupported_element", False, 0)


def test_the_job_is_accounted_for(folder: Path) -> None:
    run = read_table(folder / "runs.parquet", RUNS).to_pylist()[0]
    assert (run["stage"], run["shard"], run["n_in"], run["n_out"]) == ("relax", 3, 6, 14)
    assert run["compute_s"] > 0
    assert len(run["potential_sha256"]) == 64
    assert read_provenance(folder / "relaxed.parquet")["potential"] == "sevennet-0"


def test_no_steps_skip_the_full_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "check", lambda *_: {})
    rows = _run(tmp_path, _config(tmp_path, max_steps_full=0, max_steps_h_only=1), _TRIALS[3:4])
    assert {row["level"] for row in rows} == {"h_only"}
    lih = next(row for row in rows if row["entry_key"] == "x|1|lih")
    assert lih["converged"] or lih["reason"] == "not_converged"
    assert lih["energy_ev"] is not None


def test_an_empty_shard_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "check", lambda *_: {})
    monkeypatch.setattr(relax, "relax_jobs", lambda _tasks, _trials: [])
    assert _run(tmp_path, _config(tmp_path), []) == []


def test_a_potential_that_fails_its_checks_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PotentialError("canary: no")

    monkeypatch.setattr(canary, "check", refuse)
    with pytest.raises(PotentialError, match="canary: no"):
        _run(tmp_path, _config(tmp_path))
    assert not (tmp_path / "relaxed.parquet").exists()
