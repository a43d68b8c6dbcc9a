"""A real NequIP model, trained, packaged and used by the relax stage."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from hinpaint.config import parse_config
from hinpaint.crystal import Crystal
from hinpaint.files import sha256_file
from hinpaint.relaxation import canary
from hinpaint.relaxation.batch import crystal_state, evaluate
from hinpaint.relaxation.compiling import compile_potential, load_compiled
from hinpaint.relaxation.potentials import load_potential
from hinpaint.relaxing import Potential
from hinpaint.stages import relax
from hinpaint.store import read_table, write_table
from hinpaint.tables import RELAXED, RUNS, TASKS, TRIALS

pytestmark = pytest.mark.slow

_TYPES = ["H", "Mg", "O"]
_BRUCITE = [[3.14, 0.0, 0.0], [-1.57, 2.7193, 0.0], [0.0, 0.0, 4.77]]
_FRAC = np.array([[0, 0, 0], [1 / 3, 2 / 3, 0.22], [2 / 3, 1 / 3, 0.78], [1 / 3, 2 / 3, 0.43], [2 / 3, 1 / 3, 0.57]])


def _write_training_set(path: Path, n_structures: int = 48) -> None:
    """Label rattled and strained brucite with SevenNet-0: enough for a model that finds its way back."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    stream = np.random.default_rng(7)
    species = ("Mg", "O", "O", "H", "H")
    crystals = []
    for _ in range(n_structures):
        lattice = np.array(_BRUCITE) @ (np.eye(3) + 0.03 * stream.standard_normal((3, 3)))
        crystal = Crystal.build(lattice, species, _FRAC)
        moves = 0.08 * stream.standard_normal((5, 3)) @ np.linalg.inv(lattice)
        crystals.append(crystal.with_frac(_FRAC + moves))
    potential, images = load_potential(Potential()), []
    for crystal, answer in zip(crystals, evaluate(potential, crystal_state(potential, crystals)), strict=True):
        atoms = Atoms(species, scaled_positions=crystal.frac, cell=crystal.lattice, pbc=True)
        atoms.calc = SinglePointCalculator(atoms, energy=answer.energy, forces=answer.forces, stress=answer.stress)
        images.append(atoms)
    write(path, images, format="extxyz")


def _training_config(data: Path, folder: Path, epochs: int) -> dict[str, object]:
    neighbours = {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": 4.0}
    types = {
        "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
        "model_type_names": _TYPES,
        "chemical_species_to_atom_type_map": {symbol: symbol for symbol in _TYPES},
    }
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 4, "shuffle": True}
    statistics = {
        "_target_": "nequip.data.CommonDataStatisticsManager",
        "dataloader_kwargs": {"batch_size": 8},
        "type_names": _TYPES,
    }
    return {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule",
            "seed": 1,
            "split_dataset": {"file_path": str(data), "train": 40, "val": 8},
            "transforms": [types, neighbours],
            "train_dataloader": loader,
            "val_dataloader": {"_target_": "torch.utils.data.DataLoader", "batch_size": 8},
            "stats_manager": statistics,
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu",
            "max_epochs": epochs,
            "enable_progress_bar": False,
            "logger": False,
            "callbacks": [
                {
                    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "dirpath": str(folder),
                    "filename": "best",
                    "save_last": True,
                }
            ],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "ema_decay": 0.9,
            "loss": {
                "_target_": "nequip.train.EnergyForceStressLoss",
                "per_atom_energy": True,
                "coeffs": {"total_energy": 1.0, "forces": 1.0, "stress": 1.0},
            },
            "val_metrics": {
                "_target_": "nequip.train.EnergyForceStressMetrics",
                "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0, "stress_mae": None},
            },
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "model": {
                "_target_": "nequip.model.NequIPGNNModel",
                "seed": 2,
                "model_dtype": "float32",
                "type_names": _TYPES,
                "r_max": 4.0,
                "num_layers": 2,
                "l_max": 1,
                "num_features": 16,
                "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
                "per_type_energy_shifts": "${training_data_stats:per_atom_energy_mean}",
                "per_type_energy_scales": "${training_data_stats:forces_rms}",
            },
        },
    }


def _nequip(script: str, *arguments: str, folder: Path) -> None:
    command = [str(Path(sys.executable).with_name(script)), *arguments]
    # One thread: more of them than free cores wait for each other, and the minute of training becomes ten.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nequip")
    _write_training_set(folder / "data.extxyz")
    config = _training_config(folder / "data.extxyz", folder, epochs=25)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    _nequip("nequip-train", "-cn", "config", "-cp", str(folder), folder=folder)
    _nequip("nequip-package", "build", str(folder / "last.ckpt"), str(folder / "small.nequip.zip"), folder=folder)
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
