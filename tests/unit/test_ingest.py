from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hinpaint.config import Config, parse_config
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
        assert joined.equals(read_table(getattr(whole, name), table))


def test_running_again_gives_the_same_bytes(tmp_path: Path) -> None:
    config = make_config(write_source(tmp_path / "in"))
    first, second = outputs(tmp_path / "one"), outputs(tmp_path / "two")
    ingest.run(config, 0, first)
    ingest.run(config, 0, second)
    for name in ("records", "entries", "evidence", "source_text", "whynot"):
        assert getattr(first, name).read_bytes() == getattr(second, name).read_bytes()


def test_a_parser_that_breaks_costs_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ingest.parse_record

    def broken(kind: str, text: str) -> Any:
        if "H9" in text:
            raise MemoryError("no room")
        return real(kind, text)

    monkeypatch.setattr(ingest, "parse_record", broken)
    out = outputs(tmp_path / "out")
    ingest.run(make_config(write_source(tmp_path / "in")), 0, out)
    rows = {row["entry_key"]: row for row in read_table(out.whynot, WHYNOT).to_pylist()}
    assert rows["cod|1|6"]["detail"] == "MemoryError: no room"
    assert len(read_table(out.entries, ENTRIES)) == 2


def test_odd_ids_stay_apart() -> None:
    ids = ["a|b", "a_b", "a\nb", "", "x" * 300, "x" * 301, "\ud800", "1000000"]
    fitted = [ingest.fit_source_id(text) for text in ids]
    assert len(set(fitted)) == len(ids)
    assert fitted[-1] == "1000000"


@pytest.mark.skipif(not SLICE.exists(), reason="the development slice of COD is not here")
def test_development_slice(tmp_path: Path) -> None:
    out = outputs(tmp_path)
    ingest.run(make_config(SLICE), 0, out)
    entries = read_table(out.entries, ENTRIES)
    whynot = read_table(out.whynot, WHYNOT)
    assert len(entries) + len(whynot) == len(read_table(out.records, RECORDS)) == 1424
    modes = Counter(entries["mode"].to_pylist())
    assert modes["reconstruct"] >= 70
    assert modes["benchmark"] >= 250
    assert Counter(whynot["reason"].to_pylist())["unreadable"] <= 2
