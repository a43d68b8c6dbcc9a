"""A benchmark of two systems on the demonstration's complete structures, from the export to the figures."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from workspace import EXAMPLES, ROOT, Workspace

from hinpaint.benchmark.figures import FIGURES
from hinpaint.benchmark.rounds import read_shard, succeeded
from hinpaint.config import Config, load_config
from hinpaint.deciding.judging import Joined
from hinpaint.deciding.les import any_of_k, count_entries
from hinpaint.store import read_table
from hinpaint.tables import RELAXED, RUNS, TASKS, TRIALS

pytestmark = pytest.mark.slow

SYSTEMS: list[dict[str, Any]] = [
    {"name": "chance", "label": "random placement", "sampler": {"name": "random", "n_steps": 1}, "trials": 5},
    {
        "name": "few",
        "label": "renoise, 5 steps",
        "sampler": {"name": "renoise", "n_steps": 5},
        "model": "td-small",  # some of its entries need more than one round
        "trials": 4,
        "relax": {"level": "full", "max_sites": 4, "ends": [1, 2, 4], "controls": 1},
    },
]


@dataclass(frozen=True)
class Bench:
    """A folder with a benchmark in it."""

    folder: Path
    name: str

    def run(self, *arguments: str) -> str:
        command = ["hinpaint", "benchmark", "--config", f"{self.name}.yaml", "--structures",
                   str(EXAMPLES / "mc3d/structures.jsonl"), "--profile", str(ROOT / "profiles/local"),
                   *arguments]  # fmt: skip
        done = Workspace(self.folder).run(command, timeout=570)
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.name

    def found(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((self.results / "results.json").read_text())
        return read

    def system(self, name: str) -> dict[str, Any]:
        rows: list[dict[str, Any]] = self.found()["systems"]
        (row,) = (each for each in rows if each["name"] == name)
        return row

    def config(self, name: str) -> Config:
        return load_config(self.results / "systems" / name / "config.json")

    def joined(self, name: str, end: int | None = None) -> Joined:
        folder = self.results / "systems" / name
        return read_shard(folder if end is None else folder / f"rounds/{end:04d}", 0, self.config(name))


def make(folder: Path, name: str, systems: list[dict[str, Any]]) -> Bench:
    settings = {
        "name": name,
        "title": "demonstration",
        "seed": 3,
        "source": {"database": "m", "version": "1", "format": "optimade", "licence": "CC0-1.0"},
        "max_sites": 6,
        "relax": {"fmax_ev_per_a": 0.3, "max_steps_h_only": 20, "max_steps_full": 20},
        "les": {"bootstrap": 50},
        "systems": systems,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    if not (folder / "scripts").exists():
        (folder / "scripts").symlink_to(ROOT / "scripts")
    return Bench(folder, name)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = make(tmp_path_factory.mktemp("bench"), "tiny", SYSTEMS)
    made.run()
    return made


def rate(part: dict[str, Any], metric: str, k: int) -> float:
    (found,) = (each["rate"] for each in part["rates"] if (each["metric"], each["k"]) == (metric, k))
    return float(found)


def test_everything_is_there_and_nothing_is_left_to_do(bench: Bench) -> None:
    for name in FIGURES:
        assert (bench.results / f"figures/{name}.png").stat().st_size > 1000
        assert "<svg" in (bench.results / f"figures/{name}.svg").read_text()
    assert "Nothing to be done" in bench.run("--", "--dry-run")


def test_systems_have_the_same_tasks_and_their_own_trials(bench: Bench) -> None:
    tasks = read_table(bench.results / "tasks/shard=0000.parquet", TASKS)["entry_key"].to_pylist()
    assert len(tasks) >= 4
    for name, trials in (("chance", 5), ("few", 4)):
        row = bench.system(name)
        assert (row["n_entries"], row["trials"]) == (len(tasks), trials)
        made = read_table(bench.results / f"systems/{name}/trials/shard=0000.parquet", TRIALS)
        assert sum(number >= 0 for number in made["trial"].to_pylist()) == trials * len(tasks)
    assert bench.system("chance")["cost"]["n_evaluations"] == 0
    assert bench.system("few")["cost"]["n_evaluations"] == 5
    assert bench.system("few")["cost"]["cpu_s"] > 0


def test_raw_rates_are_those_of_the_les_estimator(bench: Bench) -> None:
    for name, trials in (("chance", 5), ("few", 4)):
        counts = count_entries(bench.joined(name).verdicts, 1.0, 0.3)
        for metric, hits in (("match_raw", counts.n_match_raw), ("strict_raw", counts.n_strict_raw)):
            for k in range(1, trials + 1):
                expected = np.mean([any_of_k(trials, int(c), k) for c in hits])
                assert rate(bench.system(name), metric, k) == pytest.approx(expected, abs=1e-4)


def test_entry_is_relaxed_until_it_succeeds_and_no_longer(bench: Bench) -> None:
    solved: set[str] = set()
    everything = {
        row["entry_key"]
        for row in read_table(bench.results / "systems/few/to_relax/shard=0000.parquet", TASKS).to_pylist()
    }
    part = bench.system("few")["relaxed"]
    assert part["n_entries"] == len(everything)
    for begin, end in ((0, 1), (1, 2), (2, 4)):
        joined = bench.joined("few", end)
        keys, numbers = joined.rows["entry_key"].to_pylist(), joined.verdicts.trial
        assert set(keys) == everything - solved
        assert {int(n) for n in numbers if n >= 0} <= set(range(begin, end))
        assert sum(n >= begin for n in numbers) == (end - begin) * len(everything - solved)
        won = succeeded(joined, bench.config("few"))
        solved |= {key for key, success in zip(keys, won, strict=True) if success}
        assert rate(part, "les", end) == pytest.approx(len(solved) / len(everything), abs=1e-4)
    assert part["chance"]["les"]["n"] == len(everything)


def test_references_are_relaxed_once(bench: Bench) -> None:
    folder = bench.results / "systems/few"
    of_all = read_table(bench.results / "references/relaxed/shard=0000.parquet", RELAXED).to_pylist()
    energies = {(row["entry_key"], row["level"]): row["energy_ev"] for row in of_all}
    own = read_table(folder / "rounds/0001/relaxed/shard=0000.parquet", RELAXED).to_pylist()
    references = {(row["entry_key"], row["level"]): row["energy_ev"] for row in own if row["trial"] == -1}
    assert references == energies
    (run,) = read_table(folder / "rounds/0001/runs/relax-shard=0000.parquet", RUNS).to_pylist()
    assert run["n_reused"] == len(energies)


def test_what_is_finished_is_collected_without_computing(bench: Bench, tmp_path: Path) -> None:
    shutil.copytree(bench.folder, tmp_path / "b", symlinks=True)
    copy = Bench(tmp_path / "b", bench.name)
    shutil.rmtree(copy.results / "systems/few/rounds/0004")
    (copy.results / "systems/chance/matches/shard=0000.parquet").unlink()
    assert "chance is left out" in copy.run("--collect")
    assert [each["name"] for each in copy.found()["systems"]] == ["few"]
    part = copy.system("few")["relaxed"]
    assert part["ends"] == [1, 2]
    assert rate(part, "les", 2) == rate(bench.system("few")["relaxed"], "les", 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampler": {"name": "renoise", "n_steps": 6}}, "few was made with other settings"),
        ({"relax": {**SYSTEMS[1]["relax"], "ends": [4]}}, "rounds/0004 was made with other ends of rounds"),
    ],
)
def test_what_other_settings_made_is_left_out(bench: Bench, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    shutil.copytree(bench.folder, tmp_path / "b", symlinks=True)
    copy = make(tmp_path / "b", bench.name, [SYSTEMS[0], SYSTEMS[1] | change])
    assert said in copy.run("--collect")
    assert [each["name"] for each in copy.found()["systems"]] == ["chance"]


def test_rows_of_another_run_are_taken_over(bench: Bench) -> None:
    other = make(bench.folder, "again", SYSTEMS[1:])
    said = other.run("--take-from", "results/tiny/systems/few")
    assert "rows taken from results/tiny/systems/few" in said
    for end in (1, 2, 4):
        path = other.results / f"systems/few/rounds/{end:04d}/runs/relax-shard=0000.parquet"
        (run,) = read_table(path, RUNS).to_pylist()
        assert run["n_reused"] == run["n_out"]
    assert other.system("few")["relaxed"]["rates"] == bench.system("few")["relaxed"]["rates"]
