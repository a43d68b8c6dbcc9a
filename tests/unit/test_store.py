import contextlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hinpaint import store
from hinpaint.files import open_atomic, sha256_tree, write_atomic
from hinpaint.store import (
    StoreError,
    open_table,
    read_batches,
    read_provenance,
    read_table,
    read_tables,
    to_table,
    write_batches,
    write_table,
)
from hinpaint.tables import ALL_TABLES, WHYNOT


def row(key: str, trial: int | None = None) -> dict:
    return {"entry_key": key, "trial": trial, "stage": "plan", "reason": "over_limit", "detail": "x"}


def test_equal_rows_give_equal_bytes_in_any_order(tmp_path) -> None:
    write_table(tmp_path / "a", WHYNOT, [row("b"), row("a")], "run", {"x": 1})
    write_table(tmp_path / "b", WHYNOT, [row("a"), row("b")], "run", {"x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_provenance(tmp_path / "a") == {"x": 1}


@given(st.binary(min_size=1, max_size=1), st.integers(0, 10_000))
def test_altered_byte_never_gives_other_rows(tmp_path_factory, byte: bytes, position: int) -> None:
    path = tmp_path_factory.mktemp("t") / "x.parquet"
    written = write_table(path, WHYNOT, [row(f"key{i}") for i in range(40)], "run")
    blob = bytearray(path.read_bytes())
    blob[position % len(blob)] = byte[0]
    path.write_bytes(blob)
    with contextlib.suppress(StoreError):  # refused is fine; other rows are not
        assert read_table(path, WHYNOT).equals(written)


def test_a_footer_that_hides_rows_is_refused(tmp_path) -> None:
    path = tmp_path / "x.parquet"
    write_table(path, WHYNOT, [row(f"key{i}") for i in range(40)], "run")
    whole, found = path.read_bytes(), 0
    for position in range(len(whole) - 12, len(whole) // 3, -5):
        path.write_bytes(whole[:position] + b"\0" + whole[position + 1 :])
        with contextlib.suppress(StoreError):
            assert len(read_table(path, WHYNOT)) == 40
            found += 1
    assert found  # bytes of the footer that change no row


def test_rows_are_written_as_they_come(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_GROUP_ROWS", 4)
    monkeypatch.setattr(store, "_GROUP_WEIGHT", 200)
    keys = ["b", "a", "d", "c", "f", "x" * 300, "e"]
    for name in ("one", "two"):
        with open_table(tmp_path / name, WHYNOT, "run", {"x": 1}) as writer:
            for key in keys:
                writer.add(row(key))
            assert not (tmp_path / name).exists()
        assert writer.n_rows == len(keys)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert read_table(tmp_path / "one", WHYNOT)["entry_key"].to_pylist() == keys
    assert read_tables([tmp_path / "one"], WHYNOT)["entry_key"].to_pylist() == sorted(keys)
    assert read_provenance(tmp_path / "one") == {"x": 1}
    groups = pq.ParquetFile(tmp_path / "one").metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [4, 2, 1]


def test_a_table_that_is_not_finished_is_absent(tmp_path) -> None:
    with pytest.raises(StoreError, match="columns differ"), open_table(tmp_path / "t", WHYNOT, "run") as writer:
        writer.add({"entry_key": "a"})
    assert not list(tmp_path.iterdir())
    with open_table(tmp_path / "t", WHYNOT, "run"):
        pass
    assert read_table(tmp_path / "t", WHYNOT).num_rows == 0


def test_what_a_killed_writer_leaves_is_removed_and_a_living_one_is_not_hurt(tmp_path) -> None:
    path = tmp_path / "x"
    (tmp_path / ".x.dead.tmp").write_bytes(b"half")
    (tmp_path / ".other.dead.tmp").write_bytes(b"half")
    with open_atomic(path) as first:
        first.write(b"first")
        with open_atomic(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert sorted(p.name for p in tmp_path.iterdir()) == [".other.dead.tmp", "x"]


def test_wrong_rows_are_refused() -> None:
    with pytest.raises(StoreError, match="columns differ"):
        to_table(WHYNOT, [{"entry_key": "a"}], "run")
    with pytest.raises(StoreError, match="must not be empty"):
        to_table(WHYNOT, [{**row("a"), "reason": None}], "run")
    with pytest.raises(StoreError):
        to_table(WHYNOT, [{**row("a"), "trial": "zero"}], "run")


def test_missing_and_foreign_files_are_named(tmp_path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        read_table(tmp_path / "none", WHYNOT)
    write_table(tmp_path / "w", WHYNOT, [], "run")
    with pytest.raises(StoreError, match="not a tasks table"):
        read_table(tmp_path / "w", ALL_TABLES["tasks"])


def test_several_files_become_one_sorted_table(tmp_path) -> None:
    for name in "ba":
        write_table(tmp_path / name, WHYNOT, [row(f"{name}{i}") for i in range(2)], "run")
    table = read_tables([tmp_path / "b", tmp_path / "a"], WHYNOT)
    assert table["entry_key"].to_pylist() == ["a0", "a1", "b0", "b1"]
    assert read_tables([], WHYNOT).num_rows == 0


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "x"
    write_atomic(path, lambda handle: handle.write(b"old"))

    def broken(handle) -> None:
        handle.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomic(path, broken)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_every_column_is_described() -> None:
    for table in ALL_TABLES.values():
        assert set(table.key) <= {c.name for c in table.columns}
        assert all(c.description for c in table.columns)
        assert len({c.name for c in table.columns}) == len(table.columns)


def test_batches_of_any_size_give_equal_bytes_and_read_back(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("hinpaint.store._STREAM_ROWS", 4)
    rows = [{"entry_key": f"d|1|{i:02d}", "trial": None, "stage": "s", "reason": "r", "detail": ""} for i in range(11)]
    whole = to_table(WHYNOT, rows, "run")
    for size in (1, 3, 11):
        batches = whole.to_batches(max_chunksize=size)
        assert write_batches(tmp_path / f"{size}.parquet", WHYNOT, batches) == 11
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1
    groups = list(read_batches(tmp_path / "1.parquet", WHYNOT))
    assert [len(group) for group in groups] == [4, 4, 3]
    assert pa.concat_tables(groups).equals(whole)
    with pytest.raises(StoreError, match="not a tasks table"):
        list(read_batches(tmp_path / "1.parquet", ALL_TABLES["tasks"]))
    with pytest.raises(StoreError, match="does not exist"):
        list(read_batches(tmp_path / "absent.parquet", WHYNOT))
    damaged = bytearray((tmp_path / "1.parquet").read_bytes())
    damaged[60] ^= 255
    (tmp_path / "1.parquet").write_bytes(damaged)
    with pytest.raises(StoreError, match="damaged"):
        list(read_batches(tmp_path / "1.parquet", WHYNOT))


def test_sha256_of_a_folder_is_that_of_its_names_and_contents(tmp_path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/one").write_text("1")
    seen = {sha256_tree(tmp_path / "a"), sha256_tree(tmp_path / "a/b"), sha256_tree(tmp_path / "a/b/one")}
    (tmp_path / "a/b/one").rename(tmp_path / "a/b/two")
    seen.add(sha256_tree(tmp_path / "a"))
    (tmp_path / "a/b/two").write_text("2")
    seen.add(sha256_tree(tmp_path / "a"))
    assert len(seen) == 5
