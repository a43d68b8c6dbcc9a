"""What a source yields: the raw record as it was found, and the parsed record with its expanded cell."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hinpaint.crystal import FloatArray
from hinpaint.whynot import Reason, Stop

IntArray = NDArray[np.int64]

MAX_RECORD_BYTES = 8 * 1024 * 1024
"""Largest record that is read; the largest honest CIFs (with reflections inside) stay below it after COD's trimming."""

FULL_OCCUPANCY_TOLERANCE = 5e-3
"""An occupancy this close to 1 counts as full: refined full sites are written 0.998 or 1.002."""


class Hint(StrEnum):
    """What a label says about the hydrogens of an oxygen; a hint only, never counted as attached hydrogen."""

    WATER = "water"
    HYDROXYL = "hydroxyl"


class Note(StrEnum):
    """What the reader noticed about the record as a whole; becomes an evidence code."""

    MULTIPLE_BLOCKS = "multiple_blocks"
    SYMMETRY_FROM_NAME = "symmetry_from_name"
    SYMMETRY_DISAGREES = "symmetry_disagrees"
    FORMULA_FROM_MOIETY = "formula_from_moiety"
    FORMULA_FROM_STRUCTURAL = "formula_from_structural"
    ELEMENT_FROM_FORMULA = "element_from_formula"


class RefusedError(Exception):
    """Raised inside a reader to leave it with a :class:`~hinpaint.whynot.Stop`; readers never let it out."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.stop = Stop(reason, detail)


@dataclass(frozen=True)
class RawRecord:
    """One record as it was found in a source, readable or not; every one of them is accounted for.

    Attributes:
        source_id: the database's own id: a CIF's file stem, an OPTIMADE resource's ``id``.
        path: file or archive member (and line) the record came from.
        text: decoded source text; None when the record was refused.
        sha256: SHA-256 of the record's bytes in hexadecimal; empty when they were not read.
        stop: why the record was refused; None when it was read.
        origin: the record of another database that this one was made from, as ``database|id|revision`` (the revision
            only where it is given); None when the source names none.
    """

    source_id: str
    path: str
    text: str | None
    sha256: str
    stop: Stop | None = None
    origin: str | None = None


@dataclass(frozen=True)
class Formula:
    """A declared chemical formula.

    Attributes:
        counts: atoms a formula unit; deuterium and tritium are counted as ``H``.
        has_deuterium: true when ``D`` or ``T`` was written.
        text: the formula as declared.
        has_tritium: true when ``T`` was written.
    """

    counts: Mapping[str, float]
    has_deuterium: bool
    text: str
    has_tritium: bool = False


@dataclass(frozen=True)
class Site:
    """One site of the asymmetric unit, in the source's order.

    Attributes:
        label: the source's label.
        element: element symbol; deuterium and tritium are ``H``.
        occupancy: 0 to 1.
        frac: fractional coordinates, or None where the source has none (``.``, ``?``, or a dummy site).
        calculated: true when the position was calculated, not refined.
        is_isotope: true for deuterium and tritium.
        alternative: true when the site belongs to one of several alternative groups of a disorder assembly.
        attached: hydrogens the source declares as attached to this site; None when it does not say.
        multiplicity: sites in the cell as declared; None when not declared.
        hint: what the label says about hydrogens.
        refined: true when a coordinate carries a standard uncertainty.
        charge: oxidation state as declared for the site's type; None when not declared.
    """

    label: str
    element: str
    occupancy: float
    frac: tuple[float, float, float] | None
    calculated: bool = False
    is_isotope: bool = False
    alternative: bool = False
    attached: int | None = None
    multiplicity: int | None = None
    hint: Hint | None = None
    refined: bool = False
    charge: float | None = None

    @property
    def is_full(self) -> bool:
        """True when the site is fully occupied and has no alternative."""
        return abs(self.occupancy - 1.0) <= FULL_OCCUPANCY_TOLERANCE and not self.alternative


@dataclass(frozen=True)
class ParsedRecord:
    """What a record says, with its cell expanded by symmetry; the same for every source format.

    Attributes:
        lattice: (3, 3) lattice vectors as rows, ångström.
        sites: asymmetric sites in the source's order, those without coordinates included.
        n_operators: number of symmetry operators.
        cell_site: (n,) index into ``sites`` of each site of the expanded cell.
        cell_frac: (n, 3) fractional coordinates of the expanded cell, in the source's order.
        formula: declared formula, None when absent or unreadable.
        z: declared formula units in the cell.
        space_group: Hermann-Mauguin symbol as declared.
        is_theoretical: true when the record says it was computed, None when it does not say.
        notes: what the reader noticed.
        other_formulae: further formulae as written (moiety, structural), unread.
        density_g_cm3: declared density.
    """

    lattice: FloatArray
    sites: tuple[Site, ...]
    n_operators: int
    cell_site: IntArray
    cell_frac: FloatArray
    formula: Formula | None
    z: float | None
    space_group: str | None
    is_theoretical: bool | None
    notes: tuple[Note, ...] = ()
    other_formulae: tuple[str, ...] = ()
    density_g_cm3: float | None = None

    @property
    def species(self) -> tuple[str, ...]:
        """Element symbol of each site of the expanded cell."""
        return tuple(self.sites[i].element for i in self.cell_site)

    @property
    def is_ordered(self) -> bool:
        """True when every site is fully occupied by one element."""
        return all(site.is_full for site in self.sites)

    @property
    def multiplicities(self) -> IntArray:
        """(len(sites),) sites in the cell; a site without coordinates counts as declared, else as general position."""
        counted = np.bincount(self.cell_site, minlength=len(self.sites)).astype(np.int64)
        for i, site in enumerate(self.sites):
            if site.frac is None:
                counted[i] = site.multiplicity or self.n_operators
        return counted

    def without(self, dropped: Collection[int]) -> "ParsedRecord":
        """Return the record with these of its ``sites`` gone from the cell; ``sites`` and their numbers stay."""
        if not dropped:
            return self
        kept = ~np.isin(self.cell_site, list(dropped))
        return replace(self, cell_site=self.cell_site[kept], cell_frac=self.cell_frac[kept])

    def cell_counts(self) -> dict[str, float]:
        """Occupancy-weighted number of sites with coordinates in the cell, by element."""
        occupancy = np.array([site.occupancy for site in self.sites], dtype=np.float64)
        weights = np.bincount(self.cell_site, minlength=len(self.sites)) * occupancy
        counts: dict[str, float] = {}
        for site, weight in zip(self.sites, weights, strict=True):
            if site.frac is not None:
                counts[site.element] = counts.get(site.element, 0.0) + float(weight)
        return counts
