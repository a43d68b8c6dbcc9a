"""A real browser on pages that lie on a disk; without one, tests skip, or fail if HINPAINT_NEEDS_BROWSER is set."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from made_catalog import HOSTILE, make_catalog
from playwright.sync_api import Browser, sync_playwright
from watched import Watched

from hinpaint.pages.site import write_site

# No GPU: what WebGL draws is drawn by the processor. Nothing leaves the machine.
_ARGUMENTS = (
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        if os.environ.get("HINPAINT_NEEDS_BROWSER"):
            pytest.fail("chromium is not installed; .ci/browser installs it")
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=executable, args=list(_ARGUMENTS))
        yield found
        found.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with a few entries, hostile ones among them."""
    return build_site(
        tmp_path_factory.mktemp("small"), [f"{i:07d}" for i in range(30)] + list(HOSTILE), ["900", "</script>"]
    )


@pytest.fixture(scope="session")
def large_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 50,000 entries; two of them are curated, as the pages of the others take a minute to write."""
    stopped = [f"{i:07d}" for i in range(10, 50_008)]
    return build_site(tmp_path_factory.mktemp("large"), ["0000001", "0000002"], stopped)


def build_site(folder: Path, curated: list[str], stopped: list[str]) -> Path:
    make_catalog(folder / "catalog.duckdb", curated, stopped)
    (folder / "cif").mkdir()
    (folder / "cif" / "made~1~0000001.cif").write_text("data_made\n")
    with closing(duckdb.connect(str(folder / "catalog.duckdb"), read_only=True)) as connection:
        write_site(connection, folder / "pages", "A <b>made</b> release", "1.0.0")
    return folder / "pages"


@pytest.fixture
def opened(browser: Browser, site: Path) -> Iterator[Watched]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    watched = Watched(page, site)
    yield watched
    assert page.evaluate("window.broken") is None
    page.close()
    assert watched.complaints == []
