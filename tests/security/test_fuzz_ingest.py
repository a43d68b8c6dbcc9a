"""Thousands of damaged records through the whole ingest: each is one row, none stops or stalls the run."""

import io
import json
import random
import tarfile
import time
from collections import Counter
from pathlib import Path

import pytest

from hinpaint.config import Source
from hinpaint.sources import read_source
from hinpaint.stages.ingest import IngestOutputs, Summary, ingest_records
from hinpaint.store import read_table
from hinpaint.tables import ENTRIES, EVIDENCE, RECORDS, WHYNOT

EXAMPLES = Path(__file__).parents[2] / "examples"
CIFS = [path.read_bytes() for path in sorted((EXAMPLES / "cod").rglob("*.cif"))]
LINES = (EXAMPLES / "mc3d/structures.jsonl").read_bytes().splitlines()[1:]
TIME_LIMIT_S = 10.0
NUMBERS = [b"1e308", b"-1e308", b"1e-308", b"99999999999999999999", b"nan", b"inf", b"0", b"-0.0", b"1e", b".", b"?",
           b"1(99999999999)", b"0x10", b"1e999", b"\xff"]  # fmt: skip
WORDS = [b"loop_", b"data_", b"save_x", b"global_", b"stop_", b"\n;\n", b"'", b'"', b"#", b"_atom_site_fract_x",
         b"_cell_length_a", b"\x00", b"\xef\xbb\xbf", b"\r"]  # fmt: skip
JSON_WORDS = [b"null", b"true", b"{", b"}", b"[", b"]", b'"', b"1e999", b"NaN", b"-", b"\\ud800", b"\x00", b"\xff"]
VALUES = [None, True, "", "H", "x" * 5000, -1, 1e308, 10**400, float("nan"), [], {}, [[]], [[1, 2]], [None] * 3]


def truncated(text: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    return text[: chance.randrange(len(text))]


def flipped(text: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    changed = bytearray(text)
    for _ in range(chance.choice([1, 3, 30])):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def spliced(text: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    other = chance.choice(others)
    return text[: chance.randrange(len(text))] + other[chance.randrange(len(other)) :]


def renumbered(text: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    """Some numbers become impossible ones."""
    tokens = text.split(b" ")
    for _ in range(chance.choice([1, 5])):
        tokens[chance.randrange(len(tokens))] = chance.choice(NUMBERS)
    return b" ".join(tokens)


def repeated(text: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    """One line, or one stretch of lines, very often: deep loops, repeated tags, sites piled on each other."""
    lines = text.splitlines(keepends=True)
    start = chance.randrange(len(lines))
    stretch = lines[start : start + chance.choice([1, 1, 2, 8])]
    return b"".join(lines[:start] + stretch * chance.choice([2, 50, 3000]) + lines[start:])


def worded(text: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    place = chance.randrange(len(text))
    return text[:place] + chance.choice(WORDS) * chance.choice([1, 1, 500]) + text[place:]


def nested(text: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    place = chance.randrange(len(text))
    return text[:place] + chance.choice(JSON_WORDS) * chance.choice([1, 1, 2000]) + text[place:]


def restructured(text: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    """The line stays JSON, but one value somewhere in it becomes another."""
    try:
        resource = json.loads(text)
    except (ValueError, RecursionError):
        return text
    place = resource
    while isinstance(place, dict | list) and place:
        key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], dict | list) or chance.random() < 0.2:
            place[key] = chance.choice(VALUES)
            break
        place = place[key]
    return json.dumps(resource).encode()


def mutants(originals: list[bytes], mutations: list, count: int, seed: int) -> list[bytes]:
    """Damaged copies, one to three damages each."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    found = []
    for _ in range(count):
        text = chance.choice(originals)
        for mutate in chance.choices(mutations, k=chance.choice([1, 1, 2, 3])):
            text = mutate(text, chance, originals) or b" "
        found.append(text)
    return found


def ingest(path: Path, source_format: str, folder: Path) -> tuple[Summary, IngestOutputs]:
    source = Source(
        database="fuzz", version="1", format=source_format, path=path, licence="CC0-1.0",
        mode=("reconstruct", "audit", "benchmark"), time_limit_s=TIME_LIMIT_S,
    )  # fmt: skip
    names = ("records", "entries", "evidence", "source_text", "whynot", "runs")
    outputs = IngestOutputs(*(folder / f"{name}.parquet" for name in names))
    started = time.monotonic()
    summary = ingest_records(read_source(source, 0), source, "H", outputs, 2, print)
    print(f"{summary.n_records} in {time.monotonic() - started:.1f} s: {summary.reasons}")
    return summary, outputs


def check(summary: Summary, outputs: IngestOutputs, expected: list[str]) -> None:
    """Each record is one row, with one fate; nothing crashed, nothing took too long."""
    records = read_table(outputs.records, RECORDS)["source_id"].to_pylist()
    assert records == expected
    entries = read_table(outputs.entries, ENTRIES)["entry_key"].to_pylist()
    stopped = read_table(outputs.whynot, WHYNOT)
    fates = Counter(entries) + Counter(stopped["entry_key"].to_pylist())
    assert len(fates) == fates.total() == len(records) == summary.n_records
    assert set(entries) <= set(read_table(outputs.evidence, EVIDENCE)["entry_key"].to_pylist())
    assert summary.reasons["time_limit"] == 0
    assert not [detail for detail in stopped["detail"].to_pylist() if "crashed" in detail]
    assert 0 < len(entries) < len(records)


def fuzz_cifs(folder: Path, count: int, seed: int) -> None:
    path = folder / "mutants.tar"
    names = [f"{number:07d}" for number in range(count)]
    mutations = [truncated, flipped, spliced, renumbered, repeated, worded]
    with tarfile.open(path, "w") as archive:
        for name, text in zip(names, mutants(CIFS, mutations, count, seed), strict=True):
            info = tarfile.TarInfo(f"cif/{name}.cif")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    check(*ingest(path, "cif", folder), names)


def fuzz_lines(folder: Path, count: int, seed: int) -> None:
    path = folder / "mutants.jsonl"
    originals = [line.replace(b'"id": "', b'"id": "%d-' % copy, 1) for copy in range(count // 4) for line in LINES]
    damaged = mutants(originals, [truncated, flipped, spliced, renumbered, nested], count // 2, seed)
    changed = mutants(originals, [restructured], count // 2, seed)
    lines = [line.replace(b"\n", b" ") for line in damaged + changed]
    path.write_bytes(b"\n".join(lines))
    summary, outputs = ingest(path, "optimade", folder)
    n_expected = sum(1 for line in lines if line.strip())
    paths = read_table(outputs.records, RECORDS)["source_path"].to_pylist()
    assert len(set(paths)) == len(paths) == n_expected
    check(summary, outputs, read_table(outputs.records, RECORDS)["source_id"].to_pylist())


def test_damaged_cifs_are_one_row_each(tmp_path: Path) -> None:
    fuzz_cifs(tmp_path, 1_500, seed=1)


def test_damaged_lines_are_one_row_each(tmp_path: Path) -> None:
    fuzz_lines(tmp_path, 200, seed=2)


@pytest.mark.slow
def test_many_damaged_cifs_are_one_row_each(tmp_path: Path) -> None:
    fuzz_cifs(tmp_path, 20_000, seed=3)


@pytest.mark.slow
def test_many_damaged_lines_are_one_row_each(tmp_path: Path) -> None:
    fuzz_lines(tmp_path, 2_000, seed=4)
