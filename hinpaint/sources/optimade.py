"""OPTIMADE JSON Lines: a header line, then one ``structures`` resource a line (plain or gzip)."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.crystal import FloatArray
from hinpaint.sources.chemistry import as_element, parse_formula
from hinpaint.sources.geometry import MAX_IMAGES
from hinpaint.sources.raw import broken, one_line, origin_of
from hinpaint.sources.records import MAX_RECORD_BYTES, Formula, ParsedRecord, RawRecord, RefusedError, Site
from hinpaint.sources.streams import MAX_RECORDS, STREAM_ERRORS, UnpacksTooFarError, open_bounded, read_filled_line
from hinpaint.whynot import Reason, Stop

_MAX_FRAC = 1000.0
_VACANCY = "vacancy"
# Lines of an export that are no structures, by the OPTIMADE specification 1.2.
_OTHER_TYPES = ("references", "links", "info", "files", "calculations", "trajectories")


def read_lines(path: Path) -> Iterator[RawRecord]:
    """Read the resources of a JSON Lines file, one bounded line at a time.

    Args:
        path: the file; gzip, xz, bzip2 and zstd are unpacked on the way.

    Yields:
        One record a line; a line that is no resource, or too long, carries a stop. Headers and resources of other
        types (references, info) are no records.
    """
    try:
        with open_bounded(path) as handle:
            number = 0
            for _ in range(MAX_RECORDS):
                line, too_long, n_read = read_filled_line(handle, MAX_RECORD_BYTES)
                number += n_read
                if not line:
                    return
                record = _record(line, too_long, number, f"{path.name}:{number}")
                if record is not None:
                    yield record
            raise UnpacksTooFarError(f"more than {MAX_RECORDS} lines; the rest is not read")
    except STREAM_ERRORS as error:
        yield broken(path, error)


def _record(line: bytes, too_long: bool, number: int, where: str) -> RawRecord | None:
    fallback = f"line-{number}"
    if too_long:
        stop = Stop(Reason.TOO_LARGE_FILE, f"line of more than {MAX_RECORD_BYTES} bytes")
        return RawRecord(fallback, where, None, "", stop)
    sha256 = hashlib.sha256(line).hexdigest()
    try:
        text = line.decode("utf-8")
        resource = json.loads(text)
    except (ValueError, RecursionError) as error:
        stop = Stop(Reason.UNREADABLE, f"not JSON: {one_line(error)}")
        return RawRecord(fallback, where, None, sha256, stop)
    if not isinstance(resource, dict):
        problem = "the line is no JSON object"
    elif "x-optimade" in resource or resource.get("type", "structures") in _OTHER_TYPES:
        return None
    elif resource.get("type", "structures") != "structures":
        problem = "the resource is of no type OPTIMADE knows"
    elif not _is_id(source_id := resource.get("id")):
        problem = "the resource has no id"
    else:
        return RawRecord(str(source_id), where, text, sha256, origin=_origin(resource.get("attributes")))
    return RawRecord(fallback, where, None, sha256, Stop(Reason.UNREADABLE, problem))


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _origin(attributes: Any) -> str | None:
    """The record MC3D made this one from; its export names the database and the id there, but no revision."""
    if not isinstance(attributes, dict):
        return None
    return origin_of(attributes.get("_mcloud_source_db"), attributes.get("_mcloud_source_db_id"))


def parse_optimade(text: str) -> ParsedRecord | Stop:
    """Read one ``structures`` resource.

    Args:
        text: the JSON of one line.

    Returns:
        The parsed record (the cell is given whole, so the identity is the only operator), or why it cannot be read.
    """
    try:
        attributes = json.loads(text).get("attributes")
    except (ValueError, AttributeError, RecursionError) as error:
        return Stop(Reason.UNREADABLE, f"{type(error).__name__}: {one_line(error)}")
    return parse_attributes(attributes if isinstance(attributes, dict) else {})


def parse_attributes(attributes: Mapping[str, Any]) -> ParsedRecord | Stop:
    """Read the ``attributes`` of a ``structures`` resource; other readers bring their records into this form."""
    try:
        return _structure(attributes)
    except RefusedError as refused:
        return refused.stop
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        detail = f"{type(error).__name__}: {one_line(error)}"
        return Stop(Reason.UNREADABLE, detail)


def _structure(attributes: Mapping[str, Any]) -> ParsedRecord:
    vectors = attributes.get("lattice_vectors")
    if vectors is None:
        raise RefusedError(Reason.NO_CELL, "lattice_vectors is absent")
    lattice = np.array(vectors, dtype=np.float64)
    if lattice.shape != (3, 3) or not np.isfinite(lattice).all() or not abs(np.linalg.det(lattice)) > 1e-3:
        raise RefusedError(Reason.NO_CELL, "lattice_vectors span no volume")
    names, positions = attributes.get("species_at_sites"), attributes.get("cartesian_site_positions")
    if not names or not positions:
        raise RefusedError(Reason.NO_SITES, "species_at_sites or cartesian_site_positions is absent")
    if len(names) != len(positions):
        raise RefusedError(Reason.UNREADABLE, f"{len(names)} species for {len(positions)} positions")
    if len(names) > MAX_IMAGES:
        raise RefusedError(Reason.TOO_MANY_SITES, f"{len(names)} sites, more than {MAX_IMAGES}")
    sites = _sites(names, positions, lattice, attributes.get("species") or [])
    placed = [(i, site.frac) for i, site in enumerate(sites) if site.frac is not None]
    if not placed:
        raise RefusedError(Reason.NO_SITES, "no site has a position")
    return ParsedRecord(
        lattice=lattice,
        sites=sites,
        n_operators=1,
        cell_site=np.array([i for i, _ in placed], dtype=np.int64),
        cell_frac=np.array([frac for _, frac in placed], dtype=np.float64),
        formula=_formula(attributes),
        z=None,
        space_group=_text(attributes.get("space_group_symbol_hermann_mauguin")),
        is_theoretical=None,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _formula(attributes: Mapping[str, Any]) -> Formula | None:
    """The descriptive formula may say more than the sites (it may count absent hydrogens); the reduced one is plain."""
    for name in ("chemical_formula_descriptive", "chemical_formula_reduced"):
        formula = parse_formula(_text(attributes.get(name)))
        if formula is not None:
            return formula
    return None


def _sites(names: list[Any], positions: list[Any], lattice: FloatArray, species: list[Any]) -> tuple[Site, ...]:
    definitions = {str(entry["name"]): entry for entry in species}
    coordinates = _fractional(positions, lattice)
    occupants: dict[str, list[tuple[str, bool, float]]] = {}
    sites: list[Site] = []
    for name, frac in zip(names, coordinates, strict=True):
        key = str(name)
        if key not in occupants:
            occupants[key] = _occupants(key, definitions.get(key, {"chemical_symbols": [key]}))
        found = occupants[key]
        attached = _attached(definitions.get(key, {}))
        for element, is_isotope, occupancy in found:
            sites.append(Site(key, element, occupancy, frac, is_isotope=is_isotope, attached=attached))
    return tuple(sites)


def _fractional(positions: list[Any], lattice: FloatArray) -> list[tuple[float, float, float] | None]:
    """Fractional coordinates of each position; None where OPTIMADE gives null."""
    absent = [position is None or None in position for position in positions]
    cartesian = np.array([(0.0, 0.0, 0.0) if gap else p for p, gap in zip(positions, absent, strict=True)], dtype=np.float64)  # fmt: skip  # noqa: E501
    frac = cartesian.reshape(len(positions), 3) @ np.linalg.inv(lattice)
    if not np.all(np.abs(frac) <= _MAX_FRAC):
        raise ValueError("a position is not finite or far outside the cell")
    return [None if gap else (x, y, z) for (x, y, z), gap in zip(frac.tolist(), absent, strict=True)]


def _occupants(name: str, definition: dict[str, Any]) -> list[tuple[str, bool, float]]:
    symbols = definition.get("chemical_symbols") or [name]
    concentrations = definition.get("concentration") or [1.0] * len(symbols)
    found = []
    for symbol, concentration in zip(symbols, concentrations, strict=True):
        if symbol == _VACANCY:
            continue
        element = as_element(str(symbol))
        if element is None:
            raise RefusedError(Reason.UNKNOWN_ELEMENT, f"species {name[:40]!r} holds {str(symbol)[:20]!r}")
        found.append((element[0], element[1], float(concentration)))
    return found


def _attached(definition: dict[str, Any]) -> int | None:
    """Hydrogens that OPTIMADE's species attach to a site without coordinates (``attached``, ``nattached``)."""
    symbols, numbers = definition.get("attached"), definition.get("nattached")
    if not symbols or not numbers:
        return None
    return sum(int(n) for symbol, n in zip(symbols, numbers, strict=True) if symbol in ("H", "D", "T"))
