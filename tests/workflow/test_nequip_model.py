"""A real NequIP model, trained and packaged by our own pipeline, and used by the relax stage."""

from pathlib import Path

import numpy as np
import pytest

from hinpaint.config import parse_config
from hinpaint.crystal import Crystal
from hinpaint.distillation.hosts import Host
from hinpaint.distillation.labelling import Label, answer_all, as_extxyz
from hinpaint.distillation.settings import DistillationSettings, FitSettings, NetworkSettings
from hinpaint.distillation.training import fit, statistics, training_config, training_facts
from hinpaint.distillation.training import package as package_model
from hinpaint.files import sha256_file
from hinpaint.relaxation import canary
from hinpaint.relaxation.batch import crystal_state
from hinpaint.relaxation.compiling import compile_potential, load_compiled
from hinpaint.relaxation.potentials import load_potential
from hinpaint.relaxing import Potential
from hinpaint.stages import relax
from hinpaint.store import read_table, write_table
from hinpaint.tables import RELAXED, RUNS, TASKS, TRIALS

pytestmark = pytest.mark.slow

_BRUCITE = [[3.14, 0.0, 0.0], [-1.57, 2.7193, 0.0], [0.0, 0.0, 4.77]]
_FRAC = np.array([[0, 0, 0], [1 / 3, 2 / 3, 0.22], [2 / 3, 1 / 3, 0.78], [1 / 3, 2 / 3, 0.43], [2 / 3, 1 / 3, 0.57]])
_SETTINGS = DistillationSettings(
    network=NetworkSettings(r_max=4.0, num_features=16),
    fit=FitSettings(steps=250, warmup=20, learning_rate=0.01, hosts=1, arrangements=4, ema=0.9),
)


def _labels(n_structures: int, seed: int) -> str:
    """Rattled and strained brucite labelled by SevenNet-0: enough for a model that finds its way back."""
    stream = np.random.default_rng(seed)
    crystals = []
    for _ in range(n_structures):
        lattice = np.array(_BRUCITE) @ (np.eye(3) + 0.03 * stream.standard_normal((3, 3)))
        moves = 0.08 * stream.standard_normal((5, 3)) @ np.linalg.inv(lattice)
        crystals.append(Crystal.build(lattice, ("Mg", "O", "O", "H", "H"), _FRAC + moves))
    answers = answer_all(load_potential(Potential()), crystals)
    host = Host("brucite", "MgH2O2", crystals[0])
    return as_extxyz([Label(host, "rattled", *each) for each in zip(crystals, answers, strict=True)])


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nequip")
    labels = {part: folder / f"{part}.extxyz" for part in ("train", "held_out")}
    for (part, path), count in zip(labels.items(), (40, 8), strict=True):
        path.write_text(_labels(count, seed=len(part)))
    found = statistics(labels["train"], _SETTINGS.network.r_max)
    config = training_config(_SETTINGS, found, labels, "cpu")
    checkpoint = fit(folder, config, threads=1)
    assert training_facts(folder, checkpoint, found)["steps"] == 250
    with pytest.raises(ValueError, match="other settings"):
        fit(folder, {**config, "run": []}, threads=1)
    package_model(folder, checkpoint, folder / "small.nequip.zip")
    return folder / "small.nequip.zip"


def test_relax_stage_with_a_nequip_model_of_our_own(package: Path, tmp_path: Path) -> None:
    config = parse_config(
        {
            "run": "nequip-test",
            "sources": [{"database": "x", "version": "1", "format": "cif", "path": str(tmp_path), "licence": "CC0-1.0", "mode": "benchmark"}],  # noqa: E501
            "potential": {"name": "nequip", "path": str(package), "sha256": sha256_file(package)},
            "relax": {"fmax_ev_per_a": 0.1, "max_steps_h_only": 60, "max_steps_full": 60},
        }
    )  # fmt: skip
    reference = _FRAC[3:].ravel().tolist()
    task = {
        "entry_key": "x|1|brucite",
        "mode": "benchmark",
        "element": "H",
        "n_unknown": 2,
        "shard": 0,
        "cost": 1.0,
        "host_sha256": "brucite",
        "supercell": [1, 0, 0, 0, 1, 0, 0, 0, 1],
        "lattice": np.array(_BRUCITE).ravel().tolist(),
        "host_species": ["Mg", "O", "O"],
        "host_frac": _FRAC[:3].ravel().tolist(),
        "reference_frac": reference,
    }
    trials = [
        {
            "entry_key": "x|1|brucite", "trial": number, "seed": 0, "sampler": "td", "n_steps": 1, "n_evaluations": 2,
            "model_sha256": None, "frac_unknown": [value + 0.02 * (number + 1) for value in reference],
            "d_min_a": 0.9, "reason": None,
        }
        for number in range(2)
    ]  # fmt: skip
    write_table(tmp_path / "tasks.parquet", TASKS, [task], config.run)
    write_table(tmp_path / "trials.parquet", TRIALS, trials, config.run)
    relax.run(config, 0, *(tmp_path / f"{name}.parquet" for name in ("tasks", "trials", "relaxed", "runs")))

    rows = read_table(tmp_path / "relaxed.parquet", RELAXED).to_pylist()
    assert len(rows) == 6
    assert {row["potential_sha256"] for row in rows} == {sha256_file(package)}
    # So small a model may pull the cell out of shape; then the gate says so and nothing else happens.
    assert all(row["reason"] in (None, "not_converged", "gated") for row in rows)
    assert all(np.isfinite(row["energy_ev"]) for row in rows)
    ends = [row["energy_ev"] for row in rows if row["level"] == "full"]
    assert max(ends) - min(ends) < 0.1
    assert read_table(tmp_path / "runs.parquet", RUNS).to_pylist()[0]["n_out"] == 6


def test_compiled_it_says_the_same(package: Path, tmp_path: Path) -> None:
    settings = Potential(name="nequip", path=package, sha256=sha256_file(package), compile=True)
    said: list[str] = []
    compile_potential(settings, tmp_path, "cpu", 1, said.append)
    compiled = load_compiled(settings, tmp_path, "cpu", said.append)
    assert compiled is not None, said
    eager = load_potential(settings)
    assert (compiled.name, compiled.sha256, compiled.elements) == (eager.name, eager.sha256, eager.elements)
    assert canary.check(compiled)
    crystals = [Crystal.build(np.array(_BRUCITE) * size, ("Mg", "O", "O", "H", "H"), _FRAC) for size in (0.97, 1.03)]
    for batch in (crystals, crystals[:1]):
        ours, theirs = (each.model(crystal_state(each, batch)) for each in (compiled, eager))
        for name in ("energy", "forces", "stress"):
            assert np.allclose(ours[name].detach(), theirs[name].detach(), atol=1e-5)
