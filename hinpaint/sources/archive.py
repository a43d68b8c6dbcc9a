"""Bounded, path-safe reading of files from a folder, a tar, a zip or a single file; nothing is ever extracted.

A member that is refused still yields a record with its reason, so that every record found is accounted for.
"""

import hashlib
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hinpaint.sources.raw import Choose, broken, one_line, take_all
from hinpaint.sources.records import MAX_RECORD_BYTES, RawRecord
from hinpaint.sources.streams import MAX_RECORDS, STREAM_ERRORS, check_ratio, open_bounded
from hinpaint.sources.tar import TarReader
from hinpaint.whynot import Reason, Stop

_PACKED_SUFFIXES = (".gz", ".xz", ".bz2", ".zst")
_TAR_SUFFIXES = (".tar", ".tgz", ".txz", ".tbz2", ".tzst", *(".tar" + suffix for suffix in _PACKED_SUFFIXES))
_BREAKS = (*STREAM_ERRORS, tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError, OverflowError)
_DRIVE = re.compile(r"^[A-Za-z]:")


@dataclass(frozen=True)
class Found:
    """One member of a source, not read yet.

    Attributes:
        name: path inside the source.
        size: bytes as its header declares them.
        problem: why it must not be opened, None when it may.
        read: reads at most so many bytes of it.
    """

    name: str
    size: int
    problem: str | None
    read: Callable[[int], bytes]


class DamagedMemberError(Exception):
    """One member cannot be read, which does not touch the others."""


def read_files(path: Path, suffix: str, choose: Choose = take_all) -> Iterator[RawRecord]:
    """Read every file with a suffix as one record.

    Args:
        path: folder, ``.tar`` (plain or compressed), ``.zip`` or single file (plain or compressed).
        suffix: lower-case suffix with its dot; compared without regard to case. Other members are ignored, but a member
            that is a compressed file or an archive of its own gives a record that says that it was not opened.
        choose: which records to read; the content of others is not touched.

    Yields:
        The records in the order of the archive (a folder's in the order of their names). An archive that breaks off
        yields a last record, named after the archive, that says so.
    """
    try:
        with closing(_members(path, suffix)) as members:
            for count, found in enumerate(members):
                if count >= MAX_RECORDS:
                    stop = Stop(Reason.TOO_LARGE_FILE, f"more than {MAX_RECORDS} members; the rest is not read")
                    yield RawRecord(f"{path.name}-limit", path.name, None, "", stop)
                    return
                record = _record(found, suffix, choose)
                if record is not None:
                    yield record
    except _BREAKS as error:
        yield broken(path, error)


def _members(path: Path, suffix: str) -> Generator[Found]:
    name = path.name.lower()
    if path.is_dir():
        return _from_folder(path)
    if name.endswith(_TAR_SUFFIXES):
        return _from_tar(path)
    if name.endswith(".zip"):
        return _from_zip(path)
    return _from_file(path, suffix)


def _record(found: Found, suffix: str, choose: Choose) -> RawRecord | None:
    name = found.name.lower()
    is_record = name.endswith(suffix)
    if not is_record and not name.endswith((".zip", *_PACKED_SUFFIXES, *_TAR_SUFFIXES)):
        return None
    # No pathlib for members: it interns every part of a path, and Python 3.12 never frees interned text.
    source_id = found.name.rstrip("/").rpartition("/")[2]
    source_id = source_id[: source_id.rfind(".")] or source_id
    chosen = choose(source_id)
    if chosen is False:
        return None
    content = _refusal(found, is_record) or (chosen if isinstance(chosen, Stop) else _content(found))
    if isinstance(content, Stop):
        return RawRecord(source_id, found.name, None, "", content)
    return RawRecord(source_id, found.name, decode(content), hashlib.sha256(content).hexdigest())


def _refusal(found: Found, is_record: bool) -> Stop | None:
    problem = unsafe_name(found.name) or found.problem
    if problem is not None:
        return Stop(Reason.UNSAFE_PATH, problem)
    if not is_record:
        return Stop(Reason.UNREADABLE, "a compressed file or archive within the source is not opened")
    return None


def _content(found: Found) -> bytes | Stop:
    """Read at most the bound, whatever size the header claims."""
    if found.size <= MAX_RECORD_BYTES:
        try:
            content = found.read(MAX_RECORD_BYTES + 1)
        except DamagedMemberError as error:
            return Stop(Reason.UNREADABLE, one_line(error))
        if len(content) <= MAX_RECORD_BYTES:
            return content
    return Stop(Reason.TOO_LARGE_FILE, f"more than {MAX_RECORD_BYTES} bytes (declared {found.size})")


def decode(content: bytes) -> str:
    """Decode UTF-8, else Latin-1, which every byte string is; old CIFs hold single Latin-1 letters in names."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def unsafe_name(name: str) -> str | None:
    """Say what is wrong with a member's name: absolute, climbing out, or holding control characters; None when safe."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        return "absolute path"
    if ".." in parts:
        return "path climbs out of the archive"
    if any(ord(character) < 32 for character in name):
        return "control character in the path"
    return None


def _read(path: Path | str, size: int) -> bytes:
    try:
        with open_bounded(path) as handle:
            return handle.read(size)
    except STREAM_ERRORS as error:
        raise DamagedMemberError(f"cannot be read: {one_line(error)}") from error


def _from_file(path: Path, suffix: str) -> Generator[Found]:
    name = path.stem if path.name.lower().endswith(_PACKED_SUFFIXES) else path.name
    yield Found(name if name.lower().endswith(suffix) else name + suffix, 0, None, partial(_read, path))


def _from_folder(root: Path) -> Generator[Found]:
    start = len(os.path.join(root, ""))  # noqa: PTH118 - as os.walk joins them
    unlisted: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=unlisted.append, followlinks=False):
        folders.sort()
        for file_name in sorted(files):
            path = os.path.join(folder, file_name)  # noqa: PTH118 - pathlib interns names, see above
            name = path[start:].replace(os.sep, "/")
            try:
                status = os.lstat(path)
                problem = None if stat.S_ISREG(status.st_mode) else "link or special file"
                yield Found(name, status.st_size, problem, partial(_read, path))
            except OSError:  # it is gone; reading it says so
                yield Found(name, 0, None, partial(_read, path))
    if unlisted:
        raise unlisted[0]


def _from_tar(path: Path) -> Generator[Found]:
    with TarReader(path) as archive:
        for info in archive:
            if info.isdir():
                continue
            problem = None if info.isreg() and not info.issparse() else "link, sparse or special file"
            yield Found(info.name, info.size, problem, archive.content(info))


def _from_zip(path: Path) -> Generator[Found]:
    with zipfile.ZipFile(path) as archive:
        unpacked, packed = 0, path.stat().st_size
        for info in archive.infolist():
            if info.is_dir():
                continue
            mode = stat.S_IFMT(info.external_attr >> 16)
            problem = None if mode in (0, stat.S_IFREG) else "link or special file"
            # Members may share their bytes, so that each is small and all together are not.
            unpacked += min(info.file_size, MAX_RECORD_BYTES)
            check_ratio(unpacked, packed)
            yield Found(info.filename, info.file_size, problem, partial(read_zip_member, archive, info))


def read_zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> bytes:
    """Read at most ``size`` bytes of one member.

    Raises:
        DamagedMemberError: it is damaged, encrypted, or packed by a method that cannot be unpacked in bounded memory.
    """
    # zipfile unpacks a whole block of the other methods at once, however large it becomes.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DamagedMemberError(f"compression method {info.compress_type} is not read")
    try:
        with archive.open(info) as handle:
            return handle.read(size)
    except _BREAKS as error:
        raise DamagedMemberError(f"damaged member: {one_line(error)}") from error
