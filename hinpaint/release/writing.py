"""Write the CIFs of a release from the source texts, a row group at a time, so that memory stays bounded."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from hinpaint.ids import file_name
from hinpaint.reduction import n_cells
from hinpaint.release import ledger
from hinpaint.release.entry import Changed, Released, release_entry
from hinpaint.release.holdings import holding
from hinpaint.release.optimade import header_line, info_line
from hinpaint.store import StoreError, read_batches
from hinpaint.tables import ALL_TABLES, SOURCE_TEXT
from hinpaint.whynot import Reason, Stop

_SAY_EVERY = 500
_LINES = 1000
_CHANGING = "action IN ('completed', 'replaced') AND entry_key NOT IN (SELECT entry_key FROM stopped)"
# Energy of the geometry that is released: the hydrogen-only level of the trial that was chosen.
_H_ONLY = """
CREATE OR REPLACE TABLE h_only AS SELECT entry_key, r.energy_ev
FROM run.relaxed r JOIN run.decisions d USING (entry_key, trial) WHERE r.level = 'h_only'
"""


def write_entries(
    connection: duckdb.DuckDBPyConnection, source_text: Sequence[Path], folder: Path, run_id: str,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """Write ``cif/`` and ``structures.jsonl``, and note in the ledger what became of every entry that changes.

    Args:
        connection: the ledger.
        source_text: ``source_text`` files of all ingest jobs.
        folder: the release.
        run_id: name of the run.
        say: takes progress lines.

    Raises:
        StoreError: a source text is absent or damaged, or the catalog contradicts itself.
    """
    (folder / "cif").mkdir()
    try:
        connection.execute(_H_ONLY)
        found = connection.execute(f"SELECT entry_key FROM run.decisions WHERE {_CHANGING}").fetchall()  # noqa: S608
    except duckdb.Error as error:
        raise StoreError(f"the catalog is not as expected ({' '.join(str(error).split())[:200]})") from error
    waiting = {key for (key,) in found}
    total, n_said = len(waiting), 0
    say(f"{total} entries to release")
    for path in source_text:
        for texts in read_batches(path, SOURCE_TEXT):
            chosen = texts.filter(pc.is_in(texts["entry_key"], value_set=pa.array(sorted(waiting), type=pa.string())))
            if len(chosen):
                _write_batch(connection, chosen, folder, run_id)
                waiting.difference_update(chosen["entry_key"].to_pylist())
            if total - len(waiting) >= n_said + _SAY_EVERY:
                n_said = total - len(waiting)
                say(f"{n_said} of {total} entries")
    ledger.stop(connection, {key: Stop(Reason.UNREADABLE, "its source text is absent") for key in sorted(waiting)})
    with (folder / "structures.jsonl").open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(f"{header_line()}\n{info_line()}\n")
        with connection.cursor() as cursor:
            cursor.execute("SELECT line FROM lines ORDER BY entry_key")
            while lines := cursor.fetchmany(_LINES):
                handle.writelines(line + "\n" for (line,) in lines)


def _write_batch(connection: duckdb.DuckDBPyConnection, texts: pa.Table, folder: Path, run_id: str) -> None:
    """Write the entries of one batch of source texts; the batch is what is held in memory."""
    keys = texts["entry_key"].combine_chunks()
    rows = {name: ledger.fetch(connection, ALL_TABLES[name], keys) for name in ("decisions", "entries", "tasks")}
    energies = _h_only_energies(connection, keys, rows["tasks"])
    holdings: list[dict[str, Any]] = []
    lines: dict[str, str] = {}
    stopped: dict[str, Stop] = {}
    own_version = version("hinpaint")
    for text in texts.to_pylist():
        key = text["entry_key"]
        if any(key not in found for found in rows.values()):
            raise StoreError(f"decision for {key}, but no such entry or task; aggregate again")
        decision, entry = rows["decisions"][key], rows["entries"][key]
        changed = Changed.from_rows(decision, entry, rows["tasks"][key], own_version, file_name(key))
        result = release_entry(changed, text["format"], text["text"])
        if isinstance(result, Released):
            (folder / "cif" / f"{changed.name}.cif").write_text(result.cif, encoding="utf-8", newline="\n")
            holdings.append(holding(changed, result, entry, decision, energies.get(key)))
            lines[key] = result.line
        else:
            stopped[key] = result
    ledger.keep(connection, holdings, lines, run_id)
    ledger.stop(connection, stopped)


def _h_only_energies(
    connection: duckdb.DuckDBPyConnection, keys: pa.Array, tasks: dict[str, dict[str, Any]]
) -> dict[str, float]:
    """Hydrogen-only energies in eV for the source's cell, which may hold several of the task's."""
    connection.register("wanted", pa.table([keys], names=["entry_key"]))
    query = "SELECT * FROM h_only WHERE energy_ev IS NOT NULL AND entry_key IN (SELECT entry_key FROM wanted)"
    found = connection.execute(query).fetchall()
    connection.unregister("wanted")
    return {key: energy * n_cells(tasks[key]["supercell"]) for key, energy in found if key in tasks}
