"""The manifest of a release: every file's hash, and what the release was made from. No times, so equal runs agree."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hinpaint.config import Config
from hinpaint.files import sha256_file
from hinpaint.jobs import library_versions

NAME = "manifest.json"


def write_manifest(folder: Path, config: Config, counts: Mapping[str, Any]) -> Path:
    """Write ``manifest.json`` of a release folder.

    Args:
        folder: the release; all its files but the manifest are listed.
        config: the run's configuration, written with its defaults.
        counts: what the release counts.

    Returns:
        The manifest's path.
    """
    path = folder / NAME
    content = {
        "title": config.release.title,
        "version": config.release.version,
        "run": config.run,
        "seed": config.seed,
        "counts": dict(counts),
        "software": library_versions(),
        "config": resolved(config),
        "files": list_files(folder),
    }
    path.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def list_files(folder: Path) -> list[dict[str, str | int]]:
    """Path, SHA-256 and size of every file below a folder but the manifest, sorted by path."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return [
        {"path": name, "sha256": sha256_file(paths[name]), "bytes": paths[name].stat().st_size}
        for name in sorted(paths)
        if name != NAME
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
