"""The benchmark's settings, estimates, random parts, documents and figures."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hinpaint.benchmark.estimates import Tally, complete, estimate, tally
from hinpaint.benchmark.figures import FIGURES, draw_all
from hinpaint.benchmark.planning import choose
from hinpaint.benchmark.settings import Benchmark, load_benchmark
from hinpaint.benchmark.text import BEGIN, END, headline, results_markdown, with_headline
from hinpaint.config import ConfigError
from hinpaint.deciding.les import any_of_k
from hinpaint.journal import Journal, adopt
from hinpaint.planning import make_tasks
from hinpaint.tables import ENTRIES, TRIALS

ROOT = Path(__file__).parents[2]
STRUCTURES = ROOT / "examples/mc3d/structures.jsonl"


def ended_early(outcomes: list[bool], ends: tuple[int, ...]) -> Tally:
    """What rounds see of one entry's outcomes: nothing after the round of the first success."""
    rounds, closed = [], False
    for begin, end in itertools.pairwise((0, *ends)):
        rounds.append({} if closed else {"entry": sum(outcomes[begin:end])})
        closed |= any(outcomes[begin:end])
    return tally(ends, ["entry"], rounds)


@settings(max_examples=30)
@given(st.lists(st.booleans(), min_size=5, max_size=5), st.sampled_from([(1, 3, 5), (2, 5), (5,), (1, 2, 3, 4, 5)]))
def test_early_ending_is_unbiased_at_every_k(outcomes: list[bool], ends: tuple[int, ...]) -> None:
    """Averaged over the orders in which trials could have come it is the estimate from all of them."""
    orders = [ended_early(list(order), ends) for order in itertools.permutations(outcomes)]
    for k in range(1, 6):
        values = [found.any_of(k) for found in orders]
        assert not any(unknown.any() for _, unknown in values)
        assert np.mean([value[0] for value, _ in values]) == pytest.approx(any_of_k(5, sum(outcomes), k))


@given(st.lists(st.booleans(), min_size=6, max_size=6), st.sampled_from([1, 3, 6]))
def test_early_ending_is_exact_at_the_end_of_a_round(outcomes: list[bool], k: int) -> None:
    found = ended_early(outcomes, (1, 3, 6)).any_of(k)[0][0]
    assert found == float(any(outcomes[:k]))


def test_complete_data_have_the_estimate_of_les() -> None:
    values, unknown = complete(4, np.array([0, 1, 3])).any_of(2)
    assert values.tolist() == [any_of_k(4, c, 2) for c in (0, 1, 3)]
    assert not unknown.any()


def test_success_that_another_success_may_have_hidden_is_a_lower_bound() -> None:
    ended_by_energy = Tally((1, 3), np.array([[True, False], [True, True]]), np.array([[0, 0], [0, 1]]))
    values, unknown = ended_by_energy.any_of(3)
    assert values.tolist() == [0.0, 1.0]
    assert unknown.tolist() == [True, False]
    assert not ended_by_energy.any_of(1)[1].any()
    assert estimate(values, 100, unknown).n_unknown == 1


@pytest.mark.parametrize("k", [0, 4])
def test_more_trials_than_were_made_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match="any-of-k needs"):
        complete(3, np.array([1])).any_of(k)


def tasks_of(sizes: dict[str, int]) -> Any:
    """Tasks of chains of so many sodium sites and one hydrogen."""
    blank = {field.name: None for field in ENTRIES.schema}
    rows = [
        {
            **blank, "entry_key": f"d|1|{key}", "database": "d", "version": "1", "source_id": key, "licence": "x",
            "source_sha256": "0", "mode": "benchmark", "n_sites": size,
            "lattice": np.diag([4.0, 4.0, 4.0 * size]).ravel(),
            "species": ["Na"] * (size - 1) + ["H"], "supercell": [1, 0, 0, 0, 1, 0, 0, 0, 1],
            "frac": np.stack([np.zeros(size), np.zeros(size), np.arange(size) / size], axis=1).ravel(),
        }
        for key, size in sizes.items()
    ]  # fmt: skip
    names = ["entry_key", "mode", "lattice", "species", "frac", "supercell"]
    schema = ENTRIES.schema
    found = pa.table({name: pa.array([row[name] for row in rows], schema.field(name).type) for name in names})
    return make_tasks(found, np.ones(len(rows), dtype=np.int64), "H")


def test_random_parts_lie_within_each_other_and_keep_the_bounds() -> None:
    tasks = tasks_of({f"{number:02d}": 2 + number % 5 for number in range(30)})
    whole = choose(tasks, None, None, 1)
    small, large = choose(tasks, None, 5, 1), choose(tasks, None, 12, 1)
    assert len(whole) == 30
    assert (len(small), len(large)) == (5, 12)
    assert small < large < whole
    assert choose(tasks, None, 5, 2) != small
    assert choose(tasks.slice(3).take(list(range(26, -1, -1))), None, 30, 1) == whole - set(
        tasks["entry_key"].to_pylist()[:3]
    )
    bounded = choose(tasks, 3, None, 1)
    assert bounded == {f"d|1|{number:02d}" for number in range(30) if 2 + number % 5 <= 3}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "benchmark.yaml"
    path.write_text(text)
    return path


GOOD = """
name: tiny
title: tiny
source: {database: m, version: "1", format: optimade, licence: CC0-1.0}
systems:
  - {name: td, label: TD, sampler: {name: td}, steps: [10, 25]}
  - {name: all, label: renoise, sampler: {name: renoise}, trials: 4, relax: {level: full, controls: 2}}
"""


def test_steps_unfold_and_rounds_end_with_the_trials(tmp_path: Path) -> None:
    table = load_benchmark(written(tmp_path, GOOD), STRUCTURES)
    assert [each.name for each in table.unfolded] == ["td-10", "td-25", "all"]
    assert table.system("td-25").sampler.n_steps == 25
    assert table.system("td-25").round_ends == ()
    assert table.system("all").round_ends == (1, 4)
    assert table.config_of(table.system("all")).les.chance_trials == 2
    assert table.config_of(table.system("all")).relax.max_steps_full > 0
    assert table.config_of(table.system("td-10")).relax.max_steps_full == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("title: tiny", "titel: tiny"), "title: Field required"),
        (("controls: 2", "kontrols: 2"), "unknown key"),
        (("name: all", "name: td-10"), "not twice td-10"),
        (("name: all", "name: references"), "not twice references"),
        (("level: full", "level: full, ends: [5, 1]"), "ends must rise"),
        (("name: td}", "name: dt}"), "sampler.name"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_benchmark(written(tmp_path, GOOD.replace(*change)), STRUCTURES)
    assert "\n" not in str(caught.value)


def test_sampler_that_cannot_use_the_weights_is_named(tmp_path: Path) -> None:
    table = load_benchmark(written(tmp_path, GOOD.replace("name: td}", "name: replacement}")), STRUCTURES)
    with pytest.raises(ConfigError, match=r"system td-10: config: .*sampler replacement cannot use td-medium"):
        table.config_of(table.system("td-10"))


def test_structures_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source\.path"):
        load_benchmark(written(tmp_path, GOOD))


@pytest.mark.parametrize("path", sorted((ROOT / "config/benchmark").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_benchmarks_are_valid(path: Path) -> None:
    table = load_benchmark(path, STRUCTURES)
    assert isinstance(table, Benchmark)
    models = {path.stem for path in (ROOT / "hinpaint/models").glob("*.safetensors")}
    for each in table.unfolded:
        if each.model in models:
            table.config_of(each)


def trial_row(entry: str, trial: int) -> dict[str, Any]:
    return {"entry_key": entry, "trial": trial, "seed": 0, "sampler": "td", "n_steps": 1, "n_evaluations": 1,
            "model_sha256": None, "frac_unknown": [0.0, 0.0, 0.1], "d_min_a": 1.0, "reason": None}  # fmt: skip


def test_journal_takes_over_the_rows_of_its_entries(tmp_path: Path) -> None:
    with Journal(tmp_path / "run", TRIALS, "fingerprint", "run") as journal:
        for entry in ("a|1|x", "b|1|x"):
            journal.add(f"digest of {entry}", trial_row(entry, 3))
    assert adopt(tmp_path / "run", tmp_path / "mine", TRIALS, {"a|1|x"}) == 1
    assert adopt(tmp_path / "absent", tmp_path / "mine", TRIALS, {"a|1|x"}) == 0
    with Journal(tmp_path / "mine", TRIALS, "fingerprint", "mine") as journal:
        assert journal.take("digest of a|1|x", "a|1|x", 3) is not None
        assert journal.take("another digest", "a|1|x", 3) is None
        assert journal.take("digest of b|1|x", "b|1|x", 3) is None
    with Journal(tmp_path / "mine", TRIALS, "another fingerprint", "mine") as journal:
        assert journal.take("digest of a|1|x", "a|1|x", 3) is None


def made_rate(metric: str, k: int, rate: float, n_unknown: int = 0) -> dict[str, Any]:
    low, high = max(0.0, rate - 0.05), min(1.0, rate + 0.05)
    return {"metric": metric, "k": k, "rate": rate, "low": low, "high": high, "n": 40, "n_unknown": n_unknown}


def made_results() -> dict[str, Any]:
    """Results in the layout of the file, with numbers that can be recognised."""
    group = {"rate": 0.5, "low": 0.4, "high": 0.6, "n": 20, "n_unknown": 0}
    rmsd = {"n": 10, "median_a": 0.0512, "p95_a": 0.2, "histogram": [5, 3, 2] + [0] * 37}
    pick = dict.fromkeys(("lowest", "oracle", "random"), group)
    base = {"sampler": "td", "model": "td-small", "settings": {}, "n_entries": 40, "max_sites": 19,
            "rmsd": {"raw": rmsd}, "by_kind": {"OH": group, "hydride": group}, "by_missing": {"1": group},
            "by_size": {"up to 12": group, "13-19": group}}  # fmt: skip
    systems = [
        {**base, "name": f"td-{n}", "label": f"TD, {n} steps", "n_steps": n, "trials": 1, "relaxed": None,
         "rates": [made_rate("match_raw", 1, 0.123 + n / 1000), made_rate("strict_raw", 1, 0.2)],
         "cost": {"n_evaluations": 2 * n, "cpu_s": 0.25, "model_sha256": "ab" * 32}}
        for n in (10, 50)
    ]  # fmt: skip
    relaxed = {
        "level": "full", "ends": [3, 5], "n_entries": 30, "max_sites": 12, "rmsd": rmsd, "cpu_s": 2.5,
        "chance": {"les": group}, "pick": {"of": 3, "structural": pick, "les": pick},
        "rates": [made_rate(name, k, 0.6 + k / 100, n_unknown=3 * (name != "les" and k > 3))
                  for name in ("les", "structural", "lower", "match_h_only", "strict_h_only", "match_full")
                  for k in range(1, 6)],
    }  # fmt: skip
    rates = [made_rate("match_raw", k, 0.5 + k / 100) for k in range(1, 6)] + [made_rate("strict_raw", 1, 0.4)]
    systems.append({**base, "name": "renoise", "label": "renoise", "sampler": "renoise", "n_steps": 25, "trials": 5,
                    "rates": rates, "relaxed": relaxed, "cost": systems[0]["cost"]})  # fmt: skip
    return {
        "name": "made", "title": "Made structures", "seed": 1, "element": "H", "potential": "sevennet-0",
        "source": {"database": "d", "version": "1", "licence": "CC0-1.0", "sha256": "cd" * 32},
        "relax": {"fmax_ev_per_a": 0.1, "max_steps_h_only": 60, "max_steps_full": 100},
        "les": {"tol_mev_per_atom": 1.0, "strict_a": 0.3, "bootstrap": 100}, "matcher": {}, "versions": {},
        "rmsd_edges_a": np.linspace(0, 1, 41).tolist(), "systems": systems,
    }  # fmt: skip


def test_page_shows_the_numbers_and_marks_lower_bounds() -> None:
    page = results_markdown(made_results(), "ef" * 32)
    assert "| TD, 50 steps | 40, at most 19 sites | 1 | 17.3 % (12 to 22) |" in page
    assert "| renoise | LES | 61.0 % (56 to 66) | 65.0 % (60 to 70) | 50.0 % (40 to 60) |" in page
    assert "| renoise | structural arm | 61.0 % (56 to 66) | ≥ 65.0 % (60 to 70) |" in page
    assert "0.051, 0.200" in page
    assert "k = 30" not in page  # nobody made thirty trials
    assert "`efefefefefefefef`" in page


def test_headline_goes_between_its_markers_and_nothing_else_changes() -> None:
    found = made_results()
    text = f"above\n{BEGIN}\nold\n{END}\nbelow\n"
    new = with_headline(text, found, "ef" * 32)
    assert new == f"above\n{BEGIN}\n{headline(found, 'ef' * 32)}\n{END}\nbelow\n"
    assert with_headline(new, found, "ef" * 32) == new
    with pytest.raises(ValueError, match="results: begin"):
        with_headline("no markers", found, "ef" * 32)


def test_figures_are_drawn_from_the_results_alone_and_the_same_again(tmp_path: Path) -> None:
    assert draw_all(made_results(), tmp_path / "a") == list(FIGURES)
    draw_all(made_results(), tmp_path / "b")
    for name in FIGURES:
        assert (tmp_path / f"a/{name}.png").read_bytes().startswith(b"\x89PNG")
        svg = (tmp_path / f"a/{name}.svg").read_text()
        assert svg == (tmp_path / f"b/{name}.svg").read_text()
        assert "renoise" in svg or name == "steps"
    assert "network evaluations a trial" in (tmp_path / "a/steps.svg").read_text()
    assert "LES, fully relaxed (n = 40)" in (tmp_path / "a/trials.svg").read_text()


def test_figures_of_systems_that_cover_different_groups(tmp_path: Path) -> None:
    found = made_results()
    group = found["systems"][0]["by_missing"]["1"]
    found["systems"][-1] |= {"by_missing": {"17+": group, "1": group, "2": group}, "n_entries": 50}
    found["systems"][1]["cost"] = found["systems"][0]["cost"]  # equal costs of unequal steps
    draw_all(found, tmp_path)
    text = (tmp_path / "missing.svg").read_text()
    assert text.index("n = 20") < text.index("17+")
    assert text.index(">2<") < text.index(">17+<")


def test_rates_of_other_cell_sizes_are_kept_apart(tmp_path: Path) -> None:
    found = made_results()
    larger = {**found["systems"][1], "name": "td-all", "label": "TD, 50 steps, to 64 sites", "n_entries": 900,
              "max_sites": 64, "by_kind": {"NH": found["systems"][1]["by_kind"]["OH"]}}  # fmt: skip
    larger["by_size"] = {"50-64": larger["by_missing"]["1"]}
    found["systems"].append(larger)
    assert draw_all(found, tmp_path) == list(FIGURES)
    kinds, sizes, steps = ((tmp_path / f"{name}.svg").read_text() for name in ("chemistry", "sizes", "steps"))
    assert ">hydride<" in kinds
    assert ">NH<" not in kinds
    assert "to 64 sites" in sizes
    assert "renoise" not in sizes
    assert "40 entries" in steps


def test_figure_without_anything_to_show_says_so(tmp_path: Path) -> None:
    found = made_results()
    found["systems"] = found["systems"][:1]
    assert "steps" not in draw_all(found, tmp_path)
    assert "Nothing to show" in (tmp_path / "steps.svg").read_text()
