"""One structure is decided as a run over a database decides it: same trials, same decision."""

import re
from dataclasses import asdict, replace
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from hinpaint.cli import app
from hinpaint.config import Config, Grades, load_config
from hinpaint.deciding.judging import SHARD_TABLES, join, judge
from hinpaint.placements import host_operations
from hinpaint.relaxation.engine import RelaxOutcome
from hinpaint.relaxing import Relax
from hinpaint.sampling import Sampler
from hinpaint.single.command import inpaint
from hinpaint.single.deciding import choose
from hinpaint.single.reading import CannotCompleteError, Read, read_cif
from hinpaint.single.scan import Count, best, steps_ev
from hinpaint.single.trials import Candidate, Tools, compared
from hinpaint.single.writing import completed_cif, page
from hinpaint.stages.match import group_task
from hinpaint.store import to_table
from hinpaint.tables import ALL_TABLES
from hinpaint.whynot import Reason

ROOT = Path(__file__).parents[2]
PORTLANDITE = ROOT / "examples/cod/cif/9/90/01/9900101.cif"
# (z of both hydrogens, energies at both levels, why it failed): two alike, one turned to the metal, one that failed.
TRIALS = [
    (0.425, -28.10, -28.11, None),
    (0.427, -28.11, -28.12, None),
    (0.06, -26.0, -26.4, None),
    (0.426, -28.1, None, Reason.EXPLODED),
]


@pytest.fixture(scope="module")
def read() -> Read:
    return read_cif(PORTLANDITE, "H", None)


@pytest.fixture(scope="module")
def candidates(read: Read) -> list[Candidate]:
    starts, h_only, full = {}, {}, {}
    for number, (z, energy, relaxed, reason) in enumerate(TRIALS):
        frac = np.array([[1 / 3, 2 / 3, z], [2 / 3, 1 / 3, -z]])
        starts[number] = frac + [0.0, 0.0, 0.02]
        crystal = read.primitive_host.add_unknown("H", frac)
        good = RelaxOutcome(("k", number), energy, energy, 0.01, 5, True, crystal, 0.0, None)
        h_only[number] = good
        full[number] = replace(good, energy_ev=relaxed, converged=reason is None, reason=reason)
    return compared(read, starts, h_only, full)


def decision_of_a_run(read: Read, candidates: list[Candidate]) -> dict:
    """The same trials as tables of a shard, judged as the aggregate stage judges them."""
    host, run = read.primitive_host, "r"
    task = {
        "entry_key": "d|1|x", "mode": "reconstruct", "element": "H", "n_unknown": 2, "host_sha256": "h", "shard": 0,
        "cost": 1.0, "lattice": host.lattice.ravel(), "supercell": read.supercell, "host_species": list(host.species),
        "host_frac": host.frac.ravel(), "reference_frac": None,
    }  # fmt: skip
    trials = [
        {"entry_key": "d|1|x", "trial": c.trial, "seed": 0, "sampler": "td", "n_steps": 5, "n_evaluations": 10,
         "model_sha256": "m", "frac_unknown": c.start.ravel().tolist(), "d_min_a": 1.0, "reason": None}
        for c in candidates
    ]  # fmt: skip
    relaxed = [
        {**{name: value for name, value in asdict(outcome).items() if name not in {"key", "crystal", "answer"}},
         "entry_key": "d|1|x", "trial": c.trial, "level": level, "potential": "p", "potential_sha256": "s",
         "lattice": outcome.crystal.lattice.ravel(), "frac": outcome.crystal.frac.ravel()}
        for c in candidates for level, outcome in (("h_only", c.h_only), ("full", c.full))
    ]  # fmt: skip
    levels = {(row["trial"], row["level"]): row for row in relaxed}
    rows = {"tasks": [task], "trials": trials, "relaxed": relaxed, "matches": []}
    rows["arrangements"] = group_task(task, host, host_operations(host), trials, levels)
    tables = {name: to_table(ALL_TABLES[name], rows[name], run) for name in SHARD_TABLES}
    config = load_config(ROOT / "config.yaml")
    judged = judge(join(tables, config), config)
    assert len(judged.les_rows) == 0
    reasons = judged.reasons.to_pylist()
    assert [(row["trial"], row["reason"]) for row in reasons] == [(3, "exploded")]
    (row,) = judged.decisions.to_pylist()
    return row


def test_one_structure_is_decided_as_in_a_run(
    read: Read, candidates: list[Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    expected = decision_of_a_run(read, candidates)
    row = choose(read, candidates, len(candidates), 1.0, Grades(), "p", "m").row
    own = {"entry_key", "run_id", "schema_version"}
    assert row.keys() | own == expected.keys() | {"entry_key"}
    for name in row.keys() - {"entry_key"}:
        assert row[name] == (pytest.approx(expected[name]) if isinstance(row[name], float) else expected[name]), name
    assert (row["trial"], row["n_trials"], row["n_passed"], row["n_agree"], row["n_arrangements"]) == (1, 4, 3, 2, 2)
    assert row["gap_mev_per_atom"] == pytest.approx(1000 * 1.72 / 5)


def test_trials_that_found_no_place_count_as_failed(read: Read, candidates: list[Candidate]) -> None:
    few = choose(read, candidates[:2], 2, 1.0, Grades(), "p", "m").row
    many = choose(read, candidates[:2], 10, 1.0, Grades(), "p", "m").row
    assert (few["n_trials"], many["n_trials"]) == (2, 10)
    assert many["confidence"] < few["confidence"]
    assert "most_failed" in many["doubts"]


def test_nothing_is_written_when_nothing_passes(read: Read, candidates: list[Candidate]) -> None:
    with pytest.raises(CannotCompleteError, match=r"none of 1 trials.*exploded"):
        choose(read, candidates[3:], 1, 1.0, Grades(), "p", "m")


def test_the_file_says_how_sure_it_is(read: Read, candidates: list[Candidate]) -> None:
    chosen = choose(read, candidates, 4, 1.0, Grades(), "p", "m")
    text = completed_cif(read, chosen)
    assert f"_hinpaint_grade {chosen.row['grade']}" in " ".join(text.split())
    assert f"_hinpaint_confidence {chosen.row['confidence']:.3f}" in " ".join(text.split())


def test_counts_compare_by_what_each_step_gains(read: Read) -> None:
    counts = [Count(read.with_count(n), [], e, e) for n, e in ((1, -3.0), (2, -6.2), (4, -6.0))]
    counts.insert(2, Count(read.with_count(3), [], None, None))
    assert steps_ev(counts) == [pytest.approx(-3.0), pytest.approx(-3.2), None, pytest.approx(0.1)]
    assert best(counts).read.n_unknown == 2
    assert [each.read.count_unsure for each in counts] == [True, False, True, True]
    with pytest.raises(CannotCompleteError):
        best(counts[2:3])


def test_the_command_has_the_defaults_of_a_configuration() -> None:
    given = {name: each.default for name, each in signature(inpaint).parameters.items()}
    fields = Config.model_fields
    sampler, potential = Sampler(), fields["potential"].default
    assert (given["sampler"], given["steps"]) == (sampler.name, sampler.n_steps)
    assert (given["model"], given["potential"]) == (fields["model"].default, potential.name)
    assert (given["trials"], given["element"]) == (fields["trials"].default, fields["element"].default)


def test_the_page_draws_the_candidate(read: Read, candidates: list[Candidate], tiny_model) -> None:
    potential = SimpleNamespace(name="p")
    tools = Tools(Sampler(), tiny_model, potential, Relax(), 0)
    chosen = choose(read, candidates, 4, 1.0, Grades(), "p", "m")
    text = page(read, candidates, chosen, tools)
    assert re.findall(r'"number":(\d),[^{}]*"outcome":"candidate"', text) == ["1"]


def test_what_fails_while_it_is_saved_ends_in_one_line_after_the_structure_is_saved(
    read: Read, candidates: list[Candidate], tiny_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = Tools(Sampler(n_steps=2), tiny_model, SimpleNamespace(name="p"), Relax(), 0)
    monkeypatch.setattr("hinpaint.single.command._tools", lambda *_: tools)
    monkeypatch.setattr("hinpaint.single.command._candidates", lambda *_: (read, candidates))
    trajectory = tmp_path / ("t" * 250)  # a name that a temporary file's is too long for
    words = [
        "inpaint",
        str(PORTLANDITE),
        "-o",
        str(tmp_path / "x.cif"),
        "--trajectory",
        str(trajectory),
        "--trials",
        "4",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert re.fullmatch("hinpaint: .*name too long.*", done.output.splitlines()[-1])
    assert [path.name for path in tmp_path.iterdir()] == ["x.cif"]
