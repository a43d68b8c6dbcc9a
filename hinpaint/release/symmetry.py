"""How much of the source's symmetry the added sites keep, and the same sites made exactly symmetric."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import gemmi
import numpy as np
from numpy.typing import NDArray

from hinpaint.crystal import FloatArray
from hinpaint.deciding.matching import KEPT_A

TOLERANCE_A = KEPT_A
"""Largest distance between an added site and its image."""
EXACT_A = 1e-5
"""Residual after averaging; anything larger means that the permutations were no group action."""

Kind = Literal["kept", "lowered", "P1"]
_IDENTITY = "x,y,z"


@dataclass(frozen=True)
class GroupName:
    """Name of a space group.

    Attributes:
        symbol: Hermann-Mauguin symbol of the setting; None when the setting has no name.
        hall: Hall symbol of the setting; None when the setting has no name.
        number: number in International Tables, whatever the setting.
        crystal_system: for example ``trigonal``.
    """

    symbol: str | None
    hall: str | None
    number: int
    crystal_system: str


@dataclass(frozen=True)
class Placement:
    """Added sites with the symmetry they share with the host.

    Attributes:
        source_operators: triplets of the source's operators, the identity first.
        operators: triplets of those that map the added sites onto themselves, the identity first; a group.
        frac: (m, 3) fractional coordinates of all added sites in the cell, averaged over ``operators``.
        orbit: (m,) index of the first site of each site's orbit.
        shift_a: largest displacement by averaging, ångström.
        group: name of the group of ``operators``; None when it has none.
        tolerance_a: largest distance between a site and an image that counted as symmetric, ångström.
        nearest_lost_a: by how much the best of the lost operators misses a site, ångström; infinite when it takes two
            sites to one, or when nothing was compared.
        refused: why operators that hold are not used all the same; empty otherwise.
    """

    source_operators: tuple[str, ...]
    operators: tuple[str, ...]
    frac: FloatArray
    orbit: NDArray[np.int64]
    shift_a: float
    group: GroupName | None
    tolerance_a: float = TOLERANCE_A
    nearest_lost_a: float = np.inf
    refused: str = ""

    @property
    def kind(self) -> Kind:
        """Whether all of the source's symmetry is kept, a part of it, or the identity alone."""
        if len(self.operators) == len(self.source_operators):
            return "kept"
        return "lowered" if len(self.operators) > 1 else "P1"

    @property
    def index(self) -> int:
        """Index of the group in the source's group."""
        return len(self.source_operators) // len(self.operators)

    @property
    def asymmetric(self) -> list[tuple[int, int]]:
        """(index of the representative, multiplicity) of each orbit, in the order of the sites."""
        first, count = np.unique(self.orbit, return_counts=True)
        return [(int(i), int(n)) for i, n in zip(first, count, strict=True)]


def find_placement(
    operators: Sequence[gemmi.Op], lattice: FloatArray, frac: FloatArray, tolerance_a: float = TOLERANCE_A
) -> Placement:
    """Find the source's operators that map the added sites onto themselves, and average the sites over them.

    An operator counts when every image of a site lies within the tolerance of a site, one to one. Operators found at
    the full tolerance need not close under multiplication; then the tolerance shrinks until they do, at worst to the
    identity alone.

    Args:
        operators: the source's operators, centring translations included, with the identity.
        lattice: (3, 3) rows, ångström.
        frac: (m, 3) fractional coordinates of all added sites of the cell; they are of one element.
        tolerance_a: largest distance between an image and the site it stands for, ångström.

    Returns:
        The placement; its sites keep their order and stay close to where they were.
    """
    triplets = _normalised(operators)
    rotations, translations = _matrices(triplets)
    sites = np.asarray(frac, dtype=np.float64).reshape(-1, 3)
    permutations, worst = _match_images(rotations, translations, lattice, sites)
    table = _products(triplets)
    for limit in sorted({w for w in worst if w <= tolerance_a}, reverse=True):
        chosen = np.flatnonzero(worst <= limit)
        if not np.isin(table[np.ix_(chosen, chosen)], chosen).all():
            continue
        averaged = _average(rotations[chosen], translations[chosen], permutations[chosen], sites)
        exact, residual = _match_images(rotations[chosen], translations[chosen], lattice, averaged)
        if residual.max(initial=0.0) <= EXACT_A:
            kept = tuple(triplets[i] for i in chosen)
            shift = float(short_lengths(averaged - sites, lattice).max(initial=0.0))
            lost = float(np.delete(worst, chosen).min(initial=np.inf))
            group = name_group(kept, lattice)
            return Placement(triplets, kept, averaged, exact.min(axis=0), shift, group, tolerance_a, lost)
    lost = float(worst[1:].min(initial=np.inf))
    return replace(without_symmetry(operators, lattice, sites), tolerance_a=tolerance_a, nearest_lost_a=lost)


def without_symmetry(
    operators: Sequence[gemmi.Op], lattice: FloatArray, frac: FloatArray, refused: str = ""
) -> Placement:
    """Return the added sites as they are, (m, 3), with the identity as their only operator.

    Args:
        operators: the source's operators.
        lattice: (3, 3) rows, ångström.
        frac: (m, 3) fractional coordinates.
        refused: why operators that hold are not used.
    """
    sites = np.asarray(frac, dtype=np.float64).reshape(-1, 3)
    orbit = np.arange(len(sites), dtype=np.int64)
    group = name_group((_IDENTITY,), lattice)
    return Placement(_normalised(operators), (_IDENTITY,), sites, orbit, 0.0, group, refused=refused)


def host_orbits(
    operators: Sequence[str], lattice: FloatArray, cell_site: NDArray[np.int64], cell_frac: FloatArray
) -> dict[int, list[tuple[int, int]]]:
    """Split the sites of the expanded host into orbits of a subgroup.

    Args:
        operators: triplets of the subgroup.
        lattice: (3, 3) rows, ångström.
        cell_site: (n,) asymmetric site of each site of the cell.
        cell_frac: (n, 3) fractional coordinates.

    Returns:
        For each asymmetric site, (index of the representative in the cell, multiplicity), in the order of the cell.
    """
    rotations, translations = _matrices(tuple(operators))
    orbits: dict[int, list[tuple[int, int]]] = {}
    for site in dict.fromkeys(cell_site.tolist()):
        members = np.flatnonzero(cell_site == site)
        points = cell_frac[members]
        images = np.einsum("gij,nj->gni", rotations, points) + translations[:, None]
        # Special positions of the source are rounded, so the nearest site is meant and not an exact one.
        nearest = np.stack([short_lengths(one[:, None] - points[None], lattice).argmin(axis=1) for one in images])
        first, count = np.unique(nearest.min(axis=0), return_counts=True)
        orbits[site] = [(int(members[i]), int(n)) for i, n in zip(first, count, strict=True)]
    return orbits


def symmetrise(operators: Sequence[str], lattice: FloatArray, frac: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
    """Make sites that are nearly symmetric exactly so.

    Args:
        operators: triplets of a group.
        lattice: (3, 3) rows, ångström.
        frac: (n, 3) fractional coordinates of all sites of one element.

    Returns:
        (n, 3) averaged sites in their order, and (n,) the first site of each site's orbit.

    Raises:
        ValueError: the operators do not map the sites onto themselves.
    """
    rotations, translations = _matrices(tuple(operators))
    permutations, worst = _match_images(rotations, translations, lattice, frac)
    if np.isfinite(worst).all():
        averaged = _average(rotations, translations, permutations, frac)
        exact, residual = _match_images(rotations, translations, lattice, averaged)
        if residual.max(initial=0.0) <= EXACT_A:
            return averaged, exact.min(axis=0)
    raise ValueError("the operators do not map the sites onto themselves")


def symmetric_metric(operators: Sequence[str], lattice: FloatArray) -> FloatArray:
    """Metric tensor (3, 3) of a lattice, averaged over a group: lengths and angles agree exactly with its system."""
    rotations, _ = _matrices(tuple(operators))
    metric = np.einsum("gji,jk,gkl->il", rotations, lattice @ lattice.T, rotations)
    return np.asarray(metric / len(rotations), dtype=np.float64)


def short_lengths(delta: FloatArray, lattice: FloatArray) -> FloatArray:
    """Lengths of periodic differences (..., 3); exact below half the cell's smallest height, never too short."""
    folded = delta - np.round(delta)
    return np.asarray(np.linalg.norm(folded @ lattice, axis=-1), dtype=np.float64)


def to_operators(rotations: FloatArray, translations: FloatArray) -> list[gemmi.Op]:
    """Turn matrices (m, 3, 3) and vectors (m, 3) of multiples of 1/24 into gemmi's operators."""
    found = []
    for rotation, translation in zip(rotations, translations, strict=True):
        operator = gemmi.Op()
        operator.rot = np.rint(rotation * gemmi.Op.DEN).astype(int).tolist()
        operator.tran = np.rint(translation * gemmi.Op.DEN).astype(int).tolist()
        found.append(operator)
    return found


def name_group(triplets: tuple[str, ...], lattice: FloatArray) -> GroupName | None:
    """Name a group of operators; a setting without a name of its own still gets its number, from spglib."""
    group = gemmi.find_spacegroup_by_ops(gemmi.GroupOps([gemmi.Op(t) for t in triplets]))
    if group is not None:
        return GroupName(group.xhm(), group.hall, group.number, group.crystal_system_str())
    import spglib

    rotations, translations = _matrices(triplets)
    try:
        found = spglib.get_spacegroup_type_from_symmetry(rotations.astype(np.int32), translations, lattice)
    except (ValueError, spglib.SpglibError):
        return None
    if found is None:
        return None
    number = int(found.number)
    return GroupName(None, None, number, gemmi.find_spacegroup_by_number(number).crystal_system_str())


def _normalised(operators: Sequence[gemmi.Op]) -> tuple[str, ...]:
    triplets = list(dict.fromkeys(gemmi.Op(op.triplet()).wrap().triplet() for op in operators))
    return (_IDENTITY, *(t for t in triplets if t != _IDENTITY))


def _matrices(triplets: tuple[str, ...]) -> tuple[FloatArray, FloatArray]:
    operators = [gemmi.Op(t) for t in triplets]
    rotations = np.array([op.rot for op in operators], dtype=np.float64) / gemmi.Op.DEN
    translations = np.array([op.tran for op in operators], dtype=np.float64) / gemmi.Op.DEN
    return rotations.reshape(-1, 3, 3), translations.reshape(-1, 3)


@lru_cache(maxsize=64)
def _products(triplets: tuple[str, ...]) -> NDArray[np.int64]:
    """(n, n) index of each product; -1 where it is not among the operators."""
    position = {triplet: i for i, triplet in enumerate(triplets)}
    operators = [gemmi.Op(t) for t in triplets]
    rows = [[position.get((a * b).wrap().triplet(), -1) for b in operators] for a in operators]
    return np.array(rows, dtype=np.int64)


def _match_images(
    rotations: FloatArray, translations: FloatArray, lattice: FloatArray, frac: FloatArray
) -> tuple[NDArray[np.int64], FloatArray]:
    """Match images with sites.

    Returns:
        (g, m) site nearest to the image of each site, and (g,) the largest distance of the match in ångström, infinite
        where two images share a site.
    """
    permutations = np.zeros((len(rotations), len(frac)), dtype=np.int64)
    worst = np.zeros(len(rotations))
    for i, (rotation, translation) in enumerate(zip(rotations, translations, strict=True)):
        distances = short_lengths((frac @ rotation.T + translation)[:, None] - frac[None], lattice)
        if not len(frac):
            continue
        permutations[i] = distances.argmin(axis=1)
        one_to_one = len(set(permutations[i].tolist())) == len(frac)
        worst[i] = distances.min(axis=1).max() if one_to_one else np.inf
    return permutations, worst


def _average(
    rotations: FloatArray, translations: FloatArray, permutations: NDArray[np.int64], frac: FloatArray
) -> FloatArray:
    """Mean of the images that fall on each site, (m, 3), beside the site's own cell image."""
    shift = np.zeros_like(frac)
    for rotation, translation, permutation in zip(rotations, translations, permutations, strict=True):
        delta = frac @ rotation.T + translation - frac[permutation]
        shift[permutation] += delta - np.round(delta)
    return np.asarray(frac + shift / len(rotations), dtype=np.float64)
