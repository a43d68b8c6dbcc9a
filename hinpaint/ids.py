"""Entry keys: the only place where ids are parsed or turned into file names."""

import hashlib
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, unquote

_SEPARATOR = "|"
_FILE_SEPARATOR = "~"
_MAX_PART = 200
_MAX_NAME = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, order=True)
class EntryKey:
    """Identity of one database entry.

    Attributes:
        database: short name of the database, for example ``cod``.
        version: release or revision of the database or of the entry.
        source_id: the id the database itself gives the entry.

    Raises:
        ValueError: a part is empty, too long, or holds a control character or the separator ``|``.
    """

    database: str
    version: str
    source_id: str

    def __post_init__(self) -> None:
        for name in ("database", "version", "source_id"):
            part = getattr(self, name)
            if not part or len(part) > _MAX_PART:
                raise ValueError(f"{name} must have 1 to {_MAX_PART} characters, not {len(part)}")
            if _SEPARATOR in part or _CONTROL.search(part):
                raise ValueError(f"{name} must hold neither '|' nor control characters: {part!r}")

    def __str__(self) -> str:
        return _SEPARATOR.join((self.database, self.version, self.source_id))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``database|version|id``.

        Raises:
            ValueError: the text has not exactly three valid parts.
        """
        parts = text.split(_SEPARATOR)
        if len(parts) != 3:
            raise ValueError(f"an entry key reads database|version|id, not {text!r}")
        return cls(*parts)

    @property
    def file_name(self) -> str:
        """A name that is safe on any file system (ASCII letters, digits, ``-_.~%``) and maps back to one key only."""
        parts = (self.database, self.version, self.source_id)
        return _FILE_SEPARATOR.join(_quote(part) for part in parts)

    @classmethod
    def from_file_name(cls, name: str) -> Self:
        """Invert :attr:`file_name`.

        Raises:
            ValueError: the name does not encode an entry key.
        """
        parts = name.split(_FILE_SEPARATOR)
        if len(parts) != 3:
            raise ValueError(f"not the file name of an entry: {name!r}")
        return cls(*(unquote(part, errors="strict") for part in parts))


def file_name(key: str) -> str:
    """Name of an entry's files; one that is longer than file systems take ends in a hash instead.

    Raises:
        ValueError: the text is no key.
    """
    name = EntryKey.parse(key).file_name
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[: _MAX_NAME - 17]}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _quote(part: str) -> str:
    """Percent-encode everything but letters, digits, ``-``, ``_`` and inner dots (``~`` separates the parts)."""
    quoted = quote(part, safe="").replace("~", "%7E")
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted
