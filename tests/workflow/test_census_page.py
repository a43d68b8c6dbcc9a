"""`hinpaint census` as a user runs it: its own process, stopped half-way, on real data where they are at hand."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLICE = ROOT / "../shared/data/cod/cod_slice.tar.xz"
COMMAND = [sys.executable, "-c", "from hinpaint.cli import app; app()", "census"]


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    words = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603


def test_interrupted_census_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    files = sorted((ROOT / "examples/cod").rglob("*.cif"))
    for number in range(10_000):
        os.link(files[number % len(files)], source / f"{number}.cif")
    process = start(source, "--out", tmp_path / "out", "--workers", "1")
    assert process.stderr is not None
    while not list((tmp_path / "out").glob(".census-*/.entries*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "hinpaint: stopped; nothing was written"
    assert "Traceback" not in stderr
    assert not list((tmp_path / "out").iterdir())


def test_a_census_loads_no_model_library(tmp_path: Path) -> None:
    check = (
        "import sys; from hinpaint.cli import app\ntry: app()\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'pymatgen', 'ase', 'mattergen') if name in sys.modules])"
    )
    path = ROOT / "examples/mc3d/structures.jsonl"
    words = [sys.executable, "-c", check, "census", str(path), "--json", "--out", str(tmp_path)]
    answer = subprocess.run(words, capture_output=True, text=True, check=True).stdout  # noqa: S603
    counts, loaded = answer.rsplit("}\n", 1)
    assert loaded == "[]\n"
    assert json.loads(counts + "}")["records"] == len(path.read_text().splitlines()) - 1
    assert (tmp_path / "index.html").stat().st_size > 10_000


@pytest.mark.skipif(not SLICE.exists() or shutil.which("chromium") is None, reason="needs the COD slice and a browser")
@pytest.mark.slow
def test_page_of_real_data_fits_a_phone_and_can_be_searched(tmp_path: Path) -> None:
    stdout, stderr = start(SLICE, "--out", tmp_path).communicate()
    assert "1,424 records" in stdout, stderr
    page = tmp_path / "index.html"
    # The policy of the page forbids other scripts than its own; a copy without it carries the probe.
    probe = (
        "<script>{const field = document.getElementById('search'); field.value = 'disordered_host zn';"
        "field.dispatchEvent(new Event('input')); const width = document.documentElement.scrollWidth;"
        "document.title = `${width} of ${innerWidth}; ${document.getElementById('shown').textContent}`;}</script>"
    )
    copy = page.read_text().replace("Content-Security-Policy", "off").replace("</body>", probe + "</body>")
    (tmp_path / "probe.html").write_text(copy)
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=390,800", "--dump-dom",
             (tmp_path / "probe.html").as_uri()]  # fmt: skip
    found = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout  # noqa: S603
    title = found.split("<title>")[1].split("</title>")[0]
    width, _, rest = title.partition(" of ")
    assert int(width) <= int(rest.split(";")[0]), title
    shown, _, total = rest.split("; ")[1].removesuffix(" shown").partition(" of ")
    assert 0 < int(shown) < int(total), title
