"""GPAW as the code of a reconstruction: each step of it is one run of the worker in a folder of its own."""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.crystal import Crystal, FloatArray
from hinpaint.verification.reconstruction import Settled
from hinpaint.verification.settings import k_grid
from hinpaint.verification.worker import run_worker
from hinpaint.whynot import Reason, Stop

_WORKER = Path(__file__).parent / "gpaw_worker.py"


@dataclass(frozen=True)
class WellSettings:
    """What a reconstruction costs and how well it sees. Potentials and the way of a proton need little.

    Attributes:
        cutoff_ev: plane-wave cutoff.
        k_spacing_per_a: largest distance of k-points, 2 pi included.
        smearing_ev: width of the smearing.
        grid_a: distance of the potential's grid points at most, ångström.
        fmax_ev_per_a: force threshold on the placed sites.
        max_steps: steps of a relaxation; where they run out the next round starts from there.
        max_iterations: steps to a self-consistent density.
        time_limit_s: wall-clock seconds of one round.
    """

    cutoff_ev: float = 340.0
    k_spacing_per_a: float = 0.5
    smearing_ev: float = 0.1
    grid_a: float = 0.1
    fmax_ev_per_a: float = 0.1
    max_steps: int = 20
    max_iterations: int = 100
    time_limit_s: float = 1800.0


class GpawWells:
    """See :class:`hinpaint.verification.reconstruction.Code`; without spin, in one process.

    Attributes:
        cpu_s: CPU seconds of all rounds so far, failed ones too.
        wall_s: wall-clock seconds.
    """

    def __init__(self, program: Sequence[str], elements: frozenset[str], settings: WellSettings, folder: Path) -> None:
        """Prepare.

        Args:
            program: interpreter that imports GPAW, one process.
            elements: what it has data for.
            settings: of every round.
            folder: where GPAW works and leaves its logs, one folder a round.
        """
        self._program, self._elements, self._settings, self._folder = program, elements, settings, folder
        self._round = 0
        self.cpu_s = self.wall_s = 0.0

    def settle(self, crystal: Crystal, charge: int) -> Settled | Stop:
        """See :class:`hinpaint.verification.reconstruction.Code`."""
        unknown = sorted(set(crystal.species) - self._elements)
        if unknown:
            return Stop(Reason.UNSUPPORTED_ELEMENT, f"GPAW: {', '.join(unknown)}")
        self._round += 1
        folder = self._folder / f"round-{self._round}"
        grid = folder.resolve() / "proton.npy" if charge else None
        if grid is not None:
            grid.unlink(missing_ok=True)
        began, worked = time.monotonic(), _children_cpu_s()
        answer = run_worker(
            _WORKER, self._payload(crystal, charge, grid), command=self._program,
            timeout_s=self._settings.time_limit_s, folder=folder,
        )  # fmt: skip
        self.wall_s += time.monotonic() - began
        self.cpu_s += _children_cpu_s() - worked
        return answer if isinstance(answer, Stop) else _settled(answer, crystal, grid)

    def _payload(self, crystal: Crystal, charge: int, grid: Path | None) -> dict[str, Any]:
        settings = self._settings
        return {
            "task": "settle",
            "lattice": crystal.lattice.tolist(),
            "species": list(crystal.species),
            "frac": crystal.frac.tolist(),
            "movable": (~crystal.known).tolist(),
            "charge": charge,
            "kpoints": list(k_grid(crystal.lattice, settings.k_spacing_per_a)),
            "cutoff_ev": settings.cutoff_ev,
            "smearing_ev": settings.smearing_ev,
            "max_iterations": settings.max_iterations,
            "relax": "none" if crystal.known.all() else "h_only",
            "fmax_ev_per_a": settings.fmax_ev_per_a,
            "max_steps": settings.max_steps,
            "grid_a": settings.grid_a,
            "potential": None if grid is None else str(grid),
        }


def _children_cpu_s() -> float:
    """CPU seconds of all ended child processes: failures cost time, too."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _settled(answer: dict[str, Any], crystal: Crystal, grid: Path | None) -> Settled | Stop:
    """Take an answer and the grid beside it apart."""
    try:
        moved = np.asarray(answer["frac"], dtype=np.float64).reshape(crystal.n_sites, 3)
        frac = np.where(crystal.known[:, None], crystal.frac, moved)  # the host to the last bit
        energy_ev, converged = float(answer["energy_ev"]), bool(answer["converged"])
        proton_energy: FloatArray | None = None
        if grid is not None:
            proton_energy = np.load(grid, allow_pickle=False).astype(np.float64)
            grid.unlink()
    except (KeyError, TypeError, ValueError, OSError, EOFError) as error:
        return Stop(Reason.CODE_FAILED, f"an answer that cannot be read: {error!r}")
    if not np.isfinite(frac).all() or not np.isfinite(energy_ev):
        return Stop(Reason.NOT_FINITE, f"energy {energy_ev}")
    return Settled(crystal.with_frac(frac), energy_ev, converged, proton_energy)
