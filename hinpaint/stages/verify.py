"""Verification by DFT: the catalog's picks -> energies -> verdicts, which go into the catalog that is released."""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from hinpaint.catalog import build
from hinpaint.catalog.query import open_catalog
from hinpaint.config import Config
from hinpaint.crystal import Crystal
from hinpaint.ids import file_name
from hinpaint.jobs import Job, job
from hinpaint.journal import Journal, digest_of, fingerprint
from hinpaint.store import read_table, read_tables, write_table
from hinpaint.tables import LES_SUMMARY, LES_VERIFIED, RUNS, VERIFICATIONS, VERIFY_SUMMARY, VERIFY_TASKS, WHYNOT
from hinpaint.verification.backends import Backend, Energy, Installed, Request, load_backend
from hinpaint.verification.collecting import change_decisions, rates, summary_row, verified_rows
from hinpaint.verification.picks import pick, task_rows
from hinpaint.verification.settings import CHECK, FUNCTIONAL, MAIN, Settings, settings_of, start_moments
from hinpaint.whynot import Reason, Stop

STAGE = "verify"
# What computes an energy: rows that other code made are not taken from the journal.
_CODE = ("crystal.py", "verification/backends.py", "verification/espresso.py", "verification/gpaw_worker.py",
         "verification/settings.py")  # fmt: skip


def select(config: Config, catalog: Path, tasks: Sequence[Path], whynot: Path, runs: Path, work: Path) -> None:
    """Pick the entries to verify and spread their structures over shards.

    Args:
        config: the run's configuration, with a verification.
        catalog: the run's catalog as the potential has it; only read.
        tasks: where the shards' ``verify_tasks`` go.
        whynot: where picks go that the code cannot do.
        runs: Parquet for the job's row.
        work: folder in which the code may work.

    Raises:
        QueryError: the query fails.
        VerifyError: the DFT code does not answer.
    """
    with job("verify_select", 0, config.run, runs) as current:
        installed = load_backend(config.verify, 1).installed(work / "installed")
        current.say(f"{config.verify.code} {installed.version} knows {len(installed.elements)} elements")
        with open_catalog(catalog) as connection:
            picked = pick(config, connection, installed.elements)
        rows = task_rows(picked.picks, config.verify)
        for shard, path in enumerate(tasks):
            write_table(path, VERIFY_TASKS, [row for row in rows if row["shard"] == shard], config.run)
        reasons = [
            {"entry_key": key, "trial": trial, "stage": STAGE, "reason": stop.reason.value, "detail": stop.detail}
            for (key, trial), stop in picked.refused.items()
        ]
        write_table(whynot, WHYNOT, reasons, config.run)
        current.n_in, current.n_out = len(picked.picks) + len(reasons), len(picked.picks)
        current.say(f"{len(picked.picks)} entries picked, {len(reasons)} refused")


def run(
    config: Config, shard: int, tasks: Path, verifications: Path, runs: Path, work: Path, ranks: int = 1,
    journal: Path | None = None,
) -> None:  # fmt: skip
    """Compute the structures of one shard.

    Args:
        config: the run's configuration, with a verification.
        shard: number of the shard.
        tasks: ``verify_tasks`` of the shard.
        verifications: ``verifications`` to write.
        runs: Parquet for the job's row.
        work: folder in which the code works; inputs and outputs stay there for a person to look at.
        ranks: MPI ranks, for a command that asks for them.
        journal: folder for finished rows, shared by all shards: a structure may move to another one.

    Raises:
        StoreError: an input is absent or damaged.
        VerifyError: the DFT code does not answer.
    """
    with job(STAGE, shard, config.run, runs, resumable=journal is not None) as current:
        todo = [
            (row, name) for row in read_table(tasks, VERIFY_TASKS).to_pylist()
            for name in ((MAIN, CHECK) if row["check"] else (MAIN,))
        ]  # fmt: skip
        current.n_in = current.n_planned = len(todo)
        rows = []
        identity = fingerprint(config, STAGE, _CODE)
        with Journal(journal, VERIFICATIONS, identity, config.run, keep=(Reason.TIME_LIMIT,)) as kept:
            if todo:
                backend = load_backend(config.verify, ranks)
                rows = _compute(config, todo, backend, backend.installed(work / "installed"), kept, work, current)
            write_table(verifications, VERIFICATIONS, rows, config.run)
            kept.compact()
        current.n_out = len(rows)


def _compute(
    config: Config, todo: Sequence[tuple[Mapping[str, Any], str]], backend: Backend, installed: Installed,
    kept: Journal, work: Path, current: Job,
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows of ``verifications``: those the journal holds, and the others from the code, cheap ones first."""
    rows: list[dict[str, Any]] = []
    current.n_computed, current.compute_s = 0, 0.0
    for number, (task, name) in enumerate(sorted(todo, key=lambda each: (each[1] == CHECK, each[0]["cost"])), start=1):
        settings = settings_of(config.verify, name)
        sha256 = settings.digest(installed.version, installed.data)
        known = [site < len(task["species"]) - task["n_placed"] for site in range(len(task["species"]))]
        crystal = Crystal.build(task["lattice"], task["species"], task["frac"], known)
        kpoints = tuple(task["kpoints"] if name == MAIN else task["kpoints_check"])
        digest = digest_of(crystal, sha256, *kpoints)
        row = kept.take(digest, task["entry_key"], task["trial"], name)
        if row is None or _had_less_time(row, config.verify.time_limit_s):
            folder = work / file_name(task["entry_key"]) / f"{task['trial']}-{name}"
            shutil.rmtree(folder, ignore_errors=True)
            request = Request(crystal, kpoints, settings, folder, config.verify.time_limit_s)
            what = f"{number} of {len(todo)}: {task['entry_key']} {task['trial']} {name}"
            began = time.monotonic()
            found = backend.compute(request, _poll(current, what))
            seconds = time.monotonic() - began
            row = _row(task, name, settings, installed, kpoints, found, seconds) | {"settings_sha256": sha256}
            kept.add(digest, row)
            kept.write()  # one calculation may take hours
            current.n_computed, current.compute_s = current.n_computed + 1, current.compute_s + seconds
            end = found.reason.value if isinstance(found, Stop) else f"{found.energy_ev:.4f} eV"
            current.say(f"{what}: {end}, {seconds:.0f} s")
        else:
            current.n_reused += 1
        rows.append(row)
        current.n_kept = number
    return rows


def _had_less_time(row: Mapping[str, Any], time_limit_s: float) -> bool:
    return bool(row["reason"] == Reason.TIME_LIMIT.value and row["wall_s"] < 0.9 * time_limit_s)


def _poll(current: Job, what: str, every_s: float = 30.0) -> Any:
    """End the code when the job is asked to stop, and say now and then what it is at."""
    began = said = time.monotonic()

    def poll() -> None:
        nonlocal said
        current.stop_if_asked()
        if time.monotonic() - said >= every_s:
            said = time.monotonic()
            current.say(f"{what}: at work for {said - began:.0f} s")

    return poll


def _row(
    task: Mapping[str, Any], name: str, settings: Settings, installed: Installed, kpoints: Sequence[int],
    found: Energy | Stop, seconds: float,
) -> dict[str, Any]:  # fmt: skip
    row: dict[str, Any] = dict.fromkeys(VERIFICATIONS.schema.names) | {
        "entry_key": task["entry_key"], "trial": task["trial"], "settings": name, "code": settings.code,
        "code_version": installed.version, "functional": FUNCTIONAL, "cutoff_ev": settings.cutoff_ev,
        "kpoints": list(kpoints), "spin": start_moments(task["species"]) is not None, "relax": settings.relax,
        "wall_s": seconds,
    }  # fmt: skip
    if isinstance(found, Stop):
        return row | {"reason": found.reason.value, "detail": found.detail or None}
    names = ("energy_ev", "fmax_ev_per_a", "moment_mb", "n_steps", "n_attempts", "cutoff_ev", "wall_s", "cpu_s")
    structure = {"lattice": found.crystal.lattice.ravel().tolist(), "frac": found.crystal.frac.ravel().tolist()}
    return row | {each: getattr(found, each) for each in names} | structure


def collect(config: Config, before: Path, files: Mapping[str, Sequence[Path]], catalog: Path, runs: Path) -> None:
    """Put verdicts into the catalog that is released: a copy of the one that the potential decided.

    Args:
        config: the run's configuration, with a verification.
        before: the catalog as the potential has it.
        files: files of ``verify_tasks``, ``verifications``, ``whynot`` and ``runs`` of the verification's jobs.
        catalog: DuckDB file to write; replaced as a whole.
        runs: Parquet for the job's row.
    """
    with job("verify_collect", 0, config.run, runs) as current:
        tables = {table.name: read_tables(files[table.name], table) for table in (VERIFY_TASKS, VERIFICATIONS)}
        tasks, verifications = (tables[name].to_pylist() for name in ("verify_tasks", "verifications"))
        verified = verified_rows(tasks, verifications, config)
        potential = next((row["potential"] for row in tasks), None)
        summary = summary_row(verified, verifications, potential, config.verify.code or "")
        with tempfile.TemporaryDirectory(prefix=".catalog-", dir=catalog.parent) as folder:
            temporary = Path(folder) / "catalog.duckdb"
            shutil.copyfile(before, temporary)
            with duckdb.connect(str(temporary)) as connection:
                build.insert(connection, VERIFY_TASKS, tables["verify_tasks"])
                build.insert(connection, VERIFICATIONS, tables["verifications"])
                build.insert_rows(connection, LES_VERIFIED, verified, config.run)
                build.insert_rows(connection, VERIFY_SUMMARY, [summary], config.run)
                for table in (WHYNOT, RUNS):
                    build.insert_files(connection, table, files[table.name])
                build.insert_rows(connection, LES_SUMMARY, rates(connection, config.les.bootstrap), config.run)
                changed = change_decisions(connection)
            os.replace(temporary, catalog)
        current.n_in, current.n_out = len(verifications), len(verified)
        told = [f"{row['verdict']} {row['kind']}" for row in verified]
        counts = ", ".join(f"{told.count(each)} {each}" for each in sorted(set(told)))
        current.say(f"{counts or 'nothing verified'}; {changed} decisions changed")
