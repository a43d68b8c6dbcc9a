"""Primitive cells by integer algebra: same origin and axes, no rotation, so that every site maps back exactly.

A source cell is described in the primitive one by three rows of integers, the *supercell* S (3, 3): source lattice
``L = S @ P``. A point with fractional coordinates f in the source's cell has ``f @ S`` in the primitive cell.
"""

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hinpaint.crystal import BoolArray, Crystal, FloatArray, IntArray

IDENTITY = (1, 0, 0, 0, 1, 0, 0, 0, 1)
"""Supercell of a cell that is its own primitive cell, row by row."""

TOLERANCE_A = 0.02
"""Sites are translated copies when they agree to this: published coordinates are rounded to 1e-3 or so."""

_MAX_SITES = 500
"""Larger cells are left as they are: comparing all sites costs time that no such cell would save."""


_BATCH_PAIRS = 2_000_000
"""Pairs of sites compared at once when many cells are reduced."""


@dataclass(frozen=True)
class Reduced:
    """Primitive cells with their sites; B cells of n sites each.

    Attributes:
        lattice: (B, 3, 3) primitive lattice vectors as rows, ångström.
        chosen: (B, n) true for the first site, in the source's order, of each set of translated copies.
        frac: (B, n, 3) every site in the primitive cell's fractional coordinates, within [0, 1).
        sound: (B,) true where the sites form whole sets of copies; the rest of a cell without is of no use.
    """

    lattice: FloatArray
    chosen: BoolArray
    frac: FloatArray
    sound: BoolArray


def find_supercell(crystal: Crystal, divides: int = 0, tolerance_a: float = TOLERANCE_A) -> tuple[int, ...]:
    """Find the cell's supercell in its primitive cell.

    Args:
        crystal: the structure whose translations count.
        divides: a number of further sites that must divide evenly over the primitive cells; otherwise the cell is
            taken as it is (hydrogen may order in a larger cell than its host).
        tolerance_a: largest distance of a site from its translated copy, ångström.

    Returns:
        9 integers, row by row; :data:`IDENTITY` when the cell is primitive, too large to compare, or must stay.
    """
    if crystal.n_sites > _MAX_SITES:
        return IDENTITY
    shifts = _translations(crystal, tolerance_a)
    n_cells = len(shifts)
    numerators = np.rint(shifts * n_cells)
    if n_cells == 1 or divides % n_cells or np.abs(shifts * n_cells - numerators).max() > 0.05 * n_cells:
        return IDENTITY
    basis = _lattice_basis([*numerators.astype(int).tolist(), *(n_cells * np.eye(3, dtype=int)).tolist()])
    supercell = _supercell_of(basis, n_cells, crystal.lattice)
    if supercell is None or not _reduce(crystal, supercell).sound[0]:
        return IDENTITY
    return tuple(int(v) for v in supercell.ravel())


def reduce_sites(crystal: Crystal, supercell: ArrayLike) -> Crystal:
    """Take a structure to the primitive cell of a supercell.

    Args:
        crystal: the structure in its source's cell.
        supercell: 9 integers as :func:`find_supercell` gives them.

    Returns:
        The primitive cell with the first site, in the source's order, of each set of copies.

    Raises:
        ValueError: the sites do not form whole sets of copies.
    """
    reduced = _reduce(crystal, supercell)
    if not reduced.sound[0]:
        raise ValueError("the sites are not copies of each other in the primitive cells")
    whole = replace(crystal, lattice=reduced.lattice[0], frac=reduced.frac[0])
    return whole.take(reduced.chosen[0])


def _reduce(crystal: Crystal, supercell: ArrayLike) -> Reduced:
    names = sorted(set(crystal.species))
    codes = np.array([names.index(name) for name in crystal.species])
    matrix = np.asarray(supercell, dtype=np.int64).reshape(1, 3, 3)
    return reduce_cells(crystal.lattice[None], codes[None], crystal.frac[None], matrix)


def reduce_cells(lattice: FloatArray, codes: IntArray, frac: FloatArray, supercell: IntArray) -> Reduced:
    """Do what :func:`reduce_sites` does for many cells with the same number of sites.

    Args:
        lattice: (B, 3, 3) source lattices, ångström.
        codes: (B, n) integers that tell the elements apart.
        frac: (B, n, 3) fractional coordinates in the source cells.
        supercell: (B, 3, 3) integers.
    """
    n_cells = np.rint(np.linalg.det(supercell.astype(np.float64)))
    primitive = np.linalg.solve(supercell.astype(np.float64), lattice)
    reduced = (frac @ supercell) % 1.0
    chosen = np.zeros(codes.shape, dtype=bool)
    sound = np.zeros(len(codes), dtype=bool)
    step = max(1, _BATCH_PAIRS // max(1, codes.shape[1] ** 2))
    for first in range(0, len(codes), step):
        part = slice(first, first + step)
        delta = reduced[part, :, None] - reduced[part, None]
        delta -= np.round(delta)
        squares = np.square(np.einsum("bijk,bkl->bijl", delta, primitive[part])).sum(axis=-1)
        # Twice the tolerance: two copies of one site may lie to either side of a third.
        copies = (squares < (2 * TOLERANCE_A) ** 2) & (codes[part, :, None] == codes[part, None])
        sound[part] = np.all(copies.sum(axis=2) == n_cells[part, None], axis=1)
        chosen[part] = copies.argmax(axis=2) == np.arange(codes.shape[1])
    return Reduced(primitive, chosen, reduced, sound)


def expand_sites(frac: ArrayLike, supercell: ArrayLike) -> FloatArray:
    """Repeat sites of the primitive cell through the source's cell.

    Args:
        frac: (m, 3) fractional coordinates in the primitive cell.
        supercell: 9 integers, see :func:`find_supercell`.

    Returns:
        (m * n_cells, 3) fractional coordinates in the source's cell; the copies of one site stand together. With the
        identity the coordinates are returned as they are, otherwise within [0, 1).
    """
    points = np.asarray(frac, dtype=np.float64).reshape(-1, 3)
    matrix = np.asarray(supercell, dtype=np.int64).reshape(3, 3)
    if tuple(matrix.ravel().tolist()) == IDENTITY:
        return points
    images = points[:, None] + lattice_points(matrix)[None]
    expanded: FloatArray = np.mod(images.reshape(-1, 3) @ np.linalg.inv(matrix.astype(np.float64)), 1.0)
    return expanded


def n_cells(supercell: ArrayLike) -> int:
    """How many primitive cells fill the source's, from 9 integers, see :func:`find_supercell`."""
    return _determinant(np.asarray(supercell, dtype=np.int64).reshape(3, 3))


def lattice_points(supercell: IntArray) -> IntArray:
    """(n_cells, 3) lattice points of the primitive cell that lie inside the source's cell, the origin first."""
    n_cells = _determinant(supercell)
    adjugate = np.rint(np.linalg.inv(supercell.astype(np.float64)) * n_cells).astype(np.int64)
    corners = np.array(list(product((0, 1), repeat=3))) @ supercell
    ranges = [range(int(corners[:, axis].min()), int(corners[:, axis].max()) + 1) for axis in range(3)]
    points = np.array(list(product(*ranges)), dtype=np.int64)
    inside = np.all((points @ adjugate >= 0) & (points @ adjugate < n_cells), axis=1)
    found = points[inside]
    return found[np.argsort(np.any(found != 0, axis=1), kind="stable")]


def _translations(crystal: Crystal, tolerance_a: float) -> FloatArray:
    """(n_cells, 3) fractional translations that take the structure to itself, the zero one first."""
    blocks = sorted((crystal.frac[crystal.is_element(e)] for e in sorted(set(crystal.species))), key=len)
    if not blocks or math.gcd(*(len(block) for block in blocks)) == 1:
        return np.zeros((1, 3))
    shifts = blocks[0][1:] - blocks[0][0]
    for block in blocks:  # nearly all shifts fail for the first site of some element already
        shifts = shifts[_lands(block[0] + shifts, block, crystal.lattice, tolerance_a)]
    kept = [s for s in shifts if all(_maps(block, s, crystal.lattice, tolerance_a) for block in blocks)]
    return np.array([np.zeros(3), *(shift - np.round(shift) for shift in kept)])


def _maps(frac: FloatArray, shift: FloatArray, lattice: FloatArray, tolerance_a: float) -> bool:
    return bool(_lands(frac + shift, frac, lattice, tolerance_a).all())


def _lands(points: FloatArray, frac: FloatArray, lattice: FloatArray, tolerance_a: float) -> BoolArray:
    """(n,) true for the points that lie on one of the sites."""
    delta = points[:, None] - frac[None]
    cartesian = ((delta - np.rint(delta)).reshape(-1, 3) @ lattice).reshape(delta.shape)
    found: BoolArray = np.einsum("abi,abi->ab", cartesian, cartesian).min(axis=1) < tolerance_a**2
    return found


def _lattice_basis(generators: list[list[int]]) -> NDArray[np.int64]:
    """Basis (3, 3) of the integer lattice that vectors generate, upper triangular (Hermite normal form)."""
    rows = [list(row) for row in generators]
    basis = []
    for column in range(3):
        while True:
            with_entry = sorted((row for row in rows if row[column]), key=lambda row: abs(row[column]))
            if len(with_entry) <= 1:
                break
            pivot = with_entry[0]
            for row in with_entry[1:]:
                factor = row[column] // pivot[column]
                row[:] = [a - factor * b for a, b in zip(row, pivot, strict=True)]
        basis.append(with_entry[0])
        rows.remove(with_entry[0])
    return np.array(basis, dtype=np.int64)


def _supercell_of(basis: IntArray, n_cells: int, lattice: FloatArray) -> IntArray | None:
    """Supercell for the shortest basis of the primitive lattice ``basis / n_cells @ lattice``."""
    from ase.geometry import minkowski_reduce

    _, operation = minkowski_reduce(basis @ lattice / n_cells, pbc=True)
    reduced = np.asarray(operation, dtype=np.int64) @ basis
    if np.linalg.det(reduced) < 0:
        reduced = -reduced
    exact = n_cells * np.linalg.inv(reduced)
    supercell = np.rint(exact).astype(np.int64)
    # The translations found may fail to be a group where sites agree only just within the tolerance.
    sound = np.abs(exact - supercell).max() < 1e-6 and _determinant(supercell) == n_cells
    return supercell if sound else None


def _determinant(matrix: IntArray) -> int:
    return round(float(np.linalg.det(matrix)))
