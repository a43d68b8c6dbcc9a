"""What decides an energy: cutoff, k-points, spin, smearing. Both structures of a pair get the same."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from hinpaint.dft import Verify

MAIN, CHECK = "main", "check"
CHECK_CUTOFF = 1.3
"""The check's cutoff over the main one: the number of plane waves grows by half."""
CHECK_SPACING = 0.7
"""The check's spacing of k-points over the main one."""
GPAW_CUTOFF_EV = 400.0
FUNCTIONAL = "PBE"

# High-spin moments to start from, Bohr magnetons: open 3d shells and f elements. Scandium, titanium, zinc and the 4d
# and 5d metals are nearly always closed shells in oxides and hydrides.
_MOMENTS = {
    "V": 3, "Cr": 4, "Mn": 5, "Fe": 4, "Co": 3, "Ni": 2, "Cu": 1, "Ce": 1, "Pr": 2, "Nd": 3, "Pm": 4, "Sm": 5, "Eu": 7,
    "Gd": 7, "Tb": 6, "Dy": 5, "Ho": 4, "Er": 3, "Tm": 2, "Yb": 1, "U": 2, "Np": 3, "Pu": 5,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What decides an energy, k-points aside: these follow from the cell.

    Attributes:
        code: gpaw or espresso.
        cutoff_ev: plane-wave cutoff; None: the pseudopotentials' own.
        cutoff_factor: what their own is multiplied by.
        k_spacing_per_a: largest distance of k-points, 2 pi included.
        smearing_ev: width of the smearing.
        relax: none, h_only or full.
        fmax_ev_per_a: force threshold of the relaxation.
        max_steps: steps of the relaxation.
        max_iterations: steps to a self-consistent density.
    """

    code: str
    cutoff_ev: float | None
    cutoff_factor: float
    k_spacing_per_a: float
    smearing_ev: float
    relax: str
    fmax_ev_per_a: float
    max_steps: int
    max_iterations: int

    def digest(self, version: str, data: str = "") -> str:
        """SHA-256 of the settings, the version of the code, and the identity of its data sets or pseudopotentials."""
        text = json.dumps([asdict(self), FUNCTIONAL, version, data], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def settings_of(verify: Verify, name: str = MAIN) -> Settings:
    """The settings of a run, or those of its check.

    Raises:
        ValueError: the run verifies nothing.
    """
    if verify.code is None:
        raise ValueError("verify.code is empty")
    main = Settings(
        code=verify.code,
        cutoff_ev=verify.cutoff_ev or (GPAW_CUTOFF_EV if verify.code == "gpaw" else None),
        cutoff_factor=1.0,
        k_spacing_per_a=verify.k_spacing_per_a,
        smearing_ev=verify.smearing_ev,
        relax=verify.relax,
        fmax_ev_per_a=verify.fmax_ev_per_a,
        max_steps=verify.max_steps,
        max_iterations=verify.max_iterations,
    )
    if name == MAIN:
        return main
    return replace(
        main,
        cutoff_ev=None if main.cutoff_ev is None else CHECK_CUTOFF * main.cutoff_ev,
        cutoff_factor=CHECK_CUTOFF,
        k_spacing_per_a=CHECK_SPACING * main.k_spacing_per_a,
    )


def k_grid(lattice: ArrayLike, spacing_per_a: float) -> tuple[int, int, int]:
    """Points along each reciprocal vector so that none are further apart than the spacing.

    Args:
        lattice: (3, 3) rows, ångström.
        spacing_per_a: largest distance, 1/ångström, 2 pi included.
    """
    cell = np.asarray(lattice, dtype=np.float64).reshape(3, 3)
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(cell), axis=0)
    first, second, third = (max(1, int(np.ceil(length / spacing_per_a - 1e-6))) for length in lengths)
    return first, second, third


def start_moments(species: Sequence[str]) -> list[float] | None:
    """Magnetic moment of each site to start from; None where no element asks for spin polarisation."""
    moments = [float(_MOMENTS.get(name, 0)) for name in species]
    return moments if any(moments) else None
