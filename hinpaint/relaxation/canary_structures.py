"""The 16 structures that a potential is checked on: small cells, most of them with hydrogen."""

from dataclasses import replace
from itertools import combinations

import numpy as np

from hinpaint.crystal import Crystal, FloatArray
from hinpaint.relaxation.potentials import LoadedPotential

N_STRUCTURES = 16
_N_GENERIC = 3


def structures(potential: LoadedPotential) -> dict[str, Crystal]:
    """Return 16 structures of elements the potential knows, each a little distorted so that no force is zero.

    Those of the library that it knows; where they are few, rock salts of its own elements beside them. What is still
    missing are stretched copies.
    """
    known = {name: crystal for name, crystal in _library().items() if potential.knows(crystal.species)}
    if len(known) < _N_GENERIC:
        elements = sorted(potential.elements)
        pairs = list(combinations(elements, 2)) or [(elements[0], elements[0])]
        known |= {f"rock salt {a}-{b}": _generic(a, b) for a, b in pairs[:_N_GENERIC]}
    base = list(known.items())
    for number in range(N_STRUCTURES - len(base)):
        (name, crystal), stretch = base[number % len(base)], 1.0 + 0.01 * (1 + number // len(base))
        known[f"{name}, {100 * stretch:.0f} %"] = replace(crystal, lattice=crystal.lattice * stretch)
    return {name: _distorted(crystal) for name, crystal in known.items()}


def moved(crystal: Crystal, displacement: FloatArray) -> Crystal:
    """The crystal with its sites displaced, (n, 3) in ångström."""
    return crystal.with_frac(crystal.frac + displacement @ np.linalg.inv(crystal.lattice))


def _distorted(crystal: Crystal) -> Crystal:
    """Move every site by 0.05 Å, each in another direction that is fixed by its number."""
    phase = np.arange(1, crystal.n_sites + 1)[:, None] * np.array([1.0, 1.7, 2.3])
    return moved(crystal, 0.05 * np.sin(phase) / np.linalg.norm(np.sin(phase), axis=1, keepdims=True))


def _generic(first: str, second: str) -> Crystal:
    from ase.data import atomic_numbers, covalent_radii

    distance = float(covalent_radii[atomic_numbers[first]] + covalent_radii[atomic_numbers[second]])
    # Not denser than H-O at 2 Å: below that SevenNet-0 has a hole of minus a million eV.
    return _rock_salt(first, second, max(2.3 * distance, 4.0))


def _rock_salt(first: str, second: str, a: float) -> Crystal:
    lattice = 0.5 * a * (np.ones((3, 3)) - np.eye(3))
    return Crystal.build(lattice, (first, second), [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])


def _rutile(metal: str, other: str, a: float, c: float, x: float) -> Crystal:
    y = 0.5 - x
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [x, x, 0], [-x, -x, 0], [0.5 + x, y, 0.5], [y, 0.5 + x, 0.5]])
    return Crystal.build(np.diag([a, a, c]), (metal,) * 2 + (other,) * 4, frac)


def _layered_hydroxide(metal: str, a: float, c: float, z_o: float, z_h: float) -> Crystal:
    lattice = np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]])
    third, two_thirds = 1 / 3, 2 / 3
    up, down = (third, two_thirds), (two_thirds, third)
    frac = np.array([(0.0, 0.0, 0.0), (*up, z_o), (*down, -z_o), (*up, z_h), (*down, -z_h)])
    return Crystal.build(lattice, (metal, "O", "O", "H", "H"), frac)


def _tetrahedral(centre: str, a: float, bond: float, partner: str | None = None) -> Crystal:
    """Build a cubic cell with a tetrahedral XH4 at the origin, and a partner in the middle if there is one."""
    s = bond / np.sqrt(3) / a
    frac = np.array([[0, 0, 0], [s, s, s], [s, -s, -s], [-s, s, -s], [-s, -s, s], [0.5, 0.5, 0.5]])
    species = (centre, "H", "H", "H", "H") + ((partner,) if partner else ())
    return Crystal.build(np.eye(3) * a, species, frac[: len(species)])


def _ice(a: float) -> Crystal:
    """Build ice X: oxygens body-centred, hydrogens halfway along the bonds of one of the two networks."""
    oxygen: list[list[float]] = [[0, 0, 0], [0.5, 0.5, 0.5]]
    hydrogen = [[0.25, 0.25, 0.25], [0.25, 0.75, 0.75], [0.75, 0.25, 0.75], [0.75, 0.75, 0.25]]
    return Crystal.build(np.eye(3) * a, ("O", "O", "H", "H", "H", "H"), oxygen + hydrogen)


def _library() -> dict[str, Crystal]:
    return {
        "brucite Mg(OH)2": _layered_hydroxide("Mg", 3.14, 4.77, 0.22, 0.43),
        "LiH": _rock_salt("Li", "H", 4.08),
        "MgH2": _rutile("Mg", "H", 4.52, 3.02, 0.304),
        "NaCl": _rock_salt("Na", "Cl", 5.64),
        "NH4F": _tetrahedral("N", 4.0, 1.03, "F"),
        "CH4": _tetrahedral("C", 4.2, 1.09),
        "ice X": _ice(2.8),
        "portlandite Ca(OH)2": _layered_hydroxide("Ca", 3.59, 4.91, 0.233, 0.425),
        "SiO2": _rutile("Si", "O", 4.18, 2.67, 0.306),
        "NaH": _rock_salt("Na", "H", 4.88),
        "MgO": _rock_salt("Mg", "O", 4.21),
        "KF": _rock_salt("K", "F", 5.34),
        "TiO2": _rutile("Ti", "O", 4.59, 2.96, 0.305),
        "SiH4": _tetrahedral("Si", 4.6, 1.48),
        "NH4Cl": _tetrahedral("N", 3.87, 1.03, "Cl"),
        "Fe(OH)2": _layered_hydroxide("Fe", 3.26, 4.6, 0.22, 0.43),
    }
