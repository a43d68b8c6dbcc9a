"""Stage release: the catalog's decisions -> CIFs, OPTIMADE, tables and a manifest, in one folder that appears whole."""

import csv
import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from hinpaint.config import Config
from hinpaint.ids import EntryKey
from hinpaint.jobs import Job, job
from hinpaint.release.entry import Changed, Released, release_entry
from hinpaint.release.manifest import write_manifest
from hinpaint.release.optimade import header_line
from hinpaint.release.readme import Report, write_readme
from hinpaint.store import StoreError, read_table, to_table, write_table
from hinpaint.tables import ALL_TABLES, SOURCE_TEXT, Table
from hinpaint.whynot import Reason, Stop

STAGE = "release"
# Source texts are the databases' own to publish; times and memory of jobs would make equal releases differ.
_LEFT_OUT = ("source_text", "runs")
_CHANGING = "WHERE entry_key IN (SELECT entry_key FROM decisions WHERE action IN ('completed', 'replaced'))"
_REASONS = """
SELECT stage, reason, count(*) AS n FROM whynot WHERE trial IS NULL GROUP BY ALL ORDER BY n DESC, stage, reason
"""
_MAX_NAME = 200
_SAY_EVERY = 500


@dataclass
class _Outcome:
    """What became of the entries that were to change."""

    lines: dict[str, str] = field(default_factory=dict)
    symmetry: Counter[str] = field(default_factory=Counter)
    stopped: dict[str, Stop] = field(default_factory=dict)


def run(config: Config, catalog: Path, source_text: Sequence[Path], release_dir: Path, runs: Path) -> None:
    """Write the release; equal inputs give equal bytes.

    Args:
        config: the run's configuration.
        catalog: DuckDB file with all tables; opened read-only.
        source_text: ``source_text`` files of all ingest jobs.
        release_dir: folder of this version; an existing one is replaced as a whole.
        runs: where the job's own row goes, outside the release.

    Raises:
        StoreError: the catalog or a source text is absent, damaged or lacks a table.
    """
    with job(STAGE, 0, config.run, runs) as current, _whole_folder(release_dir) as folder:
        with closing(_open(catalog)) as connection:
            changed = _changed(connection)
            current.n_in = len(changed)
            current.say(f"{len(changed)} entries to release")
            outcome = _write_entries(changed, source_text, folder, current)
            current.n_out = len(outcome.lines)
            _write_lists(outcome, folder)
            for table in ALL_TABLES.values():
                if table.name not in _LEFT_OUT:
                    path = folder / "tables" / f"{table.name}.parquet"
                    write_table(path, table, _published(connection, table, outcome.stopped, config.run), config.run)
            report = _report(connection, outcome)
        (folder / "README.md").write_text(write_readme(config, report), encoding="utf-8")
        counts: dict[str, Any] = {**report.counts, "symmetry": dict(outcome.symmetry)}
        counts["actions"] = {f"{mode} {action}": count for mode, action, count in report.actions}
        write_manifest(folder, config, counts)
        current.say(f"{len(outcome.lines)} structures released, {len(outcome.stopped)} not")


@contextmanager
def _whole_folder(final: Path) -> Iterator[Path]:
    """Give a folder beside the final one to write into; it takes the final name when everything went well."""
    final.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".tmp", dir=final.parent))
    new, old = working / "new", working / "old"
    new.mkdir()
    try:
        yield new
        if final.exists():
            # No system call replaces a full folder; between these two renames there is none, but never a mixed one.
            os.replace(final, old)
        try:
            os.replace(new, final)
        except OSError:
            if old.exists():
                os.replace(old, final)
            raise
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _open(catalog: Path) -> duckdb.DuckDBPyConnection:
    if not catalog.is_file():
        raise StoreError(f"{catalog} does not exist; run the stage that makes it")
    try:
        connection = duckdb.connect(str(catalog), read_only=True)
        connection.execute("SET enable_external_access = false")
    except duckdb.Error as error:
        raise StoreError(f"{catalog} cannot be opened: {' '.join(str(error).split())[:200]}") from error
    return connection


def _fetch(connection: duckdb.DuckDBPyConnection, table: Table, where: str = "") -> pa.Table:
    """Rows of a table in an order that depends on the rows alone: by key, then by everything else."""
    columns = [f'"{name}"' for name in (*table.key, *(n for n in table.schema.names if n not in table.key))]
    query = f'SELECT {", ".join(columns)} FROM "{table.name}" {where} ORDER BY ALL'  # noqa: S608 - names of ours
    try:
        found = connection.sql(query).to_arrow_table()
        return found.select(table.schema.names).cast(table.schema)
    except (duckdb.Error, pa.ArrowException, ValueError) as error:
        detail = " ".join(str(error).split())[:200]
        raise StoreError(f"the catalog's table {table.name} is not as expected ({detail}); aggregate again") from error


def _published(
    connection: duckdb.DuckDBPyConnection, table: Table, stopped: Mapping[str, Stop], run_id: str
) -> pa.Table:
    """Rows of a table as the release holds them.

    Entries whose file does not read back are only known here: they leave ``entries`` and ``decisions`` and get their
    row in ``whynot``, so that the release adds up too.
    """
    rows = _fetch(connection, table)
    if table.name in {"entries", "decisions"}:
        keys = pa.array(sorted(stopped), type=pa.string())
        return rows.filter(pc.invert(pc.is_in(rows["entry_key"], value_set=keys)))
    if table.name == "whynot" and stopped:
        reasons = [
            {"entry_key": key, "trial": None, "stage": STAGE, "reason": stop.reason.value, "detail": stop.detail}
            for key, stop in stopped.items()
        ]
        rows = pa.concat_tables([rows, to_table(table, reasons, run_id)])
        return rows.sort_by([(name, "ascending") for name in (*table.key, "stage", "reason", "detail")])
    return rows


def _changed(connection: duckdb.DuckDBPyConnection) -> dict[str, Changed]:
    """Entries that the release changes, by key, in key order."""
    tables = {
        name: {row["entry_key"]: row for row in _fetch(connection, ALL_TABLES[name], _CHANGING).to_pylist()}
        for name in ("decisions", "entries", "tasks")
    }
    own_version = version("hinpaint")
    found = {}
    for key, decision in tables["decisions"].items():
        if key not in tables["entries"] or key not in tables["tasks"]:
            raise StoreError(f"decision for {key}, but no such entry or task; aggregate again")
        entry, task = tables["entries"][key], tables["tasks"][key]
        found[key] = Changed.from_rows(decision, entry, task, own_version, _file_name(key))
    return found


def _file_name(key: str) -> str:
    """File-safe name of an entry; a name longer than file systems take ends in a hash instead."""
    name = EntryKey.parse(key).file_name
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[: _MAX_NAME - 17]}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _write_entries(changed: Mapping[str, Changed], source_text: Sequence[Path], folder: Path, current: Job) -> _Outcome:
    """Write the CIFs, one file of source texts after the other, so that memory holds one of them at a time."""
    outcome = _Outcome()
    (folder / "cif").mkdir()
    wanted = pa.array(sorted(changed), type=pa.string())
    n_done = 0
    for path in source_text:
        texts = read_table(path, SOURCE_TEXT)
        for row in texts.filter(pc.is_in(texts["entry_key"], value_set=wanted)).to_pylist():
            entry = changed[row["entry_key"]]
            result = release_entry(entry, row["format"], row["text"])
            if isinstance(result, Released):
                (folder / "cif" / f"{entry.name}.cif").write_text(result.cif, encoding="utf-8", newline="\n")
                outcome.lines[row["entry_key"]] = result.line
                outcome.symmetry[result.symmetry] += 1
            else:
                outcome.stopped[row["entry_key"]] = result
            n_done += 1
            if n_done % _SAY_EVERY == 0:
                current.say(f"{n_done} of {len(changed)} entries, {len(outcome.stopped)} not released")
    for key in changed.keys() - outcome.lines.keys() - outcome.stopped.keys():
        outcome.stopped[key] = Stop(Reason.UNREADABLE, "its source text is absent")
    return outcome


def _write_lists(outcome: _Outcome, folder: Path) -> None:
    with (folder / "structures.jsonl").open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(header_line() + "\n")
        handle.writelines(outcome.lines[key] + "\n" for key in sorted(outcome.lines))
    with (folder / "not_released.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("entry_key", "reason", "detail"))
        writer.writerows((key, stop.reason.value, stop.detail) for key, stop in sorted(outcome.stopped.items()))


def _report(connection: duckdb.DuckDBPyConnection, outcome: _Outcome) -> Report:
    def ask(query: str) -> list[tuple[Any, ...]]:
        return list(connection.execute(query).fetchall())

    totals = ask("SELECT (SELECT count(*) FROM records), (SELECT count(*) FROM entries)")[0]
    keys = [EntryKey.parse(key) for key in outcome.lines]
    released = Counter((key.database, key.version) for key in keys)
    licences = ask("SELECT database, version, licence, count(*) FROM records GROUP BY ALL ORDER BY ALL")
    return Report(
        actions=ask("SELECT mode, action, count(*) FROM decisions GROUP BY ALL ORDER BY ALL"),
        symmetry=sorted(outcome.symmetry.items()),
        whynot=ask(_REASONS),
        les=ask("SELECT metric, k, rate, ci_low, ci_high, n_entries FROM les_summary ORDER BY metric, k"),
        licences=[(*row, released[row[0], row[1]]) for row in licences],
        not_released=sorted(
            (*pair, n) for pair, n in Counter((s.reason.value, s.detail) for s in outcome.stopped.values()).items()
        ),
        counts={
            "records": int(totals[0]),
            "entries": int(totals[1]),
            "released": len(outcome.lines),
            "not_released": len(outcome.stopped),
        },
    )
