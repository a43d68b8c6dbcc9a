import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sample_crystals import random_crystal
from typer.testing import CliRunner

from hinpaint.cli import app
from hinpaint.training.dataset import TrainingSet
from hinpaint.training.preparing import from_crystals, from_optimade, prepare

SETTINGS = """\
conditioning: td
steps: {steps}
warmup: 2
max_batch_sites: 30
bf16: false
network: {{hidden: 16, n_blocks: 2, emb_trip: 8, num_radial: 8, num_spherical: 3, max_neighbors: 8}}
validation: {{every: 2, n_loss: 3, n_match: 2, n_steps: 2}}
"""


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = from_crystals([random_crystal(seed, n_host=4) for seed in range(8)])
    rows = {
        "lattice": [lattice.ravel().tolist() for lattice in data.lattice.astype(float)],
        "atomic_numbers": [data.numbers[data.sites(i)].tolist() for i in range(len(data))],
        "frac_coords": [data.frac[data.sites(i)].astype(float).ravel().tolist() for i in range(len(data))],
        "material_id": [str(i) for i in range(len(data))],
    }
    path = tmp_path_factory.mktemp("structures") / "structures.parquet"
    pq.write_table(pa.table(rows), path)
    return path


def altered(parquet: Path, folder: Path, **columns: object) -> Path:
    table = pq.read_table(parquet)
    for name, values in columns.items():
        table = table.drop_columns(name) if values is None else table.set_column(
            table.column_names.index(name), name, pa.array(values)
        )  # fmt: skip
    path = folder / "altered.parquet"
    pq.write_table(table, path)
    return path


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


def test_prepared_file_holds_the_structures(parquet: Path, tmp_path: Path) -> None:
    code, output = run("prepare-training", parquet, "-o", tmp_path / "compact.npz")
    assert code == 0, output
    assert output.startswith("8 structures, 8 with H")
    data = TrainingSet.load(tmp_path / "compact.npz")
    source = pq.read_table(parquet)
    assert data.numbers.tolist() == np.concatenate(source["atomic_numbers"].to_pylist()).tolist()
    assert np.allclose(data.frac.ravel(), np.concatenate(source["frac_coords"].to_pylist()))
    code, output = run("prepare-training", parquet, "-o", tmp_path / "none.npz", "--max-sites", 3)
    assert code == 1
    assert "no structure of at most 3 sites" in output


def test_optimade_export_is_prepared(tmp_path: Path) -> None:
    export = Path(__file__).parents[2] / "examples" / "mc3d" / "structures.jsonl"
    assert len(prepare(export, tmp_path / "compact.npz", 200)) == len(from_optimade(export, 200)) > 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"lattice": None}, "no column lattice; it has"),
        ({"lattice": [[1.0] * 8] * 8}, "row 0: 8 numbers in lattice"),
        ({"frac_coords": [[0.1, 0.2]] * 8}, "2 in frac_coords for 7 sites (8 rows of that kind)"),
        ({"atomic_numbers": [[1] * 6 + [130]] * 8}, "atomic numbers are from 1 to 100"),
        ({"lattice": [[float("nan")] * 9] * 8}, "not finite"),
        ({"lattice": ["a cubic one"] * 8}, "cannot be read"),
    ],
)
def test_odd_columns_are_named_in_one_line(parquet: Path, tmp_path: Path, columns: dict, message: str) -> None:
    code, output = run("prepare-training", altered(parquet, tmp_path, **columns), "-o", tmp_path / "x.npz")
    assert code == 1
    assert message in output
    assert len(output.splitlines()) == 1, output
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("name", ["notes.parquet", "notes.jsonl", "notes.npz"])
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("no structures here\n")
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS.format(steps=2))
    code, output = run("train", "--config", settings, "--structures", path, "--out", tmp_path / "out")
    assert code == 1
    assert len(output.splitlines()) == 1, output
    assert output.startswith("hinpaint: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--device", "abacus"), "abacus"), (("--device", "cpu", "--config-text", "steps: many"), "steps")],
)
def test_wrong_settings_are_one_line(parquet: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(words[3] if len(words) > 2 else SETTINGS.format(steps=2))
    code, output = run(
        "train", "--config", settings, "--structures", parquet, "--out", tmp_path / "out", *words[:2]
    )  # fmt: skip
    assert code == 1
    assert message in output
    assert len(output.splitlines()) == 1, output


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_training_stops_on_time_and_on_sigterm_and_goes_on(parquet: Path, tmp_path: Path, workers: int) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS.format(steps=100000))
    words = ["train", "--config", settings, "--structures", parquet, "--validation", parquet, "--out", tmp_path / "out",
             "--device", "cpu", "--threads", 1, "--workers", workers]  # fmt: skip
    code, output = run(*words, "--stop-after", 0)
    assert code == 0, output
    assert "stopped; 1 of 100000 steps kept" in output
    command = [sys.executable, "-c", "from hinpaint.cli import app; app()", *map(str, words)]
    process = subprocess.Popen(  # noqa: S603 - our own command
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("validation"):  # it is at work
            os.killpg(process.pid, signal.SIGTERM)  # as torchrun and batch systems do
            break
    lines += process.stdout.read().splitlines()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert lines[-1].startswith("stopped; ")
    steps = int(lines[-1].split()[1])
    assert steps > 1
    code, output = run(*words, "--stop-after", 0)
    assert f"stopped; {steps + 1} of 100000 steps kept" in output
    assert (tmp_path / "out" / "curves.png").exists()
