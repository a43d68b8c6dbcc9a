"""Extended XYZ."""

import gzip
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from source_records import make_source, parsed

from hinpaint.sources import parse_record, read_source
from hinpaint.sources.extxyz import parse_extxyz, read_frames
from hinpaint.whynot import Reason, Stop

FRAME = """3
Lattice="4 0 0 0 5 0 0 0 6" Properties=species:S:1:forces:R:3:pos:R:3 id=0012 formula="Mg O2 H2" pbc="T T T"
Mg 0 0 0 0 0 0
O 9 9 9 1 2.5 3
D 9 9 9 2 5.0 1.5
"""


def test_a_frame_is_a_record(tmp_path: Path) -> None:
    path = tmp_path / "two.xyz.gz"
    path.write_bytes(gzip.compress((FRAME + "\n" + FRAME.replace("id=0012", "")).encode()))
    first, second = read_frames(path)
    assert (first.source_id, first.text, first.path) == ("0012", FRAME, "two.xyz.gz:1")
    assert second.source_id == "frame-2"
    record = parsed(parse_extxyz(first.text or ""))
    assert record.species == ("Mg", "O", "H")
    assert record.sites[2].is_isotope
    np.testing.assert_allclose(record.cell_frac, [[0, 0, 0], [0.25, 0.5, 0.5], [0.5, 1.0, 0.25]])
    assert record.formula is not None
    assert record.formula.counts == {"Mg": 1, "O": 2, "H": 2}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("Lattice", "lattice"), Reason.NO_CELL), (("4 0 0 0 5 0 0 0 6", "4 0 0 0 5 0 0 0"), Reason.NO_CELL),
        (("4 0 0", "0 0 0"), Reason.NO_CELL), (("T T T", "T T F"), Reason.NO_CELL),
        (("4 0 0", "x 0 0"), Reason.UNREADABLE), (("Mg 0 0", "Mg"), Reason.UNREADABLE),
        (("pos:R:3", "position:R:3"), Reason.UNREADABLE), (("species:S:1", "species:S"), Reason.UNREADABLE),
        (("2.5 3", "nan 3"), Reason.UNREADABLE), (("Mg 0", "Qq 0"), Reason.UNKNOWN_ELEMENT),
    ],
)  # fmt: skip
def test_frames_that_say_too_little_are_refused(change: tuple[str, str], reason: Reason) -> None:
    record = parse_extxyz(FRAME.replace(*change))
    assert isinstance(record, Stop)
    assert record.reason is reason


def test_frames_by_atomic_number_and_without_properties() -> None:
    by_number = FRAME.replace("species:S:1", "Z:I:1").replace("Mg ", "12 ").replace("O 9", "8 9").replace("D 9", "1 9")
    assert parsed(parse_extxyz(by_number)).species == ("Mg", "O", "H")
    plain = '1\nLattice = "4 0 0 0 4 0 0 0 4"\nNa 1 1 1 77\n'
    assert parsed(parse_extxyz(plain)).species == ("Na",)


def test_frames_as_ase_writes_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [
        ase.Atoms(
            "HMgO2", rng.random((4, 3)) * 5, cell=np.eye(3) * 6 + rng.random((3, 3)), pbc=True, info={"name": f"é {i}"}
        )
        for i in range(3)
    ]
    frames[1].arrays["charges"] = np.arange(4.0)
    ase.io.write(tmp_path / "a.extxyz", frames, format="extxyz")
    records = list(read_source(make_source(tmp_path / "a.extxyz", "extxyz"), 0))
    assert [record.source_id for record in records] == ["é 0", "é 1", "é 2"]
    for record, atoms in zip(records, frames, strict=True):
        found = parsed(parse_record("extxyz", record.text or ""))
        assert found.species == tuple(atoms.symbols)
        np.testing.assert_allclose(found.lattice, atoms.cell[:], atol=1e-7)
        np.testing.assert_allclose(found.cell_frac @ found.lattice, atoms.positions, atol=1e-6)


@pytest.mark.parametrize("end", ["5\nshort\n", "no number\n", "-1\n", "1e3\n"])
def test_a_file_of_frames_that_breaks_off_says_so(tmp_path: Path, end: str) -> None:
    (tmp_path / "a.xyz").write_text(FRAME + end)
    first, last = read_frames(tmp_path / "a.xyz")
    assert first.text == FRAME
    assert last.stop is not None
    assert "breaks off" in last.stop.detail


def test_large_frames_cost_a_row_and_the_next_is_read(tmp_path: Path) -> None:
    wide = FRAME.replace("id=0012", f"id=wide x={'y' * 9_000_000}")
    (tmp_path / "a.xyz").write_text("60000\nid=many\n" + "H 0 0 0\n" * 60_000 + wide + FRAME)
    many, large, good = read_frames(tmp_path / "a.xyz")
    assert (many.source_id, many.stop and many.stop.reason) == ("many", Reason.TOO_MANY_SITES)
    assert large.stop is not None
    assert large.stop.reason is Reason.TOO_LARGE_FILE
    assert good.text == FRAME
