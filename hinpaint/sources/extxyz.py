"""Extended XYZ: one frame is one record.

A frame is a line with the number of atoms, a line of ``key=value`` pairs, and a line for each atom. Read are
``Lattice`` (nine numbers, the vectors one after the other, ångström), ``Properties`` (with ``species`` or ``Z``, and
``pos``), ``pbc``, and for the record itself ``id`` or ``name`` and ``formula``. Everything else is left alone. ASE's
reader is not used: it turns an id such as 0012 into a number and knows no deuterium.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import gemmi

from hinpaint.sources.archive import decode
from hinpaint.sources.geometry import MAX_IMAGES
from hinpaint.sources.optimade import parse_attributes
from hinpaint.sources.raw import broken, one_line
from hinpaint.sources.records import MAX_RECORD_BYTES, ParsedRecord, RawRecord
from hinpaint.sources.streams import (
    MAX_RECORDS,
    STREAM_ERRORS,
    UnpacksTooFarError,
    open_bounded,
    read_filled_line,
    read_line,
)
from hinpaint.whynot import Reason, Stop

# Possessive, and no value runs over another's opening mark: no text makes it search twice.
_PAIR = re.compile(
    r"""(?<![\w.-])([A-Za-z_][\w.-]*+)\s*+=\s*+"""
    r"""(?:"([^"]*+)"|'([^']*+)'|\{([^{}]*+)\}|\[([^\[\]]*+)\]|([^\s"'{\[]\S*+))"""
)
_MAX_SKIPPED = 10_000_000
_DEFAULT_PROPERTIES = "species:S:1:pos:R:3"
_FALSE = ("F", "f", "0", "False", "false")


def read_frames(path: Path) -> Iterator[RawRecord]:
    """Read the frames of a file, plain or compressed, one bounded frame at a time.

    Args:
        path: the file.

    Yields:
        One record a frame; its id is the frame's ``id`` or ``name``, else ``frame-1``, ``frame-2``, ... A file that
        breaks off yields a last record that says so: without its count of atoms, the end of a frame is not known.
    """
    try:
        with open_bounded(path) as handle:
            for number in range(1, MAX_RECORDS + 1):
                head, _, _ = read_filled_line(handle, MAX_RECORD_BYTES)
                if not head:
                    return
                yield _frame(handle, head, number, f"{path.name}:{number}")
            raise UnpacksTooFarError(f"more than {MAX_RECORDS} frames; the rest is not read")
    except STREAM_ERRORS as error:
        yield broken(path, error)


def _frame(handle: IO[bytes], head: bytes, number: int, where: str) -> RawRecord:
    if not re.fullmatch(rb"\s*[0-9]{1,12}\s*", head):
        raise ValueError(f"frame {number} begins with {decode(head[:40])!r}, not with its number of atoms")
    n_atoms = int(head)
    if n_atoms > _MAX_SKIPPED:
        raise UnpacksTooFarError(f"frame {number} has {n_atoms} atoms; the rest is not read")
    lines, size = [head], len(head)
    for row in range(n_atoms + 1):
        line, too_long = read_line(handle, MAX_RECORD_BYTES)
        if not line:
            raise EOFError(f"the file ends inside frame {number} of {n_atoms} atoms")
        size += MAX_RECORD_BYTES + 1 if too_long else len(line)
        # Of a frame that is too large the comment is kept, which names it.
        if row == 0 or (size <= MAX_RECORD_BYTES and n_atoms <= MAX_IMAGES):
            lines.append(line)
    info = _pairs(decode(lines[1]))
    source_id = info.get("id") or info.get("name") or f"frame-{number}"
    if n_atoms > MAX_IMAGES:
        stop = Stop(Reason.TOO_MANY_SITES, f"{n_atoms} atoms, more than {MAX_IMAGES}")
        return RawRecord(source_id, where, None, "", stop)
    if size > MAX_RECORD_BYTES:
        return RawRecord(source_id, where, None, "", Stop(Reason.TOO_LARGE_FILE, f"more than {MAX_RECORD_BYTES} bytes"))
    content = b"".join(lines)
    return RawRecord(source_id, where, decode(content), hashlib.sha256(content).hexdigest())


def _pairs(comment: str) -> dict[str, str]:
    """The pairs of the second line; the first of equal keys counts."""
    pairs: dict[str, str] = {}
    for found in _PAIR.finditer(comment):
        pairs.setdefault(found[1], next((value for value in found.groups()[1:] if value is not None), ""))
    return pairs


def parse_extxyz(text: str) -> ParsedRecord | Stop:
    """Read one frame.

    Args:
        text: the lines of the frame.

    Returns:
        The parsed record (the cell is given whole, so the identity is the only operator), or why it cannot be read.
    """
    lines = text.splitlines()
    info = _pairs(lines[1]) if len(lines) > 1 else {}
    if any(flag in _FALSE for flag in info.get("pbc", "").replace(",", " ").split()):
        return Stop(Reason.NO_CELL, f"not periodic in three directions: pbc={info['pbc'][:40]!r}")
    try:
        numbers = [float(number) for number in info["Lattice"].replace(",", " ").split()] if "Lattice" in info else []
        species, positions = _atoms(lines[2:], info.get("Properties", _DEFAULT_PROPERTIES))
    except (ValueError, TypeError, OverflowError) as error:
        return Stop(Reason.UNREADABLE, one_line(error))
    if len(numbers) != 9:
        return Stop(Reason.NO_CELL, f"Lattice has {len(numbers)} numbers, not 9")
    return parse_attributes({
        "lattice_vectors": [numbers[:3], numbers[3:6], numbers[6:]],
        "cartesian_site_positions": positions,
        "species_at_sites": species,
        "chemical_formula_descriptive": info.get("formula"),
    })  # fmt: skip


def _atoms(lines: list[str], properties: str) -> tuple[list[str], list[list[float]]]:
    """Species and positions (ångström) of the atom lines.

    Raises:
        ValueError: a column is absent, or a line does not hold what it should.
    """
    columns = _columns(properties)
    name = next((name for name in ("species", "Z") if columns.get(name, (0, 0))[1] == 1), None)
    if name is None or columns.get("pos", (0, 0))[1] != 3:
        raise ValueError(f"Properties {properties[:60]!r} name no species and pos")
    at, start = columns[name][0], columns["pos"][0]
    species, positions = [], []
    for number, line in enumerate(lines, 1):
        row = line.split()
        if len(row) < max(at + 1, start + 3):
            raise ValueError(f"atom {number} has {len(row)} columns")
        species.append(row[at] if name == "species" else gemmi.Element(int(row[at])).name)
        positions.append([float(value) for value in row[start : start + 3]])
    return species, positions


def _columns(properties: str) -> dict[str, tuple[int, int]]:
    """First column and number of columns of each property of ``name:type:columns:...``."""
    parts = properties.split(":")
    columns: dict[str, tuple[int, int]] = {}
    start = 0
    for name, count in zip(parts[::3], parts[2::3], strict=True):
        columns.setdefault(name, (start, int(count)))
        start += int(count)
    return columns
