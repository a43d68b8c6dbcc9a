"""New CIFs for entries whose source is no CIF, with the symmetry that is found in their host."""

from collections import Counter

import gemmi
import numpy as np
from gemmi import cif

from hinpaint.crystal import Crystal, FloatArray
from hinpaint.ids import EntryKey
from hinpaint.release.blocks import CELL_TAGS, OPERATOR_TAGS, quoted, style
from hinpaint.release.completion import Completion, write_provenance
from hinpaint.release.formula import SUM, UNITS
from hinpaint.release.sites import format_frac
from hinpaint.release.symmetry import Placement, symmetric_metric, symmetrise, to_operators
from hinpaint.sources.chemistry import hill_formula

HOST_TOLERANCE_A = 1e-3
"""Within this the host counts as symmetric: the file must read back to the source's host as closely."""

_IDENTITY = gemmi.Op("x,y,z")
_MAX_BLOCK_NAME = 75


def host_operators(host: Crystal) -> list[gemmi.Op]:
    """Find the operators of a host, in its own cell and from its own origin.

    Operators whose translation is no multiple of 1/24 (an origin beside the symmetry elements) cannot be written; the
    others form a group.

    Returns:
        The operators, with the identity at least.
    """
    import spglib

    numbers = [gemmi.Element(element).atomic_number for element in host.species]
    try:
        found = spglib.get_symmetry_dataset((host.lattice, host.frac, numbers), symprec=HOST_TOLERANCE_A)
    except (ValueError, spglib.SpglibError):
        return [_IDENTITY]
    if found is None:
        return [_IDENTITY]
    translations = np.asarray(found.translations, dtype=np.float64)
    written = np.round(translations * gemmi.Op.DEN) / gemmi.Op.DEN
    close = np.linalg.norm((translations - written) @ host.lattice, axis=1) <= HOST_TOLERANCE_A
    return to_operators(np.asarray(found.rotations, dtype=np.float64)[close], written[close])


def fresh_cif(host: Crystal, completion: Completion, placement: Placement) -> str:
    """Write a new CIF.

    Args:
        host: the sites that stay.
        completion: what is said about the completion.
        placement: the placed sites and the host's operators that hold for them.

    Returns:
        The text of the CIF, in the source's cell.

    Raises:
        ValueError: the operators do not hold for the host.
    """
    document = cif.Document()
    block = document.add_new_block(EntryKey.parse(completion.entry_key).file_name[:_MAX_BLOCK_NAME])
    counts = Counter(host.species) + Counter({completion.element: len(placement.frac)})
    units = int(np.gcd.reduce(list(counts.values())))
    block.set_pair(SUM, quoted(hill_formula({name: count / units for name, count in counts.items()})))
    block.set_pair(UNITS, str(units))
    for tag, number in zip(CELL_TAGS, _cell(symmetric_metric(placement.operators, host.lattice)), strict=True):
        block.set_pair(tag, f"{number:.6f}")
    if placement.group is not None:
        group = placement.group
        block.set_pair("_space_group_crystal_system", group.crystal_system)
        block.set_pair("_space_group_IT_number", str(group.number))
        block.set_pair("_space_group_name_H-M_alt", quoted(group.symbol) if group.symbol else "?")
        block.set_pair("_space_group_name_Hall", quoted(group.hall) if group.hall else "?")
    block.init_loop("", [OPERATOR_TAGS[0]]).set_all_values([[quoted(text) for text in placement.operators]])
    _write_sites(block, host, completion.element, placement)
    write_provenance(block, completion, placement, "host")
    return str(document.as_string(style()))


def _write_sites(block: cif.Block, host: Crystal, element: str, placement: Placement) -> None:
    names = ("label", "type_symbol", "symmetry_multiplicity", "fract_x", "fract_y", "fract_z", "occupancy", "calc_flag")
    loop = block.init_loop("_atom_site_", list(names))
    for kind in dict.fromkeys(host.species):
        frac, orbit = symmetrise(placement.operators, host.lattice, host.frac[host.is_element(kind)])
        first, count = np.unique(orbit, return_counts=True)
        for number, (i, multiplicity) in enumerate(zip(first, count, strict=True), 1):
            loop.add_row([f"{kind}{number}", kind, str(multiplicity), *format_frac(frac[i]), "1", "."])
    for number, (i, multiplicity) in enumerate(placement.asymmetric, 1):
        row = [f"{element}_hp{number}", element, str(multiplicity), *format_frac(placement.frac[i]), "1", "calc"]
        loop.add_row(row)


def _cell(metric: FloatArray) -> list[float]:
    """Three lengths in ångström and three angles in degrees of a metric tensor."""
    lengths = np.sqrt(np.diag(metric))
    cosines = metric / np.outer(lengths, lengths)
    angles = np.degrees(np.arccos(np.clip([cosines[1, 2], cosines[0, 2], cosines[0, 1]], -1.0, 1.0)))
    return [*lengths.tolist(), *angles.tolist()]
