"""The table of facts in memory: papers, crystals and records, and their expansion by symmetry."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

HYDROGEN = ("H", "D")


@dataclass(frozen=True)
class Paper:
    """Where a structure was published; ``source`` is journal, year, volume, first and last page."""

    authors: list[str]
    title: str
    source: tuple[str, int, str, str, str]
    doi: str | None = None

    def cite(self) -> str:
        """The reference as one line of Markdown."""
        journal, year, volume, first, last = self.source
        doi = f", doi {self.doi}" if self.doi else ""
        return f"{'; '.join(self.authors)}: {self.title}. *{journal}* {volume} ({year}) {first}-{last}{doi}"


@dataclass(frozen=True)
class Site:
    """One row of the atom loop; coordinates and options stay text, as they will be printed."""

    label: str
    type_symbol: str
    xyz: tuple[str, str, str]
    options: dict[str, str] = field(default_factory=dict)

    @property
    def element(self) -> str:
        """The type symbol without its charge."""
        return re.sub(r"[0-9+-]+$", "", self.type_symbol)


@dataclass(frozen=True)
class Crystal:
    """A published structure. Cell in angstrom and degrees, ``formula`` is one of ``z`` units in the cell."""

    name: str
    formula: str
    z: int
    group: str
    cell: str
    sites: str
    paper: str
    used: str
    mineral: str | None = None
    temperature: int | None = None

    def unit_cell(self) -> gemmi.UnitCell:
        """The cell without its uncertainties."""
        return gemmi.UnitCell(*(gemmi.cif.as_number(value) for value in self.cell.split()))

    def space_group(self) -> gemmi.SpaceGroup:
        """The space group in the setting used."""
        return gemmi.SpaceGroup(self.group)

    def composition(self) -> dict[str, float]:
        """Atoms of each element in one formula unit."""
        return {e: float(n or 1) for e, n in re.findall(r"([A-Z][a-z]?)([0-9.]*)", self.formula)}


@dataclass(frozen=True)
class Record:
    """One CIF of the fictitious database: a crystal and what is done to it."""

    id: int
    crystal: Crystal
    cls: str
    shows: str
    omit: str = ""
    add: str = ""
    old_style: bool = False
    damage: str = ""

    @property
    def path(self) -> str:
        """Where the CIF lies, in the layout of COD."""
        digits = str(self.id)
        return f"cod/cif/{digits[0]}/{digits[1:3]}/{digits[3:5]}/{digits}.cif"

    def sites(self) -> list[Site]:
        """The rows of the atom loop, after leaving out and adding."""
        rows = parse_sites(self.crystal.sites) + parse_sites(self.add)
        return [site for site in rows if not self.omit or site.element != self.omit]


@dataclass(frozen=True)
class Facts:
    """The whole table."""

    papers: dict[str, Paper]
    crystals: dict[str, Crystal]
    records: list[Record]
    optimade: dict[str, Any]


def load_facts(path: Path) -> Facts:
    """Read the table; an unknown key is an error."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    papers = {key: Paper(**{**row, "source": tuple(row["source"])}) for key, row in table["paper"].items()}
    crystals = {key: Crystal(**row) for key, row in table["crystal"].items()}
    records = []
    for row in table["record"]:
        row["cls"] = row.pop("class")
        records.append(Record(**{**row, "crystal": crystals[row["crystal"]]}))
    return Facts(papers, crystals, records, table["optimade"])


def parse_sites(text: str) -> list[Site]:
    """One site a line: label, type symbol, x, y, z, then options as `name=value`."""
    sites = []
    for line in text.strip().splitlines():
        label, type_symbol, x, y, z, *options = line.split()
        sites.append(Site(label, type_symbol, (x, y, z), dict(option.split("=") for option in options)))
    return sites


def expand(crystal: Crystal, sites: list[Site]) -> list[tuple[Site, np.ndarray]]:
    """All positions of the conventional cell, fractional and wrapped, of the sites that have coordinates."""
    operations = crystal.space_group().operations()
    cell = crystal.unit_cell()
    atoms: list[tuple[Site, np.ndarray]] = []
    for site in sites:
        if "." in site.xyz:
            continue
        start = [gemmi.cif.as_number(value) for value in site.xyz]
        orbit: list[np.ndarray] = []
        for operation in operations:
            image = np.array(operation.apply_to_xyz(start)) % 1.0
            if all(distance(cell, image, other) > 0.05 for other in orbit):
                orbit.append(image)
        atoms.extend((site, position) for position in orbit)
    return atoms


def distance(cell: gemmi.UnitCell, one: np.ndarray, other: np.ndarray) -> float:
    """Shortest distance in angstrom between two fractional positions of a periodic crystal."""
    here, there = (cell.orthogonalize(gemmi.Fractional(*position.tolist())) for position in (one, other))
    return float(cell.find_nearest_image(here, there, gemmi.Asu.Any).dist())


def missing_hydrogen(record: Record) -> float:
    """Hydrogen atoms of the conventional cell that the formula has and the sites do not."""
    declared = sum(record.crystal.composition().get(element, 0.0) for element in HYDROGEN) * record.crystal.z
    placed = sum(
        float(site.options.get("occ", 1))
        for site, _ in expand(record.crystal, record.sites())
        if site.element in HYDROGEN
    )
    return declared - placed
