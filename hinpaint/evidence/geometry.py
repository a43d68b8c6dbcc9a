"""Distances of the sites that are present, against what neutrons find."""

from dataclasses import dataclass
from functools import lru_cache

import gemmi
import numpy as np

from hinpaint.codes import Code
from hinpaint.crystal import BoolArray, FloatArray
from hinpaint.evidence.model import Findings
from hinpaint.sources.geometry import short_squares
from hinpaint.sources.records import IntArray, ParsedRecord

NEUTRON_XH_A = {"C": 1.089, "N": 1.015, "O": 0.993, "B": 1.18}
"""X-H distances that neutrons find, ångström (Allen and Bruno, Acta Cryst. B66, 380, 2010; B-H: usual terminal one)."""
MOLECULE_XH_A = {
    "F": 0.92, "Si": 1.48, "P": 1.42, "S": 1.34, "Cl": 1.27, "Ge": 1.52, "As": 1.51, "Se": 1.46, "Br": 1.41,
    "Sn": 1.71, "Sb": 1.70, "Te": 1.65, "I": 1.61,
}  # fmt: skip
"""X-H distances of free molecules (HF, SiH4, PH3, ...; NIST Computational Chemistry Comparison and Benchmark Database),
for elements that neutrons rarely saw bonded to hydrogen."""
XRAY_SHORTENED_A = 0.05
"""X-rays see the bond's electrons and place hydrogen 0.1 Å too near; half of that is told from scatter."""
XH_ODD_A = 0.30
"""Distances further than this from the mean are no X-H bond, shared hydrogens (O-H-O at 1.2 Å) included."""
XH_FAR_A = 3.0
"""No hydride's hydrogen is further from its nearest metal."""
HH_SHORT_A = 1.2
"""Hydrogens of water, NH3 and CH3 lie at least this far apart even where X-rays shorten their bonds."""

_MAX_PAIRS = 2_000_000


@lru_cache(maxsize=128)
def usual_xh_a(element: str) -> float:
    """Usual X-H distance in ångström: neutrons', else a molecule's, else the sum of covalent radii (Cordero 2008)."""
    known = NEUTRON_XH_A.get(element) or MOLECULE_XH_A.get(element)
    return known or gemmi.Element(element).covalent_r + gemmi.Element("H").covalent_r


@dataclass(frozen=True)
class Distances:
    """Distances of the target's sites in ångström, None where there are none to measure."""

    xh_min_a: float | None = None
    xh_max_a: float | None = None
    hh_min_a: float | None = None


def measure(record: ParsedRecord, element: str, findings: Findings) -> Distances:
    """Measure each site of the element to its nearest host site and to other ordered sites of the element.

    Only asymmetric sites are measured, each against the whole cell.

    Args:
        record: the record with its cell.
        element: target element; hydrogen distances are judged, those of other elements only measured.
        findings: takes the codes.

    Returns:
        The distances; none for cells that would need more than two million pairs.
    """
    is_target = np.array([site.element == element for site in record.sites], dtype=bool)
    if not is_target.any():
        return Distances()
    cell_target = is_target[record.cell_site]
    first = np.flatnonzero(np.diff(record.cell_site, prepend=-1))  # the cell lists site by site
    rows = first[cell_target[first]]
    if not rows.size or rows.size * cell_target.size > _MAX_PAIRS:
        return Distances()
    squares = short_squares(record.cell_frac[rows, None] - record.cell_frac[None], record.lattice)
    squares[np.arange(rows.size), rows] = np.inf
    is_full = np.array([site.is_full for site in record.sites], dtype=bool)
    nearest, distance = _nearest_host(squares, ~cell_target)
    hh = _nearest_ordered(squares, is_full[record.cell_site[rows]], cell_target & is_full[record.cell_site])
    if element == "H":
        ordered = is_full[record.cell_site[rows]]
        _judge(record, distance[ordered], nearest[ordered], findings)
        findings.add(Code.HH_DISTANCE_SHORT, hh is not None and hh < HH_SHORT_A)
    found = distance[np.isfinite(distance)]
    return Distances(
        xh_min_a=float(found.min()) if found.size else None,
        xh_max_a=float(found.max()) if found.size else None,
        hh_min_a=hh,
    )


def _nearest_host(squares: FloatArray, host: BoolArray) -> tuple[IntArray, FloatArray]:
    """Cell index of and distance to the nearest host site of each row; infinite without a host."""
    masked = np.where(host, squares, np.inf)
    nearest = masked.argmin(axis=1)
    return nearest, np.sqrt(masked[np.arange(len(masked)), nearest])


def _nearest_ordered(squares: FloatArray, rows: BoolArray, columns: BoolArray) -> float | None:
    pairs = squares[np.ix_(rows, columns)]
    shortest = float(np.sqrt(pairs.min(initial=np.inf)))
    return shortest if np.isfinite(shortest) else None


def _judge(record: ParsedRecord, distance: FloatArray, nearest: IntArray, findings: Findings) -> None:
    partners = [record.sites[i].element for i in record.cell_site[nearest].tolist()]
    usual = np.array([NEUTRON_XH_A.get(name, np.nan) for name in partners], dtype=np.float64)
    excess = distance - usual
    findings.add(Code.XRAY_SHORTENED, bool(((excess < -XRAY_SHORTENED_A) & (excess >= -XH_ODD_A)).any()))
    findings.add(Code.XH_DISTANCE_ODD, bool((np.abs(excess) > XH_ODD_A).any() or (distance > XH_FAR_A).any()))
