"""From entries to tasks: which are taken, what each will cost, and which shard it belongs to. Pure functions.

Whole databases pass through here, so structures stay in Arrow and numpy columns; only cells that are not primitive are
looked at one by one.
"""

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gemmi
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hinpaint.config import Select
from hinpaint.crystal import BoolArray, Crystal, FloatArray, IntArray
from hinpaint.reduction import IDENTITY, reduce_cells
from hinpaint.whynot import Reason, Stop

MAX_IMBALANCE = 1.1
"""Heaviest shard over mean shard above which a plan that grew is made anew."""

_OVERHEAD = 50.0
_NEIGHBOUR_SPHERE_A3 = 4 / 3 * np.pi * 5.0**3  # within the cutoff of the network and of the usual potentials
_USUAL_NEIGHBOURS = 40.0
_HASHED_DIGITS = 6


def cost_of(n_sites: Any, volume_a3: Any) -> Any:
    """Predict the cost of one task in arbitrary units; works on numbers and on arrays.

    Network and potential are linear in the edges, so in sites times neighbours; the optimiser needs more steps for
    larger cells, which the exponent 1.5 stands for; a constant covers what every structure costs (graph, matching,
    bookkeeping). Trials, steps and settings are the same for all tasks of a run and drop out.

    Args:
        n_sites: sites of the completed cell.
        volume_a3: its volume, cubic ångström.
    """
    neighbours = np.minimum(_NEIGHBOUR_SPHERE_A3 * n_sites / volume_a3, 4 * _USUAL_NEIGHBOURS)
    return _OVERHEAD + n_sites * np.sqrt(n_sites) * neighbours / _USUAL_NEIGHBOURS


@dataclass
class _Cells:
    """Sites of many entries in flat columns, reduced in place where a task works in the primitive cell.

    Attributes:
        offsets: (n + 1,) first site of each entry, and the end.
        codes: (sites,) index into ``names``.
        names: element symbols.
        frac: (sites, 3) fractional coordinates.
        lattice: (n, 9) lattice vectors, ångström.
        supercell: (n, 9) integers.
        keep: (sites,) false for the copies a primitive cell does without.
    """

    offsets: IntArray
    codes: IntArray
    names: list[str]
    frac: FloatArray
    lattice: FloatArray
    supercell: IntArray
    keep: BoolArray

    @classmethod
    def of(cls, entries: pa.Table) -> "_Cells":
        species = _one_chunk(entries["species"])
        encoded = species.flatten().dictionary_encode()
        frac = _one_chunk(entries["frac"]).flatten().to_numpy().reshape(-1, 3).copy()
        return cls(
            offsets=np.concatenate([[0], np.cumsum(species.value_lengths().to_numpy(zero_copy_only=False))]),
            codes=encoded.indices.to_numpy(),
            names=encoded.dictionary.to_pylist(),
            frac=frac,
            lattice=_one_chunk(entries["lattice"]).flatten().to_numpy().reshape(-1, 9).copy(),
            supercell=_one_chunk(entries["supercell"]).flatten().to_numpy().reshape(-1, 9).copy(),
            keep=np.ones(len(frac), dtype=bool),
        )

    def reduce(self) -> None:
        """Take every entry to the primitive cell of its supercell; entries of equal size together."""
        chosen = np.flatnonzero(np.any(self.supercell != np.array(IDENTITY), axis=1))
        sizes = np.diff(self.offsets)[chosen]
        for size in np.unique(sizes).tolist():
            rows = chosen[sizes == size]
            sites = self.offsets[rows][:, None] + np.arange(size)
            matrices = self.supercell[rows].reshape(-1, 3, 3).astype(np.int64)
            reduced = reduce_cells(self.lattice[rows].reshape(-1, 3, 3), self.codes[sites], self.frac[sites], matrices)
            # Where it is unclear which sites are copies, the entry is completed as it is.
            sound = reduced.sound
            self.frac[sites[sound]], self.keep[sites[sound]] = reduced.frac[sound], reduced.chosen[sound]
            self.lattice[rows[sound]] = reduced.lattice[sound].reshape(-1, 9)
            self.supercell[rows[~sound]] = IDENTITY

    def counts(self, mask: BoolArray) -> IntArray:
        """(n,) sites of each entry where ``mask`` (sites,) is true."""
        running = np.concatenate([[0], np.cumsum(mask)])
        counted: IntArray = running[self.offsets[1:]] - running[self.offsets[:-1]]
        return counted


def make_tasks(entries: pa.Table, n_missing: IntArray, element: str, *, primitive: bool = True) -> pa.Table:
    """Split entries into their hosts and the sites to place.

    In reconstruct mode sites of the element that are present stay part of the host; in benchmark and audit mode they
    are stripped and kept as the reference.

    Args:
        entries: rows of ``entries``.
        n_missing: (n,) sites that are missing in the source's cell (used in reconstruct mode).
        element: target element.
        primitive: work in the primitive cell where the entry's ``supercell`` names one.

    Returns:
        Rows of ``tasks`` without ``shard`` and without the columns every table has.
    """
    cells = _Cells.of(entries)
    if primitive:
        cells.reduce()
    else:
        cells.supercell[:] = IDENTITY
    n_cells = np.rint(np.linalg.det(cells.supercell.reshape(-1, 3, 3))).astype(np.int64)
    reconstruct = pc.equal(entries["mode"], "reconstruct").to_numpy()
    target = cells.codes == (cells.names.index(element) if element in cells.names else -1)
    strip = target & ~np.repeat(reconstruct, np.diff(cells.offsets))
    host, reference = cells.keep & ~strip, cells.keep & strip
    n_host, n_reference = cells.counts(host), cells.counts(reference)
    n_unknown = np.where(reconstruct, n_missing // n_cells, n_reference)
    volume = np.abs(np.linalg.det(cells.lattice.reshape(-1, 3, 3)))
    species = pa.array(cells.names, type=pa.string()).take(pa.array(cells.codes[host]))
    return pa.table({
        "entry_key": entries["entry_key"],
        "mode": entries["mode"],
        "element": pa.repeat(element, len(entries)),
        "n_unknown": n_unknown.astype(np.int32),
        "host_sha256": pa.array(_hashes(cells, host, n_unknown, element), type=pa.string()),
        "cost": cost_of(n_host + n_unknown, volume),
        "lattice": _lists(np.full(len(entries), 9), cells.lattice.ravel()),
        "supercell": _lists(np.full(len(entries), 9), cells.supercell.ravel().astype(np.int32)),
        "host_species": _lists(n_host, species),
        "host_frac": _lists(3 * n_host, cells.frac[host].ravel()),
        "reference_frac": _lists(3 * n_reference, cells.frac[reference].ravel(), absent=reconstruct),
    })  # fmt: skip


def host_sha256(host: Crystal, element: str, n_unknown: int) -> str:
    """Identity of what decides a trial: the cell, its host, and what is to be placed; it names the random stream.

    Coordinates are rounded to 1e-6, so that two records of one structure share their trials.
    """
    numbers = bytes(gemmi.Element(name).atomic_number for name in host.species)
    return _hash(host.lattice, numbers, _rounded(host.frac).tobytes(), element, n_unknown)


def _hashes(cells: _Cells, host: BoolArray, n_unknown: IntArray, element: str) -> list[str]:
    table = np.array([gemmi.Element(name).atomic_number for name in cells.names], dtype=np.uint8)
    numbers = table[cells.codes[host]].tobytes() if len(cells.codes) else b""
    frac = _rounded(cells.frac[host]).tobytes()
    ends = np.concatenate([[0], np.cumsum(cells.counts(host))]).tolist()
    return [
        _hash(lattice, numbers[first:last], frac[24 * first : 24 * last], element, count)
        for lattice, first, last, count in zip(cells.lattice, ends[:-1], ends[1:], n_unknown.tolist(), strict=True)
    ]


def _rounded(values: FloatArray) -> FloatArray:
    rounded: FloatArray = np.round(values, _HASHED_DIGITS) + 0.0  # no negative zeros
    return rounded


def _hash(lattice: FloatArray, numbers: bytes, frac: bytes, element: str, n_unknown: int) -> str:
    head = f"{element}{n_unknown}".encode()
    return hashlib.sha256(b"|".join((head, _rounded(lattice).tobytes(), numbers, frac))).hexdigest()


def refusals(tasks: pa.Table, rules: Select) -> dict[int, Stop]:
    """Say which tasks the selection refuses (all rules but ``limit``), by row number."""
    found: dict[int, Stop] = {}
    n_sites = task_sites(tasks)
    if rules.elements is not None:
        species = _one_chunk(tasks["host_species"])
        allowed = pa.array([*rules.elements], type=pa.string())
        outside = pc.invert(pc.is_in(species.flatten(), value_set=allowed))
        owners = np.unique(species.value_parent_indices().to_numpy()[outside.to_numpy(zero_copy_only=False)])
        element_refused = not pc.all(pc.is_in(tasks["element"], value_set=allowed)).as_py()
        for row in range(len(tasks)) if element_refused else owners.tolist():
            names = {*species[row].as_py(), tasks["element"][row].as_py()} - set(rules.elements)
            found[row] = Stop(Reason.NOT_SELECTED, f"holds {', '.join(sorted(names))}")
    for row in np.flatnonzero(n_sites > rules.max_sites).tolist():
        detail = f"{n_sites[row]} sites, select.max_sites is {rules.max_sites}"
        found.setdefault(row, Stop(Reason.TOO_MANY_SITES, detail))
    return found


def task_sites(tasks: pa.Table) -> IntArray:
    """(n,) sites of each task's completed cell."""
    hosts = pc.list_value_length(tasks["host_species"]).to_numpy()
    total: IntArray = hosts + tasks["n_unknown"].to_numpy()
    return total


def assign_shards(
    keys: Sequence[str], costs: Sequence[float], shards: int, previous: Mapping[str, int] | None = None
) -> list[int]:
    """Spread tasks over shards: longest processing time first, ties by key; what had a shard keeps it.

    Without ``previous`` the result depends on the set of (key, cost) alone, not on its order, and no shard exceeds the
    average by more than the largest task. With it, tasks that are new go to the lightest shards, so that a database
    that grew moves nothing that was computed; only when the heaviest shard would exceed the mean by more than
    :data:`MAX_IMBALANCE`, and a fresh plan would not, is everything dealt out anew.

    Args:
        keys: distinct keys.
        costs: predicted cost of each, positive.
        shards: number of shards.
        previous: shard of keys that were planned before.

    Returns:
        The shard of each key, in the order given.

    Raises:
        ValueError: keys and costs differ in length, a key repeats, or there is no shard.
    """
    if len(keys) != len(costs) or len(set(keys)) != len(keys) or shards < 1:
        raise ValueError("assign_shards needs distinct keys, one cost each, and at least one shard")
    known = previous or {}
    grown = _deal(keys, costs, shards, known)
    if not known or imbalance(grown, costs, shards) <= MAX_IMBALANCE:
        return grown
    fresh = _deal(keys, costs, shards, {})
    return fresh if imbalance(fresh, costs, shards) < imbalance(grown, costs, shards) else grown


def imbalance(chosen: Sequence[int], costs: Sequence[float], shards: int) -> float:
    """Cost of the heaviest shard over the mean; 1 when there is nothing to do."""
    loads = np.bincount(np.asarray(chosen, dtype=np.int64), weights=np.asarray(costs, dtype=float), minlength=shards)
    return float(loads.max() / loads.mean()) if len(chosen) else 1.0


def _deal(keys: Sequence[str], costs: Sequence[float], shards: int, known: Mapping[str, int]) -> list[int]:
    chosen = [known.get(key, -1) for key in keys]
    chosen = [shard if 0 <= shard < shards else -1 for shard in chosen]
    loads = [(0.0, 0)] * shards
    for shard, cost in zip(chosen, costs, strict=True):
        if shard >= 0:
            loads[shard] = (loads[shard][0] + cost, loads[shard][1] + 1)
    # Equal loads go to the shard with fewer tasks, then to the lower number.
    heap = [(load, count, shard) for shard, (load, count) in enumerate(loads)]
    heapq.heapify(heap)
    order = sorted((i for i, shard in enumerate(chosen) if shard < 0), key=lambda i: (-costs[i], keys[i]))
    for i in order:
        load, count, shard = heap[0]
        chosen[i] = shard
        heapq.heapreplace(heap, (load + costs[i], count + 1, shard))
    return chosen


def _one_chunk(column: pa.ChunkedArray) -> Any:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        return combined.chunk(0) if combined.num_chunks else pa.array([], type=column.type)
    return combined


def _lists(lengths: IntArray, values: Any, absent: BoolArray | None = None) -> pa.Array:
    """Lists of the given lengths cut from flat values; null where ``absent``."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    flat = values if isinstance(values, pa.Array) else pa.array(values)
    mask = None if absent is None else pa.array(absent)
    return pa.ListArray.from_arrays(pa.array(offsets), flat, mask=mask)
