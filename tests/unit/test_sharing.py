"""Full relaxations that are shared: which, by whom, and that they change no verdict."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cheap_potential import pair_potential

from hinpaint.config import Config, parse_config
from hinpaint.crystal import Crystal
from hinpaint.deciding.judging import SHARD_TABLES, join, judge
from hinpaint.relaxation.batch import Level, RelaxJob
from hinpaint.relaxation.engine import RelaxOutcome
from hinpaint.relaxation.levels import relax_levels
from hinpaint.relaxation.sharing import plan_full
from hinpaint.relaxing import Relax
from hinpaint.stages import match, relax
from hinpaint.store import read_table, write_table
from hinpaint.tables import ALL_TABLES, RELAXED, RUNS, TASKS, TRIALS
from hinpaint.whynot import Reason

# A rectangular cell, so that its symmetry is the eight operations of mmm; the host lies on all of its planes.
HOST = Crystal.build(np.diag([3.5, 3.7, 3.9]), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
PLACE = np.array([0.11, 0.21, 0.31])
# A cell that the pair potential leaves as it is, but for the sites that are placed.
FIRM = Crystal.build(2.97 * np.eye(3), HOST.species, HOST.frac)
SETTINGS = Relax(fmax_ev_per_a=0.02)


def job(trial: int, frac: Any, key: str = "x|1|a", host: Crystal = HOST) -> RelaxJob:
    crystal = host.add_unknown("H", frac)
    return RelaxJob((key, trial), crystal, ~crystal.known)


def end_of(each: RelaxJob, energy: float = -5.0, reason: Reason | None = None) -> RelaxOutcome:
    return RelaxOutcome(each.key, energy + 1, energy, 0.01, 9, reason is None, each.crystal, 0.0, reason)


def groups(ends: Sequence[tuple[RelaxJob, RelaxOutcome]], **settings: Any) -> list[list[int]]:
    plan = plan_full([j for j, _ in ends], {j.key: o for j, o in ends}, SETTINGS.model_copy(update=settings))
    return [[trial for _, trial in group] for group in plan.groups]


def ends(*placed: tuple[int, Any]) -> list[tuple[RelaxJob, RelaxOutcome]]:
    return [(each, end_of(each)) for each in (job(trial, frac) for trial, frac in placed)]


def test_equal_ends_share_and_others_do_not() -> None:
    found = groups(ends((0, PLACE), (1, PLACE + 0.2), (2, PLACE + [0.02, 0, 0]), (3, PLACE + 0.21)))
    assert found == [[0, 2], [1, 3]]


def test_images_under_the_hosts_symmetry_and_other_cells_share() -> None:
    assert groups(ends((0, PLACE), (1, -PLACE), (2, PLACE * [1, -1, 1] + [3, 0, -1]), (3, PLACE[[1, 0, 2]]))) == [
        [0, 1, 2],
        [3],
    ]


def test_two_sites_in_any_order() -> None:
    other = PLACE + [0.3, 0.1, 0.3]
    assert groups(ends((0, [PLACE, other]), (1, [-other, -PLACE]), (2, [-other, PLACE]))) == [[0, 1], [2]]


def test_order_and_further_trials_change_nothing() -> None:
    stream = np.random.default_rng(3)
    trials = ends(*((n, PLACE + 0.05 * stream.standard_normal(3)) for n in range(30)))
    all_of_them = groups(trials)
    assert 1 < len(all_of_them) < 30
    for _ in range(5):
        assert groups([trials[n] for n in stream.permutation(30)]) == all_of_them
    first_ten = [[n for n in group if n < 10] for group in all_of_them]
    assert groups(trials[:10]) == [group for group in first_ten if group]


def test_references_are_alone_and_controls_among_themselves() -> None:
    found = groups(ends(*((trial, PLACE) for trial in (-3, -2, -1, 0, 1))))
    assert sorted(found) == [[-2, -3], [-1], [0, 1]]


def test_entries_do_not_share() -> None:
    jobs = [job(0, PLACE), job(1, PLACE, "x|1|b"), job(2, PLACE, "x|1|b")]
    assert groups([(each, end_of(each)) for each in jobs]) == [[0], [1, 2]]


@pytest.mark.parametrize(("difference", "shared"), [(0.00059, True), (0.00061, False)])
def test_another_energy_is_another_arrangement(difference: float, shared: bool) -> None:
    first, second = job(0, PLACE), job(1, PLACE)
    found = groups([(first, end_of(first)), (second, end_of(second, -5.0 - difference))])
    assert found == ([[0, 1]] if shared else [[0], [1]])


def test_what_has_not_converged_goes_alone_and_so_does_all_at_zero() -> None:
    jobs = [job(n, PLACE) for n in range(4)]
    reasons = [None, Reason.NOT_CONVERGED, None, Reason.NOT_CONVERGED]
    found = [(each, end_of(each, reason=reason)) for each, reason in zip(jobs, reasons, strict=True)]
    assert groups(found) == [[0, 2], [1], [3]]
    assert groups(found, share_within_a=0.0) == [[0], [1], [2], [3]]


def test_trials_without_hope_are_cut_by_their_own_kind() -> None:
    energies = {-3: 5.0, -2: 0.0, -1: 9.0, 0: 1.0, 1: 3.1, 2: 2.9}
    jobs = [job(trial, PLACE + 0.03 * n) for n, trial in enumerate(energies)]
    outcomes = {each.key: end_of(each, energies[each.key[1]]) for each in jobs}
    plan = plan_full(jobs, outcomes, SETTINGS.model_copy(update={"max_above_lowest_ev": 2.0}))
    assert {trial: round(above, 6) for (_, trial), above in plan.cut.items()} == {-3: 5.0, 1: 2.1}
    assert sorted(trial for group in plan.groups for _, trial in group) == [-2, -1, 0, 2]
    assert plan_full(jobs, outcomes, SETTINGS).cut == {}


def relaxed(jobs: Sequence[RelaxJob], **settings: Any) -> dict[tuple[int, Level], RelaxOutcome]:
    potential = pair_potential()
    found = relax_levels(
        lambda: potential, jobs, SETTINGS.model_copy(update=settings), lambda _level: lambda _done, _total: None
    )
    return {(outcome.key[1], level): outcome for level, outcome in found}


def test_a_shared_end_is_the_end_of_each_to_a_tolerance() -> None:
    second = [0.5, 0.45, 0.05]
    starts = [PLACE, PLACE + 0.02, -PLACE - 0.01, PLACE * [1, 1, -1], PLACE + 0.35]
    jobs = [job(number, [frac, second], host=FIRM) for number, frac in enumerate(starts)]
    each, shared = relaxed(jobs, share_within_a=0.0), relaxed(jobs)
    followers = [n for n in range(5) if shared[n, "full"].shared_from is not None]
    assert followers
    assert all(outcome.shared_from is None for outcome in each.values())
    for number in range(5):
        own, found = each[number, "full"], shared[number, "full"]
        assert own.energy_ev is not None
        assert found.energy_ev == pytest.approx(own.energy_ev, abs=1e-3)
        assert found.volume_change == pytest.approx(own.volume_change, abs=5e-3)
        assert (found.reason, found.converged) == (own.reason, own.converged)
        assert found.energy_start_ev == shared[number, "h_only"].energy_ev
        assert found.n_steps == (0 if number in followers else own.n_steps)


def test_when_the_first_fails_the_next_one_tries() -> None:
    potential = pair_potential()
    jobs = [job(number, PLACE) for number in range(3)]
    settings = SETTINGS.model_copy(update={"max_steps_full": 1})
    found = relax_levels(lambda: potential, jobs, settings, lambda _level: lambda _done, _total: None)
    full = [outcome for level, outcome in found if level == "full"]
    assert [outcome.reason for outcome in full] == [Reason.NOT_CONVERGED] * 3
    assert [outcome.shared_from for outcome in full] == [None] * 3


_KEYS = ("x|1|a", "x|1|b", "x|1|c")


def _rows(n_trials: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Three hosts with two sites to find, a reference each, and trials anywhere in the cell."""
    stream = np.random.default_rng(11)
    tasks, trials = [], []
    for number, key in enumerate(_KEYS):
        lattice = FIRM.lattice * (1 + 0.005 * number)
        tasks.append({
            "entry_key": key, "mode": "benchmark", "element": "H", "n_unknown": 2, "shard": 0, "cost": 1.0,
            "host_sha256": key, "supercell": [1, 0, 0, 0, 1, 0, 0, 0, 1], "lattice": lattice.ravel().tolist(),
            "host_species": list(FIRM.species), "host_frac": FIRM.frac.ravel().tolist(),
            "reference_frac": [0.5, 0.5, 0.0, 0.5, 0.0, 0.5],
        })  # fmt: skip
        for trial in [*range(n_trials), -2]:
            placed = stream.random((2, 3)).ravel().tolist()
            trials.append({
                "entry_key": key, "trial": trial, "seed": 0, "sampler": "td", "n_steps": 1, "n_evaluations": 2,
                "model_sha256": None, "frac_unknown": placed, "d_min_a": None, "reason": None,
            })  # fmt: skip
    return tasks, trials


Run = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(relax, "load_potential", lambda _settings, _device: pair_potential())
    monkeypatch.setattr(relax.canary, "check", lambda *_: {})

    def relax_and_match(name: str, n_trials: int = 10, journal: Path | None = None, **settings: Any) -> Path:
        folder = tmp_path / name
        config, paths = _config(folder, **settings), [folder / f"{table}.parquet" for table in SHARD_TABLES]
        tasks, trials = _rows(n_trials)
        write_table(paths[0], TASKS, tasks, "share")
        write_table(paths[1], TRIALS, trials, "share")
        relax.run(config, 0, *paths[:3], folder / "runs.parquet", "cpu", journal)
        match.run(config, 0, *paths, folder / "runs-match.parquet")
        return folder

    return relax_and_match


def _config(folder: Path, **settings: Any) -> Config:
    folder.mkdir(exist_ok=True)
    source = {"database": "x", "version": "1", "format": "cif", "path": str(folder), "licence": "x"}
    chosen = {"fmax_ev_per_a": 0.02, "max_steps_h_only": 300, "max_steps_full": 300, **settings}
    return parse_config({"run": "share", "sources": [source | {"mode": "benchmark"}], "relax": chosen})


def _relaxed(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(folder / "relaxed.parquet", RELAXED).to_pylist()
    return rows


def test_les_is_what_it_is_without_sharing(run: Run) -> None:
    folders = [run("each", share_within_a=0.0), run("shared")]
    tables = [{t: read_table(f / f"{t}.parquet", ALL_TABLES[t]) for t in SHARD_TABLES} for f in folders]
    each, shared = (judge(join(t, _config(f)), _config(f)).les for t, f in zip(tables, folders, strict=True))
    runs = [read_table(folder / "runs.parquet", RUNS).to_pylist()[0] for folder in folders]
    assert runs[0]["n_shared"] == 0
    assert runs[1]["n_shared"] >= 8
    assert each.n_trials.tolist() == [10, 10, 10]
    assert each.n_les.sum() > 0
    for name in ("n_les", "n_structural", "n_lower", "n_failed", "n_gated", "released_les", "chance_n_les"):
        assert getattr(shared, name).tolist() == getattr(each, name).tolist(), name


def test_more_trials_in_a_later_job_give_the_rows_of_one_job(run: Run, tmp_path: Path) -> None:
    whole = {(r["entry_key"], r["trial"], r["level"]): r for r in _relaxed(run("whole"))}
    run("first", n_trials=4, journal=tmp_path / "journal")
    later = _relaxed(run("later", journal=tmp_path / "journal"))
    counted = read_table(tmp_path / "later" / "runs.parquet", RUNS).to_pylist()[0]
    assert counted["n_reused"] > 0
    assert len(later) == len(whole)
    for row in later:
        expected = whole[row["entry_key"], row["trial"], row["level"]]
        assert (row["shared_from"], row["reason"]) == (expected["shared_from"], expected["reason"])
        assert row["energy_ev"] == pytest.approx(expected["energy_ev"], abs=1e-6)
    before = (tmp_path / "later" / "relaxed.parquet").read_bytes()
    again = run("again", journal=tmp_path / "journal")
    assert (again / "relaxed.parquet").read_bytes() == before


def test_cut_trials_keep_their_row_and_are_counted(run: Run) -> None:
    folder = run("cut", max_above_lowest_ev=1e-5)
    cut = [row for row in _relaxed(folder) if row["reason"] == "too_high"]
    assert cut
    assert read_table(folder / "runs.parquet", RUNS).to_pylist()[0]["n_cut"] == len(cut)
    assert all(row["level"] == "full" and not row["converged"] and row["energy_ev"] is None for row in cut)
    assert all(row["detail"].endswith("above the entry's lowest") for row in cut)
