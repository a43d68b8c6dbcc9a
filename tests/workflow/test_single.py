"""`hinpaint inpaint` on one file, as a user runs it."""

import re
import sys
from pathlib import Path

import ase.io
import gemmi
import pytest
from workspace import EXAMPLES, Workspace

PORTLANDITE = EXAMPLES / "cod/cif/9/90/01/9900101.cif"


def command(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("hinpaint")), "inpaint", *arguments]


@pytest.mark.slow
def test_portlandite_gets_its_hydrogen(tmp_path: Path) -> None:
    out, page, way = tmp_path / "out.cif", tmp_path / "page.html", tmp_path / "way.extxyz"
    options = ("--trials", "4", "--html", str(page), "--trajectory", str(way))
    done = Workspace(tmp_path).run(command(str(PORTLANDITE), "-o", str(out), *options))
    assert done.returncode == 0, done.stdout
    assert "3 known sites, 2 H to place" in done.stdout
    assert re.search(
        r"^(accept|review|reject): confidence 0\.\d\d, .* of 4 trials reached it", done.stdout, re.MULTILINE
    )
    assert "9900101.cif" in page.read_text()
    small = gemmi.read_small_structure(str(out))
    oxygen, hydrogen = ([s for s in small.get_all_unit_cell_sites() if s.element.name == name] for name in ("O", "H"))
    assert len(hydrogen) == 2
    frames = ase.io.read(way, ":")
    assert len(frames) == 51  # what the network saw in 50 steps, and the result
    assert f"trial {frames[-1].info['trial']} written to {out}, {page}, {way}" in done.stdout.replace("\n", " ")
    for h in hydrogen:
        nearest = min(
            small.cell.find_nearest_image(
                small.cell.orthogonalize(h.fract), small.cell.orthogonalize(o.fract), gemmi.Asu.Any
            ).dist()
            for o in oxygen
        )
        assert 0.9 < nearest < 1.1


@pytest.mark.slow
def test_counts_are_compared(tmp_path: Path) -> None:
    out = tmp_path / "out.cif"
    options = ("--n-missing", "1:2", "--trials", "1", "--steps", "5")
    done = Workspace(tmp_path).run(command(str(PORTLANDITE), "-o", str(out), *options))
    assert done.returncode == 0, done.stdout
    steps = re.findall(r"│ +[12] │ +-[\d.]+ │ +([+-][\d.]+) │ +([+-][\d.]+) │", done.stdout)
    assert len(steps) == 2  # each hydrogen of a hydroxide gains energy against H2
    assert all(-5 < float(number) < -1 for step in steps for number in step)
    assert "going on with 2 sites: as the record says" in done.stdout
    assert out.exists()


@pytest.mark.parametrize("counts", ["0", "2:1", "1:500", "two"])
def test_counts_that_are_none_are_said_in_one_line(tmp_path: Path, counts: str) -> None:
    done = Workspace(tmp_path).run(command(str(PORTLANDITE), "-o", str(tmp_path / "out.cif"), "--n-missing", counts))
    assert done.returncode == 1
    assert f"hinpaint: --n-missing {counts}: " in done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("9900301", "no H is missing"),
        ("9900401", "no_target_element"),
        ("9900206", "disordered_host"),
        ("9900208", "conflicting_evidence.*--n-missing"),
        ("9900501", "unreadable"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    source = EXAMPLES / f"cod/cif/9/90/{name[3:5]}/{name}.cif"
    done = Workspace(tmp_path).run(command(str(source), "-o", str(tmp_path / "out.cif")))
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if line.startswith("hinpaint: ")]
    assert len(lines) == 1
    assert re.search(message, lines[0])
    assert not (tmp_path / "out.cif").exists()


def test_random_placement_has_no_trajectory(tmp_path: Path) -> None:
    options = ("-o", str(tmp_path / "out.cif"), "--sampler", "random", "--trajectory", str(tmp_path / "way.extxyz"))
    done = Workspace(tmp_path).run(command(str(PORTLANDITE), *options))
    assert done.returncode == 1
    assert "hinpaint: --trajectory: random placement" in done.stdout
