"""What a release holds, and what changed, as lists for people: CSV made from the tables."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb

_ROWS = 1000
_HELD = (
    "entry_key", "database", "version", "source_id", "cif", "action", "grade", "confidence", "licence", "symmetry",
    "formula_source", "formula_released", "n_added", "n_removed", "n_moved", "max_move_a", "cell_unchanged",
)  # fmt: skip
_CHANGED = (
    "entry_key", "previous_entry_key", "change", "columns", "max_shift_a", "action_before", "action_after",
    "grade_before", "grade_after", "trial_before", "trial_after", "energy_before_ev", "energy_after_ev",
)  # fmt: skip
_REMOVED = ("entry_key", "action_before", "grade_before", "previous_release", "detail")


def write_lists(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Write ``holdings.csv``, ``changed.csv``, ``removed.csv`` and ``not_released.csv``.

    Args:
        connection: the ledger, complete.
        folder: the release.
    """

    def write(name: str, names: Sequence[str], rest: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(names)} FROM {rest} ORDER BY entry_key")  # noqa: S608 - names of ours
            _write(folder / name, names, cursor)

    write("holdings.csv", _HELD, "(SELECT * REPLACE (round(confidence, 3) AS confidence) FROM holdings)")
    write("changed.csv", _CHANGED, "changes WHERE change <> 'removed'")
    write("removed.csv", _REMOVED, "changes WHERE change = 'removed'")
    write("not_released.csv", ("entry_key", "reason", "detail"), "stopped")


def _write(path: Path, names: Sequence[str], cursor: duckdb.DuckDBPyConnection) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(names)
        while rows := cursor.fetchmany(_ROWS):
            writer.writerows(map(csv_row, rows))


def csv_row(values: Iterable[Any]) -> list[Any]:
    """Values of a row as CSV holds them: lists joined by a space, truth as ``true`` and ``false``."""
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else value
