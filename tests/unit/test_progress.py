import tarfile
import zipfile
from pathlib import Path

import pytest

from hinpaint import progress


def test_what_is_known_beforehand(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.cif").write_text("data_x")
    with tarfile.open(tmp_path / "a.tar", "w") as tar, zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in tmp_path.glob("*.cif"):
            tar.add(path, path.name)
            archive.write(path, path.name)
    (tmp_path / "broken.zip").write_bytes(b"PK")
    assert progress.expected(tmp_path / "a.zip") == (3, None)
    assert progress.expected(tmp_path / "a.tar") == (None, (tmp_path / "a.tar").stat().st_size)
    assert progress.expected(tmp_path / "broken.zip") == (None, None)
    (tmp_path / "b.tar.xz").touch()
    assert progress.expected(tmp_path / "b.tar.xz") == (None, None)
    assert progress.expected(tmp_path) == (7, None)


def test_a_line_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SAY_EVERY_S", 0.0)
    for number in range(256):
        (tmp_path / str(number)).touch()
    lines: list[str] = []
    counter = progress.Progress(tmp_path, 1, lines.append)
    for _ in range(256):
        counter.update(100, "5 entries")
    assert len(lines) == 4
    assert lines[0].startswith("64 records, 5 entries, ")
    assert ", 25%, about " in lines[0]
    assert "left" not in lines[-1]
