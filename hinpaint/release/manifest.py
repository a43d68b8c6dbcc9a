"""The manifest of a release: every file's hash, and what the release was made from. No times, so equal runs agree.

``catalog.duckdb`` has no hash: DuckDB does not write equal bytes for equal rows. It is made from the tables beside it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hinpaint.config import Config
from hinpaint.files import sha256_file
from hinpaint.jobs import library_versions
from hinpaint.release.versions import version_of

NAME = "manifest.json"
CHECKSUMS = "checksums.sha256"
CATALOG = "catalog.duckdb"
_UNLISTED = {NAME, CHECKSUMS, CATALOG}


def write_manifest(folder: Path, config: Config, counts: Mapping[str, Any], previous: Path | None = None) -> Path:
    """Write ``manifest.json`` and ``checksums.sha256`` of a release folder.

    Args:
        folder: the release; all its files but these two and the catalog are listed.
        config: the run's configuration, written with its defaults.
        counts: what the release counts.
        previous: folder of the release it was compared with.

    Returns:
        The manifest's path.
    """
    path = folder / NAME
    content: dict[str, Any] = {
        "title": config.release.title,
        "version": config.release.version,
        "run": config.run,
        "seed": config.seed,
        "counts": dict(counts),
        "software": library_versions(),
        "config": resolved(config),
        "files": list_files(folder),
        "derived": [CATALOG],
        "previous": None if previous is None else _identity(previous),
    }
    path.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    sums = [(str(file["sha256"]), str(file["path"])) for file in content["files"]] + [(sha256_file(path), NAME)]
    lines = "".join(f"{digest}  {name}\n" for digest, name in sums)
    (folder / CHECKSUMS).write_text(lines, encoding="utf-8", newline="\n")
    return path


def _identity(previous: Path) -> dict[str, str]:
    return {"version": version_of(previous), "manifest_sha256": sha256_file(previous / NAME)}


def list_files(folder: Path) -> list[dict[str, str | int]]:
    """Path, SHA-256 and size of every file below a folder that equal runs make equal, sorted by path."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return [
        {"path": name, "sha256": sha256_file(paths[name]), "bytes": paths[name].stat().st_size}
        for name in sorted(paths)
        if name not in _UNLISTED
    ]


def resolved(config: Config) -> dict[str, Any]:
    """Configuration as JSON with all defaults; of absolute paths only the last part, as the rest is the machine's."""
    cleaned: dict[str, Any] = _portable(config.model_dump(mode="python"))
    return cleaned


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _portable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(each) for each in value]
    if isinstance(value, Path):
        return value.name if value.is_absolute() or ".." in value.parts else value.as_posix()
    # The model is a name or a path.
    if isinstance(value, str) and value.startswith("/"):
        return Path(value).name
    return value
