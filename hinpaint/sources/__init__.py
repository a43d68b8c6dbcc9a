"""Readers of database exports: hostile bytes come in, accounted records go out."""

import zlib
from collections.abc import Iterator

from hinpaint.config import Source
from hinpaint.sources.aiida import read_nodes
from hinpaint.sources.archive import read_files
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.extxyz import parse_extxyz, read_frames
from hinpaint.sources.optimade import parse_optimade, read_lines
from hinpaint.sources.prefilter import read_index
from hinpaint.sources.raw import Choose
from hinpaint.sources.records import ParsedRecord, RawRecord
from hinpaint.sources.table import parse_entry, read_rows
from hinpaint.whynot import Stop


def read_source(source: Source, partition: int, element: str = "H") -> Iterator[RawRecord]:
    """Read one partition of a source.

    The partition of a record is a checksum of its id, not of its path, so that two records with one id meet in one job
    and the second is recognised as a duplicate.

    Args:
        source: the database export.
        partition: 0 to ``source.partitions - 1``.
        element: target element, which the source's index is asked for.

    Yields:
        The records of the partition in the source's order; refused ones carry a stop, those that the index leaves out
        too, and their files are not read.

    Raises:
        ConfigError: the source's index cannot be used.
    """
    left_out = read_index(source.index, element, source.mode) if source.index is not None else {}

    def choose(source_id: str) -> bool | Stop:
        checksum = zlib.crc32(source_id.encode("utf-8", "surrogatepass"))
        return checksum % source.partitions == partition and left_out.get(source_id, True)

    return (record for record in _records(source, choose) if choose(record.source_id) is not False)


def _records(source: Source, choose: Choose) -> Iterator[RawRecord]:
    match source.format:
        case "cif":
            return read_files(source.path, ".cif", choose)
        case "optimade":
            return read_lines(source.path)
        case "extxyz":
            return read_frames(source.path)
        case "aiida":
            return read_nodes(source.path, choose)
        case "entries":
            return read_rows(source.path, choose)


def text_format(source_format: str, text: str) -> str:
    """Name the format of one record's text, which an AiiDA archive mixes: ``cif`` for the file of a CifData node."""
    if source_format != "aiida":
        return source_format
    return "optimade" if text.startswith('{"id":') else "cif"


def parse_record(source_format: str, text: str) -> ParsedRecord | Stop:
    """Parse the text of one record as its source's format says."""
    match text_format(source_format, text):
        case "optimade":
            return parse_optimade(text)
        case "extxyz":
            return parse_extxyz(text)
        case "entries":
            return parse_entry(text)
        case _:
            return parse_cif(text)
