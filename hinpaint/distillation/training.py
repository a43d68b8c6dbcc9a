"""Labels -> a packaged NequIP model, by NequIP's own commands ``nequip-train`` and ``nequip-package``.

Both run in the folder of the training and are given relative paths: a package embeds its configuration, and nobody
wants to know where its maker's home is.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from hinpaint.crystal import FloatArray
from hinpaint.distillation.settings import DistillationSettings
from hinpaint.files import write_atomic

# The step from squares to absolute values in the Huber terms: labels of squeezed structures must not drown the rest.
_DELTAS = {"energy": 0.02, "within": 0.02, "forces": 0.1, "stress": 0.005}
_VALIDATION_BATCHES = 4  # an epoch: a glance, as it decides nothing
_SHRINKAGE = 0.1  # of reference energies towards their mean, in structures


@dataclass(frozen=True)
class Statistics:
    """What the labels say before any training.

    Attributes:
        elements: symbols, by atomic number.
        shifts: reference energy of each element in eV, by least squares on what ZBL leaves.
        force_scale: mean length of a force, eV/Å.
        neighbours: mean number of neighbours of a site.
    """

    elements: tuple[str, ...]
    shifts: tuple[float, ...]
    force_scale: float
    neighbours: float


def statistics(labels: Path, r_max: float) -> Statistics:
    """Read labels and find reference energies, so that the network only learns what is left.

    Args:
        labels: extended XYZ.
        r_max: cutoff of the network and of the ZBL repulsion, ångström.
    """
    from ase.data import chemical_symbols
    from ase.io import iread

    images = list(iread(labels, parallel=False))
    numbers = sorted({int(each) for image in images for each in image.numbers})
    elements = tuple(chemical_symbols[number] for number in numbers)
    repulsion, n_edges = _repulsion(images, elements, r_max)
    counts = np.array([[np.count_nonzero(image.numbers == number) for number in numbers] for image in images])
    energies = np.array([image.get_potential_energy() for image in images])
    shifts = reference_energies(counts, energies - repulsion)
    forces = np.concatenate([image.get_forces() for image in images])
    scale = float(np.linalg.norm(forces, axis=1).mean())
    return Statistics(elements, tuple(shifts.tolist()), scale, float(n_edges.sum() / counts.sum()))


def reference_energies(counts: FloatArray, energies: FloatArray) -> FloatArray:
    """Energies of elements by least squares on energies per site, drawn a little towards their mean.

    Args:
        counts: (structures, elements) sites of each element.
        energies: (structures,) eV.

    Returns:
        (elements,) eV a site.
    """
    sizes = counts.sum(axis=1)
    fractions, per_site = counts / sizes[:, None], energies / sizes
    mean = float(per_site.mean())
    rows = np.concatenate([fractions, np.sqrt(_SHRINKAGE) * np.eye(counts.shape[1])])
    right = np.concatenate([per_site - mean, np.zeros(counts.shape[1])])
    return np.asarray(mean + np.linalg.lstsq(rows, right, rcond=None)[0])


def _repulsion(images: Sequence[Any], elements: tuple[str, ...], r_max: float) -> tuple[FloatArray, FloatArray]:
    """ZBL energy (eV) and number of edges of each structure, (n,) both, by NequIP's own module."""
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.nn.embedding import EdgeLengthNormalizer
    from nequip.nn.pair_potential import ZBL

    steps = [
        ChemicalSpeciesToAtomTypeMapper(list(elements), {symbol: symbol for symbol in elements}),
        NeighborListTransform(r_max),
        lengths := EdgeLengthNormalizer(r_max=r_max, type_names=list(elements)),
        ZBL(type_names=list(elements), chemical_species=list(elements), units="metal", irreps_in=lengths.irreps_out),
    ]
    energies, edges = [], []
    with torch.no_grad():
        for image in images:
            data = from_ase(image)
            for step in steps:
                data = step(data)
            energies.append(float(data[AtomicDataDict.PER_ATOM_ENERGY_KEY].sum()))
            edges.append(data[AtomicDataDict.EDGE_INDEX_KEY].shape[1])
    return np.array(energies), np.array(edges, dtype=float)


def training_config(
    settings: DistillationSettings, found: Statistics, labels: dict[str, Path], accelerator: str
) -> dict[str, Any]:
    """The configuration of ``nequip-train``.

    Args:
        settings: network and fit.
        found: statistics of the training labels.
        labels: files of ``train`` and ``held_out``, both in the folder of the training; the latter are looked at once
            an epoch and decide nothing.
        accelerator: ``cpu`` or ``gpu``.
    """
    return {
        "run": ["train"],
        "data": _data(settings, found, labels),
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": accelerator,
            "devices": 1,
            "max_steps": settings.fit.steps,
            "gradient_clip_val": settings.fit.clip,
            "limit_val_batches": _VALIDATION_BATCHES,
            "enable_progress_bar": False,
            "log_every_n_steps": 100,
            "logger": {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": ".", "name": "curves"},
            "callbacks": [
                {
                    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "dirpath": ".",
                    "filename": "epoch",
                    "save_last": True,
                    "enable_version_counter": False,
                }
            ],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "ema_decay": settings.fit.ema,
            "loss": {"_target_": "nequip.train.MetricsManager", "metrics": _loss_terms(settings.fit.weights)},
            "val_metrics": {
                "_target_": "nequip.train.EnergyForceStressMetrics",
                "coeffs": {"per_atom_energy_mae": 1.0, "forces_mae": 1.0, "stress_mae": 1.0},
            },
            "optimizer": {"_target_": "torch.optim.Adam", "lr": settings.fit.learning_rate, "amsgrad": True},
            "lr_scheduler": {
                "interval": "step",
                "scheduler": {
                    "_target_": "torch.optim.lr_scheduler.OneCycleLR",
                    "max_lr": settings.fit.learning_rate,
                    "total_steps": settings.fit.steps + 1,
                    "pct_start": settings.fit.warmup / settings.fit.steps,
                    "final_div_factor": 4.0,
                    "cycle_momentum": False,
                },
            },
            "model": _model(settings, found),
        },
    }


def _data(settings: DistillationSettings, found: Statistics, labels: dict[str, Path]) -> dict[str, Any]:
    mapper = {
        "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
        "model_type_names": list(found.elements),
        "chemical_species_to_atom_type_map": {symbol: symbol for symbol in found.elements},
    }
    neighbours = {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": settings.network.r_max}
    loader = {
        "_target_": "hinpaint.distillation.losses.host_loader",
        "hosts": settings.fit.hosts,
        "arrangements": settings.fit.arrangements,
    }
    size = settings.fit.hosts * settings.fit.arrangements
    return {
        "_target_": "nequip.data.datamodule.ASEDataModule",
        "seed": settings.fit.seed,
        "train_file_path": labels["train"].name,
        "val_file_path": labels["held_out"].name,
        "transforms": [mapper, neighbours],
        "train_dataloader": loader,
        "val_dataloader": {"_target_": "torch.utils.data.DataLoader", "batch_size": size},
    }


def _loss_terms(weights: dict[Any, float]) -> list[dict[str, Any]]:
    """Terms of the loss; a weight counts where errors are large, so it is divided by the slope there."""

    def huber(name: str, target: str = "nequip.train.HuberLoss") -> dict[str, Any]:
        metric = {"_target_": target, "delta": _DELTAS[name]}
        return {"name": name, "coeff": weights[name] / _DELTAS[name], "metric": metric}

    per_atom = {"_target_": "nequip.data.PerAtomModifier", "field": "total_energy"}
    return [
        {**huber("energy"), "field": per_atom},
        huber("within", "hinpaint.distillation.losses.WithinHost"),
        {**huber("forces"), "field": "forces"},
        {**huber("stress"), "field": "stress"},
    ]


def _model(settings: DistillationSettings, found: Statistics) -> dict[str, Any]:
    return {
        "_target_": "nequip.model.NequIPGNNModel",
        "seed": settings.fit.seed,
        "model_dtype": "float32",
        "type_names": list(found.elements),
        **asdict(settings.network),
        "avg_num_neighbors": found.neighbours,
        "per_type_energy_shifts": dict(zip(found.elements, found.shifts, strict=True)),
        "per_type_energy_scales": found.force_scale,
        "per_type_energy_shifts_trainable": True,
        "pair_potential": {
            "_target_": "nequip.nn.pair_potential.ZBL",
            "units": "metal",
            "chemical_species": list(found.elements),
        },
    }


def fit(folder: Path, config: dict[str, Any], threads: int) -> Path:
    """Train, or go on with the training in ``folder``.

    Args:
        folder: holds the labels, receives the configuration, checkpoints and curves.
        config: from :func:`training_config`.
        threads: CPU threads.

    Returns:
        The last checkpoint.

    Raises:
        ValueError: the folder holds a training with another configuration.
    """
    file, last = folder / "config.yaml", folder / "last.ckpt"
    text = yaml.safe_dump(config, sort_keys=False)
    if last.exists() and file.read_text(encoding="utf-8") != text:
        raise ValueError(f"{folder} holds a training with other settings or labels; choose another folder")
    write_atomic(file, lambda handle: handle.write(text.encode()))
    going_on = ["++ckpt_path=last.ckpt"] if last.exists() else []
    spent, before = folder / "cpu_s.txt", _children_cpu_s()
    command = ("nequip-train", "-cp", str(folder.resolve()), "-cn", "config", "hydra.run.dir=.", *going_on)
    _nequip(folder, threads, *command)
    seconds = _children_cpu_s() - before + (float(spent.read_text(encoding="utf-8")) if spent.exists() else 0.0)
    write_atomic(spent, lambda handle: handle.write(f"{seconds:.1f}\n".encode()))
    return last


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def training_facts(folder: Path, checkpoint: Path, found: Statistics) -> dict[str, Any]:
    """What the card says about a training: elements, size, steps, CPU seconds."""
    # NequIP's checkpoints are pickles; this one was written by our own process a moment ago.
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)
    weights = [value for key, value in state["state_dict"].items() if key.startswith("model.")]
    return {
        "elements": list(found.elements),
        "numbers_in_network": sum(value.numel() for value in weights),
        "steps": state["global_step"],
        "epochs": state["epoch"] + 1,
        "cpu_s": round(float((folder / "cpu_s.txt").read_text(encoding="utf-8"))),
    }


def package(folder: Path, checkpoint: Path, out: Path) -> None:
    """Package a checkpoint with ``nequip-package``."""
    _nequip(folder, 1, "nequip-package", "build", checkpoint.name, "built.nequip.zip")
    built = folder / "built.nequip.zip"
    write_atomic(out, lambda handle: handle.write(built.read_bytes()))
    built.unlink()


def _nequip(folder: Path, threads: int, script: str, *arguments: str) -> None:
    command = [str(Path(sys.executable).with_name(script)), *arguments]
    # hydra imports our loss and loader by name, also where hinpaint is a working tree that is not installed.
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    subprocess.run(command, cwd=folder, env=environment, check=True)  # noqa: S603 - our own interpreter's scripts
