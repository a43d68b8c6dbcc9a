"""Round trip of real records: the COD slice and MC3D, with known or plausible hydrogen put in.

Run on everything, with numbers: ``python tests/unit/test_release_corpus.py``.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cif_items import lost_items
from gemmi import cif

from hinpaint.crystal import Crystal, FloatArray, minimum_image_distances
from hinpaint.evidence import choose_mode, weigh
from hinpaint.release.completion import Completion
from hinpaint.release.entry import Changed, release_entry
from hinpaint.release.roundtrip import READERS, ReadBack
from hinpaint.release.symmetry import short_lengths
from hinpaint.sources import parse_record
from hinpaint.sources.archive import read_files
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.optimade import parse_attributes, read_lines
from hinpaint.sources.records import ParsedRecord
from hinpaint.whynot import Stop

SHARED = Path(__file__).parents[3] / "shared" / "data"
COD = SHARED / "cod" / "cod_slice.tar.xz"
MC3D = SHARED / "mc3d" / "mc3d_h_dev.jsonl.gz"
N_MC3D = 500
BOUND_A = 0.97
TOLERANCE_A = 1e-3
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")]


@dataclass(frozen=True)
class Case:
    """A record, the hydrogen that is to be put in, and how its text is written down."""

    changed: Changed
    source_format: str
    text: str
    record: ParsedRecord


def cases_of_cod(every: int) -> Iterator[Case]:
    """Each entry that hinpaint would complete: missing sites are placed plausibly, known ones where they were."""
    for raw in list(read_files(COD, ".cif"))[::every]:
        record = parse_record("cif", raw.text) if raw.text is not None else raw.stop
        if not isinstance(record, ParsedRecord):
            continue
        evidence = weigh(record)
        mode = choose_mode(("reconstruct", "benchmark"), evidence)
        if isinstance(mode, Stop):
            continue
        kept = record.without(evidence.dropped)
        whole = Crystal.build(kept.lattice, kept.species, kept.cell_frac)
        if mode == "reconstruct":
            host = whole
            frac = plausible_sites(host, evidence.n_missing or 0, raw.source_id)
        else:
            host = whole.take(~whole.is_element("H"))
            frac = whole.frac[whole.is_element("H")]
        completion = _completion(f"cod|1|{raw.source_id}", "completed" if mode == "reconstruct" else "replaced")
        changed = Changed(completion, host, frac, raw.source_id, raw.source_id)
        yield Case(changed, "cif", raw.text or "", record)


def cases_of_mc3d(every: int) -> Iterator[Case]:
    """Complete structures whose hydrogen was taken out and is put back."""
    for raw in list(read_lines(MC3D))[:N_MC3D:every]:
        attributes = json.loads(raw.text or "{}")["attributes"]
        record = parse_attributes(attributes)
        assert isinstance(record, ParsedRecord)
        whole = Crystal.build(record.lattice, record.species, record.cell_frac)
        is_hydrogen = whole.is_element("H")
        completion = _completion(f"mc3d|1|{raw.source_id}", "completed")
        changed = Changed(completion, whole.take(~is_hydrogen), whole.frac[is_hydrogen], raw.source_id, raw.source_id)
        yield Case(changed, "optimade", raw.text or "", record)


def plausible_sites(host: Crystal, n_sites: int, name: str) -> FloatArray:
    """Sites at a bond's length from hosts that bind hydrogen, each as far from everything else as a few tries find."""
    rng = np.random.default_rng(sum(map(ord, name)))
    binding = np.flatnonzero([s in {"O", "N", "C", "S", "F", "Cl"} for s in host.species])
    centres = binding if len(binding) else np.arange(host.n_sites)
    present = host.frac
    for _ in range(n_sites):
        directions = rng.normal(size=(12, 3))
        directions *= BOUND_A / np.linalg.norm(directions, axis=1, keepdims=True)
        tries = host.frac[rng.choice(centres, 12)] + directions @ np.linalg.inv(host.lattice)
        nearest = minimum_image_distances(host.lattice, tries, present).min(axis=1)
        present = np.concatenate([present, tries[[int(nearest.argmax())]] % 1.0])
    return present[host.n_sites :]


def _completion(key: str, action: str) -> Completion:
    return Completion(key, action, "H", -1.0, 1, 1, "sevennet-0", None, "cd" * 32, "CC0-1.0", "0.1.0")


def problems_of(case: Case) -> tuple[list[str], float, str]:
    """What is wrong with the released file, how far a reader finds the host from the source's, and the symmetry."""
    released = release_entry(case.changed, case.source_format, case.text)
    if isinstance(released, Stop):
        return [f"{released.reason}: {released.detail}"], 0.0, "none"
    problems = []
    record = parse_cif(released.cif)
    assert isinstance(record, ParsedRecord)
    evidence = weigh(record)
    if evidence.n_missing != 0 or evidence.conflict is not None:
        problems.append(f"not complete: {evidence.n_missing} missing, {evidence.conflict}, {evidence.codes}")
    formula = record.formula.counts if record.formula is not None else {}
    cell = {name: count * (record.z or 0.0) for name, count in formula.items() if count}
    sites = record.cell_counts()
    if cell.keys() != sites.keys() or any(abs(cell[n] - sites[n]) > 0.01 + 0.02 * sites[n] for n in cell):
        problems.append(f"formula x Z {cell} is not the sites {sites}")
    worst = 0.0
    if case.source_format == "cif":
        problems += lost_items(cif.read_string(case.text, 0), cif.read_string(released.cif))
        worst, said = _against_the_source(case, released.cif)
        problems += said
    return problems, worst, released.symmetry


def _against_the_source(case: Case, text: str) -> tuple[float, list[str]]:
    """Compare what each reader makes of the file with what it makes of the source, hydrogen apart."""
    worst, problems = 0.0, []
    for name, read in READERS.items():
        try:
            before = read(case.text)
        except Exception:  # noqa: BLE001, S112 - a source that a reader cannot read is nothing to compare with
            continue
        after = read(text)
        if _host_counts(before) != _host_counts(after):
            continue  # the source lacks type symbols or operators, which not every reader makes up for
        # Where the symmetry is lowered, images of rounded special positions are written as hinpaint reads them.
        distance = _farthest(after, (before, READERS["hinpaint"](case.text)))
        if distance > TOLERANCE_A:
            problems.append(f"{name} reads a host site {distance:.4f} Å from where it reads it in the source")
        worst = max(worst, distance)
    return worst, problems


def _host_counts(found: ReadBack) -> Counter[str]:
    return Counter(element for element in found.species if element != "H")


def _farthest(found: ReadBack, expected: Sequence[ReadBack]) -> float:
    """Largest distance of a host site from the nearest expected one of its element, ångström."""
    farthest = 0.0
    for element in _host_counts(found):
        ours = found.frac[[s == element for s in found.species]]
        theirs = np.concatenate([each.frac[[s == element for s in each.species]] for each in expected])
        farthest = max(farthest, float(short_lengths(ours[:, None] - theirs[None], found.lattice).min(axis=1).max()))
    return farthest


@pytest.mark.parametrize(("cases", "every", "at_least"), [(cases_of_cod, 4, 80), (cases_of_mc3d, 5, 100)])
def test_every_record_reads_back_with_all_its_items(cases, every, at_least) -> None:  # type: ignore[no-untyped-def]
    n_cases = 0
    for case in cases(every):
        n_cases += 1
        problems, _, _ = problems_of(case)
        assert not problems, (case.changed.name, problems)
    assert n_cases >= at_least


if __name__ == "__main__":
    for source in (cases_of_cod, cases_of_mc3d):
        found: Counter[str] = Counter()
        farthest = 0.0
        for each in source(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
            said, distance, symmetry = problems_of(each)
            farthest = max(farthest, distance)
            found[f"{each.changed.completion.action} {symmetry} {'bad' if said else 'good'}"] += 1
            for line in said:
                print(each.changed.name, line)
        print(source.__name__, dict(found), f"farthest {farthest:.5f} Å")
