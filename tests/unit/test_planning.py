"""Tasks, their selection, and their shards."""

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hinpaint.config import Select
from hinpaint.crystal import Crystal
from hinpaint.planning import assign_shards, cost_of, host_sha256, imbalance, make_tasks, refusals, task_sites
from hinpaint.reduction import IDENTITY, find_supercell
from hinpaint.tables import ENTRIES
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
        assert imbalance(chosen, list(tasks.values()), shards) == pytest.approx(max(loads) / (sum(loads) / shards))


def test_large_tasks_are_placed_first() -> None:
    keys = ["a", "b", "c", "d", "z"]
    chosen = assign_shards(keys, [1.0, 1.0, 1.0, 1.0, 4.0], 2)
    assert chosen[4] not in chosen[:4]


def test_equal_tasks_are_dealt_out_evenly() -> None:
    chosen = assign_shards([f"k{i}" for i in range(10)], [1.0] * 10, 5)
    assert sorted(chosen) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@given(st.integers(0, 2**32), st.integers(2, 8))
def test_tasks_stay_where_they_were_when_others_are_added(seed: int, shards: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    values = {f"k{i}": rng.uniform(1, 5) for i in range(40 * shards)}
    old = list(values)[: 30 * shards]
    before = dict(zip(old, assign_shards(old, [values[k] for k in old], shards), strict=True))
    after = dict(zip(values, assign_shards(list(values), list(values.values()), shards, before), strict=True))
    assert all(after[key] == before[key] for key in old)
    assert imbalance(list(after.values()), list(values.values()), shards) <= 1.1


def test_a_plan_that_lost_its_balance_is_made_anew() -> None:
    keys = [f"k{i}" for i in range(40)]
    lopsided = dict.fromkeys(keys, 0)
    assert assign_shards(keys, [1.0] * 40, 4, lopsided) == assign_shards(keys, [1.0] * 40, 4)


def test_shards_that_are_gone_are_not_used() -> None:
    assert set(assign_shards(["a", "b"], [1.0, 1.0], 2, {"a": 7, "b": 7})) == {0, 1}


@pytest.mark.parametrize(("keys", "values", "shards"), [(["a", "a"], [1.0, 2.0], 1), (["a"], [], 1), (["a"], [1.0], 0)])
def test_shards_need_sound_input(keys: list[str], values: list[float], shards: int) -> None:
    with pytest.raises(ValueError, match="distinct"):
        assign_shards(keys, values, shards)


def entry(mode: str, key: str = "d|1|a", crystal: Crystal | None = None, n_missing: int = 0) -> dict[str, Any]:
    if crystal is None:
        species = ("O", "H", "Ca", "H")
        crystal = Crystal.build(5 * np.eye(3), species, [x / 100 for x in range(3 * len(species))])
    return {
        "entry_key": key, "mode": mode, "lattice": crystal.lattice.ravel().tolist(), "species": list(crystal.species),
        "frac": crystal.frac.ravel().tolist(), "supercell": list(find_supercell(crystal, n_missing)),
    }  # fmt: skip


def tasks_of(rows: list[dict[str, Any]], missing: list[int], **options: bool) -> pa.Table:
    names = ["entry_key", "mode", "lattice", "species", "frac", "supercell"]
    schema = pa.schema([ENTRIES.schema.field(name) for name in names])
    return make_tasks(pa.Table.from_pylist(rows, schema=schema), np.array(missing), "H", **options)


def test_reconstruct_keeps_all_sites() -> None:
    (task,) = tasks_of([entry("reconstruct")], [3]).to_pylist()
    assert (task["host_species"], task["n_unknown"], task["reference_frac"]) == (["O", "H", "Ca", "H"], 3, None)
    assert task["supercell"] == list(IDENTITY)
    assert task["cost"] == pytest.approx(cost_of(7, 125.0))


def test_benchmark_and_audit_strip_the_element() -> None:
    rows = tasks_of([entry("benchmark"), entry("reconstruct", "d|1|b"), entry("audit", "d|1|c")], [0, 1, 0]).to_pylist()
    for task in (rows[0], rows[2]):
        assert (task["host_species"], task["n_unknown"]) == (["O", "Ca"], 2)
        assert task["host_frac"] == [0.0, 0.01, 0.02, 0.06, 0.07, 0.08]
        assert task["reference_frac"] == [0.03, 0.04, 0.05, 0.09, 0.1, 0.11]
    assert rows[1]["reference_frac"] is None


def body_centred() -> Crystal:
    frac = np.array([[0.0, 0, 0], [0.1, 0.2, 0.3]])
    return Crystal.build(np.diag([4.0, 5.0, 6.0]), ["Ca", "Ca", "O", "O"], np.concatenate([[f, f + 0.5] for f in frac]))


def test_a_centred_cell_is_completed_in_its_primitive_cell() -> None:
    rows = [entry("reconstruct", "d|1|a", body_centred(), 4), entry("reconstruct", "d|1|b", body_centred(), 3)]
    even, odd = tasks_of(rows, [4, 3]).to_pylist()
    assert (even["n_unknown"], sorted(even["host_species"])) == (2, ["Ca", "O"])
    assert abs(np.linalg.det(np.reshape(even["lattice"], (3, 3)))) == pytest.approx(60.0)
    supercell = np.reshape(even["supercell"], (3, 3))
    np.testing.assert_allclose(supercell @ np.reshape(even["lattice"], (3, 3)), np.diag([4.0, 5.0, 6.0]), atol=1e-9)
    # Three sites cannot be shared by two cells: the hydrogen must order in the larger one.
    assert (odd["n_unknown"], len(odd["host_species"])) == (3, 4)
    whole, _ = tasks_of(rows, [4, 3], primitive=False).to_pylist()
    assert (whole["n_unknown"], len(whole["host_species"])) == (4, 4)


def test_an_entry_whose_copies_are_unclear_is_completed_as_it_is() -> None:
    crystal = body_centred()
    close = crystal.with_frac(np.concatenate([crystal.frac[:3], crystal.frac[2:3] + 0.1]))
    rows = [entry("reconstruct", "d|1|a", crystal, 4), {**entry("reconstruct", "d|1|b", close), "supercell": None}]
    rows[1]["supercell"] = rows[0]["supercell"]
    sound, unclear = tasks_of(rows, [4, 4]).to_pylist()
    assert (sound["n_unknown"], unclear["n_unknown"]) == (2, 4)
    assert unclear["supercell"] == list(IDENTITY)
    assert unclear["host_frac"] == close.frac.ravel().tolist()


def test_the_host_hash_knows_what_decides_a_trial() -> None:
    crystal = body_centred()
    rows = [entry("reconstruct", "d|1|a", crystal, 1), entry("reconstruct", "d|1|b", crystal, 1),
            entry("reconstruct", "d|1|c", crystal.with_frac(crystal.frac + 0.01), 1)]  # fmt: skip
    first, twin, moved = tasks_of(rows, [1, 1, 1]).to_pylist()
    more = tasks_of(rows[:1], [3]).to_pylist()[0]
    assert first["host_sha256"] == twin["host_sha256"] == host_sha256(crystal, "H", 1)
    assert len({first["host_sha256"], moved["host_sha256"], more["host_sha256"]}) == 3


def test_selection_says_why() -> None:
    rows = [entry("reconstruct", f"d|1|{i}") for i in range(2)]
    tasks = tasks_of(rows, [1, 9])
    assert task_sites(tasks).tolist() == [5, 13]
    assert refusals(tasks, Select(max_sites=13)) == {}
    stops = refusals(tasks, Select(max_sites=6))
    assert {row: stop.reason for row, stop in stops.items()} == {1: Reason.TOO_MANY_SITES}
    stops = refusals(tasks, Select(elements=("H", "O")))
    assert {stop.detail for stop in stops.values()} == {"holds Ca"}
    assert refusals(tasks, Select(elements=("O", "Ca")))[0].detail == "holds H"


def test_no_entries_are_no_tasks() -> None:
    assert len(tasks_of([], [])) == 0
