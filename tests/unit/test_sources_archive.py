import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hinpaint.config import Source
from hinpaint.sources import archive, read_source
from hinpaint.sources.archive import read_files
from hinpaint.whynot import Reason, Stop

FILES = {
    "cif/1/00/1000001.cif": b"data_a\n",
    "cif/1/00/1000002.CIF": b"data_b\n",
    "README": b"no record",
    "x.hkl": b"no",
}


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w:") -> Path:
    with tarfile.open(path, mode) as handle:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            handle.addfile(info, io.BytesIO(content))
    return path


def pack(path: Path, content: bytes) -> Path:
    """Write zstd in two frames, as parallel compressors do."""
    with path.open("wb") as handle:
        for part in (content[: len(content) // 2], content[len(content) // 2 :]):
            with pa.BufferOutputStream() as buffer:
                with pa.CompressedOutputStream(buffer, "zstd") as packed:
                    packed.write(part)
                handle.write(buffer.getvalue())
    return path


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as handle:
        for name, content in files.items():
            handle.writestr(name, content)
    return path


def make_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["folder", ".tar", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst", ".zip"])
def test_every_container_gives_the_same_records(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        path = make_folder(tmp_path / "export", FILES)
    elif kind == ".zip":
        path = make_zip(tmp_path / "export.zip", FILES)
    elif kind == ".tar.zst":
        path = pack(tmp_path / "export.tar.zst", make_tar(tmp_path / "export.tar", FILES).read_bytes())
    else:
        path = make_tar(tmp_path / f"export{kind}", FILES, "w:" + kind.removeprefix(".tar").removeprefix("."))
    found = [(r.source_id, r.path, r.text, r.sha256, r.stop) for r in read_files(path, ".cif")]
    assert found == [
        ("1000001", "cif/1/00/1000001.cif", "data_a\n", hashlib.sha256(b"data_a\n").hexdigest(), None),
        ("1000002", "cif/1/00/1000002.CIF", "data_b\n", hashlib.sha256(b"data_b\n").hexdigest(), None),
    ]


def test_single_file_and_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "Grün.cif"
    path.write_bytes("data_é\n".encode("latin-1"))
    (record,) = read_files(path, ".cif")
    assert (record.source_id, record.text) == ("Grün", "data_é\n")
    packed = tmp_path / "one.cif.gz"
    packed.write_bytes(gzip.compress(b"data_one"))
    (record,) = read_files(packed, ".cif")
    assert (record.source_id, record.path, record.text) == ("one", "one.cif", "data_one")


def test_too_large_members_are_refused_and_the_next_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_RECORD_BYTES", 10)
    files = {"a.cif": b"x" * 11, "b.cif": b"y" * 10}
    for path in (
        make_tar(tmp_path / "e.tar", files),
        make_zip(tmp_path / "e.zip", files),
        make_folder(tmp_path / "e", files),
    ):
        first, second = read_files(path, ".cif")
        assert first.text is None
        assert first.stop is not None
        assert first.stop.reason is Reason.TOO_LARGE_FILE
        assert second.text == "y" * 10


def test_member_limit_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_RECORDS", 2)
    files = {f"{i}.cif": b"data_x" for i in range(5)}
    for path in (
        make_tar(tmp_path / "e.tar", files),
        make_zip(tmp_path / "e.zip", files),
        make_folder(tmp_path / "e", files),
    ):
        records = list(read_files(path, ".cif"))
        assert len(records) == 3
        assert records[-1].stop is not None
        assert records[-1].stop.reason is Reason.TOO_LARGE_FILE


@pytest.mark.parametrize("kind", ["", "gz", "xz", "bz2", "zst"])
@pytest.mark.parametrize("kept", [0.9, 0.5])
def test_a_cut_archive_says_so(tmp_path: Path, kind: str, kept: float) -> None:
    content = bytes(hashlib.shake_256(b"noise").digest(3_000_000))
    files = {"a.cif": b"data_a", "b.cif": content, "c.cif": b"data_c"}
    if kind == "zst":
        path = pack(tmp_path / "e.tar.zst", make_tar(tmp_path / "e.tar", files).read_bytes())
    else:
        path = make_tar(tmp_path / f"e.tar.{kind}".rstrip("."), files, f"w:{kind}")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    records = list(read_files(path, ".cif"))
    assert records[0].text == "data_a"
    assert records[-1].stop is not None
    assert "breaks off" in records[-1].stop.detail


def raw_tar(names: list[str]) -> bytes:
    return b"".join(tarfile.TarInfo(name).tobuf() for name in names)


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (raw_tar(["a.cif", "b.cif"]), ["a", "b", "e.tar-broken"]),
        (raw_tar(["a.cif"]) + b"x" * 512 + raw_tar(["b.cif"]) + bytes(1024), ["a", "e.tar-broken"]),
        (raw_tar(["a.cif"]) + bytes(1024) + raw_tar(["b.cif"]) + bytes(1024), ["a", "e.tar-broken"]),
        (raw_tar(["a.cif"]) + bytes(10240), ["a"]),
        (bytes(10240), []),
        (b"", ["e.tar-broken"]),
        (b"no tar", ["e.tar-broken"]),
    ],
    ids=["no end mark", "damaged header", "second archive", "padded", "empty archive", "empty file", "text"],
)
def test_an_archive_does_not_end_early_without_a_word(tmp_path: Path, content: bytes, ids: list[str]) -> None:
    path = tmp_path / "e.tar"
    path.write_bytes(content)
    assert [record.source_id for record in read_files(path, ".cif")] == ids


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_and_pax_headers(tmp_path: Path, form: int) -> None:
    name = f"{'d' * 150}/{'é' * 90}/{'x' * 120}.cif"
    with tarfile.open(tmp_path / "e.tar", "w", format=form, pax_headers={"comment": "global"}) as archive:
        info = tarfile.TarInfo(name)
        info.size, info.pax_headers = 6, {"comment": "x" * 10_000}
        archive.addfile(info, io.BytesIO(b"data_a"))
        archive.addfile(tarfile.TarInfo("b.cif"))
    first, second = read_files(tmp_path / "e.tar", ".cif")
    assert (first.source_id, first.path, first.text) == ("x" * 120, name, "data_a")
    assert second.text == ""


def test_duplicate_names_hard_links_and_sparse_members(tmp_path: Path) -> None:
    path = tmp_path / "e.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for content in (b"data_1", b"data_2"):
            info = tarfile.TarInfo("a/same.cif")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("hard.cif")
        link.type, link.linkname = tarfile.LNKTYPE, "a/same.cif"
        archive.addfile(link)
        sparse = tarfile.TarInfo("holes.cif")
        sparse.size = 3
        sparse.pax_headers = {"GNU.sparse.map": "0,3", "GNU.sparse.size": "1000000", "GNU.sparse.name": "holes.cif"}
        archive.addfile(sparse, io.BytesIO(b"abc"))
        archive.addfile(tarfile.TarInfo("last.cif"))
    records = list(read_files(path, ".cif"))
    assert [(r.source_id, r.text) for r in records] == [
        ("same", "data_1"), ("same", "data_2"), ("hard", None), ("holes", None), ("last", ""),
    ]  # fmt: skip
    assert {r.stop.reason for r in records if r.stop} == {Reason.UNSAFE_PATH}


def test_archives_within_archives_are_named_and_not_opened(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"deep.cif": b"data_deep"}).read_bytes()
    files = {
        "inner.zip": inner,
        "b.tar.xz": b"",
        "c.cif.gz": gzip.compress(b"data_c"),
        "d.cif": b"data_d",
        "e.hkl": b"",
    }
    for path in (
        make_tar(tmp_path / "e.tar", files),
        make_zip(tmp_path / "e.zip", files),
        make_folder(tmp_path / "e", files),
    ):
        found = {r.source_id: r.text for r in read_files(path, ".cif")}
        assert found == {"inner": None, "b.tar": None, "c.cif": None, "d": "data_d"}


def test_only_chosen_members_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{i}.cif": b"data_x" for i in range(6)}
    stop = Stop(Reason.NOTHING_MISSING, "by the index")
    opened: list[Any] = []
    content = archive._content
    monkeypatch.setattr(archive, "_content", lambda found: (opened.append(found.name), content(found))[1])
    choice: dict[str, bool | Stop] = {"1": True, "2": stop}
    for path in (
        make_tar(tmp_path / "e.tar", files),
        make_tar(tmp_path / "e.tar.gz", files, "w:gz"),
        make_zip(tmp_path / "e.zip", files),
        make_folder(tmp_path / "e", files),
    ):
        opened.clear()
        records = list(read_files(path, ".cif", lambda source_id: choice.get(source_id, False)))
        assert [(r.source_id, r.text, r.stop) for r in records] == [("1", "data_x", None), ("2", None, stop)]
        assert opened == ["1.cif"]


def optimade_line(source_id: str) -> str:
    return json.dumps({"id": source_id, "type": "structures", "attributes": {}})


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_optimade_lines(tmp_path: Path, suffix: str) -> None:
    lines = ['{"x-optimade": {}}', optimade_line("one"), "{not json", "[1]", '{"type": "structures"}', "",
             json.dumps({"type": "info", "id": "/"}), optimade_line("two")]  # fmt: skip
    content = "\n".join(lines).encode()
    path = tmp_path / f"export{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    source = Source(database="d", version="1", format="optimade", path=path, licence="x", mode=("benchmark",))
    records = list(read_source(source, 0))
    assert [r.source_id for r in records] == ["one", "line-3", "line-4", "line-5", "two"]
    assert [r.stop is None for r in records] == [True, False, False, False, True]


def test_partitions_share_the_records_out(tmp_path: Path) -> None:
    files = {f"{folder}/{i}.cif": b"data_x" for folder in "ab" for i in range(50)}
    path = make_folder(tmp_path / "e", files)
    source = Source(database="d", version="1", format="cif", path=path, licence="x", mode=("benchmark",), partitions=4)
    parts = [list(read_source(source, p)) for p in range(4)]
    assert sorted(r.path for part in parts for r in part) == sorted(files)
    assert all(parts)
    # Records with one id meet in one partition, or duplicates could not be recognised.
    ids = [{r.source_id for r in part} for part in parts]
    assert sum(len(group) for group in ids) == 50
