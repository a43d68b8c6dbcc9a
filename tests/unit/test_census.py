import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from test_ingest import HEAD, make_config, outputs
from typer.testing import CliRunner

from hinpaint.census.classes import CLASSES, class_of
from hinpaint.census.counts import Counts, open_tables, stopped
from hinpaint.census.gauge import gauge
from hinpaint.census.run import Census, CensusError, guess_format, make_request, take_census
from hinpaint.cli import app
from hinpaint.stages import ingest
from hinpaint.store import read_table
from hinpaint.tables import ENTRIES, EVIDENCE, RECORDS, WHYNOT
from hinpaint.whynot import Reason

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Census, Path]:
    """A census of the examples and of a file with a hostile name, formula and detail."""
    source = tmp_path_factory.mktemp("in") / "cod"
    shutil.copytree(EXAMPLES / "cod", source)
    (source / "<script>alert('id')<img src=x onerror=alert(2)>.cif").write_text(HEAD.format(formula="Ca O H9"))
    (source / "{{ 7 * 7 }}.cif").write_text(HEAD.replace("O1 ", "<b>Qq</b> ").format(formula="Ca O H2"))
    out = source.parent / "out"
    return take_census(make_request(source), out), out


def rows(path: Path, table: Any) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "run_id"} for row in read_table(path, table).to_pylist()]


def test_tables_and_counts_are_those_of_the_ingest_stage(taken: tuple[Census, Path], tmp_path: Path) -> None:
    census, out = taken
    source = {"database": "cod", "version": "census", "licence": "not stated",
              "mode": ["reconstruct", "audit", "benchmark"]}  # fmt: skip
    stage = outputs(tmp_path)
    ingest.run(make_config(census.request.source.path, source=source), 0, stage)
    for name, table in (("records", RECORDS), ("entries", ENTRIES), ("evidence", EVIDENCE), ("whynot", WHYNOT)):
        assert rows(out / f"{name}.parquet", table) == rows(getattr(stage, name), table)
    counts = census.counts
    reasons = [row["reason"] for row in rows(stage.whynot, WHYNOT)]
    codes = [code for row in rows(stage.evidence, EVIDENCE) for code in row["codes"]]
    assert dict(counts.reasons) == {reason: reasons.count(reason) for reason in reasons}
    assert dict(counts.codes) == {code: codes.count(code) for code in codes}
    assert counts.n_records == len(rows(stage.records, RECORDS)) == sum(each.n for each in counts.classes.values())
    assert counts.n_entries == len(rows(stage.entries, ENTRIES)) == counts.n_records - len(reasons)
    entries = {row["entry_key"] for row in rows(stage.entries, ENTRIES)}
    missing = {row["entry_key"]: row["n_missing"] for row in rows(stage.evidence, EVIDENCE)}
    assert counts.n_missing_sites == sum(missing[key] for key in entries)


def test_only_the_promised_files_are_left(taken: tuple[Census, Path]) -> None:
    assert sorted(path.name for path in taken[1].iterdir()) == [
        "entries.parquet", "evidence.parquet", "index.html", "records.parquet", "whynot.parquet",
    ]  # fmt: skip


def test_classes_follow_mode_and_reason(taken: tuple[Census, Path]) -> None:
    census, out = taken
    modes = {row["source_id"]: row["mode"] for row in rows(out / "entries.parquet", ENTRIES)}
    of_class = {
        "missing_all": "reconstruct",
        "missing_some": "reconstruct",
        "calculated": "audit",
        "complete": "benchmark",
    }
    for name, mode in of_class.items():
        assert {modes[source_id] for source_id in census.counts.classes[name].examples} == {mode}
    assert sum(census.counts.classes[name].n for name in of_class) == census.counts.n_entries
    assert list(census.counts.classes) == [name for name in CLASSES if name in census.counts.classes]


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_class(reason: Reason) -> None:
    assert class_of(None, reason.value, all_missing=True) in CLASSES
    assert class_of(None, reason.value, all_missing=True) not in ("missing_all", "missing_some", "calculated")


def test_page_holds_every_class_reason_and_code(taken: tuple[Census, Path]) -> None:
    census, out = taken
    page = (out / "index.html").read_text()
    for name in census.counts.classes:
        assert CLASSES[name].title.replace("{element}", "hydrogen").lower() in page.lower()
    for name in (*census.counts.reasons, *census.counts.codes):
        assert f"<code>{name}</code>" in page
    assert f"<b>{census.counts.n_records}</b> records read" in page


def test_a_bounded_list_keeps_every_reason(taken: tuple[Census, Path]) -> None:
    reasons = taken[0].counts.reasons
    with open_tables(taken[1]) as connection:
        assert Counter(row["reason"] for row in stopped(connection, 1000)) == reasons
        assert {row["reason"] for row in stopped(connection, len(reasons))} == set(reasons)
        assert len(stopped(connection, len(reasons) + 1)) == len(reasons) + 1


def test_hostile_names_are_text(taken: tuple[Census, Path]) -> None:
    page = (taken[1] / "index.html").read_text()
    assert "&lt;script&gt;alert(&#39;id&#39;)&lt;img src=x onerror=alert(2)&gt;" in page
    assert "&lt;b&gt;Qq&lt;/b&gt;" in page
    assert "{{ 7 * 7 }}" in page
    assert len(re.findall("<script", page)) == 1
    assert not re.search("<img|<b>Qq", page)


def test_hostile_names_of_the_export_are_text(tmp_path: Path) -> None:
    source = tmp_path / "<script>alert(1)<"
    source.mkdir()
    (source / "1.cif").write_text(HEAD.format(formula="Ca O H2"))
    take_census(make_request(source), tmp_path / "out")
    page = (tmp_path / "out/index.html").read_text()
    assert "<title>Hydrogen census of &lt;script&gt;alert(1)&lt;</title>" in page
    assert page.count("<script") == 0  # nothing stops, so there is no list to search


def test_page_asks_nobody_for_anything(taken: tuple[Census, Path]) -> None:
    page = (taken[1] / "index.html").read_text()
    assert not re.search(r"""(src|href|action|data|poster)\s*=\s*["']?\s*(https?:|//)""", page, re.IGNORECASE)
    assert not re.search(r"@import|url\((?!#)|<link|<iframe|<object|fetch\(|XMLHttp", page)
    assert "default-src 'none'" in page


def test_ids_of_the_page_are_its_own(taken: tuple[Census, Path]) -> None:
    page = (taken[1] / "index.html").read_text()
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', page)) <= set(ids)
    assert page.count('<svg role="img" aria-label=') == page.count("<svg") == page.count("<figure>")


def test_equal_exports_give_equal_pages(taken: tuple[Census, Path], tmp_path: Path) -> None:
    census, out = taken
    take_census(census.request, tmp_path / "again")
    for path in out.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_json_says_what_was_counted(taken: tuple[Census, Path]) -> None:
    counts: Counts = taken[0].counts
    result = CliRunner().invoke(app, ["census", str(taken[0].request.source.path), "--json", "--workers", "1"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["records"] == counts.n_records
    assert found["classes"] == {name: each.n for name, each in counts.classes.items()}
    assert found["reasons"] == dict(counts.reasons)
    assert found["codes"] == dict(counts.codes)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cod.tar.xz", "cif"), ("COD.ZIP", "cif"), ("one.cif", "cif"), ("one.cif.gz", "cif"), ("a.tgz", "cif"),
        ("mc3d.v1.2.jsonl.gz", "optimade"), ("x.jsonl", "optimade"), ("md.extxyz", "extxyz"), ("md.xyz.zst", "extxyz"),
        ("entries.parquet", "entries"), ("mc3d.aiida", "aiida"),
    ],
)  # fmt: skip
def test_format_is_guessed_from_the_name(name: str, expected: str) -> None:
    assert guess_format(Path(name)) == expected


@pytest.mark.parametrize("name", ["export", "export.gz", "a.sql"])
def test_unknown_names_ask_for_the_format(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(CensusError, match="--format"):
        make_request(tmp_path / name)
    assert guess_format(tmp_path) == "cif"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--element", "Qq"], "Qq is no element"), (["--version", "a b"], "version"), (["--format", "aiida"], "folder")],
)
def test_wrong_wishes_are_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["census", str(tmp_path), *arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_export_without_records_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/readme.txt").write_text("nothing")
    with pytest.raises(CensusError, match="no record of format cif"):
        take_census(make_request(tmp_path / "in"), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_limit_and_element(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.cif").write_text(HEAD.format(formula="Ca2 O H7"))
    seen: list[int] = []
    census = take_census(make_request(tmp_path, element="Ca", limit=3), watch=seen.append)
    assert census.counts.n_records == 3
    assert seen[-1] == 3


def test_gauge_knows_how_much_there_is(tmp_path: Path) -> None:
    path = EXAMPLES / "mc3d/structures.jsonl"
    total, done = gauge(make_request(path).source)
    assert total == path.stat().st_size
    with path.open("rb") as handle:
        handle.seek(1000)
        assert done(1) == 1000
    assert done(1) == 0
    total, done = gauge(make_request(EXAMPLES / "cod").source)
    assert total == len(list((EXAMPLES / "cod").rglob("*.cif")))
    assert done(7) == 7
    assert gauge(make_request(path).source, limit=3)[0] == 3


def test_the_script_of_the_page_is_the_one_its_policy_allows(taken: tuple[Census, Path]) -> None:
    import base64
    import hashlib

    page = (taken[1] / "index.html").read_text()
    (allowed,) = re.findall(r"script-src 'sha256-([^']+)'", page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == allowed
