"""Labels, splits, loss and measures of a distilled potential; only the slow test trains."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from ase.io import write

from hinpaint.crystal import Crystal, minimum_image_distances, shortest_distance
from hinpaint.distillation.appraisal import (
    agreement,
    by_key,
    hydrogen_distances,
    label_errors,
    lower_verdicts,
    may_be_default,
    relative_energies,
)
from hinpaint.distillation.arrangements import around, displaced, shortened, strained
from hinpaint.distillation.hosts import Host, fill_elements, split
from hinpaint.distillation.labelling import as_extxyz, label_chunk, label_hosts
from hinpaint.distillation.losses import HostBatches, relative_to_mean, same_composition
from hinpaint.distillation.settings import (
    DistillationSettings,
    FitSettings,
    LabelSettings,
    NetworkSettings,
    load_settings,
)
from hinpaint.distillation.training import fit, package, reference_energies, training_config, training_facts
from hinpaint.distillation.training import statistics as label_statistics
from hinpaint.files import sha256_file
from hinpaint.relaxation.batch import Answer, crystal_state, evaluate
from hinpaint.relaxation.potentials import LoadedPotential, load_potential
from hinpaint.relaxing import Potential
from hinpaint.rng import stream

_LIH = Crystal.build(2.0 * (np.ones((3, 3)) - np.eye(3)), ["Li", "H"], [[0, 0, 0], [0.5, 0.5, 0.5]], [True, False])
_HOST = Host("lih", "LiH", _LIH)
_SALT = Host("nacl", "NaCl", Crystal.build(2.8 * (np.ones((3, 3)) - np.eye(3)), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]))
_FEW = LabelSettings(
    n_displaced=1, n_strained=0, n_short=1, trials=("random",), path_starts=("random",), steps_h_only=2, steps_full=1,
    every=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def teacher() -> LoadedPotential:
    return load_potential(Potential(name="sevennet-0"))


def _rows(path: Path, formulas: list[tuple[str, list[int]]]) -> Path:
    rows = [
        {
            "material_id": f"{path.stem}-{i}",
            "reduced_formula": formula,
            "lattice": (4.0 * np.eye(3)).ravel().tolist(),
            "atomic_numbers": numbers,
            "frac_coords": np.linspace(0, 0.9, 3 * len(numbers)).tolist(),
        }
        for i, (formula, numbers) in enumerate(formulas)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_splits_share_no_formula(tmp_path: Path) -> None:
    train = _rows(tmp_path / "t.parquet", [("LiH", [3, 1]), ("NaH", [11, 1]), ("H2", [1, 1]), ("NaCl", [11, 17])])
    held_out = _rows(tmp_path / "v.parquet", [("LiH", [3, 1]), ("KCl", [19, 17])])
    parts = split(train, held_out, DistillationSettings())
    formulas = {part: {host.formula for host in hosts} for part, hosts in parts.items()}
    assert formulas == {"train": {"NaH"}, "held_out": {"LiH"}}  # NaCl: chlorine is in no hydride


def test_rare_elements_get_what_there_is() -> None:
    made = [Host(f"{s}{i}", s, Crystal.build(np.eye(3) * 3, [s], [[0, 0, 0]])) for s in ("Fe", "Xe") for i in range(3)]
    chosen = [host.formula for host in fill_elements([*made, _HOST], ["Fe", "Xe", "H"], 2, seed=1)]
    assert sorted(chosen) == ["Fe", "Fe", "Xe", "Xe"]
    assert fill_elements(made, ["Fe"], 2, seed=1, other_formulas=["Fe"]) == []


def test_arrangements_are_functions_of_seed_and_host() -> None:
    first, again = ([(kind, made.frac, made.lattice) for kind, made in around(_HOST, LabelSettings())] for _ in "12")
    assert [kind for kind, *_ in first] == ["reference", "rattled", "strained", "displaced", "displaced", "short"]
    assert all(
        np.array_equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x[1:], y[1:], strict=True)
    )
    other = [made.frac for _, made in around(_HOST, LabelSettings(seed=2))]
    assert not any(np.array_equal(a, b) for a, (_, b, _) in zip(other[1:2], first[1:2], strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_what_moves_and_how_far(seed: int) -> None:
    rng = stream(seed, "x", 0, "test")
    away = displaced(_LIH, rng, 0.6)
    assert np.array_equal(away.frac[0], _LIH.frac[0])
    assert 0 < minimum_image_distances(_LIH.lattice, away.frac[1:], _LIH.frac[1:])[0, 0] <= 0.6
    assert shortest_distance(shortened(_LIH, rng)) < 0.96 * (0.31 + 1.28)
    change = np.linalg.solve(_LIH.lattice, strained(_LIH, rng).lattice) - np.eye(3)
    assert 0 < np.abs(change).max() < 0.3


def test_labels_are_functions_of_the_seed(teacher: LoadedPotential, tmp_path: Path) -> None:
    labels = label_chunk([_HOST, _SALT], teacher, None, _FEW)
    assert as_extxyz(labels) == as_extxyz(label_chunk([_HOST, _SALT], teacher, None, _FEW))
    kinds = [label.kind for label in labels if label.host is _HOST]
    assert {"reference", "random", "random-h_only", "random-full"} <= set(kinds)
    assert [label.kind for label in labels if label.host is _SALT] == ["reference", "rattled"]
    said: list[str] = []
    label_hosts([_HOST, _SALT], teacher, None, _FEW, tmp_path / "train.extxyz", say=said.append)
    assert (tmp_path / "train.extxyz").read_text() == as_extxyz(labels)
    assert [path.name for path in tmp_path.iterdir()] == ["train.extxyz"]
    found = label_statistics(tmp_path / "train.extxyz", r_max=4.0)
    assert found.elements == ("H", "Li", "Na", "Cl")
    assert found.neighbours > 10
    assert found.force_scale > 0


def test_reference_energies_are_those_of_the_labels() -> None:
    counts = np.array([[1, 1], [2, 1], [1, 3], [4, 1], [1, 5], [2, 2]] * 20, dtype=float)
    assert reference_energies(counts, counts @ [-3.0, -5.0]) == pytest.approx([-3.0, -5.0], abs=0.05)


def test_loss_compares_within_a_composition() -> None:
    data = {
        "atom_types": torch.tensor([0, 1, 1, 0, 0, 0, 1]),
        "batch": torch.tensor([0, 0, 1, 1, 2, 2, 3]),
        "num_atoms": torch.tensor([2, 2, 2, 1]),
    }
    groups = same_composition(data)
    assert groups[0] == groups[1]
    assert len({int(groups[0]), int(groups[2]), int(groups[3])}) == 3
    assert relative_to_mean(torch.tensor([1.0, 3.0, 7.0, 9.0]), groups).tolist() == [-1.0, 1.0]


def test_batches_hold_several_arrangements_of_a_host() -> None:
    compositions = ["a"] * 6 + ["b"] * 3 + ["c"] * 4
    batches = HostBatches(compositions, hosts=2, arrangements=3, generator=torch.Generator().manual_seed(1))
    drawn = list(batches)
    assert len(drawn) == len(batches)
    assert sorted(index for batch in drawn for index in batch) == list(range(13))
    assert all(len({compositions[index] for index in batch}) <= 2 for batch in drawn)


def test_errors_and_differences() -> None:
    def answer(energy: float, force: float = 0.0) -> Answer:
        return Answer(energy, np.full((2, 3), force), np.zeros((3, 3)))

    teacher = [answer(0.0), answer(0.02), answer(1.0)]
    student = [answer(1.0, 0.5), answer(0.98), answer(2.0)]
    errors = label_errors(teacher, student)
    assert errors["energy_mae_mev_per_atom"] == pytest.approx(1000 * (0.5 + 0.48 + 0.5) / 3)
    assert errors["forces_mae_ev_per_a"] == pytest.approx(0.5 / 3)
    relative = relative_energies("aab", teacher, student)
    assert relative == {"n_pairs": 1, "mae_mev_per_atom": pytest.approx(20.0), "same_order": 0.0}


def _relaxed(trial: int, level: str, energy: float | None, hydrogen: float = 0.5, reason: str | None = None) -> dict:
    return {
        "entry_key": "x", "trial": trial, "level": level, "energy_ev": energy, "reason": reason,
        "lattice": (4 * np.eye(3)).ravel().tolist(), "frac": [0.0, 0.0, 0.0, hydrogen, 0.5, 0.5],
    }  # fmt: skip


def test_verdicts_are_compared_trial_by_trial() -> None:
    teacher = by_key([_relaxed(-1, "full", 0.0), _relaxed(0, "full", -0.1), _relaxed(1, "full", 0.1)])
    student = by_key([_relaxed(-1, "full", 5.0), _relaxed(0, "full", 4.9), _relaxed(1, "full", 4.0, reason="gated")])
    verdicts = [lower_verdicts(rows, {"x": 2}, 1.0) for rows in (teacher, student)]
    assert verdicts == [{("x", 0): True, ("x", 1): False}] * 2
    assert agreement(*verdicts)["agreement"] == 1.0
    assert agreement({("x", 0): True}, {("x", 0): False})["agreement"] == 0.0


def test_hydrogen_distance_is_on_the_fixed_host() -> None:
    teacher = by_key([_relaxed(0, "h_only", 1.0), _relaxed(1, "h_only", None)])
    student = by_key([_relaxed(0, "h_only", 2.0, 0.525), _relaxed(1, "h_only", 1.0)])
    assert hydrogen_distances(teacher, student, {"x": 1}) == pytest.approx([0.1])


def test_the_bars_decide_about_the_default() -> None:
    assert may_be_default({"agreement": 0.95, "n_trials": 200}, 0.03)[0]
    assert not may_be_default({"agreement": 0.94, "n_trials": 200}, 0.03)[0]
    able, why = may_be_default({"agreement": 0.99, "n_trials": 200}, 0.04)
    assert not able
    assert "0.040 Å" in why


@pytest.mark.parametrize("path", sorted(Path("config/training").glob("nequip-*.yaml")), ids=lambda path: path.stem)
def test_shipped_settings_make_a_configuration(path: Path, teacher: LoadedPotential, tmp_path: Path) -> None:
    settings = load_settings(path)
    label_hosts([_HOST], teacher, None, _FEW, tmp_path / "train.extxyz", say=lambda _line: None)
    found = label_statistics(tmp_path / "train.extxyz", settings.network.r_max)
    labels = {part: tmp_path / f"{part}.extxyz" for part in ("train", "held_out")}
    config = training_config(settings, found, labels, "cpu")
    assert str(tmp_path) not in str(config)
    assert config["training_module"]["model"]["type_names"] == ["H", "Li"]


@pytest.mark.slow
def test_trained_and_packaged_potential_has_learnt(tmp_path: Path) -> None:
    """NequIP's own commands, through to a package that our registry loads and that knows the labels."""
    lengths = np.linspace(3.6, 4.4, 12)
    images = [bulk("LiH", "rocksalt", a=length) for length in lengths]
    for image in images:
        image.rattle(0.05, seed=1)
        image.calc = MorsePotential(epsilon=0.5, r0=2.0, rho0=3.0, rcut1=3.0, rcut2=3.9)
        image.get_stress()
    labels = {part: tmp_path / f"{part}.extxyz" for part in ("train", "held_out")}
    write(labels["train"], images)
    write(labels["held_out"], images[::4])
    settings = DistillationSettings(
        network=NetworkSettings(r_max=4.0, num_layers=2, l_max=1, num_features=8, radial_mlp_width=16),
        fit=FitSettings(steps=800, warmup=10, hosts=1, ema=0.9),
    )
    found = label_statistics(labels["train"], 4.0)
    config = training_config(settings, found, labels, "cpu")
    checkpoint = fit(tmp_path, config, 1)
    facts = training_facts(tmp_path, checkpoint, found)
    assert facts["steps"] == 800
    assert facts["elements"] == ["H", "Li"]

    package(tmp_path, checkpoint, tmp_path / "potential.nequip.zip")
    path = tmp_path / "potential.nequip.zip"
    potential = load_potential(Potential(name="nequip", path=path, sha256=sha256_file(path)))
    crystals = [Crystal.build(image.cell.array, image.get_chemical_symbols(), image.get_scaled_positions())
                for image in images]  # fmt: skip
    energies = np.array([answer.energy for answer in evaluate(potential, crystal_state(potential, crystals))])
    truth = np.array([image.get_potential_energy() for image in images])
    assert np.abs(energies - truth).mean() < 0.2 * np.abs(truth - truth.mean()).mean()

    with pytest.raises(ValueError, match="other settings or labels"):
        fit(tmp_path, {**config, "run": []}, 1)
    fit(tmp_path, config, 1)  # it goes on from its end: nothing is left to do
    assert training_facts(tmp_path, checkpoint, found)["steps"] == 800
