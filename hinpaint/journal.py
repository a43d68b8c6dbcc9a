"""What a job has finished, kept beside its outputs, so that a job that resumes does not repeat it.

A stopped job leaves no output; its finished rows lie in ``results/<run>/journal/<stage>/shard=0007/``, in Parquet files
of the stage's own table. The next job for the shard takes every row that it would compute again in the same way: same
settings, code and libraries (one fingerprint a file), same start (one digest a row). So raising ``trials`` computes
only the new ones, too. A journal may be deleted at any time; it then costs the work again and nothing else.
"""

import errno
import hashlib
import json
import time
import uuid
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from hinpaint.config import Config, stage_settings
from hinpaint.crystal import Crystal
from hinpaint.jobs import library_versions
from hinpaint.store import StoreError, read_provenance, read_table, write_table
from hinpaint.tables import Table
from hinpaint.whynot import Reason

Key = tuple[str | int, ...]
Row = dict[str, Any]

_FLUSH_S = 60.0
# How many trials there are, or how a program is started, does not decide what a row is.
_COUNTS = ("trials", "les.chance_trials", "verify.command", "verify.time_limit_s")
# These may be the machine's fault and pass on another one, or at the next try.
_MAY_PASS = {Reason.OUT_OF_MEMORY, Reason.NOT_FINITE, Reason.TIME_LIMIT, Reason.KILLED, Reason.CODE_FAILED}
_PACKAGE = Path(__file__).parent


def fingerprint(config: Config, stage: str, code: Iterable[str]) -> str:
    """Identity of everything but the start that decides a stage's rows.

    Args:
        config: the run's configuration; how many trials it asks for is left out.
        stage: name of the stage.
        code: files and folders of the package that compute the rows.

    Returns:
        SHA-256 in hexadecimal.
    """
    settings = json.loads(stage_settings(config, stage))
    deciding = {name: value for name, value in settings.items() if name not in _COUNTS}
    digest = hashlib.sha256(json.dumps([stage, deciding, library_versions()], sort_keys=True).encode())
    for name in code:
        path = _PACKAGE / name
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(source.read_bytes())
    return digest.hexdigest()


def digest_of(start: Crystal, *more: str | int) -> str:
    """SHA-256 of what one row is computed from: a structure, to the last bit, and what else decides."""
    digest = hashlib.sha256(json.dumps([start.species, more]).encode())
    for numbers in (start.lattice, start.frac, start.known):
        digest.update(numbers.tobytes())
    return digest.hexdigest()


class Journal:
    """Finished rows of one job. As a context manager it writes what it holds when the block ends, however it ends.

    Two processes may share a folder (a job that was given up but still runs, and its repeat): files are complete or
    absent, carry names of their own, and one that vanished is only work to do again.
    """

    def __init__(
        self, folder: Path | None, table: Table, identity: str, run_id: str, keep: Container[Reason] = (),
    ) -> None:  # fmt: skip
        """Read what is there; files of another identity and damaged ones are deleted.

        Args:
            folder: folder of the journal; None keeps nothing.
            table: the stage's table; its key names a row.
            identity: :func:`fingerprint` of the stage.
            run_id: name of the run.
            keep: failures to keep although another try may pass, as the stage says itself when one is worth it.
        """
        self._may_pass = {reason.value for reason in _MAY_PASS if reason not in keep}
        self._folder, self._table, self._identity, self._run_id = folder, table, identity, run_id
        self._kept: dict[Key, tuple[str, Row]] = {}
        self._unwritten: dict[Key, tuple[str, Row]] = {}
        self._files: list[Path] = []
        self._written_at = time.monotonic()
        for path in _files(folder):
            try:
                found = _read(path, table)
            except OSError:  # the disk or the network, not the file: it stays for the next job
                continue
            if found is None or found[0] != identity:
                path.unlink(missing_ok=True)
                continue
            self._files.append(path)
            digests = found[1]
            for row in found[2].to_pylist():
                key = self._key(row)
                if _text(key) in digests:
                    self._kept[key] = digests[_text(key)], row

    def __enter__(self) -> Self:
        return self

    @property
    def lasting(self) -> bool:
        """Whether it has a folder, so that what is kept outlives the job."""
        return self._folder is not None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.write()

    def take(self, digest: str, *key: str | int) -> Row | None:
        """Return the finished row with this key, if it was computed from the same start."""
        found = self._kept.get(key)
        return found[1] if found and found[0] == digest else None

    def add(self, digest: str, row: Row) -> None:
        """Keep a finished row, unless its failure may be the machine's; it reaches the disk with the next write."""
        if row["reason"] not in self._may_pass:
            self._unwritten[self._key(row)] = digest, row

    def write_if_due(self) -> None:
        """Write when the last time was a minute ago. Call it where the work may be cut."""
        if time.monotonic() - self._written_at >= _FLUSH_S:
            self.write()

    def write(self) -> None:
        """Write the new rows into a file of their own."""
        if self._folder is not None and self._unwritten:
            self._files.append(self._write(self._unwritten))
        self._kept |= self._unwritten
        self._unwritten = {}
        self._written_at = time.monotonic()

    def compact(self) -> None:
        """Put everything into one file; to be called when the job's output is written."""
        if self._folder is None or (len(self._files) == 1 and not self._unwritten):
            return
        self._kept |= self._unwritten
        self._unwritten = {}
        former = self._files
        self._files = [self._write(self._kept)] if self._kept else []
        for path in former:
            path.unlink(missing_ok=True)

    def _write(self, rows: Mapping[Key, tuple[str, Row]]) -> Path:
        assert self._folder is not None  # noqa: S101 - for the type checker
        digests = {_text(key): digest for key, (digest, _) in rows.items()}
        path = self._folder / f"{uuid.uuid4().hex}.parquet"
        footer = {"fingerprint": self._identity, "digests": digests}
        write_table(path, self._table, [row for _, row in rows.values()], self._run_id, footer)
        return path

    def _key(self, row: Row) -> Key:
        return _key(self._table, row)


def forget(folder: Path, table: Table, entry_key: str) -> int:
    """Drop the rows of one entry from a journal, so that the next job computes them again.

    Rows of other entries that were computed from the same start go, too: they would stand for the entry's.

    Args:
        folder: folder of the journal; it may be absent.
        table: the stage's table.
        entry_key: ``database|version|id``.

    Returns:
        Number of rows dropped.
    """
    read = [(path, found) for path in _files(folder) if (found := _read(path, table)) is not None]
    starts = {digest for _, (_, digests, _) in read for key, digest in digests.items() if entry_key in json.loads(key)}
    dropped = 0
    for path, (identity, digests, arrow) in read:
        rows = arrow.to_pylist()
        others = [row for row in rows if digests.get(_text(_key(table, row))) not in starts]
        if len(others) < len(rows):
            write_table(path, table, others, "", {"fingerprint": identity, "digests": digests})
            dropped += len(rows) - len(others)
    return dropped


def adopt(source: Path, folder: Path, table: Table, entry_keys: Container[str]) -> int:
    """Take rows of another job's journal over into this one, whatever run and shard made them.

    They are taken as they are: whether they are what this job would compute, its fingerprint and digests say.

    Args:
        source: folder of the other journal; it may be absent.
        folder: folder of the journal that takes them.
        table: the stage's table.
        entry_keys: entries of the job; other rows are left.

    Returns:
        Number of rows taken over.
    """
    taken = 0
    for path in _files(source):
        found = _read(path, table)
        if found is None:
            continue
        identity, digests, arrow = found
        rows = [row for row in arrow.to_pylist() if row["entry_key"] in entry_keys]
        if rows:
            footer = {"fingerprint": identity, "digests": digests}
            content = hashlib.sha256(json.dumps([identity, sorted(digests.items())]).encode()).hexdigest()[:32]
            write_table(folder / f"{content}.parquet", table, rows, "", footer)
            taken += len(rows)
    return taken


def _files(folder: Path | None) -> list[Path]:
    """Files of a journal, oldest first: of two rows with one key the later one stands."""
    found = []
    for path in folder.glob("*.parquet") if folder is not None else ():
        try:
            found.append((path.stat().st_mtime_ns, path))
        except FileNotFoundError:  # another process has just compacted the journal
            continue
    return [path for _, path in sorted(found)]


def _read(path: Path, table: Table) -> tuple[str, dict[str, str], pa.Table] | None:
    """Fingerprint, digests by key, and rows of one file; None when it is damaged, of another schema, or gone.

    Raises:
        OSError: it could not be read, for a reason that is not its own.
    """
    try:
        rows = read_table(path, table)
        footer = read_provenance(path)
        return footer["fingerprint"], dict(footer["digests"]), rows
    except (StoreError, pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        cause = error.__cause__ if isinstance(error, StoreError) else error
        if isinstance(cause, OSError) and cause.errno not in (None, errno.ENOENT):
            raise cause from error
        return None


def _key(table: Table, row: Row) -> Key:
    return tuple(row[name] for name in table.key)


def _text(key: Key) -> str:
    return json.dumps(key)
