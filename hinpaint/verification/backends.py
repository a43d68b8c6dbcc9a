"""One small interface to DFT codes: which elements one knows, and the energy of one structure."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hinpaint.crystal import Crystal
from hinpaint.dft import Verify
from hinpaint.verification import espresso
from hinpaint.verification.settings import Settings, start_moments
from hinpaint.verification.worker import run_program, run_worker
from hinpaint.whynot import Reason, Stop

_WORKER = Path(__file__).parent / "gpaw_worker.py"
_START_S = 300.0


class VerifyError(Exception):
    """The DFT code cannot be used. The message is one line that says what to do."""


@dataclass(frozen=True)
class Installed:
    """What a code on this machine is.

    Attributes:
        version: its version.
        elements: elements it has data for.
        data: identity of these data, where they are files that the configuration names.
    """

    version: str
    elements: frozenset[str]
    data: str = ""


@dataclass(frozen=True)
class Request:
    """One structure to compute.

    Attributes:
        crystal: the structure; sites that are not known are the placed ones.
        kpoints: points along each reciprocal vector.
        settings: everything else.
        folder: where the code may work.
        time_limit_s: wall-clock seconds.
    """

    crystal: Crystal
    kpoints: tuple[int, ...]
    settings: Settings
    folder: Path
    time_limit_s: float


@dataclass(frozen=True)
class Energy:
    """What a code found.

    Attributes:
        energy_ev: energy of the cell, extrapolated to zero smearing.
        fmax_ev_per_a: largest force on a site.
        moment_mb: magnetic moment of the cell; None without spin polarisation.
        crystal: the structure as computed.
        n_steps: steps of the relaxation.
        n_attempts: ways to a self-consistent density that were tried.
        cutoff_ev: plane-wave cutoff.
        wall_s: wall-clock seconds.
        cpu_s: CPU seconds.
    """

    energy_ev: float
    fmax_ev_per_a: float
    moment_mb: float | None
    crystal: Crystal
    n_steps: int
    n_attempts: int
    cutoff_ev: float
    wall_s: float
    cpu_s: float


class Backend(Protocol):
    """A DFT code."""

    def installed(self, folder: Path) -> Installed:
        """Ask the code what it is and which elements it knows; it may work in the folder.

        Raises:
            VerifyError: it does not answer.
        """
        ...

    def compute(self, request: Request, poll: Callable[[], None] | None = None) -> Energy | Stop:
        """Compute one structure, or say why there is no energy.

        Args:
            request: what to compute.
            poll: called many times meanwhile; what it raises ends the code and goes on to the caller.
        """
        ...


def load_backend(verify: Verify, ranks: int) -> Backend:
    """The backend that the configuration names, with so many MPI ranks."""
    if verify.code == "espresso":
        assert verify.pseudo_table is not None  # noqa: S101 - for the type checker; the configuration checks it
        return Espresso(verify.program(ranks), verify.pseudo_table)
    return Gpaw(verify.program(ranks))


class Gpaw:
    """GPAW in plane waves, in another Python than ours."""

    def __init__(self, program: list[str]) -> None:
        """Args: ``program``: interpreter that imports GPAW, ``mpirun`` before it if wanted."""
        self._program = program

    def installed(self, folder: Path) -> Installed:
        """See :class:`Backend`."""
        task = {"task": "elements"}
        answer = run_worker(_WORKER, task, command=self._program, timeout_s=_START_S, folder=folder)
        if isinstance(answer, Stop):
            raise VerifyError(
                f"GPAW does not answer under `{' '.join(self._program)}` ({answer.detail}); install it (Debian: gpaw, "
                "gpaw-data), or name the Python that has it as verify.command"
            )
        return Installed(answer["version"], frozenset(answer["elements"]))

    def compute(self, request: Request, poll: Callable[[], None] | None = None) -> Energy | Stop:
        """See :class:`Backend`."""
        crystal, settings = request.crystal, request.settings
        assert settings.cutoff_ev is not None  # noqa: S101 - for the type checker
        payload = {
            "task": "energy",
            "lattice": crystal.lattice.tolist(),
            "species": list(crystal.species),
            "frac": crystal.frac.tolist(),
            "movable": (~crystal.known).tolist(),
            "moments": start_moments(crystal.species),
            "kpoints": list(request.kpoints),
            "cutoff_ev": settings.cutoff_ev,
            "smearing_ev": settings.smearing_ev,
            "max_iterations": settings.max_iterations,
            "relax": settings.relax,
            "fmax_ev_per_a": settings.fmax_ev_per_a,
            "max_steps": settings.max_steps,
        }
        limit = request.time_limit_s
        answer = run_worker(_WORKER, payload, command=self._program, timeout_s=limit, folder=request.folder, poll=poll)
        return answer if isinstance(answer, Stop) else _energy(answer, crystal, settings.cutoff_ev)


class Espresso:
    """``pw.x`` of Quantum ESPRESSO, with a folder of pseudopotentials."""

    def __init__(self, program: list[str], table: Path) -> None:
        """Args: ``program``: pw.x, ``mpirun`` before it if wanted; ``table``: JSON beside the pseudopotentials."""
        self._program, self._table = program, table

    def installed(self, folder: Path) -> Installed:
        """See :class:`Backend`."""
        try:
            pseudos = espresso.read_table(self._table)
        except (OSError, ValueError) as error:
            raise VerifyError(f"verify.pseudo_table: {' '.join(str(error).split())}") from error
        folder.mkdir(parents=True, exist_ok=True)
        ended = run_program(self._program, timeout_s=_START_S, folder=folder)
        version = espresso.version_in(folder / "log.txt")
        if version is None:
            detail = ended.detail if isinstance(ended, Stop) else ended.last_words
            raise VerifyError(f"`{' '.join(self._program)}` does not answer as pw.x: {detail}")
        return Installed(version, frozenset(pseudos), espresso.identity(pseudos))

    def compute(self, request: Request, poll: Callable[[], None] | None = None) -> Energy | Stop:
        """See :class:`Backend`."""
        request.folder.mkdir(parents=True, exist_ok=True)
        try:
            return self._try_mixings(request, poll)
        finally:
            shutil.rmtree(request.folder / espresso.SCRATCH, ignore_errors=True)

    def _try_mixings(self, request: Request, poll: Callable[[], None] | None) -> Energy | Stop:
        pseudos = espresso.read_table(self._table)
        wall_s = cpu_s = 0.0
        stop = Stop(Reason.NOT_CONVERGED)
        for number, mixing in enumerate(espresso.MIXINGS, start=1):
            source = request.folder / f"pw-{number}.in"
            source.write_text(
                espresso.input_text(request.crystal, request.kpoints, request.settings, pseudos, mixing), "utf-8"
            )
            left = request.time_limit_s - wall_s
            ended = run_program([*self._program, "-in", source.name], timeout_s=left, folder=request.folder, poll=poll)
            if isinstance(ended, Stop):
                return ended
            wall_s, cpu_s = wall_s + ended.wall_s, cpu_s + ended.cpu_s
            answer = espresso.read_output(request.folder / "log.txt", request.crystal)
            if not isinstance(answer, Stop):
                found = {**answer, "n_attempts": number, "wall_s": wall_s, "cpu_s": cpu_s}
                return _energy(found, request.crystal, found["cutoff_ev"])
            stop = answer
            if stop.reason is not Reason.NOT_CONVERGED or wall_s >= request.time_limit_s:
                break
        return stop


def _energy(answer: dict[str, Any], crystal: Crystal, cutoff_ev: float) -> Energy | Stop:
    """Take an answer apart; numbers that are missing or not finite are a failure of the code."""
    try:
        energy_ev, fmax = float(answer["energy_ev"]), float(answer["fmax_ev_per_a"])
        lattice, frac = np.asarray(answer["lattice"], dtype=np.float64), np.asarray(answer["frac"], dtype=np.float64)
        found = replace(crystal, lattice=lattice.reshape(3, 3), frac=frac.reshape(crystal.n_sites, 3))
        moment = answer.get("moment_mb")
        if not all(np.isfinite(each).all() for each in (energy_ev, fmax, found.lattice, found.frac)):
            return Stop(Reason.NOT_FINITE, json.dumps([energy_ev, fmax]))
        return Energy(
            energy_ev, fmax, None if moment is None else float(moment), found, int(answer["n_steps"]),
            int(answer["n_attempts"]), cutoff_ev, float(answer["wall_s"]), float(answer["cpu_s"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        return Stop(Reason.CODE_FAILED, f"an answer that cannot be read: {error!r}")
