"""A CIF file of brucite without its hydrogen, and what becomes of it."""

import gemmi
import numpy as np
from gemmi import cif

from hinpaint.crystal import Crystal
from hinpaint.release.cif import complete_cif, source_operators
from hinpaint.release.completion import Completion
from hinpaint.release.symmetry import Placement, find_placement, without_symmetry
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.records import ParsedRecord

OPERATORS = "\n".join(op.triplet() for op in gemmi.find_spacegroup_by_name("P -3 m 1").operations())
BRUCITE = f"""\
#$Licence: public domain$
# a comment
data_brucite
_chemical_name_mineral  'Brucite; "quoted" & <b>bold</b>'
_publ_section_title
;
 On the 'structure' of brucite
 data_evil
 loop_ _evil x
;
_chemical_formula_sum   'H2 Mg O2'
_cell_length_a 3.147(4)
_cell_length_b 3.147(4)
_cell_length_c 4.769(4)
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_cell_formula_units_Z 1
_symmetry_space_group_name_H-M 'P -3 m 1'
_symmetry_Int_Tables_number 164
_symmetry_cell_setting trigonal
loop_
_symmetry_equiv_pos_as_xyz
{OPERATORS}
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_symmetry_multiplicity
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_U_iso_or_equiv
_atom_site_disorder_group
_atom_site_attached_hydrogens
Mg1 Mg2+ 1 0 0 0 1 0.0050(3) . 0
O1 O2- 2 0.3333 0.6667 0.2203(5) 1 0.0062(4) . 1
loop_
_atom_site_aniso_label
_atom_site_aniso_U_11
O1 0.0061(2)
"""
JUDGED = ("confidence", "confidence_strict", "grade", "doubts", "gap_eV_per_atom")
ON_AXIS = np.array([[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, 0.58]])
ONE_SIDED = np.array([[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, 0.70]])
GENERAL = np.array([[0.40, 0.60, 0.42], [0.60, 0.30, 0.60]])


def a_completion(
    action: str = "completed", element: str = "H", key: str = "cod|1|x", licence: str = "CC0-1.0"
) -> Completion:
    return Completion(key, action, element, -12.5, 7, 9, "sevennet-0", "ab" * 32, "cd" * 32, licence, "0.1.0")


def complete(
    text: str, frac: np.ndarray, completion: Completion | None = None, symmetric: bool = True
) -> tuple[str, Crystal, Placement]:
    completion = completion or a_completion()
    record = parse_cif(text)
    assert isinstance(record, ParsedRecord)
    host = Crystal.build(record.lattice, record.species, record.cell_frac)
    if completion.action == "replaced":
        host = host.take(~host.is_element(completion.element))
    operators = source_operators(text)
    placement = find_placement(operators, record.lattice, frac)
    if not symmetric:
        placement = without_symmetry(operators, record.lattice, frac, refused="gemmi: a host site is gone")
    expected = host.add_unknown(completion.element, placement.frac)
    return complete_cif(text, record, completion, placement), expected, placement


def sites_of(text: str) -> dict[str, dict[str, str]]:
    block = cif.read_string(text)[0]
    loop = block.find_loop("_atom_site_fract_x").get_loop()
    names = [tag.removeprefix("_atom_site_") for tag in loop.tags]
    table = block.find(list(loop.tags))
    return {row[names.index("label")]: dict(zip(names, row, strict=True)) for row in table}


def values_of(block: cif.Block) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in block:
        if item.pair is not None:
            found[item.pair[0]] = [item.pair[1]]
        elif item.loop is not None:
            for i, tag in enumerate(item.loop.tags):
                found[tag] = list(item.loop.values)[i :: item.loop.width()]
    return found
