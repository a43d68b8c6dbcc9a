"""What tests of readers share: a source to read, and a record that has to parse."""

from pathlib import Path
from typing import Any

from hinpaint.config import Source, parse_block
from hinpaint.sources.records import ParsedRecord
from hinpaint.whynot import Stop


def make_source(path: Path, kind: str, **more: Any) -> Source:
    values = {
        "database": "d",
        "version": "1",
        "format": kind,
        "path": path,
        "licence": "x",
        "mode": "reconstruct",
        **more,
    }
    return parse_block(Source, values)


def parsed(record: ParsedRecord | Stop) -> ParsedRecord:
    assert isinstance(record, ParsedRecord), record
    return record
