"""Readers of database exports: hostile bytes come in, accounted records go out."""

import zlib
from collections.abc import Iterator

from hinpaint.config import Source
from hinpaint.sources.archive import read_files
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.optimade import parse_optimade, read_lines
from hinpaint.sources.records import ParsedRecord, RawRecord
from hinpaint.whynot import Stop


def read_source(source: Source, partition: int) -> Iterator[RawRecord]:
    """Read one partition of a source.

    The partition of a record is a checksum of its id, not of its path, so that two records with one id meet in one job
    and the second is recognised as a duplicate.

    Args:
        source: the database export.
        partition: 0 to ``source.partitions - 1``.

    Yields:
        The records of the partition in the source's order; refused ones carry a stop.
    """
    records = read_lines(source.path) if source.format == "optimade" else read_files(source.path, ".cif")
    for record in records:
        if zlib.crc32(record.source_id.encode("utf-8", "surrogatepass")) % source.partitions == partition:
            yield record


def parse_record(source_format: str, text: str) -> ParsedRecord | Stop:
    """Parse the text of one record, a CIF or an OPTIMADE resource."""
    return parse_optimade(text) if source_format == "optimade" else parse_cif(text)
