"""How a placed and relaxed geometry looks: distances against neutron statistics, symmetry kept, how far it moved.

The host of a released geometry is the source's own, to the last bit, so only the placed sites have to be judged. A
*gate* refuses what no structure shows; a *doubt* names what few structures show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hinpaint.crystal import Crystal, FloatArray, minimum_image_distances
from hinpaint.deciding.arrangements import End, Member, group
from hinpaint.deciding.matching import kept_operations
from hinpaint.doubts import Doubt
from hinpaint.evidence.geometry import HH_SHORT_A, MOLECULE_XH_A, NEUTRON_XH_A, usual_xh_a
from hinpaint.placements import Operations

GATE_SHORT_XH_A = 0.30
"""Gate: nearer to a neighbour than usual by more than this. The extreme in MC3D is 0.15 Å (Re-H)."""
GATE_FAR_XH_A = 3.5
"""Gate: further than this from every host site. The extremes in MC3D are 2.99 Å (Ba-H) and 2.97 Å (H2 in AlH12)."""
GATE_HH_A = 0.65
"""Gate: two hydrogens nearer than this. H2 has 0.74 Å."""
LARGE_SHIFT_A = 1.0

# Doubts begin this far (below, above) the usual distance: covalent bonds vary little, metal hydrides more.
_BOND_A = (0.10, 0.45)
_HYDRIDE_A = (0.20, 0.75)


@dataclass(frozen=True)
class Appraisal:
    """One geometry; the attributes are columns of ``arrangements``.

    Attributes:
        shift_a: largest displacement of a placed site from where the sampler put it, ångström.
        d_xh_min_a: shortest distance of a placed site to its nearest host site of another element.
        d_xh_max_a: longest such distance.
        d_hh_min_a: shortest distance of a placed site to another site of its element; None without one.
        n_operations_host: symmetry operations of the host.
        n_operations_kept: of these, operations that carry the placed sites into themselves.
        gate: why it cannot be released; None when it can.
        doubts: what speaks against it.
    """

    shift_a: float
    d_xh_min_a: float
    d_xh_max_a: float
    d_hh_min_a: float | None
    n_operations_host: int
    n_operations_kept: int
    gate: str | None
    doubts: tuple[Doubt, ...]


def appraise(crystal: Crystal, start_frac: FloatArray, operations: Operations) -> Appraisal:
    """Judge the placed sites of a crystal after the hydrogen-only relaxation.

    Args:
        crystal: host and, marked as not known, the placed sites of one element.
        start_frac: (n, 3) fractional coordinates of the placed sites before it, in the same order.
        operations: symmetry of the host.
    """
    placed, element = crystal.frac[~crystal.known], crystal.species[crystal.known.argmin()]
    of_element = crystal.is_element(element)
    partners = [name for name in crystal.species if name != element]
    to_host = minimum_image_distances(crystal.lattice, placed, crystal.frac[~of_element])
    to_same = minimum_image_distances(crystal.lattice, placed, crystal.frac[of_element])
    to_same[np.arange(len(placed)), np.flatnonzero(~crystal.known[of_element])] = np.inf  # a site and itself
    shift = float(np.diagonal(minimum_image_distances(crystal.lattice, placed, start_frac)).max())
    n_kept = kept_operations(crystal.lattice, placed, operations)
    gate, doubts = _judge_hydrogen(to_host, to_same, partners) if element == "H" else (None, [])
    doubts += [Doubt.LARGE_SHIFT] if shift > LARGE_SHIFT_A else []
    doubts += [Doubt.SYMMETRY_LOWERED] if n_kept < len(operations) else []
    nearest, same = to_host.min(axis=1, initial=np.inf), float(to_same.min(initial=np.inf))
    return Appraisal(
        shift_a=shift,
        d_xh_min_a=float(nearest.min()),
        d_xh_max_a=float(nearest.max()),
        d_hh_min_a=same if np.isfinite(same) else None,
        n_operations_host=len(operations),
        n_operations_kept=n_kept,
        gate=gate,
        doubts=tuple(doubts),
    )


def survey(
    host: Crystal, element: str, starts: Mapping[int, FloatArray], ends: Sequence[End], operations: Operations
) -> list[tuple[End, Member, Appraisal]]:
    """Group the ends of one entry's hydrogen-only relaxations into arrangements, and judge each of them.

    Args:
        host: the known sites.
        element: element of the placed ones.
        starts: (n, 3) fractional coordinates of the placed sites before the relaxation, by trial.
        ends: the ends.
        operations: symmetry of the host.

    Returns:
        One item an end, in the order of their energy.
    """
    of_trial = {end.trial: end for end in ends}
    return [
        (end, member, appraise(host.add_unknown(element, end.frac), starts[member.trial], operations))
        for member in group(host.lattice, ends, operations)
        for end in [of_trial[member.trial]]
    ]


def _judge_hydrogen(to_host: FloatArray, to_same: FloatArray, partners: list[str]) -> tuple[str | None, list[Doubt]]:
    """The gate that distances (n, host sites) and (n, hydrogens) fail, and the doubts they raise."""
    excess = to_host - np.array([usual_xh_a(name) for name in partners])
    is_bond = [name in NEUTRON_XH_A or name in MOLECULE_XH_A for name in partners]
    below, above = np.array([_BOND_A if bond else _HYDRIDE_A for bond in is_bond]).T
    shortest = float(excess.min(initial=np.inf))
    farthest = float(to_host.min(axis=1, initial=np.inf).max())
    same = float(to_same.min(initial=np.inf))
    gate = None
    if shortest < -GATE_SHORT_XH_A:
        gate = f"a placed H is {-shortest:.2f} Å nearer to a neighbour than usual"
    elif farthest > GATE_FAR_XH_A:
        gate = f"a placed H is {farthest:.2f} Å from its nearest neighbour"
    elif same < GATE_HH_A:
        gate = f"two H are {same:.2f} Å apart"
    doubts = [Doubt.SHORT_X_H] if (excess < -below).any() else []
    doubts += [Doubt.LONG_X_H] if (excess > above).all(axis=1).any() else []
    doubts += [Doubt.SHORT_H_H] if same < HH_SHORT_A else []
    return gate, doubts
