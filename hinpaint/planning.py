"""From entries to tasks: which are taken, what each will cost, and which shard it belongs to. Pure functions."""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hinpaint.config import Select
from hinpaint.whynot import Reason, Stop

_OVERHEAD = 50.0


@dataclass(frozen=True)
class Candidate:
    """One task before it has a shard.

    Attributes:
        entry_key: ``database|version|id``.
        mode: reconstruct, benchmark or audit.
        element: element to place.
        n_unknown: sites to place.
        lattice: 9 numbers, ångström.
        host_species: element of each host site in the source's order.
        host_frac: 3 numbers a host site.
        reference_frac: 3 numbers a stripped site, None in reconstruct mode.
    """

    entry_key: str
    mode: str
    element: str
    n_unknown: int
    lattice: Sequence[float]
    host_species: Sequence[str]
    host_frac: Sequence[float]
    reference_frac: Sequence[float] | None

    @property
    def n_sites(self) -> int:
        """Sites in the completed cell."""
        return len(self.host_species) + self.n_unknown


def cost_of(n_sites: int) -> float:
    """Predict the cost of one task in arbitrary units.

    Network and potential are linear in the edges, so in the sites; the optimiser needs more steps for larger cells,
    which the exponent 1.5 stands for; a constant covers what every structure costs (graph, matching, bookkeeping).
    Trials, steps and settings are the same for all tasks of a run and drop out.
    """
    return _OVERHEAD + n_sites * math.sqrt(n_sites)


def make_candidate(entry: Mapping[str, Any], n_missing: int, element: str) -> Candidate:
    """Split an entry into its host and the sites to place.

    Args:
        entry: row of ``entries``.
        n_missing: sites that are missing (used in reconstruct mode, where sites of the element that are present stay
            part of the host).
        element: target element.

    Returns:
        The task; in benchmark and audit mode the sites of the element are stripped and kept as the reference.
    """
    species = list(entry["species"])
    frac = np.asarray(entry["frac"], dtype=np.float64).reshape(len(species), 3)
    strip = np.array([s == element and entry["mode"] != "reconstruct" for s in species], dtype=bool)
    reconstruct = entry["mode"] == "reconstruct"
    return Candidate(
        entry_key=entry["entry_key"],
        mode=entry["mode"],
        element=element,
        n_unknown=n_missing if reconstruct else int(strip.sum()),
        lattice=list(entry["lattice"]),
        host_species=[s for s, stripped in zip(species, strip, strict=True) if not stripped],
        host_frac=frac[~strip].ravel().tolist(),
        reference_frac=None if reconstruct else frac[strip].ravel().tolist(),
    )


def select(candidates: Sequence[Candidate], rules: Select) -> tuple[list[Candidate], dict[str, Stop]]:
    """Apply the selection; ``limit`` counts, in key order, the entries that pass the other rules.

    Args:
        candidates: all tasks, in any order.
        rules: the ``select`` block.

    Returns:
        The tasks taken, in key order, and the reason for each of the others by entry key.
    """
    taken: list[Candidate] = []
    stopped: dict[str, Stop] = {}
    for candidate in sorted(candidates, key=lambda c: c.entry_key):
        stop = _refusal(candidate, rules)
        if stop is None and rules.limit is not None and len(taken) >= rules.limit:
            stop = Stop(Reason.OVER_LIMIT, f"select.limit is {rules.limit}")
        if stop is None:
            taken.append(candidate)
        else:
            stopped[candidate.entry_key] = stop
    return taken, stopped


def _refusal(candidate: Candidate, rules: Select) -> Stop | None:
    if rules.elements is not None:
        outside = sorted({*candidate.host_species, candidate.element} - set(rules.elements))
        if outside:
            return Stop(Reason.NOT_SELECTED, f"holds {', '.join(outside)}")
    if candidate.n_sites > rules.max_sites:
        return Stop(Reason.TOO_MANY_SITES, f"{candidate.n_sites} sites, select.max_sites is {rules.max_sites}")
    return None


def assign_shards(keys: Sequence[str], costs: Sequence[float], shards: int) -> list[int]:
    """Spread tasks over shards: longest processing time first, ties by key.

    The result depends on the set of (key, cost) alone, not on its order, so a re-run gives the same shards; when
    entries are added, others may move (balance was preferred to stability: the slowest shard decides when a run ends,
    and results are keyed by entry, not by shard). No shard exceeds the average by more than the largest task.

    Args:
        keys: distinct entry keys.
        costs: predicted cost of each, positive.
        shards: number of shards.

    Returns:
        The shard of each key, in the order given.

    Raises:
        ValueError: keys and costs differ in length, a key repeats, or there is no shard.
    """
    if len(keys) != len(costs) or len(set(keys)) != len(keys) or shards < 1:
        raise ValueError("assign_shards needs distinct keys, one cost each, and at least one shard")
    order = sorted(range(len(keys)), key=lambda i: (-costs[i], keys[i]))
    # Equal loads go to the shard with fewer tasks, then to the lower number.
    loads = [(0.0, 0, shard) for shard in range(shards)]
    chosen = [0] * len(keys)
    for i in order:
        load, count, shard = loads[0]
        chosen[i] = shard
        heapq.heapreplace(loads, (load + costs[i], count + 1, shard))
    return chosen


def task_row(candidate: Candidate, shard: int) -> dict[str, Any]:
    """Row of ``tasks`` for a candidate in its shard."""
    return {
        "entry_key": candidate.entry_key,
        "mode": candidate.mode,
        "element": candidate.element,
        "n_unknown": candidate.n_unknown,
        "shard": shard,
        "cost": cost_of(candidate.n_sites),
        "lattice": candidate.lattice,
        "host_species": candidate.host_species,
        "host_frac": candidate.host_frac,
        "reference_frac": candidate.reference_frac,
    }
