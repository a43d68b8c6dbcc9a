"""Tables ``entries`` as hinpaint writes them: Parquet files that are read row group by row group."""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hinpaint.sources.chemistry import as_element, parse_formula
from hinpaint.sources.geometry import MAX_IMAGES
from hinpaint.sources.raw import Choose, broken, one_line, take_all
from hinpaint.sources.records import MAX_RECORD_BYTES, ParsedRecord, RawRecord, RefusedError, Site
from hinpaint.tables import ENTRIES
from hinpaint.whynot import Reason, Stop

MAX_GROUP_BYTES = 2 * 1024**3
"""Unpacked size of a row group that is read; hinpaint's own stay below a hundredth of it."""

_BATCH = 256
_MAX_FRAC = 1000.0
_NEEDED = ("source_id", "lattice", "species", "frac")
_KEPT = ("formula_declared", "z", "space_group", "is_theoretical")
_NAMED = ("entry_key", "origin")


def read_rows(path: Path, choose: Choose = take_all) -> Iterator[RawRecord]:
    """Read the rows of one file or of all ``.parquet`` files in a folder, a few at a time.

    Args:
        path: file or folder.
        choose: which records to read.

    Yields:
        One record a row; its text is JSON of the columns that say something about the structure, its origin the row's
        ``origin`` or else its ``entry_key``. A file that is no such table, or is damaged, yields a last record that
        says so.
    """
    for file in sorted(path.rglob("*.parquet")) if path.is_dir() else [path]:
        try:
            yield from _rows(file, choose)
        except (pa.ArrowException, OSError, ValueError) as error:
            yield broken(file, error)


def _rows(path: Path, choose: Choose) -> Iterator[RawRecord]:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        _check_columns(file.schema_arrow)
        columns = [name for name in (*_NEEDED, *_KEPT, *_NAMED) if name in file.schema_arrow.names]
        number = 0
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).total_byte_size
            if size > MAX_GROUP_BYTES:
                raise ValueError(f"row group {group} has {size} bytes, more than {MAX_GROUP_BYTES}")
            for batch in file.iter_batches(_BATCH, row_groups=[group], columns=columns):
                for row, source_id in enumerate(batch["source_id"].to_pylist()):
                    chosen = choose(str(source_id))
                    if chosen is not False:
                        yield _record(batch.slice(row, 1), str(source_id), f"{path.name}:{number + row}", chosen)
                number += batch.num_rows


def _check_columns(schema: pa.Schema) -> None:
    wanted = {column.name: column.type for column in ENTRIES.columns}
    for name in (*_NEEDED, *_KEPT):
        index = schema.get_field_index(name)
        if index < 0 and name in _NEEDED:
            raise ValueError(f"no entries table: it has no column {name}")
        if index >= 0 and schema.field(index).type != wanted[name]:
            raise ValueError(f"no entries table: column {name} is {schema.field(index).type}, not {wanted[name]}")


def _record(row: pa.RecordBatch, source_id: str, where: str, chosen: bool | Stop) -> RawRecord:
    if isinstance(chosen, Stop):
        return RawRecord(source_id, where, None, "", chosen)
    if row.nbytes > MAX_RECORD_BYTES:
        stop = Stop(Reason.TOO_LARGE_FILE, f"a row of more than {MAX_RECORD_BYTES} bytes")
        return RawRecord(source_id, where, None, "", stop)
    (values,) = row.to_pylist()
    origin = values.pop("origin", None)
    origin = origin or values.get("entry_key")
    values.pop("entry_key", None)
    text = json.dumps(values, separators=(",", ":"))
    return RawRecord(source_id, where, text, hashlib.sha256(text.encode()).hexdigest(), origin=origin)


def parse_entry(text: str) -> ParsedRecord | Stop:
    """Read one row of ``entries``.

    The row holds the expanded cell with its declared formula, so what is missing is counted as in the original. What
    only the original says (attached hydrogens, labels, calculated positions) is not in the table.

    Args:
        text: JSON of the row.

    Returns:
        The parsed record, or why it cannot be read.
    """
    try:
        return _parse(json.loads(text))
    except RefusedError as refused:
        return refused.stop
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        return Stop(Reason.UNREADABLE, f"{type(error).__name__}: {one_line(error)}")


def _parse(row: dict[str, Any]) -> ParsedRecord:
    lattice = np.array(row["lattice"], dtype=np.float64)
    if lattice.size != 9 or not np.isfinite(lattice).all() or not abs(np.linalg.det(lattice.reshape(3, 3))) > 1e-3:
        raise RefusedError(Reason.NO_CELL, "lattice spans no volume")
    species = row["species"]
    if not species or len(species) > MAX_IMAGES:
        raise RefusedError(Reason.TOO_MANY_SITES if species else Reason.NO_SITES, f"{len(species or ())} sites")
    frac = np.array(row["frac"], dtype=np.float64).reshape(len(species), 3)
    if not np.all(np.abs(frac) <= _MAX_FRAC):
        raise ValueError("a position is not finite or far outside the cell")
    z = row.get("z")
    return ParsedRecord(
        lattice=lattice.reshape(3, 3),
        sites=tuple(
            _site(name, i, place) for i, (name, place) in enumerate(zip(species, frac.tolist(), strict=True), 1)
        ),
        n_operators=1,
        cell_site=np.arange(len(species), dtype=np.int64),
        cell_frac=frac,
        formula=parse_formula(row.get("formula_declared")),
        z=float(z) if z is not None and math.isfinite(z) and z > 0 else None,
        space_group=row.get("space_group"),
        is_theoretical=row.get("is_theoretical"),
    )


def _site(name: str, number: int, frac: list[float]) -> Site:
    element = as_element(str(name))
    if element is None:
        raise RefusedError(Reason.UNKNOWN_ELEMENT, f"site {number} is {str(name)[:20]!r}")
    x, y, z = frac
    return Site(f"{element[0]}{number}", element[0], 1.0, (x, y, z), is_isotope=element[1])
