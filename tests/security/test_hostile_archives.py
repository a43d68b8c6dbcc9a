"""Archives made to hurt: each costs one row, bounded time and bounded memory, and touches nothing."""

import bz2
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import GOOD, add, ingest_path

from hinpaint.sources import table
from hinpaint.sources.aiida import read_nodes
from hinpaint.sources.archive import read_files, unsafe_name
from hinpaint.sources.records import MAX_RECORD_BYTES
from hinpaint.sources.table import parse_entry, read_rows
from hinpaint.tables import ENTRIES
from hinpaint.whynot import Reason, Stop


def test_members_that_leave_the_archive_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "export.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "../evil1.cif")
        add(archive, "/evil2.cif")
        add(archive, "a/../../evil3.cif")
        add(archive, "evil4.cif", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "evil5.cif", b"", type=tarfile.LNKTYPE, linkname="good.cif")
        add(archive, "evil6.cif", b"", type=tarfile.FIFOTYPE)
        add(archive, "evil7.cif", b"", type=tarfile.CHRTYPE)
        add(archive, "good.cif")
    before = sorted(p.name for p in tmp_path.parent.iterdir())
    found = ingest_path(path, tmp_path / "out")
    assert {row["reason"] for row in found["whynot"]} == {"unsafe_path"}
    assert len(found["whynot"]) == 7
    assert [row["source_id"] for row in found["entries"]] == ["good"]
    assert sorted(p.name for p in tmp_path.parent.iterdir()) == before


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(GOOD)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "link.cif").symlink_to(secret)
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.cif")
    (folder / "good.cif").write_text(GOOD)
    records = {r.source_id: r for r in read_files(folder, ".cif")}
    assert set(records) == {"link", "pipe", "good"}
    for name in ("link", "pipe"):
        assert records[name].text is None
        assert records[name].stop is not None
        assert records[name].stop.reason is Reason.UNSAFE_PATH


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("bomb.cif", "w") as member:
            for _ in range(64):
                member.write(b"#" * 1024 * 1024)
        link = zipfile.ZipInfo("link.cif")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("../up.cif", GOOD)
        archive.writestr("good.cif", GOOD)
    assert path.stat().st_size < 200_000
    found = ingest_path(path, tmp_path / "out")
    reasons = {row["entry_key"]: row["reason"] for row in found["whynot"]}
    assert reasons == {"d|1|bomb": "too_large_file", "d|1|link": "unsafe_path", "d|1|up": "unsafe_path"}
    assert len(found["entries"]) == 1


def test_a_zip_that_lies_about_its_sizes_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "lie.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lie.cif", b"#" * (MAX_RECORD_BYTES * 2))
    size = (MAX_RECORD_BYTES * 2).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (100).to_bytes(4, "little")))
    (record,) = read_files(path, ".cif")
    assert record.text is None or len(record.text) <= 100


BOMB_BYTES = 256 * 1024**2


def tar_bomb() -> Iterator[bytes]:
    """A good record and one that goes on for ever."""
    good, endless = tarfile.TarInfo("good.cif"), tarfile.TarInfo("endless.cif")
    good.size, endless.size = len(GOOD), 2**40
    yield good.tobuf() + GOOD.encode().ljust(-(-len(GOOD) // 512) * 512, b"\0") + endless.tobuf()
    for _ in range(BOMB_BYTES // 2**20):
        yield bytes(2**20)


def write_packed(path: Path, pieces: Iterator[bytes]) -> Path:
    kind = path.suffix
    with path.open("wb") as handle:
        if kind == ".zst":
            with pa.CompressedOutputStream(handle, "zstd") as packed:
                for piece in pieces:
                    packed.write(piece)
            return path
        packer: Any = {".gz": lambda: zlib.compressobj(9, zlib.DEFLATED, 31), ".bz2": bz2.BZ2Compressor,
                       ".xz": lambda: lzma.LZMACompressor(preset=0)}[kind]()  # fmt: skip
        for piece in pieces:
            handle.write(packer.compress(piece))
        handle.write(packer.flush())
    return path


MEASURE = """
import resource, sys, time
from pathlib import Path
from hinpaint.sources.archive import read_files
from hinpaint.sources.optimade import read_lines
from hinpaint.sources.extxyz import read_frames
read = {"cif": lambda path: read_files(path, ".cif"), "optimade": read_lines, "extxyz": read_frames}[sys.argv[1]]
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
for number, record in enumerate(read(Path(sys.argv[2]))):
    if number < 5:
        print(record.source_id, record.stop.reason.value if record.stop else "read", sep="\t")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - started, sep="\t")
"""


def read_measured(kind: str, path: Path) -> tuple[list[tuple[str, str]], float, float]:
    """Read in a process of its own; gives the first ids with their reasons, MiB of growth, seconds of CPU."""
    run = subprocess.run(  # noqa: S603 - this interpreter, this text
        [sys.executable, "-c", MEASURE, kind, str(path)], capture_output=True, text=True, check=True
    )
    *rows, last = (line.split("\t") for line in run.stdout.splitlines())
    return [(row[0], row[1]) for row in rows], float(last[0]) / 1024, float(last[1])


@pytest.mark.parametrize("kind", [".gz", ".xz", ".bz2", ".zst"])
def test_a_compressed_bomb_is_one_row(tmp_path: Path, kind: str) -> None:
    path = write_packed(tmp_path / f"bomb.tar{kind}", tar_bomb())
    assert path.stat().st_size < BOMB_BYTES / 900
    found, memory_mib, seconds = read_measured("cif", path)
    assert found == [("good", "read"), ("endless", "too_large_file"), (f"{path.name}-broken", "too_large_file")]
    assert memory_mib < 100
    assert seconds < 20


@pytest.mark.parametrize(
    ("kind", "start", "rest"),
    [
        ("optimade", b'{"id": "a", "type": "structures"}\n', b"x"), ("optimade", b'{"id": "a"}\n', b"\n"),
        ("extxyz", b"1\nid=a\nH 0 0 0\n", b"\n"), ("extxyz", b"1\nid=a\nH 0 0 0\n10000000\n", b"x"),
        ("extxyz", b"1\nid=a\nH 0 0 0\n999999999999\n", b"\n"),
    ],
)  # fmt: skip
def test_bombs_of_lines_are_one_row(tmp_path: Path, kind: str, start: bytes, rest: bytes) -> None:
    path = write_packed(tmp_path / "bomb.gz", iter([start, *[rest * 2**20] * 150]))
    found, memory_mib, seconds = read_measured(kind, path)
    assert found == [("a", "read"), ("bomb.gz-broken", "too_large_file")]
    assert memory_mib < 100
    assert seconds < 10


def test_an_xz_dictionary_of_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.tar.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 512 * 1024 * 1024}]
    path.write_bytes(lzma.compress(bytes(20_480), filters=filters))
    (record,) = read_files(path, ".cif")
    assert record.stop is not None
    assert "Memory usage limit" in record.stop.detail


def header(name: str = "a.cif", kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def with_size(block: bytes, size: int) -> bytes:
    """Write a size in base 256, as GNU tar does for what eight digits cannot hold; it can be negative."""
    block = block[:124] + (size % 256**12).to_bytes(12, "big") + block[136:148] + b" " * 8 + block[156:]
    block = b"".join([block[:124], bytes([0xFF if size < 0 else 0x80]), block[125:]])
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


SPARSE_MAP = b"GNU.sparse.major=1\n", b"GNU.sparse.minor=0\n", b"GNU.sparse.realsize=9\n", b"GNU.sparse.name=s\n"


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return header("pax", kind, len(records)) + records.ljust(-(-len(records) // 512) * 512, b"\0")


def pax_record(text: bytes) -> bytes:
    length = len(text) + 1
    while len(str(length)) + len(text) + 1 != length:
        length += 1
    return b"%d %s" % (length, text)


@pytest.mark.parametrize(
    "content",
    [
        pax(pax_record(b"comment=" + b"x" * 2**21 + b"\n")),
        with_size(header("long", tarfile.GNUTYPE_LONGNAME), 2**40) + bytes(2**22),
        with_size(header("x", tarfile.XHDTYPE), 2**62) + bytes(2**22),
        pax(pax_record(b"comment=x\n")) * 5_000,
        pax(pax_record(b"comment=x\n"), tarfile.XGLTYPE) * 5_000,
        with_size(header("negative.hkl"), -512) + bytes(512),
        with_size(header("negative.hkl"), -1024) + header(),
        with_size(header("endless.hkl"), 2**70),
        pax(b"".join(pax_record(each) for each in SPARSE_MAP)) + header("s", size=9) + b"999999999\n" + b"1\n" * 2**21,
        pax(pax_record(b"size=999999999999999999999999\n")) + header("huge.hkl"),
        pax(pax_record(b"size=-512\n")) + header("back.hkl"),
        pax(b"99999999999999999999 comment=x\n") + header(),
    ],
    ids=["pax record", "long name", "endless pax", "chain of pax", "chain of global pax", "negative", "backwards",
         "endless", "sparse map", "pax size", "pax negative", "pax length"],
)  # fmt: skip
def test_tar_headers_that_lie_take_bounded_time_and_memory(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "e.tar"
    path.write_bytes(header("good.cif") + content + header("later.cif") + bytes(1024))
    tracemalloc.start()
    started = time.process_time()
    records = list(read_files(path, ".cif"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert records[0].source_id == "good"
    assert len(records) <= 3
    assert time.process_time() - started < 5
    assert peak < 32 * 2**20


def test_memory_does_not_grow_with_the_members(tmp_path: Path) -> None:
    """Neither names nor global headers are kept: 100,000 of each would be 20 MB and more."""
    path = tmp_path / "many.tar"
    with path.open("wb") as handle:
        for i in range(100_000):
            if i % 10 == 0:
                handle.write(pax(pax_record(b"comment%d=x\n" % i), tarfile.XGLTYPE))
            handle.write(header(f"{'d' * 40}{i}/{'n' * 40}{i}.cif"))
        handle.write(bytes(1024))
    found, memory_mib, _ = read_measured("cif", path)
    assert len(found) == 5
    assert memory_mib < 8


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_methods_that_unpack_without_bound_are_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "e.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.cif", bytes(100))
        archive.writestr("b.cif", GOOD, zipfile.ZIP_DEFLATED)
    first, second = read_files(path, ".cif")
    assert first.stop is not None
    assert "compression method" in first.stop.detail
    assert second.text == GOOD


def test_zip_members_that_share_their_bytes_are_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "e.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("00.cif", b"#" * (MAX_RECORD_BYTES - 1))
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    start = content.rindex(b"PK\x01\x02")
    entry, count = content[start:end], 60
    directory = b"".join(entry.replace(b"00.cif", b"%02d.cif" % i) for i in range(count))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)
    path.write_bytes(content[:start] + directory + tail)
    *_, last = read_files(path, ".cif")
    assert last.stop is not None
    assert last.stop.reason is Reason.TOO_LARGE_FILE


def test_an_aiida_database_that_unpacks_too_far_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "bomb.aiida"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", '{"export_version": "main_0001"}')
        with archive.open("db.sqlite3", "w") as member:
            for _ in range(200):
                member.write(bytes(2**20))
    (record,) = read_nodes(path)
    assert record.stop is not None
    assert record.stop.reason is Reason.TOO_LARGE_FILE


def test_a_row_group_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = pa.schema([ENTRIES.schema.field(name) for name in ("source_id", "lattice", "species", "frac")])
    rows = [{"source_id": "a", "lattice": [1.0] * 9, "species": ["H"] * 60_000, "frac": [0.5] * 180_000}]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "a.parquet", use_dictionary=False)
    (record,) = read_rows(tmp_path / "a.parquet")
    assert isinstance(parse_entry(record.text or ""), Stop)
    monkeypatch.setattr(table, "MAX_GROUP_BYTES", 1000)
    (record,) = read_rows(tmp_path / "a.parquet")
    assert record.stop is not None


@pytest.mark.parametrize(
    "name", ["/a.cif", "../a.cif", "a/../../b.cif", "C:\\a.cif", "\\\\host\\a.cif", "..\\a.cif", "a\n.cif"]
)
def test_unsafe_names(name: str) -> None:
    assert unsafe_name(name)


@pytest.mark.parametrize("name", ["a.cif", "cif/1/01/02/1010263.cif", "./a.cif", "..a.cif", "a..b/c.cif"])
def test_safe_names(name: str) -> None:
    assert unsafe_name(name) is None
