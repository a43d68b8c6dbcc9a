"""Two releases compared: which entries came, went, moved, or are described otherwise."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np

from hinpaint.catalog.build import MEMORY, name_sql, text_sql
from hinpaint.crystal import Crystal
from hinpaint.release.pairing import paired_distances
from hinpaint.release.versions import HOLDINGS_FILE, TOLERANCE_A, ReleaseError
from hinpaint.tables import HOLDINGS

ENERGY_EV = 1e-3
"""Energies of a cell that differ by no more are the same."""

# A new export of a database renames every key and file; that alone is no change of an entry.
_PASSED_OVER = {"entry_key", "database", "version", "source_id", "cif", "run_id", "schema_version"}
_COORDINATES = ("lattice", "species", "frac")
_NUMBERS = {"energy_ev": ENERGY_EV, "energy_h_only_ev": ENERGY_EV, "confidence": 1e-3, "max_move_a": 1e-3}
_BATCH = 1000

# Entries pair by key; those left over by database and id, where that says which.
_PAIRS = """
CREATE TEMP TABLE pairs AS
WITH same AS (SELECT entry_key AS old, entry_key AS new FROM before JOIN after USING (entry_key)),
left_before AS (
    SELECT *, count(*) OVER (PARTITION BY database, source_id) AS n FROM before ANTI JOIN after USING (entry_key)),
left_after AS (
    SELECT *, count(*) OVER (PARTITION BY database, source_id) AS n FROM after ANTI JOIN before USING (entry_key)),
again AS (
    SELECT b.entry_key AS old, a.entry_key AS new
    FROM left_before b JOIN left_after a USING (database, source_id) WHERE a.n = 1 AND b.n = 1)
SELECT * FROM same UNION ALL SELECT * FROM again
UNION ALL SELECT entry_key, NULL FROM left_before WHERE entry_key NOT IN (SELECT old FROM again)
UNION ALL SELECT NULL, entry_key FROM left_after WHERE entry_key NOT IN (SELECT new FROM again)
"""


@dataclass(frozen=True)
class EntryChange:
    """One entry that differs; the attributes are the columns of ``changes``."""

    entry_key: str
    previous_entry_key: str | None
    change: Literal["added", "removed", "coordinates", "metadata"]
    columns: tuple[str, ...]
    max_shift_a: float | None
    action_before: str | None
    action_after: str | None
    grade_before: str | None
    grade_after: str | None
    trial_before: int | None
    trial_after: int | None
    energy_before_ev: float | None
    energy_after_ev: float | None
    n_sites_before: int | None
    n_sites_after: int | None
    detail: str


def compare(before: Path, after: Path, tolerance_a: float = TOLERANCE_A) -> Iterator[EntryChange]:
    """Compare two releases, in bounded memory.

    Args:
        before: folder of a release.
        after: folder of another.
        tolerance_a: coordinates that differ by no more are the same, ångström.

    Yields:
        The entries that differ, in key order.

    Raises:
        ReleaseError: a folder is no release, or is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="hinpaint-diff-") as scratch, duckdb.connect() as connection:
        try:
            connection.execute(f"SET memory_limit = '{MEMORY}'")
            connection.execute(f"SET temp_directory = {text_sql(scratch)}")
            for name, folder in (("before", before), ("after", after)):
                connection.execute(f"CREATE VIEW {name} AS FROM {_parquet(folder, HOLDINGS_FILE)}")
            connection.execute(_PAIRS)
            connection.execute(_question(connection, after))
            names = [column[0] for column in connection.description or []]
            while rows := connection.fetchmany(_BATCH):
                for row in rows:
                    change = _change(dict(zip(names, row, strict=True)), tolerance_a)
                    if change is not None:
                        yield change
        except duckdb.Error as error:
            raise ReleaseError(f"cannot compare: {' '.join(str(error).split())[:300]}") from error


def _parquet(folder: Path, name: str) -> str:
    path = folder / name
    if not path.is_file():
        hint = "" if folder.is_dir() else "; there is no such folder"
        raise ReleaseError(f"{folder} is no release of this version of hinpaint: it has no {name}{hint}")
    return f"read_parquet({text_sql(str(path))})"


def _question(connection: duckdb.DuckDBPyConnection, after: Path) -> str:
    """SQL for pairs that may differ: columns of both releases side by side, and why an entry may have gone."""
    common = [
        {name for (name, *_) in connection.execute(f"DESCRIBE {each}").fetchall()} for each in ("before", "after")
    ]
    names = [n for n in HOLDINGS.schema.names if n in common[0] & common[1] and n not in _PASSED_OVER]
    sides = ", ".join(f"b.{name_sql(n)} AS {name_sql('before.' + n)}, a.{name_sql(n)} AS {name_sql('after.' + n)}"
                      for n in names)  # fmt: skip
    differs = " OR ".join(f"a.{name_sql(n)} IS DISTINCT FROM b.{name_sql(n)}" for n in names)
    whynot = _parquet(after, "tables/whynot.parquet")
    return f"""
        SELECT p.old, p.new, w.detail AS detail, {sides}
        FROM pairs p LEFT JOIN before b ON b.entry_key = p.old LEFT JOIN after a ON a.entry_key = p.new
        LEFT JOIN (
            SELECT split_part(entry_key, '|', 1) AS database, split_part(entry_key, '|', 3) AS source_id,
                min(concat_ws(': ', reason, nullif(detail, ''))) AS detail
            FROM {whynot} WHERE trial IS NULL GROUP BY ALL
        ) w ON p.new IS NULL AND w.database = b.database AND w.source_id = b.source_id
        WHERE p.old IS NULL OR p.new IS NULL OR {differs}
        ORDER BY coalesce(p.new, p.old)
        """  # noqa: S608 - names of ours


def _change(row: Mapping[str, Any], tolerance_a: float) -> EntryChange | None:
    old, new = row["old"], row["new"]
    names = [name.removeprefix("after.") for name in row if name.startswith("after.")]
    before = {name: row[f"before.{name}"] for name in names}
    after = {name: row[f"after.{name}"] for name in names}
    columns: list[str] = []
    shift: float | None = None
    if old is None or new is None:
        kind: Literal["added", "removed", "coordinates", "metadata"] = "added" if old is None else "removed"
        detail = "" if old is None else row["detail"] or "the source has it no more"
    else:
        columns = [n for n in names if n not in _COORDINATES and _differ(before[n], after[n], _NUMBERS.get(n, 0.0))]
        moved, shift = _moved(before, after, tolerance_a)
        kind, detail = ("coordinates" if moved else "metadata"), ""
        columns = [*moved, *columns]
        if not columns:
            return None
    values = {f"{name}_{when}": side.get(name) for name in ("action", "grade", "trial")
              for when, side in (("before", before), ("after", after))}  # fmt: skip
    return EntryChange(
        entry_key=new if new is not None else old, previous_entry_key=old, change=kind, columns=tuple(columns),
        max_shift_a=shift, energy_before_ev=before.get("energy_ev"), energy_after_ev=after.get("energy_ev"),
        n_sites_before=None if old is None else len(before["species"]),
        n_sites_after=None if new is None else len(after["species"]), detail=detail, **values,
    )  # fmt: skip


def _differ(one: Any, other: Any, tolerance: float) -> bool:
    if tolerance and one is not None and other is not None:
        return bool(abs(one - other) > tolerance)
    return bool(one != other)


def _moved(before: Mapping[str, Any], after: Mapping[str, Any], tolerance_a: float) -> tuple[list[str], float | None]:
    """Which of the coordinates' columns differ, and the largest displacement where sites pair."""
    one, other = (Crystal.build(side["lattice"], side["species"], side["frac"]) for side in (before, after))
    cell = ["lattice"] if np.abs(one.lattice - other.lattice).max() > tolerance_a else []
    if sorted(one.species) != sorted(other.species):
        return [*cell, "species", "frac"], None
    shifts = [paired_distances(other.lattice, one.frac[one.is_element(e)], other.frac[other.is_element(e)])
              for e in sorted(set(one.species))]  # fmt: skip
    largest = float(np.concatenate(shifts).max(initial=0.0))
    return cell + (["frac"] if largest > tolerance_a else []), largest
