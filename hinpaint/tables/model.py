"""What a table is, and the columns that several tables share."""

from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = "1"

# Trials are numbered 0, 1, ...; these numbers below them have a meaning of their own.
REFERENCE = -1
FIRST_CONTROL = -2

TEXT = pa.string()
INT = pa.int32()
FLOAT = pa.float64()
FLAG = pa.bool_()
VECTOR = pa.list_(pa.float64())
TEXTS = pa.list_(pa.string())


@dataclass(frozen=True)
class Column:
    """One column: its name, Arrow type, description, and whether it may be empty."""

    name: str
    type: pa.DataType
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """One table: its name, what a row is, the columns, and the columns that identify a row."""

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema; the descriptions travel as field metadata, the version as schema metadata."""
        fields = [
            pa.field(c.name, c.type, nullable=c.nullable, metadata={"description": c.description}) for c in self.columns
        ]
        return pa.schema(fields, metadata={"table": self.name, "schema_version": SCHEMA_VERSION})


COMMON = (
    Column("run_id", TEXT, "name of the run that wrote the row"),
    Column("schema_version", TEXT, "version of this table's definition"),
)


def table(name: str, description: str, key: tuple[str, ...], *columns: Column) -> Table:
    """Define a table: its own columns, then those that every table carries."""
    return Table(name, description, (*columns, *COMMON), key)


KEY = Column("entry_key", TEXT, "database|version|id of the entry")
TRIAL = Column(
    "trial", INT, "trial number: 0, 1, ... model trials; -1 the reference; -2, -3, ... random-placement controls"
)
LATTICE = Column("lattice", VECTOR, "lattice vectors as rows, 9 numbers, ångström")
SPECIES = Column("species", TEXTS, "element symbol of each site")
FRAC = Column("frac", VECTOR, "fractional coordinates, 3 numbers a site")
SUPERCELL = Column(
    "supercell", pa.list_(INT), "9 integers, row by row: the source's lattice in vectors of the cell tasks work in"
)

IDENTITY = (
    KEY,
    Column("database", TEXT, "short name of the database"),
    Column("version", TEXT, "version of the database or of the entry"),
    Column("source_id", TEXT, "the database's own id of the entry"),
    Column("origin", TEXT, "database|id[|revision] of the record it was made from, as it says", nullable=True),
    Column("licence", TEXT, "licence of the record (SPDX where one exists)"),
    Column("source_sha256", TEXT, "SHA-256 of the record's source text"),
    Column("formula_declared", TEXT, "formula as the record declares it", nullable=True),
)
