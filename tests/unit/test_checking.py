"""Damage that a file's time and size do not show is found, and nothing else is."""

from pathlib import Path

import pytest

from hinpaint.checking import broken_files
from hinpaint.config import Config, parse_config
from hinpaint.store import write_table
from hinpaint.tables import RECORDS, WHYNOT


@pytest.fixture
def config(tmp_path: Path) -> Config:
    source = {
        "database": "c",
        "version": "1",
        "licence": "CC0-1.0",
        "format": "cif",
        "path": str(tmp_path),
        "mode": "audit",
    }
    return parse_config({"run": "r", "sources": [source], "shards": 2})


def written(results: Path, count: int = 400) -> Path:
    """A table of reasons, as ingest writes it, under its name."""
    rows = [
        {
            "entry_key": f"c|1|{i:07d}",
            "trial": None,
            "stage": "ingest",
            "reason": "unreadable",
            "detail": f"line {i * i}",
        }
        for i in range(count)
    ]
    path = results / "whynot/ingest-shard=0000.parquet"
    write_table(path, WHYNOT, rows, "r")
    return path


def test_sound_and_absent_files_are_not_broken(config: Config, tmp_path: Path) -> None:
    written(tmp_path)
    assert list(broken_files(config, tmp_path)) == []


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5])
def test_one_flipped_bit_in_the_data_is_found(config: Config, tmp_path: Path, place: float) -> None:
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)
    (found,) = broken_files(config, tmp_path)
    assert found.path == path
    assert "delete it and run again" in found.problem


def test_truncated_file_and_another_table_are_found(config: Config, tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    other = tmp_path / "records/shard=0000.parquet"
    other.parent.mkdir()
    other.write_bytes(written(tmp_path / "elsewhere").read_bytes())
    assert {found.path for found in broken_files(config, tmp_path)} == {path, other}
    assert RECORDS.name in next(iter(broken_files(config, tmp_path))).problem
