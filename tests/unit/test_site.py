"""Pages without a browser: what is in the files. tests/browser opens them."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.dom import minidom

import duckdb
import numpy as np
import pytest
from made_catalog import HOSTILE, make_catalog
from sample_crystals import random_crystal
from small_release import filled

from hinpaint.catalog import build
from hinpaint.crystal import minimum_image_distances
from hinpaint.ids import file_name
from hinpaint.pages import gather, rows
from hinpaint.pages.entry import MAX_TRIALS, page_data, single_page
from hinpaint.pages.figures import NAMES, VERIFIED, caption, figures
from hinpaint.pages.gather import entry_pages
from hinpaint.pages.geometry import REACH_A, nearest_host
from hinpaint.pages.model import EntryPage, TrialView
from hinpaint.pages.plots import nothing, standalone
from hinpaint.pages.render import formula, script_data
from hinpaint.pages.site import write_site
from hinpaint.tables import ALL_TABLES

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "hinpaint/pages/vendor"
IDS = [f"{i:03d}" for i in range(8)]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "catalog.duckdb"
    make_catalog(path, [*IDS, *HOSTILE], ["900", "</script>"])
    return path


@contextmanager
def opened(catalog: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(str(catalog), read_only=True)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def site(catalog: Path) -> Path:
    with opened(catalog) as connection:
        assert write_site(connection, catalog.parent / "pages", "<i>Title</i>", "1.0.0") == len(IDS) + len(HOSTILE)
    return catalog.parent / "pages"


@pytest.fixture(scope="module")
def page(catalog: Path) -> EntryPage:
    with opened(catalog) as connection:
        return next(entry_pages(connection, ["made|1|003"]))


def data_of(text: str) -> Any:
    return json.loads(re.search('id="data">(.*)</script>', text)[1])  # type: ignore[index]


def test_bundles_are_those_that_were_built() -> None:
    files = json.loads((VENDOR / "vendor.json").read_text())["files"]
    assert {each["name"] for each in files} | {"vendor.json", "LICENCES.txt"} == {p.name for p in VENDOR.iterdir()}
    licences = (VENDOR / "LICENCES.txt").read_text()
    for each in files:
        assert hashlib.sha256((VENDOR / each["name"]).read_bytes()).hexdigest() == each["sha256"]
        for package in each["packages"]:
            assert f"{package['name']} {package['version']} ({package['licence']})" in licences


def test_bundles_hold_the_versions_that_are_asked_for() -> None:
    asked = json.loads((ROOT / "web/package.json").read_text())["dependencies"]
    files = json.loads((VENDOR / "vendor.json").read_text())["files"]
    held = {package["name"]: package["version"] for each in files for package in each["packages"]}
    assert {name: held[name] for name in asked} == asked


def test_equal_catalogs_give_equal_bytes_in_any_batches(
    catalog: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "_BATCH", 3)
    with opened(catalog) as connection:
        write_site(connection, tmp_path, "<i>Title</i>", "1.0.0")
    names = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(names) > len(IDS)
    assert names == sorted(path.relative_to(site) for path in site.rglob("*") if path.is_file())
    for name in names:
        assert (tmp_path / name).read_bytes() == (site / name).read_bytes()


def test_pages_ask_nobody_for_anything(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"""(src|href|action|data|poster)\s*=\s*["']?\s*(https?:|//)""", text, re.IGNORECASE)
        assert "default-src &#39;none&#39;" in text
        for link in re.findall(r'(?:src|href)="([^"#]+)"', text):
            assert (path.parent / link.replace("%25", "%")).resolve().is_file(), link


@pytest.mark.parametrize("source_id", HOSTILE)
def test_hostile_ids_stay_text(site: Path, source_id: str) -> None:
    text = (site / "entry" / f"{file_name(f'made|1|{source_id}')}.html").read_text(encoding="utf-8")
    assert text.count("<script") == 4  # three files and the data
    assert not re.search("<img|<b>bold|<script>window|<i>Title", text)
    assert data_of(text)["element"] == "H"


def test_pages_are_a_chain(site: Path) -> None:
    path, seen = site / "entry" / f"{file_name('made|1|000')}.html", []
    while path is not None:
        seen.append(path.name)
        text = path.read_text(encoding="utf-8")
        link = re.search(r'<a href="([^"]+)" rel="next"', text)
        path = path.parent / link[1].replace("%25", "%") if link else None  # type: ignore[assignment]
    first = [f"{file_name(f'made|1|{each}')}.html" for each in sorted([*IDS, *HOSTILE])]
    assert seen == first[first.index(seen[0]) :]


def test_rows_hold_every_record(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> dict[str, list[Any]]:
        with opened(catalog) as connection:
            text = rows.rows_script(connection)
        assert "\u2028" not in text
        assert "</script" not in text
        data = json.loads(text.removeprefix("window.hinpaintRows=").rstrip(";\n"))
        columns = {
            name: [column["values"][code] for code in column.get("codes", range(data["n"]))]
            for name, column in data["columns"].items()
        }
        assert list(columns) == data["names"]
        assert {len(values) for values in columns.values()} == {data["n"]}
        return columns

    columns = read()
    n_curated = len(IDS) + len(HOSTILE)
    assert sorted(columns["key"][:n_curated]) == sorted(f"made|1|{each}" for each in [*IDS, *HOSTILE])
    assert sorted(columns["key"][n_curated:]) == sorted(["made|1|900", "made|1|</script>"])
    assert columns["page"].count(None) == 2
    reason = columns["reason"]
    assert reason[:n_curated] == [None] * n_curated
    assert set(reason[n_curated:]) == {"no_candidate", "too_many_sites"}
    monkeypatch.setattr(rows, "MAX_ROWS", n_curated + 1)
    assert len(read()["key"]) == n_curated + 1


def test_a_trial_whose_placed_geometry_is_refused_is_no_passed_one(catalog: Path, tmp_path: Path) -> None:
    path = tmp_path / "catalog.duckdb"
    path.write_bytes(catalog.read_bytes())
    key = "made|1|003"
    with duckdb.connect(str(path)) as connection:
        refused = filled(ALL_TABLES["arrangements"], entry_key=key, trial=1, gate="two H too near")
        build.insert_rows(connection, ALL_TABLES["arrangements"], [refused], "t")
        connection.execute("UPDATE relaxed SET energy_ev = -99 WHERE entry_key = ? AND trial = 1", [key])
        (page,) = entry_pages(connection, [key])
    by_number = {each.trial: each for each in page.trials}
    assert (by_number[1].outcome, by_number[1].detail) == ("gated", "two H too near")
    assert by_number[0].energy_mev_per_atom == 0.0  # the candidate, not the refused one, is the ladder's zero


def test_page_of_an_entry(page: EntryPage) -> None:
    assert (page.key, page.action, page.grade, len(page.placed_frac)) == ("made|1|003", "completed", "accept", 2)
    assert [(t.trial, t.outcome) for t in page.trials] == [(0, "candidate"), (1, "passed"), (2, "passed")]
    energies = [t.energy_mev_per_atom for t in page.trials]
    assert energies == pytest.approx([0.0, 4.0, 8.0])  # 20 meV over 5 sites
    data = page_data(page, page.trials)
    offsets = np.array(data["placed"]).reshape(-1, 4)
    assert [data["species"][int(i)] for i in offsets[:, 0]] == ["O", "O"]
    lengths = np.linalg.norm(offsets[:, 1:] @ np.array(data["lattice"]).reshape(3, 3), axis=1)
    assert lengths == pytest.approx([1.0015, 1.0015], abs=1e-3)
    assert {fact.name: fact.value for fact in page.provenance}["Run and its seed"].endswith("7")


def test_single_page_holds_everything(page: EntryPage) -> None:
    text = single_page(page)
    assert not re.search(r"<link|<script src|\.\./", text.split("<main>")[1].split("<script>")[0])
    policy = re.search('Content-Security-Policy" content="([^"]+)"', text)[1].replace("&#39;", "'")  # type: ignore[index]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 3
    for script in scripts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_many_trials_are_bounded(page: EntryPage) -> None:
    many = tuple(TrialView(i, "passed", float(1000 - i), None, page.placed_frac) for i in range(1000))
    text = single_page(EntryPage(**{**page.__dict__, "trials": many}))
    trials = data_of(text)["trials"]
    assert len(trials) == MAX_TRIALS
    assert trials[0]["number"] == 999  # the lowest in energy
    assert f"{MAX_TRIALS} of 1000 trials" in text


def test_nearest_hosts_are_the_nearest() -> None:
    for seed in range(10):
        crystal = random_crystal(seed, n_host=6, n_unknown=20)
        host, frac = crystal.take(crystal.known), crystal.frac[~crystal.known] + [2, -3, 0]
        found = nearest_host(host, "H", frac)
        exact = minimum_image_distances(host.lattice, frac, host.frac).min(axis=1)
        length = np.linalg.norm(found.offset @ host.lattice, axis=1)
        near = exact < REACH_A
        assert length[near] == pytest.approx(exact[near])
        back = host.frac[found.index] + found.offset - frac
        assert np.abs(back - np.rint(back)).max() < 1e-9


def test_figures_are_those_of_the_report(catalog: Path) -> None:
    text = (ROOT / "rules/figures.smk").read_text()
    listed = re.search(r"^FIGURES = (\[.*\])$", text, re.MULTILINE)
    assert (*json.loads(listed[1]), VERIFIED) == NAMES  # type: ignore[index]
    assert {path.stem for path in (ROOT / "hinpaint/pages/captions").iterdir()} == set(NAMES)
    with opened(catalog) as connection:
        drawn = dict(figures(connection))
    assert set(NAMES) - set(drawn) <= {"chemistry", VERIFIED}  # the made catalog says nothing of these
    for name, plot in drawn.items():
        assert plot.note == caption(name)
        assert "<svg" in plot.svg
        for text in (standalone(plot), nothing()):
            assert minidom.parseString(text).documentElement.tagName == "svg"  # noqa: S318 - our own


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ca H2 O2", "CaH<sub>2</sub>O<sub>2</sub>"),
        ("Fe0.5 O1", "Fe<sub>0.5</sub>O"),
        ("<b>x</b>", "&lt;b&gt;x&lt;/b&gt;"),
        ("'C2 H6 O', 2(H2 O)", "&#39;C2 H6 O&#39;, 2(H2 O)"),
    ],
)
def test_formulae(text: str, expected: str) -> None:
    assert formula(text) == expected


def test_data_ends_no_script() -> None:
    text = script_data({"a": "</script><!--\u2028&"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--\u2028&"}
