"""A folder that appears whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workplace:
    """Where a release is made.

    Attributes:
        folder: becomes the release.
        scratch: for what is only needed while it is made.
    """

    folder: Path
    scratch: Path


@contextmanager
def whole_folder(final: Path) -> Iterator[Workplace]:
    """Give a folder beside the final one to write into; it takes the final name when everything went well.

    Args:
        final: an existing one is replaced as a whole.

    Yields:
        The folder and a scratch folder on the same disk.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".tmp", dir=final.parent))
    new, old, scratch = working / "new", working / "old", working / "scratch"
    new.mkdir()
    scratch.mkdir()
    try:
        yield Workplace(new, scratch)
        if final.exists():
            # No system call replaces a full folder; between these two renames there is none, but never a mixed one.
            os.replace(final, old)
        try:
            os.replace(new, final)
        except OSError:
            if old.exists():
                os.replace(old, final)
            raise
    finally:
        shutil.rmtree(working, ignore_errors=True)
