import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from hinpaint.config import Source
from hinpaint.sources import archive, read_source
from hinpaint.sources.archive import read_files
from hinpaint.whynot import Reason

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


@pytest.mark.parametrize("kind", ["folder", ".tar", ".tar.gz", ".tar.xz", ".tar.bz2", ".zip"])
def test_every_container_gives_the_same_records(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        path = make_folder(tmp_path / "export", FILES)
    elif kind == ".zip":
        path = make_zip(tmp_path / "export.zip", FILES)
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
    monkeypatch.setattr(archive, "MAX_MEMBERS", 2)
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


@pytest.mark.parametrize("kind", ["gz", "xz", "bz2"])
def test_a_cut_archive_says_so(tmp_path: Path, kind: str) -> None:
    content = bytes(hashlib.shake_256(b"noise").digest(200_000))
    path = make_tar(tmp_path / f"e.tar.{kind}", {"a.cif": b"data_a", "b.cif": content}, f"w:{kind}")
    path.write_bytes(path.read_bytes()[:-100_000])
    records = list(read_files(path, ".cif"))
    assert records[-1].stop is not None
    assert "breaks off" in records[-1].stop.detail


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
