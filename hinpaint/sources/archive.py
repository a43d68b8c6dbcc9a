"""Bounded, path-safe reading of files from a folder, a tar, a zip or a single file; nothing is ever extracted.

A member that is refused still yields a record with its reason, so that every record found is accounted for.
"""

import hashlib
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from hinpaint.sources.records import MAX_RECORD_BYTES, RawRecord
from hinpaint.whynot import Reason, Stop

MAX_MEMBERS = 5_000_000
"""Members of one archive, of any kind; ten times the size of COD."""

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
_BREAKS = (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, lzma.LZMAError, zlib.error, NotImplementedError,
           RuntimeError, ValueError)  # fmt: skip
_DRIVE = re.compile(r"^[A-Za-z]:")


@dataclass(frozen=True)
class Member:
    """One file of a source: its name inside the source, and its bytes or why they were refused."""

    name: str
    content: bytes | None
    stop: Stop | None = None


def read_files(path: Path, suffix: str) -> Iterator[RawRecord]:
    """Read every file with a suffix as one record.

    Args:
        path: folder, ``.tar`` (plain or compressed), ``.zip`` or single file.
        suffix: lower-case suffix with its dot; compared without regard to case. Other members are ignored.

    Yields:
        The records in the order of the archive (a folder's in the order of their names). An archive that breaks off
        yields a last record, named after the archive, that says so.
    """
    n_found = 0
    try:
        for member in _members(path, suffix):
            n_found += 1
            yield _record(member)
    except _BREAKS as error:
        detail = f"{path.name} breaks off after {n_found} records: {' '.join(str(error).split())[:150]}"
        yield RawRecord(f"{path.name}-broken", path.name, None, "", Stop(Reason.UNREADABLE, detail))


def _members(path: Path, suffix: str) -> Iterator[Member]:
    name = path.name.lower()
    if path.is_dir():
        return _from_folder(path, suffix)
    if name.endswith(_TAR_SUFFIXES):
        return _from_tar(path, suffix)
    if name.endswith(".zip"):
        return _from_zip(path, suffix)
    return iter((_from_file(path, path.name),))


def _record(member: Member) -> RawRecord:
    source_id = PurePosixPath(member.name).name
    source_id = source_id[: source_id.rfind(".")] or source_id
    if member.content is None:
        return RawRecord(source_id, member.name, None, "", member.stop)
    sha256 = hashlib.sha256(member.content).hexdigest()
    return RawRecord(source_id, member.name, _decode(member.content), sha256, member.stop)


def _decode(content: bytes) -> str:
    """Decode UTF-8, else Latin-1, which every byte string is; old CIFs hold single Latin-1 letters in names."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def unsafe_name(name: str) -> str | None:
    """Say what is wrong with a member's name: absolute, climbing out, or holding control characters; None when safe."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        return "absolute path"
    if ".." in parts:
        return "path climbs out of the archive"
    if any(ord(character) < 32 for character in name):
        return "control character in the path"
    return None


def _bounded(name: str, handle: IO[bytes], declared: int) -> Member:
    """Read at most the bound, whatever size the header claims."""
    stop = Stop(Reason.TOO_LARGE_FILE, f"more than {MAX_RECORD_BYTES} bytes (declared {declared})")
    if declared > MAX_RECORD_BYTES:
        return Member(name, None, stop)
    content = handle.read(MAX_RECORD_BYTES + 1)
    return Member(name, None, stop) if len(content) > MAX_RECORD_BYTES else Member(name, content)


def _refused(name: str, detail: str) -> Member:
    return Member(name, None, Stop(Reason.UNSAFE_PATH, detail))


def _too_many(path: Path) -> Member:
    stop = Stop(Reason.TOO_LARGE_FILE, f"more than {MAX_MEMBERS} members; the rest is not read")
    return Member(f"{path.name}-limit.cif", None, stop)


def _from_file(path: Path, name: str) -> Member:
    with path.open("rb") as handle:
        return _bounded(name, handle, os.fstat(handle.fileno()).st_size)


def _from_folder(root: Path, suffix: str) -> Iterator[Member]:
    count = 0
    for folder, folders, files in os.walk(root, followlinks=False):
        folders.sort()
        for file_name in sorted(files):
            if not file_name.lower().endswith(suffix):
                continue
            count += 1
            if count > MAX_MEMBERS:
                yield _too_many(root)
                return
            path = Path(folder) / file_name
            name = path.relative_to(root).as_posix()
            if not stat.S_ISREG(path.lstat().st_mode):
                yield _refused(name, "link or special file")
                continue
            try:
                yield _from_file(path, name)
            except OSError as error:
                yield Member(name, None, Stop(Reason.UNREADABLE, f"cannot be opened: {error.strerror}"))


def _from_tar(path: Path, suffix: str) -> Iterator[Member]:
    with tarfile.open(path, mode="r|*") as archive:
        for count, info in enumerate(archive):
            if count >= MAX_MEMBERS:
                yield _too_many(path)
                return
            # A streamed TarFile remembers every member it has seen; COD has half a million.
            archive.members = []  # type: ignore[attr-defined]
            if info.isdir() or not info.name.lower().endswith(suffix):
                continue
            problem = unsafe_name(info.name) or (None if info.isreg() else "link or special file")
            if problem is not None:
                yield _refused(info.name, problem)
                continue
            handle = archive.extractfile(info)
            if handle is None:
                yield _refused(info.name, "no regular file")
            else:
                yield _bounded(info.name, handle, info.size)


def _from_zip(path: Path, suffix: str) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for count, info in enumerate(archive.infolist()):
            if count >= MAX_MEMBERS:
                yield _too_many(path)
                return
            if info.is_dir() or not info.filename.lower().endswith(suffix):
                continue
            mode = info.external_attr >> 16
            problem = unsafe_name(info.filename)
            if problem is None and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                problem = "link or special file"
            if problem is not None:
                yield _refused(info.filename, problem)
                continue
            yield _zip_member(archive, info)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    try:
        with archive.open(info) as handle:
            return _bounded(info.filename, handle, info.file_size)
    except _BREAKS as error:  # an encrypted or damaged member does not touch the others
        stop = Stop(Reason.UNREADABLE, f"damaged member: {' '.join(str(error).split())[:150]}")
        return Member(info.filename, None, stop)
