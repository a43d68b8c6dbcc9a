"""Rate and memory of ingest, and how it compares with pymatgen's CifParser on a sample of the same files.

python tests/bench/ingest.py --archive cod_slice.tar.xz --files 100000 --workers 2 --scratch FOLDER

The archive's CIFs are repeated under new ids inside one tar until there are as many as asked for.
"""

import argparse
import io
import os
import random
import sys
import tarfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

from hinpaint.config import Source
from hinpaint.sources import parse_record, read_source
from hinpaint.sources.records import RawRecord
from hinpaint.stages.ingest import IngestOutputs, ingest_records

TABLES = ("records", "entries", "evidence", "source_text", "whynot", "runs")


def source_of(path: Path) -> Source:
    return Source(database="bench", version="1", format="cif", path=path, licence="CC0-1.0",
                  mode=("reconstruct", "audit", "benchmark"))  # fmt: skip


def build(archive: Path, tar: Path, files: int) -> None:
    """Repeat the files of an archive under new ids."""
    texts = [(raw.source_id, raw.text.encode()) for raw in read_source(source_of(archive), 0) if raw.text]
    with tarfile.open(tar, "w") as out:
        for number in range(files):
            name, text = texts[number % len(texts)]
            info = tarfile.TarInfo(f"cif/{number // 1000:04d}/{PurePosixPath(name).stem}-{number:07d}.cif")
            info.size = len(text)
            out.addfile(info, io.BytesIO(text))


class Watch(threading.Thread):
    """Samples memory and CPU time of this process and the processes below it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.peak_parent = self.peak_children = 0.0
        self.cpu: dict[int, float] = {}

    def run(self) -> None:
        me = psutil.Process()
        while not self.stop.wait(0.1):
            self.peak_parent = max(self.peak_parent, me.memory_info().rss / 2**20)
            children = 0.0
            for child in me.children(recursive=True):
                try:
                    children += child.memory_info().rss / 2**20
                    times = child.cpu_times()
                    self.cpu[child.pid] = times.user + times.system
                except psutil.Error:
                    continue
            self.peak_children = max(self.peak_children, children)


def watched(records: Iterator[RawRecord], watch: Watch, marks: list[int]) -> Iterator[RawRecord]:
    """Pass records on and print the memory used so far at some counts."""
    for number, raw in enumerate(records, start=1):
        yield raw
        if number in marks:
            print(f"{number} files: peak {watch.peak_parent:.0f} MiB parent, {watch.peak_children:.0f} MiB workers")


def measure(tar: Path, out: Path, files: int, workers: int) -> float:
    """Ingest the tar; print its rates and return the CIFs a CPU-second."""
    watch = Watch()
    watch.start()
    source, outputs = source_of(tar), IngestOutputs(*(out / f"{name}.parquet" for name in TABLES))
    records = watched(read_source(source, 0), watch, [files // 4, files // 2, files])
    cpu, load = time.process_time(), os.getloadavg()[0]
    summary = ingest_records(records, source, "H", outputs, workers, print)
    parent = time.process_time() - cpu
    watch.stop.set()
    watch.join()
    total = parent + sum(watch.cpu.values())
    n_files, seconds = summary.n_records, summary.seconds
    print(f"{n_files} files, {summary.n_entries} entries in {seconds:.1f} s: {n_files / seconds:.0f} CIFs/s with")
    print(f"{workers} workers; load average before {load:.1f}")
    print(f"CPU seconds: parent {parent:.1f}, workers {total - parent:.1f}: {n_files / total:.0f} CIFs a CPU-s")
    print(f"peak {watch.peak_parent:.0f} MiB parent, {watch.peak_children:.0f} MiB workers (shared pages count twice)")
    return summary.n_records / total


def compare(archive: Path, sample: int, rate: float) -> None:
    """Parse a sample with pymatgen and with our reader, one core each."""
    from pymatgen.io.cif import CifParser

    warnings.simplefilter("ignore")
    texts = [raw.text for raw in read_source(source_of(archive), 0) if raw.text]
    chosen = random.Random(0).sample(texts, sample)  # noqa: S311 - no secret
    began, failed = time.process_time(), 0
    for text in chosen:
        try:
            CifParser(io.StringIO(text)).parse_structures(primitive=False)
        except Exception:  # noqa: BLE001 - it raises anything
            failed += 1
    theirs = sample / (time.process_time() - began)
    began = time.process_time()
    for text in chosen:
        parse_record("cif", text)
    ours = sample / (time.process_time() - began)
    print(f"pymatgen's CifParser: {theirs:.1f} CIFs a CPU-s on {sample} of them, {failed} refused")
    print(f"our parser: {ours:.0f} ({ours / theirs:.0f}x); the whole ingest: {rate:.0f} ({rate / theirs:.0f}x)")


if __name__ == "__main__":  # the workers import this file
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, required=True, help="archive of CIFs")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for the tar and the tables")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sample", type=int, default=100, help="files that pymatgen parses")
    arguments = parser.parse_args()
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    tar = arguments.scratch / f"{arguments.files}.tar"
    if not tar.exists():
        build(arguments.archive, tar, arguments.files)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    compare(arguments.archive, arguments.sample, measure(tar, arguments.scratch, arguments.files, arguments.workers))
