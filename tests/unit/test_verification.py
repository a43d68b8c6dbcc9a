"""Verification without a DFT code: settings, picks, verdicts, and what they change in a catalog."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from picked_catalog import ENTRIES, make_catalog, make_config
from small_release import filled

from hinpaint.catalog.query import QueryError, open_catalog
from hinpaint.config import ConfigError, stage_settings
from hinpaint.pages.facts import verified_facts
from hinpaint.pages.figures import VERIFIED, figures
from hinpaint.release.readme import Report, write_readme
from hinpaint.stages.verify import collect
from hinpaint.store import write_table
from hinpaint.tables import RUNS, VERIFICATIONS, VERIFY_TASKS, WHYNOT
from hinpaint.verification.collecting import verified_rows
from hinpaint.verification.picks import check_query, pick, task_rows
from hinpaint.verification.settings import CHECK, k_grid, settings_of, start_moments
from hinpaint.verification.verdicts import Subject, compare, confirmed_rates, trust_from, verdict, wilson
from hinpaint.whynot import Reason

ELEMENTS = frozenset({"H", "Mg", "O"})


def picked(folder: Path, **verify: Any) -> Any:
    with open_catalog(make_catalog(folder / "catalog.duckdb")) as catalog:
        return pick(make_config(folder, **verify), catalog, ELEMENTS)


def names(picks: Any) -> set[str]:
    return {each.entry_key.removeprefix("d|1|") for each in picks}


def test_energetic_matches_are_picked_and_controls_beside_them(tmp_path: Path) -> None:
    found = picked(tmp_path)
    kinds = {each.entry_key.removeprefix("d|1|"): each.kind for each in found.picks}
    assert kinds == {"lower": "energetic", "audited": "energetic", "close": "energetic", "match": "control",
                     "match2": "control"}  # fmt: skip
    reasons = {key[0]: stop.reason for key, stop in found.refused.items()}
    assert reasons == {"d|1|large": Reason.TOO_MANY_SITES, "d|1|strange": Reason.UNSUPPORTED_ELEMENT}
    assert all(trial == 2 for _, trial in found.refused)
    lower = next(each for each in found.picks if each.entry_key == "d|1|lower")
    assert lower.reference.known.tolist() == [True, True, False]
    assert lower.reference.frac[-1, -1] != lower.candidate.frac[-1, -1]


def test_a_sample_is_drawn_by_the_seed_and_grows(tmp_path: Path) -> None:
    two, three = picked(tmp_path / "a", picks=2, controls=1), picked(tmp_path / "b", picks=3, controls=2)
    assert len(two.picks) == 3
    assert names(two.picks) < names(three.picks)


def test_a_query_of_the_users(tmp_path: Path) -> None:
    query = "SELECT 1 AS n, entry_key FROM decisions WHERE entry_key LIKE '%higher' UNION ALL SELECT 1, 'd|1|gone'"
    found = picked(tmp_path, query=query, controls=0)
    assert names(found.picks) == {"higher"}
    assert found.picks[0].kind == "neither"
    assert found.refused["d|1|gone", -1].reason is Reason.NO_PAIR  # with a trial: an entry never stops here


@pytest.mark.parametrize(
    "query",
    ["SELECT 1 AS n", "SELECT entry_key FROM nowhere", "DELETE FROM entries", "nonsense",
     "SELECT entry_key FROM read_parquet('/etc/passwd')"],
)  # fmt: skip
def test_a_bad_query_is_told_before_anything_runs(tmp_path: Path, query: str) -> None:
    with pytest.raises(ConfigError, match=r"verify\.query: ") as caught:
        check_query(make_config(tmp_path, query=query))
    assert "\n" not in str(caught.value)
    with pytest.raises(QueryError):
        picked(tmp_path / "c", query=query)


def test_the_default_query_is_good(tmp_path: Path) -> None:
    check_query(make_config(tmp_path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"code": "vasp"}, "verify.code"),
        ({"code": "espresso"}, "needs pseudo_table"),
        ({"command": "mpirun -np {n} python"}, r"knows \{ranks\} and nothing else"),
        ({"command": "'"}, "closes its quotes"),
        ({"k_spacing_per_a": 0}, "k_spacing_per_a"),
        ({"picks": -1}, "verify.picks"),
    ],
)
def test_bad_blocks_are_one_clear_line(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(tmp_path, **values)


def test_ranks_go_where_the_command_wants_them(tmp_path: Path) -> None:
    assert make_config(tmp_path).verify.program(4) == ["/usr/bin/python3"]
    verify = make_config(tmp_path, command="mpirun -np {ranks} 'my python'").verify
    assert verify.program(4) == ["mpirun", "-np", "4", "my python"]


def test_how_many_are_picked_decides_no_energy(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    more = make_config(tmp_path, picks=30, controls=2, shards=4, check=0, query="SELECT 1 AS entry_key")
    assert stage_settings(config, "verify") == stage_settings(more, "verify")
    assert stage_settings(config, "verify_select") != stage_settings(more, "verify_select")
    assert stage_settings(config, "verify") != stage_settings(make_config(tmp_path, cutoff_ev=500), "verify")


@given(
    st.lists(st.floats(1.5, 20), min_size=3, max_size=3), st.floats(0, 3), st.floats(0.05, 2)
)  # fmt: skip
def test_no_two_k_points_are_further_apart_than_the_spacing(edges: list[float], shear: float, spacing: float) -> None:
    lattice = np.diag(edges) + [[0, 0, 0], [shear, 0, 0], [0, shear, 0]]
    reciprocal = 2 * np.pi * np.linalg.inv(lattice).T
    grid = np.array(k_grid(lattice, spacing))
    lengths = np.linalg.norm(reciprocal, axis=1)
    assert (lengths / grid <= spacing * (1 + 1e-5)).all()
    assert ((grid == 1) | (lengths / np.maximum(grid - 1, 1) > spacing * (1 - 1e-5))).all()


def test_spin_where_the_elements_ask_for_it() -> None:
    assert start_moments(["Mg", "O", "H"]) is None
    assert start_moments(["Fe", "O", "H"]) == [4.0, 0.0, 0.0]


def test_the_check_is_finer(tmp_path: Path) -> None:
    verify = make_config(tmp_path).verify
    main, check = settings_of(verify), settings_of(verify, CHECK)
    assert main.cutoff_ev == 400
    assert check.cutoff_ev == pytest.approx(520)
    assert check.k_spacing_per_a < main.k_spacing_per_a
    assert len({main.digest("1"), check.digest("1"), main.digest("2"), main.digest("1", "data")}) == 4


def test_both_of_a_pair_share_their_grid_and_shards_share_the_cost(tmp_path: Path) -> None:
    rows = task_rows(picked(tmp_path).picks, make_config(tmp_path, shards=3, check=1).verify)
    assert len(rows) == 10
    for key in {row["entry_key"] for row in rows}:
        pair = [row for row in rows if row["entry_key"] == key]
        assert sorted(row["trial"] for row in pair) == [-1, 2]
        assert pair[0]["kpoints"] == pair[1]["kpoints"]
    assert sum(row["check"] for row in rows) == 2
    loads = [sum(row["cost"] for row in rows if row["shard"] == shard) for shard in range(3)]
    assert max(loads) - min(loads) <= max(row["cost"] for row in rows)
    assert max(loads) < sum(loads) / 2


def test_verdicts() -> None:
    cases = [("energetic", -2, "confirmed"), ("energetic", 2, "refuted"), ("energetic", -1, "undecided"),
             ("energetic", 1, "undecided"), ("control", -5, "confirmed"), ("control", 1, "confirmed"),
             ("control", 1.1, "refuted"), ("neither", 0, "confirmed"), ("neither", -2, "refuted")]  # fmt: skip
    assert [verdict(kind, delta, 1.0) for kind, delta, _ in cases] == [told for *_, told in cases]


def test_trust_begins_where_nearly_all_signs_agree() -> None:
    potential = np.array([-100.0, 50, -20, 10, -5, 2, -1, 0.5])
    dft = np.array([-90.0, 60, -10, 11, -4, -3, 2, -1])
    assert trust_from(potential, dft) == 5
    assert trust_from(potential, potential) == 0.5
    assert trust_from(potential, -potential) is None
    # Pairs of one size stand or fall together.
    assert trust_from(np.array([-3.0, 2, 2]), np.array([-1.0, 1, -1])) == 3
    assert trust_from(np.array([-3.0, 2, 2]), np.array([-1.0, -1, 1])) == 3
    assert trust_from(np.array([]), np.array([])) is None


def test_errors_of_the_potential() -> None:
    found = compare(np.array([1.0, -2, 3]), np.array([0.0, -4, -1]))
    assert found.mean == pytest.approx(7 / 3)
    assert found.rms == pytest.approx(np.sqrt(7))
    assert found.median == 2
    assert found.sign_agreement == pytest.approx(1 / 3)
    assert compare(np.array([]), np.array([])).rms is None


def test_intervals_of_a_few_that_all_agree() -> None:
    assert wilson(20, 20) == (pytest.approx(0.8389, abs=1e-4), pytest.approx(1.0))
    assert wilson(0, 20) == (pytest.approx(0.0), pytest.approx(0.1611, abs=1e-4))
    with pytest.raises(ValueError, match="no share"):
        wilson(1, 0)


def test_rates_with_dft_s_word() -> None:
    subjects = [Subject("control", None)] * 4 + [Subject("neither", None)] * 2
    assert confirmed_rates(subjects, 3, 50) == []
    subjects += [Subject("energetic", told) for told in ("confirmed", "refuted", "undecided", None)]
    found = {rate.metric: rate for rate in confirmed_rates(subjects, 3, 200)}
    assert found["dft_confirmed"].rate == pytest.approx(1 / 3)
    assert found["dft_confirmed"].n_entries == 3
    assert found["released_les_confirmed"].rate == pytest.approx(0.5)
    assert found["released_les_not_refuted"].rate == pytest.approx(0.7)
    assert found["released_les_expected"].rate == pytest.approx(0.4 + 0.4 / 3)
    assert "dft_control" not in found
    for rate in found.values():
        assert rate.ci_low <= rate.rate <= rate.ci_high


ENERGIES = {  # candidate minus reference in meV per atom: main, check
    "lower": (-15.0, -13.0), "audited": (4.0, None), "close": (-1.5, None), "match": (0.0, None),
    "match2": (None, None),
}  # fmt: skip


def verification(row: dict[str, Any], name: str) -> dict[str, Any]:
    delta = ENERGIES[row["entry_key"].removeprefix("d|1|")][name == CHECK]
    values = {"entry_key": row["entry_key"], "trial": row["trial"], "settings": name, "wall_s": 2.0, "cpu_s": 1.0}
    if delta is None:
        return filled(VERIFICATIONS, **values, reason="time_limit", detail="ended after 9 s")
    added = delta / 1000 * len(row["species"]) if row["trial"] >= 0 else 0.0
    return filled(VERIFICATIONS, **values, energy_ev=-7.0 + added)


def finish(folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """A verification from picks to the catalog, with energies of our own."""
    config = make_config(folder, check=0)
    tasks = task_rows(picked(folder).picks, config.verify)
    for row in tasks:
        row["check"] = row["entry_key"] == "d|1|lower"
    energies = [verification(row, name) for row in tasks for name in (("main", CHECK) if row["check"] else ("main",))]
    files = {name: [folder / f"{name}.parquet"] for name in ("verify_tasks", "verifications", "whynot", "runs")}
    write_table(files["verify_tasks"][0], VERIFY_TASKS, tasks, "t")
    write_table(files["verifications"][0], VERIFICATIONS, energies, "t")
    write_table(files["whynot"][0], WHYNOT, [], "t")
    write_table(files["runs"][0], RUNS, [], "t")
    collect(config, folder / "catalog.duckdb", files, folder / "after.duckdb", folder / "r.parquet")
    return folder / "after.duckdb", verified_rows(tasks, energies, config)


def test_a_page_says_what_dft_says(tmp_path: Path) -> None:
    _, rows = finish(tmp_path)
    facts = {row["entry_key"]: {fact.name: fact.value for fact in verified_facts(row)} for row in rows}
    audited = facts["d|1|audited"]
    assert audited["DFT on the candidate's claim"] == "refuted: it is lower in energy than the source's structure"
    assert audited["Candidate against the source by DFT"] == "+4.0 meV/atom"
    assert audited["By the potential"] == "-30.0 meV/atom"
    assert facts["d|1|match2"]["Why no verdict"] == "time_limit: ended after 9 s"
    assert verified_facts(None) == ()


def test_the_readme_tells_what_dft_changed(tmp_path: Path) -> None:
    nothing = {f.name: () for f in fields(Report)} | {"since": None, "advice": None, "potential_error": None}
    counts = dict.fromkeys(("records", "entries", "released", "not_released"), 0)
    report = Report(**nothing | {"counts": counts})
    config = make_config(tmp_path)
    assert "Verified by DFT" not in write_readme(config, report)
    told = replace(
        report, verified=[("energetic", "refuted", 3)], refuted=[("audit", 2)],
        potential_error=("gpaw", "sevennet-0", 12, 4.25, None, 1.5),
    )  # fmt: skip
    text = write_readme(config, told)
    assert "| energetic | refuted | 3 |" in text
    assert "| audit | 2 |" in text
    assert "an error of 4.2 meV/atom (root mean square). These pairs do not say" in text
    text = write_readme(config, replace(told, potential_error=("gpaw", "p", 12, 4.25, 7.0, 1.5)))
    assert "Smaller ones than 7.0 meV/atom should not be believed. Verdicts within 1.5 meV/atom" in text


def test_verdicts_change_decisions_and_stand_in_the_catalog(tmp_path: Path) -> None:
    path, rows = finish(tmp_path)
    told = {row["entry_key"].removeprefix("d|1|"): row for row in rows}
    # The check moved one difference by 2 meV per atom: nothing below that is told apart.
    assert all(row["margin_mev_per_atom"] == pytest.approx(2.0) for row in rows)
    assert {name: row["verdict"] for name, row in told.items()} == {
        "lower": "confirmed", "audited": "refuted", "close": "undecided", "match": "confirmed", "match2": "failed",
    }  # fmt: skip
    assert told["lower"]["wall_s"] == 8.0
    assert (told["match2"]["reason"], told["match2"]["detail"]) == ("time_limit", "ended after 9 s")
    with duckdb.connect(str(path), read_only=True) as catalog:
        decided = catalog.execute(
            "SELECT action, grade, doubts FROM decisions WHERE entry_key = 'd|1|audited'"
        ).fetchone()
        assert decided == ("unchanged", "reject", ["dft_refuted"])
        others = "SELECT count(*) FROM decisions WHERE grade = 'accept' AND NOT list_contains(doubts, 'dft_refuted')"
        assert catalog.execute(others).fetchone() == (len(ENTRIES) - 1,)
        summary = catalog.execute("SELECT n_picked, n_failed, n_pairs, trust_from_mev_per_atom FROM verify_summary")
        assert summary.fetchone() == (5, 1, 4, None)
        rates = dict(catalog.execute("SELECT metric, rate FROM les_summary").fetchall())
        assert rates["dft_confirmed"] == pytest.approx(1 / 3)
        assert rates["released_les_confirmed"] == pytest.approx(3 / 8)  # two matches and the confirmed one
        assert catalog.execute("SELECT count(*) FROM dft_verdicts").fetchone() == (5,)
        drawn = dict(figures(catalog))[VERIFIED]
        assert "4 pairs" in drawn.svg
        assert "energetic, refuted (1)" in drawn.svg
        assert catalog.execute("SELECT adds_up FROM accounting").fetchone() == (True,)


def test_checks_are_cheap_energetic_picks_of_different_composition(tmp_path: Path) -> None:
    picks = picked(tmp_path).picks
    cost = {row["entry_key"]: row["cost"] for row in task_rows(picks, make_config(tmp_path).verify)}
    for count in range(1, len(picks) + 1):
        rows = task_rows(picks, make_config(tmp_path, check=count).verify)
        checked = [row for row in rows if row["check"] and row["trial"] == -1]
        assert len(checked) == count
        kinds = [row["kind"] for row in checked if row["kind"] == "energetic"]
        formulas = {tuple(sorted(row["species"])) for row in checked}
        assert len(kinds) >= min(count, 2)
        assert len(formulas) == min(count, len({tuple(sorted(row["species"])) for row in rows}))
    (first,) = {row["entry_key"] for row in task_rows(picks, make_config(tmp_path, check=1).verify) if row["check"]}
    assert cost[first] == min(cost[each.entry_key] for each in picks if each.kind == "energetic")
