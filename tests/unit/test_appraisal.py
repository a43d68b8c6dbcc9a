import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from hinpaint.crystal import Crystal
from hinpaint.deciding.appraisal import appraise
from hinpaint.doubts import DOUBTS, Doubt, needs_review
from hinpaint.placements import host_operations

BRUCITE_CELL = [[3.15, 0, 0], [-1.575, 3.15 * np.sqrt(3) / 2, 0], [0, 0, 4.77]]
EXPORT = Path(__file__).parents[3] / "shared/data/mc3d/mc3d_h_dev.jsonl.gz"
DISTANCES = {Doubt.SHORT_X_H, Doubt.LONG_X_H, Doubt.SHORT_H_H}


def brucite(z_h: float, element: str = "H") -> Crystal:
    host = [[0, 0, 0], [1 / 3, 2 / 3, 0.22], [2 / 3, 1 / 3, -0.22]]
    placed = [[1 / 3, 2 / 3, z_h], [2 / 3, 1 / 3, -z_h]]
    known = [True] * 3 + [False] * 2
    return Crystal.build(BRUCITE_CELL, ["Mg", "O", "O", element, element], host + placed, known)


def look(crystal: Crystal, shift: float = 0.0):
    start = crystal.frac[~crystal.known] + [0, 0, shift / 4.77]
    return appraise(crystal, start, host_operations(crystal.take(crystal.known)))


def test_a_hydroxide_as_neutrons_see_it() -> None:
    found = look(brucite(0.22 + 0.96 / 4.77), shift=0.2)
    assert found.gate is None
    assert found.doubts == ()
    assert found.d_xh_min_a == found.d_xh_max_a == pytest.approx(0.96)
    assert found.d_hh_min_a == pytest.approx(1.97, abs=0.02)
    assert found.shift_a == pytest.approx(0.2)
    assert found.n_operations_kept == found.n_operations_host == 12


@pytest.mark.parametrize(
    ("bond", "doubt", "gated"),
    [(0.66, Doubt.SHORT_X_H, True), (0.86, Doubt.SHORT_X_H, False), (1.75, Doubt.LONG_X_H, False)],
)
def test_bonds_that_are_none(bond: float, doubt: Doubt, gated: bool) -> None:
    found = look(brucite(0.22 + bond / 4.77))
    assert doubt in found.doubts
    assert (found.gate is not None) == gated
    assert needs_review(found.doubts)


def test_other_elements_are_measured_and_not_judged() -> None:
    found = look(brucite(0.22 + 0.66 / 4.77, element="Li"))
    assert found.gate is None
    assert found.doubts == ()
    assert found.d_xh_min_a == pytest.approx(0.66)


def test_hydrogens_too_near_and_too_far() -> None:
    host = Crystal.build(8 * np.eye(3), ["O"], [[0, 0, 0]])
    near = host.add_unknown("H", [[0.12, 0, 0], [0.12, 0.07, 0]])
    assert "0.56 Å apart" in (look(near).gate or "")
    far = host.add_unknown("H", [[0.5, 0.5, 0.5]])
    assert "nearest neighbour" in (look(far).gate or "")
    molecule = host.add_unknown("H", [[0.3, 0, 0], [0.3, 0.0925, 0]])
    assert look(molecule).gate is None
    assert Doubt.SHORT_H_H in look(molecule).doubts


def test_symmetry_that_is_lost_is_said() -> None:
    crystal = brucite(0.42)
    tilted = crystal.frac.copy()
    tilted[3] += [0.12, 0.0, 0.0]
    found = look(crystal.with_frac(tilted))
    assert found.n_operations_kept < found.n_operations_host
    assert Doubt.SYMMETRY_LOWERED in found.doubts
    assert not needs_review(found.doubts)


def test_every_doubt_is_explained() -> None:
    assert DOUBTS.keys() == set(Doubt)


@pytest.mark.skipif(not EXPORT.exists(), reason="needs the shared data")
def test_true_structures_pass() -> None:
    """The gates refuse none of MC3D's true structures, the doubts about distances meet few."""
    gated, doubted, n = [], [], 0
    with gzip.open(EXPORT, "rt") as lines:
        next(lines)
        for line in lines:
            record = json.loads(line)["attributes"]
            cell, species = np.array(record["lattice_vectors"]), record["species_at_sites"]
            known = np.array([name != "H" for name in species])
            if len(species) > 60 or known.all() or not known.any():
                continue
            frac = np.array(record["cartesian_site_positions"]) @ np.linalg.inv(cell)
            crystal = Crystal.build(cell, species, frac, known)
            found = appraise(crystal, crystal.frac[~known], [(np.eye(3), np.zeros(3))])
            n += 1
            gated += [found.gate] if found.gate else []
            doubted += [record["chemical_formula_reduced"]] if DISTANCES & set(found.doubts) else []
    assert n > 400
    assert not gated
    assert len(doubted) < 0.02 * n, doubted
