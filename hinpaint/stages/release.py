"""Stage release: the catalog's decisions -> CIFs, OPTIMADE, tables and a manifest, in one folder that appears whole."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb

from hinpaint.catalog.build import build_from_parquet
from hinpaint.config import Config
from hinpaint.jobs import Job, job
from hinpaint.pages.site import write_site
from hinpaint.release import dictionary
from hinpaint.release.citation import write_citation
from hinpaint.release.croissant import write_croissant
from hinpaint.release.diff import compare
from hinpaint.release.folder import whole_folder
from hinpaint.release.holdings import keep_unchanged
from hinpaint.release.ledger import STAGE, export, open_ledger, published, withhold
from hinpaint.release.lists import write_lists
from hinpaint.release.manifest import CATALOG, write_manifest
from hinpaint.release.optimade import server_config
from hinpaint.release.readme import Report, write_readme
from hinpaint.release.training import write_training
from hinpaint.release.versions import ReleaseError, advice, find_previous, version_of
from hinpaint.release.writing import write_entries
from hinpaint.store import open_table
from hinpaint.tables import ALL_TABLES, CHANGES, DECISIONS, ENTRIES, LES_VERIFIED, WHYNOT

# Source texts are the databases' own to publish; times and memory of jobs would make equal releases differ.
_LEFT_OUT = ("source_text", "runs")
# A release holds no table `runs`; the pages say once what computed its rows.
_VERSIONS = "SELECT DISTINCT versions FROM run.runs WHERE stage IN ('inpaint', 'relax') ORDER BY ALL"

_POTENTIAL_ERROR = (
    "SELECT code, potential, n_pairs, rms_error_mev_per_atom, trust_from_mev_per_atom, "
    "(SELECT max(margin_mev_per_atom) FROM run.les_verified) FROM run.verify_summary WHERE n_pairs > 0"
)


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
        ReleaseError: the changes since the release before ask for a higher version.
    """
    with job(STAGE, 0, config.run, runs) as current, whole_folder(release_dir) as place:
        folder = place.folder
        with open_ledger(catalog, place.scratch) as ledger:
            withhold(ledger, config)
            write_entries(ledger, source_text, folder, config.run, current.say)
            keep_unchanged(ledger)
            tables = _write_tables(ledger, folder)
            previous = config.release.previous or find_previous(release_dir.parent, config.release.version)
            changes, told = _compare(ledger, config, previous, folder, current)
            tables[CHANGES.name] = folder / "tables" / f"{CHANGES.name}.parquet"
            write_lists(ledger, folder)
            write_training(ledger, folder)
            report = _report(ledger, changes, previous, told)
            licences = ledger.execute("SELECT DISTINCT licence FROM holdings ORDER BY licence").fetchall()
            versions = ledger.execute(_VERSIONS).fetchall()
        build_from_parquet(folder / CATALOG, tables)
        current.say(f"{_write_pages(config, folder, versions)} pages")
        write_citation(config, folder)
        write_croissant(config, folder, [str(licence) for (licence,) in licences])
        (folder / dictionary.NAME).write_text(dictionary.dictionary_text(), encoding="utf-8", newline="\n")
        (folder / "optimade.json").write_text(server_config(), encoding="utf-8", newline="\n")
        (folder / "README.md").write_text(write_readme(config, report), encoding="utf-8")
        write_manifest(folder, config, _counts(report), previous)
        current.n_in = report.counts["released"] + report.counts["not_released"]
        current.n_out = report.counts["released"]
        current.say(f"{current.n_out} structures released, {report.counts['not_released']} not")


def _write_tables(ledger: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, Path]:
    paths = {name: folder / "tables" / f"{name}.parquet" for name in ALL_TABLES if name not in _LEFT_OUT}
    del paths[CHANGES.name]  # it is made by comparing the others
    for name, path in paths.items():
        export(ledger, ALL_TABLES[name], path)
    return paths


def _write_pages(config: Config, folder: Path, versions: Sequence[tuple[str, ...]]) -> int:
    """Write the pages from the release's own catalog: what was withheld from it must not show in them."""
    with duckdb.connect(str(folder / CATALOG), read_only=True) as catalog:
        told = [text for (text,) in versions]
        return write_site(catalog, folder / "pages", config.release.title, config.release.version, told)


def _compare(
    ledger: duckdb.DuckDBPyConnection, config: Config, previous: Path | None, folder: Path, current: Job
) -> tuple[Counter[str], str | None]:
    """Write what changed since the release before, and say (or refuse) when the version is too low for it."""
    path = folder / "tables" / f"{CHANGES.name}.parquet"
    since = version_of(previous) if previous else ""
    counted: Counter[str] = Counter()
    with open_table(path, CHANGES, config.run) as writer:
        for change in compare(previous, folder) if previous else ():
            counted[change.change] += 1
            writer.add({**asdict(change), "columns": list(change.columns), "previous_release": since})
    ledger.execute("INSERT INTO changes SELECT * FROM read_parquet(?)", [str(path)])
    if not since:
        return counted, None
    current.say(f"compared with {since}: {dict(counted) or 'no entry changed'}")
    told = advice(since, config.release.version, counted)
    if told and config.release.version_check == "refuse":
        raise ReleaseError(told)
    return counted, told


def _report(
    ledger: duckdb.DuckDBPyConnection, changes: Counter[str], previous: Path | None, told: str | None
) -> Report:
    def ask(query: str) -> list[tuple[Any, ...]]:
        return list(ledger.execute(query).fetchall())

    # what the release's own tables hold, so that text and tables say the same
    entries_of, decisions, whynot, verified = (
        f"({published(table)})" for table in (ENTRIES, DECISIONS, WHYNOT, LES_VERIFIED)
    )
    records, entries, released, stopped = ask(
        f"SELECT (SELECT count(*) FROM run.records), (SELECT count(*) FROM {entries_of}), "  # noqa: S608 - of ours
        "(SELECT count(*) FROM lines), (SELECT count(*) FROM stopped)"
    )[0]
    changed = f"FROM {decisions} WHERE action <> 'unchanged'"
    return Report(
        actions=ask(f"SELECT mode, action, count(*) FROM {decisions} GROUP BY ALL ORDER BY ALL"),  # noqa: S608 - of ours
        symmetry=ask("SELECT symmetry, count(*) FROM holdings WHERE symmetry IS NOT NULL GROUP BY ALL ORDER BY ALL"),
        whynot=ask(
            f"SELECT stage, reason, count(*) AS n FROM {whynot} WHERE trial IS NULL GROUP BY ALL "  # noqa: S608 - of ours
            "ORDER BY n DESC, stage, reason"
        ),
        les=ask("SELECT metric, k, rate, ci_low, ci_high, n_entries FROM run.les_summary ORDER BY metric, k"),
        licences=ask(
            "SELECT r.database, r.version, r.licence, count(*), count(l.entry_key) FROM run.records r "
            "LEFT JOIN lines l USING (entry_key) GROUP BY ALL ORDER BY ALL"
        ),
        not_released=ask(
            "SELECT reason, detail, count(*) AS n FROM stopped GROUP BY ALL ORDER BY n DESC, reason, detail LIMIT 20"
        ),
        grades=ask(f"SELECT grade, count(*) {changed} AND grade IS NOT NULL GROUP BY ALL ORDER BY ALL"),
        doubts=ask(
            f"SELECT doubt, count(*) AS n FROM (SELECT unnest(doubts) AS doubt {changed}) GROUP BY ALL "  # noqa: S608 - of ours
            "ORDER BY n DESC, doubt"
        ),
        changes=sorted(changes.items()),
        since=version_of(previous) if previous else None,
        advice=told,
        counts={"records": records, "entries": entries, "released": released, "not_released": stopped},
        verified=ask(f"SELECT kind, verdict, count(*) FROM {verified} GROUP BY ALL ORDER BY ALL"),  # noqa: S608 - of ours
        refuted=ask(
            f"SELECT mode, count(*) FROM {decisions} WHERE list_contains(doubts, 'dft_refuted') "  # noqa: S608 - of ours
            "GROUP BY ALL ORDER BY ALL"
        ),
        potential_error=next(iter(ask(_POTENTIAL_ERROR)), None),
    )


def _counts(report: Report) -> dict[str, Any]:
    return {
        **report.counts,
        "symmetry": dict(report.symmetry),
        "actions": {f"{mode} {action}": count for mode, action, count in report.actions},
        "changes": dict(report.changes),
    }
