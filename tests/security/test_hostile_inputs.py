"""Files made to hurt: each costs one row, bounded time and bounded memory, and touches nothing."""

import gzip
import io
import json
import os
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hinpaint.config import parse_config
from hinpaint.evidence import weigh
from hinpaint.sources.archive import read_files, unsafe_name
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.optimade import parse_optimade, read_lines
from hinpaint.sources.records import MAX_RECORD_BYTES, ParsedRecord
from hinpaint.stages import ingest
from hinpaint.store import read_table
from hinpaint.tables import ENTRIES, RECORDS, WHYNOT
from hinpaint.whynot import Reason, Stop

GOOD = """data_x
_cell_length_a 6
_cell_length_b 6
_cell_length_c 6
_symmetry_space_group_name_H-M 'P -1'
_chemical_formula_sum 'Ca O H2'
_cell_formula_units_Z 2
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_attached_hydrogens
O1 .1 .1 .1(2) 2
Ca1 .3 .3 .3 0
"""
HOSTILE_NAMES = ["'; DROP TABLE entries; --.cif", "<script>alert(1)<script>.cif", "a|b.cif",
                 "$(touch pwned).cif", "=1+1.cif",
                 "..cif", "%2e%2e.cif", "ü" * 60 + ".cif"]  # fmt: skip


def ingest_path(path: Path, out: Path, kind: str = "cif") -> dict[str, list[dict[str, Any]]]:
    source = {"database": "d", "version": "1", "format": kind, "path": str(path), "licence": "x", "mode": "reconstruct"}
    names = ("records", "entries", "evidence", "source_text", "whynot", "runs")
    outputs = ingest.IngestOutputs(*(out / f"{name}.parquet" for name in names))
    ingest.run(parse_config({"run": "t", "sources": [source]}), 0, outputs)
    tables = {"records": RECORDS, "entries": ENTRIES, "whynot": WHYNOT}
    found = {name: read_table(getattr(outputs, name), table).to_pylist() for name, table in tables.items()}
    assert len(found["records"]) == len(found["entries"]) + len(found["whynot"])
    return found


def add(archive: tarfile.TarFile, name: str, content: bytes = GOOD.encode(), **fields: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(content) if info.isreg() else None)


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


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


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


@pytest.mark.parametrize(
    "name", ["/a.cif", "../a.cif", "a/../../b.cif", "C:\\a.cif", "\\\\host\\a.cif", "..\\a.cif", "a\n.cif"]
)
def test_unsafe_names(name: str) -> None:
    assert unsafe_name(name)


@pytest.mark.parametrize("name", ["a.cif", "cif/1/01/02/1010263.cif", "./a.cif", "..a.cif", "a..b/c.cif"])
def test_safe_names(name: str) -> None:
    assert unsafe_name(name) is None
