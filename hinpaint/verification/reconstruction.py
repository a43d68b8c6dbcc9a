"""Hydrogen from DFT alone: the proton's wells in the host's electrostatic potential, filled and relaxed in turn.

The method that hinpaint is measured against. The host keeps the electrons of the hydrogens it lacks, so its cell is
charged by -1 for each of them, with a uniform background: an oxide ion is already there, only its proton is not. The
unperturbed electrostatic potential, a proton's energy as long as nothing answers to it, is how muon sites are looked
for (Bernardini, Bonfà, Massidda, De Renzi, arXiv 1302.2031; reviewed by Bonfà and De Renzi, arXiv 1604.03281).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hinpaint.crystal import Crystal, FloatArray
from hinpaint.deciding.matching import host_operations
from hinpaint.verification.wells import Distances, find_wells, next_sites
from hinpaint.whynot import Reason, Stop

ELEMENT = "H"


@dataclass(frozen=True)
class Settled:
    """A crystal whose placed sites have relaxed on a fixed host, and what a further proton finds there.

    Attributes:
        crystal: the sites in their order.
        energy_ev: total energy of the cell.
        converged: the forces on the placed sites are below the threshold; true where nothing is placed.
        proton_energy_ev: (a, b, c) energy of a proton at the points of a grid over the cell, the nuclei's repulsion
            included; None for a neutral cell, in which none is missing.
    """

    crystal: Crystal
    energy_ev: float
    converged: bool
    proton_energy_ev: FloatArray | None


class Code(Protocol):
    """What a DFT code must be able to do."""

    def settle(self, crystal: Crystal, charge: int) -> Settled | Stop:
        """Relax the sites that are not ``known`` and give the electrostatic potential where they come to rest.

        Args:
            crystal: the host and what has been placed; host and cell stay.
            charge: of the cell in elementary charges, below 0 for missing protons; the background makes up for it.
        """


@dataclass(frozen=True)
class Reconstruction:
    """A completed host.

    Attributes:
        raw: the sites as they were placed, each in the well it was placed in.
        relaxed: the sites after the last relaxation.
        energy_ev: total energy of the relaxed cell.
        converged: the last relaxation reached its threshold.
        n_rounds: how many times sites were placed, each time from a new potential.
    """

    raw: Crystal
    relaxed: Crystal
    energy_ev: float
    converged: bool
    n_rounds: int


def reconstruct(
    host: Crystal, n_missing: int, code: Code, distances: Distances | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Reconstruction | Stop:  # fmt: skip
    """Complete a host: potential, deepest wells, relaxation of all placed hydrogens, until none is missing.

    Args:
        host: the crystal without the hydrogens that are looked for, every site known.
        n_missing: how many are missing in the cell, at least 1.
        code: computes potentials and relaxations.
        distances: which wells are free.
        say: takes a line of progress.

    Returns:
        The completed crystal, or why there is none: the code's reason, or ``no_room`` when no well is free.

    Raises:
        ValueError: ``n_missing`` is below 1.
    """
    if n_missing < 1:
        raise ValueError(f"{n_missing} sites are missing")
    raw, left, n_rounds = host, n_missing, 0
    settled = code.settle(host, -left)
    while left > 0 and isinstance(settled, Settled):
        sites = _choose(settled, left, distances or Distances())
        if isinstance(sites, Stop):
            return sites
        left, n_rounds = left - len(sites), n_rounds + 1
        say(f"round {n_rounds}: {len(sites)} placed, {left} left")
        raw = raw.add_unknown(ELEMENT, sites)
        settled = code.settle(settled.crystal.add_unknown(ELEMENT, sites), -left)
    if isinstance(settled, Stop):
        return settled
    return Reconstruction(raw, settled.crystal, settled.energy_ev, settled.converged, n_rounds)


def _choose(settled: Settled, n_left: int, distances: Distances) -> FloatArray | Stop:
    """The sites to fill next in a crystal that lacks ``n_left`` hydrogens."""
    if settled.proton_energy_ev is None:
        return Stop(Reason.NOT_FINITE, "the code gave no potential")
    crystal = settled.crystal
    try:
        wells = find_wells(crystal.lattice, settled.proton_energy_ev)
    except ValueError as error:
        return Stop(Reason.NOT_FINITE, str(error))
    sites = next_sites(crystal, wells, host_operations(crystal), n_left, distances)
    if sites is None:
        return Stop(Reason.NO_ROOM, f"none of {len(wells)} wells is free, {n_left} hydrogens left")
    return sites
