"""Semantic versions of releases: coordinates changed or entries gone = major, other changes = minor."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

HOLDINGS_FILE = "tables/holdings.parquet"
TOLERANCE_A = 1e-3
"""Coordinates that differ by no more are the same: files are rounded and devices differ."""
Level = Literal["major", "minor", "patch"]


class ReleaseError(Exception):
    """The release cannot be made or compared as asked; the message says in one line what to change."""


@dataclass(frozen=True, order=True)
class Version:
    """A version ``major.minor.patch``."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``1.2.3``.

        Raises:
            ValueError: the text is no version.
        """
        parts = text.split(".")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError(f"a version reads 1.2.3, not {text!r}")
        return cls(*map(int, parts))

    def raised(self, level: Level) -> "Version":
        """Return the next version of a level; before 1.0.0 everything counts one level lower, as semver has it."""
        if level == "major" and self.major > 0:
            return Version(self.major + 1, 0, 0)
        if level == "major" or (level == "minor" and self.major > 0):
            return Version(self.major, self.minor + 1, 0)
        return Version(self.major, self.minor, self.patch + 1)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def level_of(changes: Counter[str]) -> Level:
    """The level that changes ask for, from how many entries each kind of change has."""
    if changes["coordinates"] or changes["removed"]:
        return "major"
    return "minor" if changes["added"] or changes["metadata"] else "patch"


def version_of(release: Path) -> str:
    """The version a release folder says it is, whatever the folder is called.

    Raises:
        ReleaseError: it has no manifest with a version.
    """
    try:
        version = str(json.loads((release / "manifest.json").read_text(encoding="utf-8"))["version"])
        Version.parse(version)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"{release} is no release: its manifest.json names no version") from error
    return version


def find_previous(folder: Path, version: str) -> Path | None:
    """The release with the highest version below ``version`` among a folder's, None when there is none.

    Folders without ``tables/holdings.parquet`` are passed over: there is nothing to compare with.
    """
    now = Version.parse(version)
    found = []
    for each in folder.iterdir() if folder.is_dir() else ():
        try:
            other = Version.parse(each.name)
        except ValueError:
            continue
        if other < now and (each / HOLDINGS_FILE).is_file():
            found.append((other, each))
    return max(found)[1] if found else None


def advice(previous: str, version: str, changes: Counter[str]) -> str | None:
    """Say which version the changes ask for; None when the one given is high enough."""
    level = level_of(changes)
    least = Version.parse(previous).raised(level)
    if Version.parse(version) >= least:
        return None
    counted = ", ".join(f"{n} {change}" for change, n in sorted(changes.items()) if n) or "nothing"
    return (
        f"entries changed since {previous}: {counted}. That is a {level} change, so release.version {version} must be "
        f"{least} or higher (or set release.version_check: report)"
    )
