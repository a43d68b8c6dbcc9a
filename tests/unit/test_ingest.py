import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hinpaint.config import Config, parse_config
from hinpaint.sources import parse_record, read_source
from hinpaint.sources.records import RawRecord
from hinpaint.stages import ingest, plan
from hinpaint.store import read_table, read_tables
from hinpaint.tables import ENTRIES, EVIDENCE, RECORDS, RUNS, SOURCE_TEXT, TASKS, WHYNOT

SLICE = Path(__file__).parents[2] / "../shared/data/cod/cod_slice.tar.xz"
HEAD = """data_x
_cell_length_a 6
_cell_length_b 6
_cell_length_c 6
_symmetry_space_group_name_H-M 'P 1'
_chemical_formula_sum '{formula}'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
O1 .1 .1 .1
Ca1 .5 .5 .5
"""


def write_source(folder: Path) -> Path:
    texts = {
        "a/1.cif": HEAD.format(formula="Ca O H2"),
        "a/2.cif": HEAD.format(formula="Ca O H") + "H1 .2 .2 .1\n",
        "b/1.cif": HEAD.format(formula="Ca O H3"),
        "b/3.cif": HEAD.format(formula="Ca O"),
        "b/4.cif": "data_x\nloop_\n",
        "b/5.cif": HEAD.format(formula="Ca O4 H2"),
        "b/6.cif": HEAD.format(formula="Ca O H9"),
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def make_config(path: Path, **more: Any) -> Config:
    source = {"database": "cod", "version": "1", "format": "cif", "path": str(path), "licence": "CC0-1.0",
              "mode": ["reconstruct", "benchmark"], **more.pop("source", {})}  # fmt: skip
    return parse_config({"run": "test", "sources": [source], **more})


def outputs(folder: Path, shard: int = 0) -> ingest.IngestOutputs:
    names = ("records", "entries", "evidence", "source_text", "whynot", "runs")
    return ingest.IngestOutputs(*(folder / name / f"shard={shard:04d}.parquet" for name in names))


def run_plan(config: Config, parts: list[ingest.IngestOutputs], folder: Path) -> list[Path]:
    tasks = [folder / f"tasks{i}.parquet" for i in range(config.shards)]
    plan.run(
        config,
        [p.entries for p in parts],
        [p.evidence for p in parts],
        tasks,
        folder / "w.parquet",
        folder / "r.parquet",
    )
    return tasks


def test_every_record_is_accounted_for(tmp_path: Path) -> None:
    config = make_config(write_source(tmp_path / "in"))
    out = outputs(tmp_path / "out")
    ingest.run(config, 0, out)
    records = read_table(out.records, RECORDS).to_pylist()
    entries = read_table(out.entries, ENTRIES).to_pylist()
    reasons = {row["entry_key"]: row["reason"] for row in read_table(out.whynot, WHYNOT).to_pylist()}
    assert {row["entry_key"]: row["mode"] for row in entries} == {
        "cod|1|1": "reconstruct", "cod|1|2": "benchmark", "cod|1|6": "reconstruct",
    }  # fmt: skip
    assert reasons == {
        "cod|1|1#2": "duplicate_id", "cod|1|3": "no_target_element", "cod|1|4": "unreadable",
        "cod|1|5": "formula_mismatch",
    }  # fmt: skip
    assert sorted(row["entry_key"] for row in records) == sorted([*reasons, *(row["entry_key"] for row in entries)])
    assert read_table(out.source_text, SOURCE_TEXT)["entry_key"].to_pylist() == [row["entry_key"] for row in entries]
    evidence = {row["entry_key"]: row for row in read_table(out.evidence, EVIDENCE).to_pylist()}
    assert set(evidence) == {"cod|1|1", "cod|1|2", "cod|1|3", "cod|1|5", "cod|1|6"}
    assert evidence["cod|1|1"]["n_missing"] == 2
    (job,) = read_table(out.runs, RUNS).to_pylist()
    assert (job["stage"], job["n_in"], job["n_out"]) == ("ingest", 7, 3)
    first = entries[0]
    assert (first["species"], first["z"], first["source_sha256"]) == (["O", "Ca"], 1.0, records[0]["source_sha256"])


def test_plan_gives_each_entry_one_fate(tmp_path: Path) -> None:
    config = make_config(write_source(tmp_path / "in"), shards=2, select={"max_sites": 10})
    out = outputs(tmp_path / "out")
    ingest.run(config, 0, out)
    tasks = read_tables(run_plan(config, [out], tmp_path), TASKS).to_pylist()
    assert {t["entry_key"]: (t["mode"], t["n_unknown"], t["host_species"]) for t in tasks} == {
        "cod|1|1": ("reconstruct", 2, ["O", "Ca"]), "cod|1|2": ("benchmark", 1, ["O", "Ca"]),
    }  # fmt: skip
    (stopped,) = read_table(tmp_path / "w.parquet", WHYNOT).to_pylist()
    assert (stopped["entry_key"], stopped["stage"], stopped["reason"]) == ("cod|1|6", "plan", "too_many_sites")


def test_partitions_change_nothing_but_the_file(tmp_path: Path) -> None:
    source = write_source(tmp_path / "in")
    whole = outputs(tmp_path / "whole")
    ingest.run(make_config(source), 0, whole)
    config = make_config(source, source={"partitions": 3}, shards=2)
    parts = [outputs(tmp_path / "parts", shard) for shard in range(3)]
    for shard, part in enumerate(parts):
        ingest.run(config, shard, part)
    for name, table in (("records", RECORDS), ("entries", ENTRIES), ("whynot", WHYNOT), ("evidence", EVIDENCE)):
        joined = read_tables([getattr(part, name) for part in parts], table)
        assert joined.equals(read_tables([getattr(whole, name)], table))


def test_running_again_gives_the_same_bytes(tmp_path: Path) -> None:
    config = make_config(write_source(tmp_path / "in"))
    first, second = outputs(tmp_path / "one"), outputs(tmp_path / "two")
    ingest.run(config, 0, first)
    ingest.run(config, 0, second, workers=3)
    for name in ("records", "entries", "evidence", "source_text", "whynot"):
        assert getattr(first, name).read_bytes() == getattr(second, name).read_bytes()


def broken_parse(source_format: str, text: str) -> Any:
    """Breaks in every way a parser can, on the records that ask for it."""
    if "H9" in text:
        raise MemoryError("no room")
    if "O4" in text:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "H3" in text or "'Ca O'" in text:
        time.sleep(60)
    return parse_record(source_format, text)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_parser_that_breaks_costs_one_row(tmp_path: Path, workers: int) -> None:
    config = make_config(write_source(tmp_path / "in"), source={"time_limit_s": 0.5})
    source, out = config.sources[0], outputs(tmp_path / "out")
    said: list[str] = []
    summary = ingest.ingest_records(
        read_source(source, 0), source, "H", out, workers, said.append, parse=broken_parse
    )  # fmt: skip
    rows = {row["entry_key"]: (row["reason"], row["detail"]) for row in read_table(out.whynot, WHYNOT).to_pylist()}
    assert rows["cod|1|6"] == ("unreadable", "MemoryError: no room")
    assert rows["cod|1|5"] == ("unreadable", "the parser crashed (signal 11)")
    assert rows["cod|1|3"] == ("time_limit", "more than 0.5 s")
    assert {row["entry_key"] for row in read_table(out.entries, ENTRIES).to_pylist()} == {"cod|1|1", "cod|1|2"}
    assert (summary.n_records, summary.n_entries, summary.reasons.total()) == (7, 2, 5)
    assert summary.codes["missing_all"] == 1


def test_repeated_ids_are_numbered(tmp_path: Path) -> None:
    config = make_config(write_source(tmp_path / "in"))
    source, out = config.sources[0], outputs(tmp_path / "out")
    ids = ["a", "a#2", "a", "a", "b", "a#2"]
    records = (RawRecord(each, f"{number}.cif", "data_x", "") for number, each in enumerate(ids))
    ingest.ingest_records(records, source, "H", out, 1, print)
    found = read_table(out.records, RECORDS)["source_id"].to_pylist()
    assert found == ["a", "a#2", "a#3", "a#4", "b", "a#2#2"]
    reasons = [row["reason"] for row in read_table(out.whynot, WHYNOT).to_pylist()]
    assert Counter(reasons)["duplicate_id"] == 3


def test_a_source_that_breaks_off_leaves_no_tables(tmp_path: Path) -> None:
    source, out = make_config(write_source(tmp_path / "in")).sources[0], outputs(tmp_path / "out")

    def records() -> Iterator[RawRecord]:
        yield from read_source(source, 0)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        ingest.ingest_records(records(), source, "H", out, 1, print)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_odd_ids_stay_apart() -> None:
    ids = ["a|b", "a_b", "a\nb", "", "x" * 300, "x" * 301, "\ud800", "1000000"]
    fitted = [ingest.fit_source_id(text) for text in ids]
    assert len(set(fitted)) == len(ids)
    assert fitted[-1] == "1000000"


@pytest.mark.skipif(not SLICE.exists(), reason="the development slice of COD is not here")
def test_development_slice(tmp_path: Path) -> None:
    out = outputs(tmp_path)
    ingest.run(make_config(SLICE), 0, out, workers=2)
    entries = read_table(out.entries, ENTRIES)
    whynot = read_table(out.whynot, WHYNOT)
    assert len(entries) + len(whynot) == len(read_table(out.records, RECORDS)) == 1424
    modes = Counter(entries["mode"].to_pylist())
    assert modes["reconstruct"] >= 70
    assert modes["benchmark"] >= 250
    assert Counter(whynot["reason"].to_pylist())["unreadable"] <= 2
