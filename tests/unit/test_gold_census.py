"""Sixty records of a slice of COD and AMCSD, read by a person: what is missing, what is to be done, and why.

``gold_census.csv`` holds ids and our own judgement, nothing of the files; without the slice the test skips. An empty
``n_missing`` means that the record does not say; ``verdict`` is a mode or a reason; ``codes`` are those that must be
among the evidence.
"""

import csv
import tarfile
from pathlib import Path

import pytest

from hinpaint.codes import Code
from hinpaint.config import Mode
from hinpaint.evidence import choose_mode, weigh
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.records import ParsedRecord
from hinpaint.whynot import Reason, Stop

DATA = Path(__file__).parents[3] / "shared" / "data" / "cod"
SLICE, CATALOGUE = DATA / "cod_slice.tar.xz", DATA / "catalogue.csv"
MODES: tuple[Mode, ...] = ("reconstruct", "audit", "benchmark")
with (Path(__file__).parent / "gold_census.csv").open(encoding="utf-8") as handle:
    GOLD = list(csv.DictReader(handle))
# The files give no structure at all; docs/census.md says why.
UNREADABLE = {"0000000", "1001012", "1010800", "1502740", "2000127", "2000488", "2100428", "2100852", "4303187"}

needs_slice = pytest.mark.skipif(not SLICE.is_file(), reason="the slice is not at hand")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    with tarfile.open(SLICE) as archive:
        found = {}
        for member in archive:
            handle = archive.extractfile(member) if member.isfile() and member.name.endswith(".cif") else None
            if handle is not None:
                found[Path(member.name).stem] = handle.read().decode("utf-8", "replace")
    return found


def test_the_gold_table_is_well_formed() -> None:
    assert len({row["id"] for row in GOLD}) == 60
    for row in GOLD:
        assert row["verdict"] in {*MODES, *Reason}
        assert set(row["codes"].split()) <= set(Code)


@needs_slice
@pytest.mark.parametrize("row", GOLD, ids=lambda row: row["id"])
def test_gold(row: dict[str, str], texts: dict[str, str]) -> None:
    record = parse_cif(texts[row["id"]])
    assert isinstance(record, ParsedRecord), record
    evidence = weigh(record)
    verdict = choose_mode(MODES, evidence)
    assert (verdict.reason if isinstance(verdict, Stop) else verdict) == row["verdict"], verdict
    assert evidence.n_missing == (int(row["n_missing"]) if row["n_missing"] else None)
    assert set(row["codes"].split()) <= set(evidence.codes)


@needs_slice
def test_hydrogen_missing_entirely_is_found(texts: dict[str, str]) -> None:
    with CATALOGUE.open(encoding="utf-8") as handle:
        classes = {row["id"]: row["class"] for row in csv.DictReader(handle)}
    assert classes.keys() == texts.keys()
    found, unreadable = set(), set()
    for name, text in texts.items():
        record = parse_cif(text)
        if isinstance(record, Stop):
            unreadable.add(name)
        elif Code.MISSING_ALL in weigh(record).codes:
            found.add(name)
    assert unreadable == UNREADABLE
    lacking = {name for name, kind in classes.items() if kind.startswith("H_missing_all")}
    assert len(lacking) == 100
    assert lacking <= found
    # What is found beyond the catalogue's class was read by a person: no coordinates of hydrogen in any of them.
    assert found - lacking == {"1001614", "1010246", "1010490", "1011026", "1100015", "2100501", "5900027"}
