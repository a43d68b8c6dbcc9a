"""Entries whose hydrogen is disordered: taken, completed, and released so that the formula closes."""

import numpy as np
import pytest
from gemmi import cif
from sample_crystals import BRUCITE_CELL

from hinpaint.codes import Code
from hinpaint.crystal import Crystal
from hinpaint.evidence import choose_mode, weigh
from hinpaint.release.cif import Completion, complete_cif, source_operators
from hinpaint.release.roundtrip import check_round_trip
from hinpaint.release.symmetry import find_placement, without_symmetry
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.records import ParsedRecord

# Three-fold split hydroxyl of a brucite-like layer, as neutron studies describe it; one host site is nearly full.
SPLIT = f"""\
data_split
{BRUCITE_CELL}_cell_formula_units_Z 1
_symmetry_space_group_name_H-M 'P -3 m 1'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Mg1 0 0 0 0.985(4)
O1 0.3333 0.6667 0.2203(5) 1
H1 0.369 0.738 0.413(2) 0.333
"""
SYMMETRIC = np.array([[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, 0.58]])
LOWERED = np.array([[0.369, 0.738, 0.413], [0.631, 0.262, 0.587]])


def read(text: str) -> ParsedRecord:
    record = parse_cif(text)
    assert isinstance(record, ParsedRecord), record
    return record


def test_disordered_hydrogen_is_counted_as_missing() -> None:
    record = read(SPLIT)
    evidence = weigh(record)
    assert evidence.conflict is None
    assert (evidence.n_sites, evidence.n_missing, evidence.dropped) == (2, 2, (2,))
    assert {Code.DISORDERED_TARGET_REPLACED, Code.HOST_ORDERED, Code.COMPLETE} <= set(evidence.codes)
    assert choose_mode(("audit", "benchmark", "reconstruct"), evidence) == "reconstruct"
    assert record.without(evidence.dropped).species == ("Mg", "O", "O")
    assert len(record.cell_frac) == 3 + 6


@pytest.mark.parametrize("frac", [SYMMETRIC, LOWERED])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_released_formula_closes(frac: np.ndarray, symmetric: bool) -> None:
    record = read(SPLIT)
    kept = record.without(weigh(record).dropped)
    host = Crystal.build(kept.lattice, kept.species, kept.cell_frac)
    placement = (find_placement if symmetric else without_symmetry)(source_operators(SPLIT), record.lattice, frac)
    completion = Completion("cod|1|x", "completed", "H", -1.0, 1, 1, "sevennet-0", None, "cd" * 32, "CC0-1.0", "0.1.0")
    text = complete_cif(SPLIT, record, completion, placement)
    assert check_round_trip(text, host.add_unknown("H", placement.frac)) is None
    again = weigh(read(text))
    assert (again.n_declared, again.n_sites, again.n_missing) == (2, 2, 0)
    assert Code.DISORDERED_TARGET not in again.codes
    block = cif.read_string(text).sole_block()
    assert "0.333" in list(block.find_values("_hinpaint_original_atom_site_occupancy"))
    assert "0.985(4)" in list(block.find_values("_atom_site_occupancy"))
    assert "0.413(2)" not in list(block.find_values("_atom_site_fract_z"))
