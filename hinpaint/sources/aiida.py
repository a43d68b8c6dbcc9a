"""AiiDA archives (``.aiida``, aiida-core 2.x): the StructureData and CifData nodes.

An archive is a zip of ``metadata.json``, ``db.sqlite3`` and ``repo/<sha256>``. It is read with :mod:`sqlite3`, not
through aiida-core: that would pin click, tabulate and wrapt below the versions the other dependencies are tested with,
it creates a configuration folder in the home directory wherever it is imported, and it trusts the archive's sizes.
A structure is handed on as an OPTIMADE resource, which says the same; a CIF as it is.
"""

import hashlib
import json
import re
import sqlite3
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from hinpaint.sources.archive import DamagedMemberError, decode, read_zip_member
from hinpaint.sources.chemistry import hill_formula
from hinpaint.sources.raw import Choose, broken, one_line, origin_of, take_all
from hinpaint.sources.records import MAX_RECORD_BYTES, RawRecord
from hinpaint.sources.streams import STREAM_ERRORS, check_ratio
from hinpaint.whynot import Reason, Stop

_VERSION = "main_0001"
_MAX_METADATA = 64 * 1024 * 1024
_STEP = 1024 * 1024
# Steps of SQLite's machine between two structures: an archive of ten million other nodes stays below.
_MAX_STEPS, _STEPS_A_CALL = 1_000_000_000, 1_000_000
_STRUCTURE = ("data.core.structure.StructureData.", "data.structure.StructureData.")
_CIF = ("data.core.cif.CifData.", "data.cif.CifData.")
_QUERY = f"""
    SELECT id, uuid, node_type,
           CASE WHEN length(attributes) <= {MAX_RECORD_BYTES} THEN attributes END,
           CASE WHEN length(extras) <= {MAX_RECORD_BYTES} THEN extras END,
           CASE WHEN length(repository_metadata) <= {MAX_RECORD_BYTES} THEN repository_metadata END
    FROM db_dbnode WHERE node_type IN (?, ?, ?, ?) ORDER BY id
"""  # noqa: S608 - the only value is a constant
_ERRORS = (*STREAM_ERRORS, sqlite3.Error, zipfile.BadZipFile, NotImplementedError, RuntimeError, KeyError,
           DamagedMemberError)  # fmt: skip


def read_nodes(path: Path, choose: Choose = take_all) -> Iterator[RawRecord]:
    """Read the structures of an archive.

    Args:
        path: the ``.aiida`` file. Its database is copied to a temporary file, as SQLite needs one.
        choose: which records to read.

    Yields:
        One record a node, its id the node's UUID; its origin is the node's ``source`` (database, id, version) where it
        has one. An archive that is of another version, damaged, or a bomb yields a last record that says so.
    """
    try:
        with zipfile.ZipFile(path) as archive, tempfile.NamedTemporaryFile(suffix=".sqlite3") as copy:
            _check_version(archive)
            _copy_database(archive, copy.file, path.stat().st_size)
            # Immutable: nobody else writes, so SQLite needs no lock and no journal.
            with closing(sqlite3.connect(f"file:{copy.name}?mode=ro&immutable=1", uri=True)) as database:
                yield from _nodes(database, archive, choose)
    except _ERRORS as error:
        yield broken(path, error)


def _check_version(archive: zipfile.ZipFile) -> None:
    metadata = json.loads(read_zip_member(archive, archive.getinfo("metadata.json"), _MAX_METADATA))
    version = metadata.get("export_version") if isinstance(metadata, dict) else None
    if version != _VERSION:
        raise ValueError(f"archive version {str(version)[:20]!r}, not {_VERSION}; verdi archive migrate makes it that")


def _copy_database(archive: zipfile.ZipFile, copy: IO[bytes], packed: int) -> None:
    info = archive.getinfo("db.sqlite3")
    read_zip_member(archive, info, 0)  # refuses methods that cannot be unpacked in bounded memory
    unpacked = 0
    with archive.open(info) as handle:
        while block := handle.read(_STEP):
            unpacked += len(block)
            check_ratio(unpacked, packed)
            copy.write(block)
    copy.flush()


def _nodes(database: sqlite3.Connection, archive: zipfile.ZipFile, choose: Choose) -> Iterator[RawRecord]:
    _harden(database)
    steps = 0

    def count_steps() -> bool:
        nonlocal steps
        steps += _STEPS_A_CALL
        return steps > _MAX_STEPS

    database.set_progress_handler(count_steps, _STEPS_A_CALL)
    for number, uuid, kind, *columns in database.execute(_QUERY, (*_STRUCTURE, *_CIF)):
        steps = 0
        source_id = str(uuid)
        chosen = choose(source_id)
        if chosen is not False:
            yield _record(archive, source_id, f"node {number}", kind, columns, chosen)


def _harden(database: sqlite3.Connection) -> None:
    """A hostile database may hold views and virtual tables that compute for ever under the name of a table."""
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 8 * MAX_RECORD_BYTES)
    for pragma in ("trusted_schema = OFF", "query_only = ON", "cell_size_check = ON", "mmap_size = 0"):
        database.execute(f"PRAGMA {pragma}")
    found = database.execute("SELECT type, sql FROM sqlite_master WHERE name = 'db_dbnode'").fetchone()
    if found is None or found[0] != "table" or not re.match(r"CREATE TABLE\s", str(found[1])):
        raise ValueError("the database has no table db_dbnode")


def _record(
    archive: zipfile.ZipFile, source_id: str, where: str, kind: str, columns: list[Any], chosen: bool | Stop
) -> RawRecord:
    if isinstance(chosen, Stop):
        return RawRecord(source_id, where, None, "", chosen)
    try:
        attributes, extras, files = (_mapping(column) for column in columns)
        if kind in _CIF:
            content = _file(archive, attributes, files)
        else:
            content = json.dumps(_resource(source_id, attributes), separators=(",", ":")).encode()
    except (*_ERRORS, TypeError) as error:
        return RawRecord(source_id, where, None, "", Stop(Reason.UNREADABLE, f"node: {one_line(error)}"))
    if len(content) > MAX_RECORD_BYTES:
        stop = Stop(Reason.TOO_LARGE_FILE, f"more than {MAX_RECORD_BYTES} bytes")
        return RawRecord(source_id, where, None, "", stop)
    origin = _origin(attributes.get("source")) or _origin(extras.get("source"))
    return RawRecord(source_id, where, decode(content), hashlib.sha256(content).hexdigest(), origin=origin)


def _mapping(column: Any) -> dict[str, Any]:
    value = json.loads(column) if isinstance(column, str) else None
    return value if isinstance(value, dict) else {}


def _origin(source: Any) -> str | None:
    """The ``source`` of an AiiDA data node."""
    return (
        origin_of(source.get("db_name"), source.get("id"), source.get("version")) if isinstance(source, dict) else None
    )


def _file(archive: zipfile.ZipFile, attributes: dict[str, Any], files: dict[str, Any]) -> bytes:
    """The CIF of a CifData node: the repository stores files under their SHA-256."""
    objects = files.get("o")
    entry = objects.get(attributes.get("filename")) if isinstance(objects, dict) else None
    key = entry.get("k") if isinstance(entry, dict) else None
    if not isinstance(key, str) or not re.fullmatch(r"[0-9a-f]{64}", key):
        raise ValueError("its file is not in the repository")
    return read_zip_member(archive, archive.getinfo(f"repo/{key}"), MAX_RECORD_BYTES + 1)


def _resource(source_id: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """Say as an OPTIMADE resource what the attributes of a StructureData node say.

    Raises:
        ValueError: the structure is not periodic in three directions, or not a structure.
        KeyError: a kind or a site is incomplete.
    """
    kinds, sites = attributes.get("kinds"), attributes.get("sites")
    if not isinstance(kinds, list) or not isinstance(sites, list):
        raise ValueError("the attributes hold no kinds and sites")  # noqa: TRY004 - the content is wrong, not a type
    if not all(attributes.get(f"pbc{axis}", True) for axis in (1, 2, 3)):
        raise ValueError("the structure is not periodic in three directions")
    species = [
        {"name": kind["name"], "chemical_symbols": kind["symbols"], "concentration": kind["weights"]} for kind in kinds
    ]
    contents = {kind["name"]: dict(zip(kind["symbols"], kind["weights"], strict=True)) for kind in kinds}
    counts: Counter[str] = Counter()
    for site in sites:
        counts.update(contents[site["kind_name"]])
    return {
        "id": source_id,
        "type": "structures",
        "attributes": {
            "lattice_vectors": attributes.get("cell"),
            "cartesian_site_positions": [site["position"] for site in sites],
            "species_at_sites": [site["kind_name"] for site in sites],
            "species": species,
            # As in any OPTIMADE export, the formula is that of the sites: the node declares no other.
            "chemical_formula_descriptive": hill_formula(counts),
        },
    }
