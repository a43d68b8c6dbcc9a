"""The space group of a start, and forces and stress averaged over it, so that a relaxation cannot leave it."""

from dataclasses import dataclass

import numpy as np

from hinpaint.crystal import BoolArray, Crystal, FloatArray, IntArray, close_distances
from hinpaint.relaxation.batch import Answer

SYMPREC_A = 0.01
"""A site this near to the image of another one is that image."""


@dataclass(frozen=True)
class SpaceGroup:
    """Operations of a crystal, the identity among them, as they act on vectors at its sites.

    The rotations are integer matrices seen in the crystal's cell, so they are a group to the last bits even where the
    crystal is symmetric within the tolerance only. A cell and sites that move along averaged vectors keep them.

    Attributes:
        number: number in International Tables.
        rotations: (operations, 3, 3) Cartesian, for column vectors.
        targets: (operations, n) the site to which an operation carries each site.
    """

    number: int
    rotations: FloatArray
    targets: IntArray


def space_group(crystal: Crystal, apart: BoolArray | None = None) -> SpaceGroup | None:
    """Find the operations of a crystal.

    Args:
        crystal: any cell, right-handed or not.
        apart: (n,) true for sites that no operation may exchange with the others, whatever their element.

    Returns:
        None where there is none but the identity, or where spglib fails.
    """
    import spglib

    labels = list(zip(crystal.species, np.zeros(crystal.n_sites) if apart is None else apart, strict=True))
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels), start=1)}
    kinds = np.array([numbers[label] for label in labels])
    try:
        found = spglib.get_symmetry_dataset((crystal.lattice, crystal.frac, kinds), symprec=SYMPREC_A)
    except (ValueError, spglib.SpglibError):
        return None
    if found is None or len(found.rotations) == 1:
        return None
    pairs = zip(found.rotations, found.translations, strict=True)
    targets = np.stack([_targets(crystal, kinds, crystal.frac @ rotation.T + shift) for rotation, shift in pairs])
    if (np.sort(targets, axis=1) != np.arange(crystal.n_sites)).any():  # two sites nearer than the tolerance
        return None
    columns = crystal.lattice.T
    return SpaceGroup(int(found.number), columns @ found.rotations @ np.linalg.inv(columns), targets)


def _targets(crystal: Crystal, kinds: IntArray, moved: FloatArray) -> IntArray:
    """The site of the same kind nearest to each moved one."""
    distances = close_distances(crystal.lattice, moved, crystal.frac)
    distances[kinds[:, None] != kinds[None]] = np.inf
    return np.asarray(distances.argmin(axis=1))


def averaged_vectors(vectors: FloatArray, group: SpaceGroup) -> FloatArray:
    """Average Cartesian vectors at the sites, (n, 3), over a group."""
    average = np.zeros_like(vectors)
    for rotation, targets in zip(group.rotations, group.targets, strict=True):
        average[targets] += vectors @ rotation.T
    return average / len(group.rotations)


def averaged_tensor(tensor: FloatArray, group: SpaceGroup) -> FloatArray:
    """Average a Cartesian tensor of the cell, (3, 3), over a group."""
    turned = group.rotations @ tensor @ group.rotations.transpose(0, 2, 1)
    return np.asarray(turned.mean(axis=0))


def averaged(answer: Answer, group: SpaceGroup) -> Answer:
    """What a potential says, as if it knew the group exactly."""
    return Answer(answer.energy, averaged_vectors(answer.forces, group), averaged_tensor(answer.stress, group))
