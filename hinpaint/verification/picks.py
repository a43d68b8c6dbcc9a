"""Which entries DFT verifies: a query of the user's on the catalog, controls beside it, drawn by the seed."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np

from hinpaint.catalog import build
from hinpaint.catalog.query import FILE_NAME, QueryError, ask, open_catalog
from hinpaint.config import Config, ConfigError
from hinpaint.crystal import Crystal
from hinpaint.dft import Verify
from hinpaint.tables import REFERENCE
from hinpaint.verification.settings import CHECK, MAIN, k_grid, settings_of, start_moments
from hinpaint.whynot import Reason, Stop

QUERY = """
SELECT l.entry_key FROM les_entry l JOIN trial_verdicts v ON v.entry_key = l.entry_key AND v.trial = l.released_trial
LEFT JOIN decisions d ON d.entry_key = l.entry_key
WHERE l.released_les AND NOT v.structural OR d.action = 'replaced'
"""
"""Default: entries whose LES rests on energy, and those whose sites the release moves because it is lower."""
_CONTROLS = """
SELECT l.entry_key FROM les_entry l JOIN trial_verdicts v ON v.entry_key = l.entry_key AND v.trial = l.released_trial
WHERE v.structural AND v.passed
"""
# Reference and candidate of some entries at the last level of relaxation.
_PAIRS = """
SELECT e.entry_key, l.released_trial AS trial, v.structural, l.released_les, v.delta_e_mev_per_atom,
    c.potential, k.host_species, k.element, k.n_unknown,
    r.lattice AS reference_lattice, r.frac AS reference_frac, r.converged AND r.reason IS NULL AS reference_settled,
    c.lattice AS candidate_lattice, c.frac AS candidate_frac, v.passed AS candidate_settled
FROM (SELECT unnest($keys) AS entry_key) e LEFT JOIN les_entry l USING (entry_key)
LEFT JOIN trial_verdicts v ON v.entry_key = e.entry_key AND v.trial = l.released_trial
LEFT JOIN tasks k ON k.entry_key = e.entry_key
LEFT JOIN relaxed r ON r.entry_key = e.entry_key AND r.trial = -1 AND r.level = $last
LEFT JOIN relaxed c ON c.entry_key = e.entry_key AND c.trial = l.released_trial AND c.level = $last
"""


@dataclass(frozen=True)
class Pick:
    """One entry to verify.

    Attributes:
        entry_key: the entry.
        trial: its candidate.
        kind: what the LES of the candidate rests on.
        delta_e_mev_per_atom: candidate minus reference by the potential.
        potential: the potential.
        reference: relaxed reference; the placed sites are not known.
        candidate: relaxed candidate.
    """

    entry_key: str
    trial: int
    kind: str
    delta_e_mev_per_atom: float
    potential: str
    reference: Crystal
    candidate: Crystal


@dataclass(frozen=True)
class Picked:
    """What was picked, in the order it was drawn, and why others were not."""

    picks: list[Pick]
    refused: dict[tuple[str, int], Stop]


def check_query(config: Config) -> None:
    """Try the configuration's query on an empty catalog, before anything runs.

    Raises:
        ConfigError: it is wrong, not allowed, or gives no ``entry_key``.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / FILE_NAME
        connection = build.create(path)
        build.complete(connection)
        build.close(connection)
        with open_catalog(path) as catalog:
            try:
                _keys(catalog, config.verify.query or QUERY)
            except QueryError as error:
                raise ConfigError(f"config: verify.query: {error}") from error


def pick(config: Config, catalog: duckdb.DuckDBPyConnection, elements: frozenset[str]) -> Picked:
    """Pick entries: first those of the query, then controls.

    Entries are drawn in the order of a hash of seed and key, so a database that grew keeps most of its picks. One that
    cannot be computed is refused with its reason, and the next is drawn.

    Args:
        config: the run's configuration.
        catalog: the run's catalog, open for questions.
        elements: elements that the code knows.

    Raises:
        QueryError: the query fails.
    """
    verify = config.verify
    asked = _keys(catalog, verify.query or QUERY)
    controls = [key for key in _keys(catalog, _CONTROLS) if key not in set(asked)]
    last = "full" if config.relax.max_steps_full else "h_only"
    picked = Picked([], {})
    for keys, most in ((asked, verify.picks), (controls, verify.controls)):
        taken = 0
        for pair in _pairs(catalog, sorted(keys, key=lambda key: _place(config.seed, key)), last):
            if most is not None and taken >= most:
                break
            stop = refusal(pair, verify, elements)
            if stop is not None:
                # Never without a trial: the entry itself is curated, whatever DFT can do.
                picked.refused[pair["entry_key"], REFERENCE if pair["trial"] is None else pair["trial"]] = stop
                continue
            picked.picks.append(_pick(pair))
            taken += 1
    return picked


def _keys(catalog: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    names, rows = ask(catalog, query)
    if "entry_key" not in names:
        raise QueryError(f"it gives {', '.join(names)}, and no column entry_key")
    place = names.index("entry_key")
    return sorted({str(row[place]) for row in rows if row[place] is not None})


def _place(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}|{key}".encode()).hexdigest()


def _pairs(
    catalog: duckdb.DuckDBPyConnection, keys: Sequence[str], last: str, batch: int = 200
) -> Iterator[dict[str, Any]]:
    """Rows of ``_PAIRS`` in the order of the keys, a bounded number at a time."""
    for start in range(0, len(keys), batch):
        wanted = list(keys[start : start + batch])
        rows = catalog.sql(_PAIRS, params={"keys": wanted, "last": last}).to_arrow_table().to_pylist()
        of_key = {row["entry_key"]: row for row in rows}
        yield from (of_key[key] for key in wanted)


def refusal(pair: Mapping[str, Any], verify: Verify, elements: frozenset[str]) -> Stop | None:
    """Why a pair cannot be computed; None when it can."""
    if pair["trial"] is None or pair["delta_e_mev_per_atom"] is None:
        return Stop(Reason.NO_PAIR, "no reference, or no candidate that could be released")
    if not (pair["reference_settled"] and pair["candidate_settled"]):
        return Stop(Reason.NO_PAIR, "reference or candidate did not relax")
    n_sites = len(pair["host_species"]) + pair["n_unknown"]
    if n_sites > verify.max_sites:
        return Stop(Reason.TOO_MANY_SITES, f"{n_sites} sites; verify.max_sites is {verify.max_sites}")
    unknown = sorted({*pair["host_species"], pair["element"]} - elements)
    if unknown:
        return Stop(Reason.UNSUPPORTED_ELEMENT, f"{verify.code} has no data for {', '.join(unknown)}")
    return None


def _pick(pair: Mapping[str, Any]) -> Pick:
    kind = "control" if pair["structural"] else "energetic" if pair["released_les"] else "neither"
    species = [*pair["host_species"], *[pair["element"]] * pair["n_unknown"]]
    known = np.arange(len(species)) < len(pair["host_species"])
    reference, candidate = (
        Crystal.build(pair[f"{name}_lattice"], species, pair[f"{name}_frac"], known)
        for name in ("reference", "candidate")
    )
    return Pick(
        pair["entry_key"], pair["trial"], kind, pair["delta_e_mev_per_atom"], pair["potential"], reference, candidate
    )


def task_rows(picks: Sequence[Pick], verify: Verify) -> list[dict[str, Any]]:
    """Rows of ``verify_tasks``: both structures of each pick, spread over the shards by their cost."""
    main, check = settings_of(verify, MAIN), settings_of(verify, CHECK)
    rows = []
    checked = _to_check(picks, main.k_spacing_per_a, verify.check)
    for each in picks:
        # One grid for both, or their difference would hold the difference of the grids.
        grids = {
            name: k_grid(each.reference.lattice, of.k_spacing_per_a) for name, of in (("main", main), ("check", check))
        }
        for trial, crystal in ((REFERENCE, each.reference), (each.trial, each.candidate)):
            rows.append(
                {
                    "entry_key": each.entry_key,
                    "trial": trial,
                    "kind": each.kind,
                    "cost": _cost(crystal, grids["main"]),
                    "check": each.entry_key in checked,
                    "kpoints": list(grids["main"]),
                    "kpoints_check": list(grids["check"]),
                    "delta_e_mev_per_atom": each.delta_e_mev_per_atom,
                    "potential": each.potential,
                    "lattice": crystal.lattice.ravel().tolist(),
                    "species": list(crystal.species),
                    "frac": crystal.frac.ravel().tolist(),
                    "n_placed": int((~crystal.known).sum()),
                }
            )
    return _deal(rows, verify.shards)


def _to_check(picks: Sequence[Pick], k_spacing_per_a: float, count: int) -> set[str]:
    """Keys of the picks to compute again: energetic and cheap ones first, as a check costs several times as much.

    Each is of another composition as long as there are others.
    """

    def rank(each: Pick) -> tuple[bool, float]:
        return each.kind != "energetic", _cost(each.reference, k_grid(each.reference.lattice, k_spacing_per_a))

    def formula(each: Pick) -> tuple[str, ...]:
        return tuple(sorted(each.reference.species))

    order = sorted(picks, key=rank)
    first = {formula(each): each for each in reversed(order)}
    order.sort(key=lambda each: first[formula(each)] is not each)  # repeated compositions last
    return {each.entry_key for each in order[:count]}


def _cost(crystal: Crystal, grid: Iterable[int]) -> float:
    """Plane waves by bands squared by k-points, as far as a cell tells."""
    spins = 1 if start_moments(crystal.species) is None else 2
    return float(crystal.volume * crystal.n_sites**2 * np.prod(list(grid)) * spins)


def _deal(rows: list[dict[str, Any]], shards: int) -> list[dict[str, Any]]:
    """Give each structure its shard: the most expensive first, always to the shard with the least to do."""
    loads = [0.0] * shards
    for row in sorted(rows, key=lambda each: (-each["cost"], each["entry_key"], each["trial"])):
        row["shard"] = loads.index(min(loads))
        loads[row["shard"]] += row["cost"]
    return rows
