import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hinpaint.config import Select
from hinpaint.planning import Candidate, assign_shards, cost_of, make_candidate, select, task_row
from hinpaint.whynot import Reason

costs = st.dictionaries(st.text(min_size=1, max_size=5), st.sampled_from([1.0, 2.0, 2.5, 7.0, 100.0]), max_size=60)


@given(costs, st.integers(1, 12), st.randoms())
def test_shards_do_not_depend_on_order(tasks: dict[str, float], shards: int, order: random.Random) -> None:
    keys = list(tasks)
    first = dict(zip(keys, assign_shards(keys, [tasks[k] for k in keys], shards), strict=True))
    order.shuffle(keys)
    second = dict(zip(keys, assign_shards(keys, [tasks[k] for k in keys], shards), strict=True))
    assert first == second
    assert all(0 <= shard < shards for shard in first.values())


@given(costs, st.integers(1, 12))
def test_shards_are_balanced(tasks: dict[str, float], shards: int) -> None:
    chosen = assign_shards(list(tasks), list(tasks.values()), shards)
    loads = [sum(c for c, s in zip(tasks.values(), chosen, strict=True) if s == shard) for shard in range(shards)]
    if tasks:
        assert max(loads) - min(loads) <= max(tasks.values()) + 1e-9
        assert max(loads) <= sum(loads) / shards + max(tasks.values())
        assert sum(load > 0 for load in loads) == min(shards, len(tasks))


def test_large_tasks_are_placed_first() -> None:
    keys = ["a", "b", "c", "d", "z"]
    chosen = assign_shards(keys, [1.0, 1.0, 1.0, 1.0, 4.0], 2)
    assert chosen[4] not in chosen[:4]


def test_equal_tasks_are_dealt_out_evenly() -> None:
    chosen = assign_shards([f"k{i}" for i in range(10)], [1.0] * 10, 5)
    assert sorted(chosen) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(("keys", "values", "shards"), [(["a", "a"], [1.0, 2.0], 1), (["a"], [], 1), (["a"], [1.0], 0)])
def test_shards_need_sound_input(keys: list[str], values: list[float], shards: int) -> None:
    with pytest.raises(ValueError, match="distinct"):
        assign_shards(keys, values, shards)


def entry(mode: str, key: str = "d|1|a", species: tuple[str, ...] = ("O", "H", "Ca", "H")) -> dict[str, object]:
    frac = [x / 100 for x in range(3 * len(species))]
    return {
        "entry_key": key,
        "mode": mode,
        "lattice": [5.0, 0, 0, 0, 5, 0, 0, 0, 5],
        "species": list(species),
        "frac": frac,
    }


def test_reconstruct_keeps_all_sites() -> None:
    task = make_candidate(entry("reconstruct"), 3, "H")
    assert (task.host_species, task.n_unknown, task.reference_frac) == (["O", "H", "Ca", "H"], 3, None)
    assert task.n_sites == 7


@pytest.mark.parametrize("mode", ["benchmark", "audit"])
def test_benchmark_and_audit_strip_the_element(mode: str) -> None:
    task = make_candidate(entry(mode), 0, "H")
    assert (task.host_species, task.n_unknown) == (["O", "Ca"], 2)
    assert task.host_frac == [0.0, 0.01, 0.02, 0.06, 0.07, 0.08]
    assert task.reference_frac == [0.03, 0.04, 0.05, 0.09, 0.1, 0.11]
    row = task_row(task, 4)
    assert (row["shard"], row["cost"]) == (4, cost_of(4))


def candidates(n: int) -> list[Candidate]:
    return [make_candidate(entry("reconstruct", f"d|1|{i:03d}", ("O",) * (1 + i)), 2, "H") for i in range(n)]


def test_selection_gives_each_entry_one_fate() -> None:
    many = candidates(20)
    many = many[1::2] + many[::2]
    taken, stopped = select(many, Select(max_sites=12, limit=4))
    assert [c.entry_key for c in taken] == ["d|1|000", "d|1|001", "d|1|002", "d|1|003"]
    assert {c.entry_key for c in many} == {c.entry_key for c in taken} | set(stopped)
    reasons = [stopped[key].reason for key in sorted(stopped)]
    assert reasons == [Reason.OVER_LIMIT] * 6 + [Reason.TOO_MANY_SITES] * 10


def test_selection_by_element_counts_the_placed_element() -> None:
    task = make_candidate(entry("reconstruct", species=("O", "Ca")), 1, "H")
    assert select([task], Select(elements=("O", "Ca", "H")))[1] == {}
    assert select([task], Select(elements=("O", "Ca")))[1][task.entry_key].detail == "holds H"


@given(st.integers(1, 500))
def test_cost_grows(n_sites: int) -> None:
    assert cost_of(n_sites + 1) > cost_of(n_sites) > 0
