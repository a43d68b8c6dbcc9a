"""Records made to hurt: each costs one row and bounded time, and stays text."""

import gzip
import json
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import GOOD, add, ingest_path
from hypothesis import given, settings
from hypothesis import strategies as st

from hinpaint.evidence import weigh
from hinpaint.sources.aiida import read_nodes
from hinpaint.sources.archive import read_files
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.extxyz import parse_extxyz, read_frames
from hinpaint.sources.optimade import parse_optimade, read_lines
from hinpaint.sources.records import ParsedRecord, RawRecord
from hinpaint.sources.table import parse_entry, read_rows
from hinpaint.tables import ENTRIES
from hinpaint.whynot import Reason, Stop

HOSTILE_NAMES = ["'; DROP TABLE entries; --.cif", "<script>alert(1)<script>.cif", "a|b.cif",
                 "$(touch pwned).cif", "=1+1.cif",
                 "..cif", "%2e%2e.cif", "ü" * 60 + ".cif"]  # fmt: skip


READERS: dict[str, Callable[[Path], Iterator[RawRecord]]] = {
    ".tar": lambda path: read_files(path, ".cif"), ".zip": lambda path: read_files(path, ".cif"),
    ".jsonl": read_lines, ".xyz": read_frames, ".aiida": read_nodes, ".parquet": read_rows,
}  # fmt: skip


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One small honest file of each kind, to be damaged."""
    folder = tmp_path_factory.mktemp("honest")
    with tarfile.open(folder / "a.tar", "w") as tar_file:
        add(tar_file, "a.cif")
        add(tar_file, "d" * 200 + "/b.cif")
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as zip_file:
        zip_file.writestr("a.cif", GOOD)
    schema = pa.schema([ENTRIES.schema.field(name) for name in ("source_id", "lattice", "species", "frac")])
    rows = [{"source_id": str(i), "lattice": [1.0] * 9, "species": ["H"], "frac": [0.5] * 3} for i in range(3)]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "a.parquet")
    (folder / "a.xyz").write_text('2\nLattice="4 0 0 0 4 0 0 0 4" id=x\nO 0 0 0\nH 1 1 1\n' * 2)
    (folder / "a.jsonl").write_text('{"id": "a", "type": "structures", "attributes": {}}\n' * 2)
    files = {path.suffix: path.read_bytes() for path in folder.iterdir()}
    return files | {".aiida": (Path(__file__).parents[1] / "unit/small.aiida").read_bytes()}


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=300)
def test_damaged_files_never_raise(
    tmp_path_factory: pytest.TempPathFactory, honest: dict[str, bytes], data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(sorted(READERS)))
    content = bytearray(honest[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    path = tmp_path_factory.mktemp("damaged") / f"a{kind}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    for record in READERS[kind](path):
        assert (record.text is None) == (record.stop is not None)


@given(st.text('0123456789.+-eE \n\t="{}[]:HOMgDLatticePropertiesposspecies', max_size=80), st.integers(0, 90))
@settings(max_examples=300)
def test_odd_frames_never_raise(insert: str, position: int) -> None:
    frame = '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 id=x\nO 0 0 0\nH 1 1 1\n'
    record = parse_extxyz(frame[:position] + insert + frame[position:])
    if isinstance(record, ParsedRecord):
        weigh(record)


def test_an_endless_line_is_one_record(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl.gz"
    with gzip.open(path, "wb") as handle:
        for _ in range(24):
            handle.write(b"[" * 1024 * 1024)
        handle.write(b'\n{"id": "next", "type": "structures"}\n')
        handle.write(b"[" * 100_000 + b"\n")
    first, second, third = read_lines(path)
    assert first.stop is not None
    assert first.stop.reason is Reason.TOO_LARGE_FILE
    assert second.source_id == "next"
    assert third.stop is not None
    path.write_bytes(path.read_bytes()[:-12])
    assert list(read_lines(path))[-1].stop is not None


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in HOSTILE_NAMES:
        (folder / name).write_text(GOOD)
    found = ingest_path(folder, tmp_path / "out")
    assert len(found["entries"]) == len(HOSTILE_NAMES)
    assert {"'; DROP TABLE entries; --", "<script>alert(1)<script>"} <= {row["source_id"] for row in found["entries"]}
    assert all(row["entry_key"].count("|") == 2 for row in found["records"])
    assert not Path("pwned").exists()


def test_hostile_ids_in_json(tmp_path: Path) -> None:
    ids = ["a|b", "a\nb", "\x00", "\ud800", "x" * 5000, "", None, {"a": 1}, 7, True, "<b>"]
    path = tmp_path / "e.jsonl"
    lines = [json.dumps({"id": i, "type": "structures", "attributes": {"lattice_vectors": "no"}}) for i in ids]
    path.write_text("\n".join(lines))
    found = ingest_path(path, tmp_path / "out", "optimade")
    assert len(found["records"]) == len(ids)
    assert len({row["entry_key"] for row in found["records"]}) == len(ids)


def test_a_very_long_loop_takes_bounded_time() -> None:
    head = GOOD.partition("O1 ")[0]
    for row in ("O1 .1 .1 .1 2\n", "O1 0 0 0 0\n"):
        started = time.monotonic()
        record = parse_cif(head + row * 100_000)
        assert isinstance(record, Stop)
        assert record.reason is Reason.TOO_MANY_SITES
        assert time.monotonic() - started < 5


def test_sites_piled_on_one_point_take_bounded_time() -> None:
    started = time.monotonic()
    record = parse_cif(GOOD + "O1 .2 .2 .2 0\n" * 3_000)
    assert isinstance(record, ParsedRecord)
    evidence = weigh(record)
    assert evidence.conflict is not None
    assert evidence.conflict.reason in (Reason.OVERLAPPING_SITES, Reason.FORMULA_MISMATCH)
    assert time.monotonic() - started < 5


def test_many_operators_take_bounded_time() -> None:
    operators = "".join(f"x,y,z+{i}/12\n" for i in range(100_000))
    text = GOOD.replace("loop_\n", f"loop_\n_symmetry_equiv_pos_as_xyz\n{operators}loop_\n", 1)
    started = time.monotonic()
    record = parse_cif(text)
    assert isinstance(record, Stop)
    assert record.reason is Reason.UNKNOWN_SYMMETRY
    assert time.monotonic() - started < 5


@given(st.integers(0, len(GOOD)), st.text("01.?'\n;_loop xH()-e", max_size=6))
@settings(max_examples=300)
def test_cut_and_damaged_text_never_raises(position: int, insert: str) -> None:
    for text in (GOOD[:position], GOOD[:position] + insert + GOOD[position:], GOOD[:position] + insert):
        record = parse_cif(text)
        if isinstance(record, ParsedRecord):
            weigh(record)


@given(st.dictionaries(
    st.sampled_from(["lattice", "species", "frac", "formula_declared", "z", "space_group"]), json_values,
))  # fmt: skip
def test_odd_rows_never_raise(changes: dict[str, Any]) -> None:
    row = {"lattice": [4, 0, 0, 0, 4, 0, 0, 0, 4], "species": ["O"], "frac": [0, 0, 0], "formula_declared": "O H2"}
    record = parse_entry(json.dumps(row | changes))
    if isinstance(record, ParsedRecord):
        weigh(record)


@given(st.dictionaries(
    st.sampled_from(["lattice_vectors", "cartesian_site_positions", "species_at_sites", "species", "nsites"]),
    json_values,
))  # fmt: skip
def test_odd_json_never_raises(changes: dict[str, Any]) -> None:
    attributes = {"lattice_vectors": [[2, 0, 0], [0, 2, 0], [0, 0, 2]], "cartesian_site_positions": [[0, 0, 0]],
                  "species_at_sites": ["O"], "species": [{"name": "O", "chemical_symbols": ["O"], "concentration": [1.0]}]}  # fmt: skip  # noqa: E501
    record = parse_optimade(json.dumps({"attributes": {**attributes, **changes}}))
    if isinstance(record, ParsedRecord):
        weigh(record)
