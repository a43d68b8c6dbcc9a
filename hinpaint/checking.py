"""Are the files of a run what they were when they were written? Disks and copies lose bits silently."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hinpaint.config import Config
from hinpaint.scripting import table_files, verify_files
from hinpaint.store import StoreError, read_table
from hinpaint.tables import ALL_TABLES


@dataclass(frozen=True)
class BrokenFile:
    """A file that cannot be used.

    Attributes:
        path: the file; once it is deleted the workflow makes it again, and what depends on it.
        problem: one line that says what is wrong.
    """

    path: Path
    problem: str


def broken_files(config: Config, results: Path) -> Iterator[BrokenFile]:
    """Read every table file of a run and yield those that are damaged or of another schema.

    Each page of a file carries a checksum, which is verified together with the number of rows and the schema; one file
    is held in memory at a time. Files that are absent are not broken: the workflow finds those by itself.

    Args:
        config: the run's configuration.
        results: the run's folder.

    Yields:
        The files to delete, in the order of the stages.
    """
    stages, verified = table_files(config, results), verify_files(config, results)
    for name, paths in (*stages.items(), *verified.items()):
        for path in paths:
            if path.exists() and (problem := _problem(path, name)) is not None:
                yield BrokenFile(path, problem)


def _problem(path: Path, name: str) -> str | None:
    try:
        read_table(path, ALL_TABLES[name])
    except StoreError as error:
        return str(error)
    return None
