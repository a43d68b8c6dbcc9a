"""Finished rows outlive a job that was stopped, and nothing else is ever taken from a journal."""

import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hinpaint.config import Config, parse_config
from hinpaint.crystal import Crystal
from hinpaint.diffusion.checkpoints import LoadedModel
from hinpaint.jobs import Interrupted, job
from hinpaint.journal import Journal, digest_of, fingerprint, forget
from hinpaint.relaxation import canary
from hinpaint.relaxation.potentials import load_potential
from hinpaint.scripting import choose_device
from hinpaint.stages import inpaint, relax
from hinpaint.store import StoreError, read_table, write_table
from hinpaint.tables import RELAXED, RUNS, TASKS, TRIALS
from hinpaint.whynot import Reason

KEY = "x|1|lih"


def trial(number: int, reason: str | None = None, key: str = KEY) -> dict[str, Any]:
    return {
        "entry_key": key, "trial": number, "seed": 0, "sampler": "td", "n_steps": 1, "n_evaluations": 2,
        "model_sha256": "0" * 64, "frac_unknown": [0.1 * number, 1 / 3, 0.5], "d_min_a": None, "reason": reason,
    }  # fmt: skip


def journal(folder: Path | None, identity: str = "f") -> Journal:
    return Journal(folder, TRIALS, identity, "run")


def fill(folder: Path, *numbers: int) -> None:
    with journal(folder) as kept:
        for number in numbers:
            kept.add("digest", trial(number))


def test_rows_come_back_to_the_last_bit_and_only_for_the_same_start(tmp_path: Path) -> None:
    fill(tmp_path, 1, 2)
    fill(tmp_path, 3)
    kept = journal(tmp_path)
    for number in (1, 2, 3):
        row = kept.take("digest", KEY, number)
        assert row is not None
        assert row["frac_unknown"] == trial(number)["frac_unknown"]
    assert kept.take("another start", KEY, 1) is None
    assert kept.take("digest", KEY, 4) is None


def test_rows_of_other_settings_are_dropped(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    assert journal(tmp_path, "other settings").take("digest", KEY, 1) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("position", range(0, 4000, 307))
def test_damaged_file_never_gives_other_rows(tmp_path: Path, position: int) -> None:
    fill(tmp_path, 1, 2)
    (path,) = tmp_path.iterdir()
    blob = bytearray(path.read_bytes())
    blob[position % len(blob)] ^= 0x5A
    path.write_bytes(blob)
    for number in (1, 2):
        row = journal(tmp_path).take("digest", KEY, number)
        assert row is None or row["frac_unknown"] == trial(number)["frac_unknown"]


def test_what_may_be_the_machines_fault_is_tried_again(tmp_path: Path) -> None:
    with journal(tmp_path) as kept:
        for number, reason in enumerate(("out_of_memory", "not_finite", "no_room")):
            kept.add("digest", trial(number, reason))
    again = journal(tmp_path)
    assert [again.take("digest", KEY, number) is not None for number in range(3)] == [False, False, True]


def test_a_stage_may_keep_such_failures(tmp_path: Path) -> None:
    with Journal(tmp_path, TRIALS, "f", "run", keep=(Reason.TIME_LIMIT,)) as kept:
        for number, reason in enumerate(("time_limit", "not_finite")):
            kept.add("digest", trial(number, reason))
    again = journal(tmp_path)
    assert [again.take("digest", KEY, number) is not None for number in range(2)] == [True, False]


def test_a_file_that_cannot_be_read_now_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(*_given: object) -> None:
        raise StoreError("stale") from OSError(116, "Stale file handle")

    fill(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr("hinpaint.journal.read_table", stale)
        assert journal(tmp_path).take("digest", KEY, 1) is None
    assert journal(tmp_path).take("digest", KEY, 1) is not None


def test_forgetting_an_entry_forgets_what_would_stand_for_it(tmp_path: Path) -> None:
    with journal(tmp_path) as kept:
        for digest, key in (("a", KEY), ("a", "x|1|twin"), ("b", "x|1|other")):
            kept.add(digest, trial(0, key=key))
    assert forget(tmp_path, TRIALS, KEY) == 2
    assert journal(tmp_path).take("b", "x|1|other", 0) is not None


def test_compact_journal_is_one_file_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    for number in range(4):
        fill(tmp_path, number)
    journal(tmp_path).compact()
    (path,) = tmp_path.iterdir()
    journal(tmp_path).compact()
    assert list(tmp_path.iterdir()) == [path]
    assert all(journal(tmp_path).take("digest", KEY, number) for number in range(4))


def test_a_job_that_was_given_up_and_its_repeat_do_not_hurt_each_other(tmp_path: Path) -> None:
    fill(tmp_path, 0)
    orphan, repeat = journal(tmp_path), journal(tmp_path)
    repeat.add("digest", trial(1))
    repeat.compact()
    orphan.add("digest", trial(2))
    orphan.write()
    assert all(journal(tmp_path).take("digest", KEY, number) for number in range(3))
    orphan.compact()
    assert journal(tmp_path).take("digest", KEY, 2)


def test_forgetting_one_entry_leaves_the_others(tmp_path: Path) -> None:
    fill(tmp_path, 0, 1)
    with journal(tmp_path) as kept:
        kept.add("another start", trial(0, key="x|1|other"))
    assert forget(tmp_path, TRIALS, KEY) == 2
    assert forget(tmp_path / "absent", TRIALS, KEY) == 0
    again = journal(tmp_path)
    assert again.take("digest", KEY, 0) is None
    assert again.take("another start", "x|1|other", 0)


def test_fingerprint_is_what_decides_a_row(tmp_path: Path) -> None:
    def of(**settings: Any) -> str:
        return fingerprint(config(tmp_path, **settings), "inpaint", ("rng.py",))

    assert of() == of(trials=30) == of(les={"chance_trials": 5}) == of(sampler={"n_steps": 4, "max_atoms": 9})
    assert len({of(), of(seed=1), of(sampler={"n_steps": 5})}) == 3
    assert fingerprint(config(tmp_path), "inpaint", ("rng.py", "crystal.py")) != of()


def test_digest_sees_every_bit(rock_salt: Crystal) -> None:
    nudged = rock_salt.with_frac(np.nextafter(rock_salt.frac, 1.0))
    others = (nudged, rock_salt.take(rock_salt.is_element("Li")), rock_salt.add_unknown("H", [[0, 0, 0.1]]))
    digests = {digest_of(each, "H", 1) for each in (rock_salt, *others)} | {digest_of(rock_salt, "H", 2)}
    assert len(digests) == 5


def test_a_signal_is_heeded_where_the_job_says_and_gives_its_exit_code(tmp_path: Path, capsys: Any) -> None:
    former = signal.getsignal(signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGINT):
        with pytest.raises(SystemExit) as stopped, job("relax", 7, "run", tmp_path / "r", resumable=True) as current:  # noqa: PT012
            current.n_kept, current.n_planned = 3, 9
            os.kill(os.getpid(), number)
            current.stop_if_asked()
        assert stopped.value.code == 128 + number
    assert capsys.readouterr().err.count("stopped; 3 of 9 rows kept, run again to go on") == 2
    assert not (tmp_path / "r").exists()
    assert signal.getsignal(signal.SIGTERM) is former
    assert not issubclass(Interrupted, Exception)


def test_shards_take_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    taken = []
    for shard in range(3):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
        assert choose_device("cpu", threads, shard) == "cpu"
        taken.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert taken == ["4", "6", "4"]
    assert choose_device("cpu", threads, 1) == "cpu"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4"


def config(folder: Path, **settings: Any) -> Config:
    source = {
        "database": "x",
        "version": "1",
        "format": "cif",
        "path": str(folder),
        "licence": "x",
        "mode": "benchmark",
    }
    defaults: dict[str, Any] = {"trials": 3, "sampler": {"n_steps": 4, "max_atoms": 4}}
    return parse_config({"run": "resume", "sources": [source | {"mode": "benchmark"}], **(defaults | settings)})


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    cell = (2.04 * (np.ones((3, 3)) - np.eye(3))).ravel().tolist()
    row = {
        "mode": "benchmark", "element": "H", "n_unknown": 1, "shard": 0, "cost": 1.0, "lattice": cell,
        "host_frac": [0, 0, 0], "reference_frac": [0.5, 0.5, 0.5],
    }  # fmt: skip
    row["supercell"] = [1, 0, 0, 0, 1, 0, 0, 0, 1]
    rows = [
        row | {"entry_key": f"x|1|{name.lower()}h", "host_sha256": name, "host_species": [name]}
        for name in ("Li", "Na")
    ]
    write_table(tmp_path / "tasks", TASKS, rows, "resume")
    return tmp_path / "tasks"


Stage = Callable[..., dict[str, Any]]


@pytest.fixture
def place(tasks: Path, tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(inpaint, "load_model", lambda _name, _device: tiny_model)
    folder = tasks.parent

    def run(out: str, **settings: Any) -> dict[str, Any]:
        kept = folder / "journal" if out != "undisturbed" else None
        inpaint.run(config(folder, **settings), 0, tasks, folder / out, folder / "runs", "cpu", kept)
        row: dict[str, Any] = read_table(folder / "runs", RUNS).to_pylist()[0]
        return row

    return run


def interrupt_after(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process get a SIGTERM when the journal has been asked so many times whether a write is due."""
    seen = []

    def asked(_journal: Journal) -> None:
        seen.append(1)
        if len(seen) == calls:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Journal, "write_if_due", asked)


@pytest.mark.parametrize("batches", [1, 2])
def test_sampling_that_was_stopped_ends_with_the_same_bytes(
    place: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    assert place("undisturbed")["n_reused"] == 0
    with monkeypatch.context() as patch:
        interrupt_after(batches, patch)
        with pytest.raises(SystemExit):
            place("trials")
    assert not (tmp_path / "trials").exists()
    resumed = place("trials")
    assert resumed["n_reused"] == 2 * batches  # two crystals of two sites fill a batch
    assert (tmp_path / "trials").read_bytes() == (tmp_path / "undisturbed").read_bytes()
    assert len(list((tmp_path / "journal").iterdir())) == 1


def test_more_trials_compute_only_the_new_ones(place: Stage, tmp_path: Path) -> None:
    first = place("few", trials=1)
    assert (first["n_out"], first["n_reused"]) == (4, 0)  # two trials, two controls
    more = place("many", trials=3)
    assert (more["n_out"], more["n_reused"]) == (8, 4)
    assert more["trials_per_hour"] == pytest.approx(3600 * 4 / more["seconds_s"])
    assert 0 < more["busy_fraction"] <= 1
    few, many = (
        {(row["entry_key"], row["trial"]): row for row in read_table(tmp_path / name, TRIALS).to_pylist()}
        for name in ("few", "many")
    )
    assert all(many[key] == row for key, row in few.items())
    place("undisturbed", trials=3)
    for row in read_table(tmp_path / "undisturbed", TRIALS).to_pylist():
        delta = np.subtract(row["frac_unknown"], many[row["entry_key"], row["trial"]]["frac_unknown"])
        assert np.abs(delta - np.round(delta)).max() < 1e-4


def test_an_entry_that_is_forgotten_is_computed_again_alone(place: Stage, tmp_path: Path) -> None:
    place("first")
    assert forget(tmp_path / "journal", TRIALS, KEY) == 4
    again = place("again")
    assert (again["n_out"], again["n_reused"]) == (8, 4)
    rows = zip(*(read_table(tmp_path / name, TRIALS).to_pylist() for name in ("first", "again")), strict=True)
    for row, other in rows:
        delta = np.subtract(row["frac_unknown"], other["frac_unknown"])  # its batch was smaller the second time
        assert np.abs(delta - np.round(delta)).max() < (1e-4 if row["entry_key"] == KEY else 1e-300)


def test_nothing_new_loads_no_weights(place: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place("first")

    def refuse(*_arguments: Any) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(inpaint, "load_model", refuse)
    again = place("again")
    assert again["n_reused"] == again["n_out"]
    assert (tmp_path / "again").read_bytes() == (tmp_path / "first").read_bytes()


def test_relaxation_that_was_stopped_goes_on(tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "check", lambda *_: {})
    monkeypatch.setattr(relax, "load_potential", cache(load_potential))
    write_table(tmp_path / "trials", TRIALS, [trial(0) | {"frac_unknown": [0.5, 0.5, 0.46]}], "resume")
    relaxation = {"fmax_ev_per_a": 0.005, "max_steps_h_only": 8, "max_steps_full": 8, "max_atoms": 4}
    settings = config(tmp_path, relax=relaxation)

    def run(out: str, kept: Path | None) -> dict[str, Any]:
        relax.run(settings, 0, tasks, tmp_path / "trials", tmp_path / out, tmp_path / "runs", "cpu", kept)
        row: dict[str, Any] = read_table(tmp_path / "runs", RUNS).to_pylist()[0]
        return row

    run("undisturbed", None)
    with monkeypatch.context() as patch:
        interrupt_after(6, patch)
        with pytest.raises(SystemExit):
            run("relaxed", tmp_path / "journal")
    (partial,) = (tmp_path / "journal").iterdir()
    finished = {(row["entry_key"], row["trial"], row["level"]): row for row in read_table(partial, RELAXED).to_pylist()}
    assert {level for _, _, level in finished} >= {"h_only"}
    resumed = run("relaxed", tmp_path / "journal")
    assert resumed["n_reused"] == len(finished)
    assert 0 < len(finished) < resumed["n_out"]
    expected = read_table(tmp_path / "undisturbed", RELAXED).to_pylist()
    for row, undisturbed in zip(read_table(tmp_path / "relaxed", RELAXED).to_pylist(), expected, strict=True):
        key = row["entry_key"], row["trial"], row["level"]
        assert row == finished.get(key, row)
        assert (row["reason"], row["converged"]) == (undisturbed["reason"], undisturbed["converged"])
        assert row["energy_ev"] == pytest.approx(undisturbed["energy_ev"], abs=1e-4)
        assert np.allclose(row["frac"], undisturbed["frac"], atol=1e-4)
    monkeypatch.setattr(relax, "load_potential", None)  # with everything in the journal it is not needed
    again = run("again", tmp_path / "journal")
    assert again["n_reused"] == again["n_out"]
    assert (tmp_path / "again").read_bytes() == (tmp_path / "relaxed").read_bytes()


def test_records_of_one_structure_share_their_trials(place: Stage, tasks: Path, tmp_path: Path) -> None:
    rows = read_table(tasks, TASKS).to_pylist()
    twin = next(row for row in rows if row["entry_key"] == KEY)
    rows = [{k: v for k, v in row.items() if k not in {"run_id", "schema_version"}} for row in [*rows, twin]]
    rows[-1]["entry_key"] = "y|2|other"
    write_table(tasks, TASKS, rows, "resume")
    run = place("undisturbed")
    assert run["n_out"] == 12
    assert run["trials_per_hour"] == pytest.approx(3600 * 6 / run["seconds_s"])  # three trials of two structures
    found = read_table(tmp_path / "undisturbed", TRIALS).to_pylist()
    of = {key: [r["frac_unknown"] for r in found if r["entry_key"] == key] for key in (KEY, "y|2|other")}
    assert of[KEY] == of["y|2|other"]
    assert len({tuple(frac) for frac in of[KEY]}) == len(of[KEY])


def test_equal_starts_are_relaxed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "check", lambda *_: {})
    task = {"element": "H", "host_species": ["Li"], "host_frac": [0.0, 0, 0], "reference_frac": None}
    task["lattice"] = (2.04 * (np.ones((3, 3)) - np.eye(3))).ravel().tolist()
    tasks = [{**task, "entry_key": key} for key in ("a|1|x", "b|1|x")]
    trials = [trial(number, key=each["entry_key"]) for each in tasks for number in (4, 5)]
    jobs = relax.relax_jobs(tasks, trials)
    computed = []
    monkeypatch.setattr(relax, "relax_levels", _counted(relax.relax_levels, computed))
    settings = config(tmp_path, relax={"max_steps_h_only": 1, "max_steps_full": 1})
    with job("relax", 0, "run", tmp_path / "runs") as current, Journal(None, RELAXED, "f", "run") as kept:
        rows = relax._relax(settings, jobs, kept, current)
    assert sorted(computed) == [("a|1|x", 4), ("a|1|x", 5)]
    assert len(rows) == 8
    of = {(r["entry_key"], r["trial"], r["level"]): r["energy_ev"] for r in rows}
    assert all(of["b|1|x", n, level] == of["a|1|x", n, level] for n in (4, 5) for level in ("h_only", "full"))


def _counted(function: Any, computed: list[Any]) -> Any:
    def counted(potential: Any, jobs: Any, *arguments: Any) -> Any:
        computed.extend(each.key for each in jobs)
        return function(potential, jobs, *arguments)

    return counted
