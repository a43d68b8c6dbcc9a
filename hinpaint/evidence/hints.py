"""Hints on the number of hydrogens from chemistry: charge balance and bond valences. They never decide a count."""

from collections.abc import Mapping

import numpy as np

from hinpaint.codes import Code
from hinpaint.crystal import FloatArray
from hinpaint.evidence.model import Findings
from hinpaint.sources.records import ParsedRecord

MAX_SITES = 200
"""Cells with more sites get no hint: the hints must stay cheap beside the reading of the file."""

OXIDATION_STATES: Mapping[str, float] = {
    **dict.fromkeys(("Li", "Na", "K", "Rb", "Cs"), 1.0),
    **dict.fromkeys(("Be", "Mg", "Ca", "Sr", "Ba", "Zn", "Cd"), 2.0),
    **dict.fromkeys(("B", "Al", "Ga", "In", "Sc", "Y", "La", "Nd", "Gd", "Dy", "Er", "Lu"), 3.0),
    **dict.fromkeys(("Si", "Ge", "Ti", "Zr", "Hf", "Th"), 4.0),
    **dict.fromkeys(("P", "Nb", "Ta"), 5.0),
    **dict.fromkeys(("F", "Cl", "Br"), -1.0),
    "O": -2.0,
}  # fmt: skip
"""Oxidation states of elements that have one in nearly all oxides, halides and their salts."""

# Brown and Altermatt, Acta Cryst. B41, 244 (1985), and Brese and O'Keeffe, Acta Cryst. B47, 192 (1991), as in the
# collection bvparm2011.cif of the IUCr; the usual oxidation state where there are several.
BOND_VALENCE_R0_A: Mapping[str, float] = {
    "Li": 1.466, "Be": 1.381, "B": 1.371, "Na": 1.803, "Mg": 1.693, "Al": 1.651, "Si": 1.624, "P": 1.604, "S": 1.624,
    "Cl": 1.632, "K": 2.132, "Ca": 1.967, "Sc": 1.849, "Ti": 1.815, "V": 1.803, "Cr": 1.724, "Mn": 1.790, "Fe": 1.759,
    "Co": 1.692, "Ni": 1.654, "Cu": 1.679, "Zn": 1.704, "Ga": 1.730, "Ge": 1.748, "As": 1.767, "Se": 1.788,
    "Rb": 2.263, "Sr": 2.118, "Y": 2.019, "Zr": 1.928, "Nb": 1.911, "Mo": 1.907, "Cd": 1.904, "In": 1.902, "Sn": 1.905,
    "Sb": 1.942, "Te": 1.917, "I": 2.003, "Cs": 2.417, "Ba": 2.285, "La": 2.172, "Ce": 2.151, "Nd": 2.117, "Lu": 1.971,
    "Ta": 1.920, "W": 1.921, "Pb": 2.112, "Bi": 2.094, "Th": 2.167, "U": 2.075,
}  # fmt: skip
"""R0 of cation-oxygen bonds in ångström: valence = exp((R0 - distance) / 0.37 Å)."""
BOND_VALENCE_B_A = 0.37

_CUTOFF_A = 3.3
_LEAST_HEIGHT_A = 2.2
"""With the 27 nearest images a cutoff is exact while it is below 1.5 of the cell's smallest height."""
_WATER_BELOW, _HYDROXYL_BELOW = 0.65, 1.35
"""Sums at an oxygen without its hydrogens: water has 0 to 0.6, hydroxyl about 1, a bare oxygen 1.4 (of XO4) to 2."""
_BALANCED = 0.5
_NO_HINT = frozenset({"C", "N"})
_IMAGES = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 1, 3)


def charge_balance(record: ParsedRecord, element: str, n_target: int, findings: Findings) -> float | None:
    """Charge of the completed cell in elementary charges.

    Args:
        record: the record; oxidation states that it declares come before the usual ones.
        element: target element; the hint is for hydrogen, as +1.
        n_target: hydrogens in the completed cell.
        findings: takes the code.

    Returns:
        The charge; None for organic compounds, for hydrides (no anion), and where an element has no one usual state.
    """
    host = [(i, site) for i, site in enumerate(record.sites) if site.element != element and site.frac is not None]
    if element != "H" or any(site.element == "C" for _, site in host):
        return None
    states = [site.charge if site.charge is not None else OXIDATION_STATES.get(site.element) for _, site in host]
    known = [state for state in states if state is not None]
    if len(known) < len(host) or min(known, default=0.0) >= 0:
        return None
    number = np.bincount(record.cell_site, minlength=len(record.sites))
    total = n_target + sum(
        float(number[i]) * site.occupancy * state for (i, site), state in zip(host, known, strict=True)
    )
    findings.add(Code.CHARGE_BALANCED if abs(total) < _BALANCED else Code.CHARGE_UNBALANCED)
    return round(total, 4)


def bond_valence_missing(
    record: ParsedRecord, element: str, n_present: int, n_missing: int, findings: Findings
) -> float | None:
    """Hydrogens that undersaturated oxygens ask for beyond those present.

    Args:
        record: the record; its hydrogens are left out of the sums.
        element: target element; the hint is for hydrogen.
        n_present: hydrogens that stay in the cell.
        n_missing: hydrogens that are missing by other evidence.
        findings: takes the code.

    Returns:
        The number; None with carbon or nitrogen, with an element without parameters, without oxygen, and for cells that
        are large or very flat.
    """
    elements = {site.element for site in record.sites if site.frac is not None} - {element}
    known = BOND_VALENCE_R0_A.keys() | {"O", "F", "Br"}
    if element != "H" or "O" not in elements or elements & _NO_HINT or not elements <= known:
        return None
    heights = 1.0 / np.linalg.norm(np.linalg.inv(record.lattice), axis=0)
    if len(record.cell_site) > MAX_SITES or heights.min() < _LEAST_HEIGHT_A:
        return None
    asked = float(_hydrogens_asked(record).sum()) - n_present
    confirmed = abs(asked - n_missing) < _BALANCED
    findings.add(Code.BOND_VALENCE_CONFIRMS if confirmed else Code.BOND_VALENCE_DISAGREES)
    return round(asked, 4)


def _hydrogens_asked(record: ParsedRecord) -> FloatArray:
    """(n,) hydrogens that the oxygens of each asymmetric site ask for in the cell."""
    species = np.array(record.species)
    occupancy = np.array([site.occupancy for site in record.sites], dtype=np.float64)
    r0 = np.array([BOND_VALENCE_R0_A.get(site.element, 0.0) for site in record.sites])[record.cell_site]
    cations = np.flatnonzero(r0 > 0)
    _, first = np.unique(record.cell_site, return_index=True)
    oxygens = first[species[first] == "O"]
    delta = record.cell_frac[oxygens, None] - record.cell_frac[None, cations]
    cartesian = (delta - np.rint(delta) + _IMAGES) @ record.lattice
    distance = np.sqrt(np.einsum("...i,...i->...", cartesian, cartesian))
    valence = np.exp((r0[cations] - distance) / BOND_VALENCE_B_A) * occupancy[record.cell_site[cations]]
    # Nearer than half an ångström is no bond but a site that shares the place (K and water, say).
    sums = np.where((distance < _CUTOFF_A) & (distance > 0.5), valence, 0.0).sum(axis=(0, 2))
    asked = np.where(sums < _WATER_BELOW, 2.0, np.where(sums < _HYDROXYL_BELOW, 1.0, 0.0))
    sites = record.cell_site[oxygens]
    number = np.bincount(record.cell_site, minlength=len(record.sites))
    weighted: FloatArray = asked * number[sites] * occupancy[sites]
    return weighted
