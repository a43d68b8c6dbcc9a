"""GPAW at work: ``PYTHON gpaw_worker.py IN.json OUT.json``, under the interpreter that GPAW is installed for.

It imports nothing of hinpaint and runs on Python 3.9 and later; under MPI every rank runs it and the first one writes.
``IN.json`` names a task: ``elements`` (what is installed), ``energy`` (one structure at fixed settings) or
``settle`` (placed sites relaxed, and the potential they leave to a proton).
"""

import json
import sys
from pathlib import Path
from typing import Any

_ENERGY_EV_PER_ELECTRON = 1e-5
_RETRIES: tuple[dict[str, float], ...] = ({}, {"beta": 0.02}, {"beta": 0.02, "warm_ev": 0.3})
"""What is tried in turn: defaults, gentler mixing, and first a smeared density as start. The end is always the same."""


def elements(_: dict[str, Any]) -> dict[str, Any]:
    """Version, and the elements that have a PBE data set."""
    import gpaw

    found = {file.name.split(".")[0] for folder in gpaw.setup_paths for file in Path(folder).glob("*.PBE*")}
    return {"version": gpaw.__version__, "elements": sorted(found)}


def structure(given: dict[str, Any]) -> Any:
    """The atoms that a payload describes: ``lattice``, ``species``, ``frac`` and, if any, ``moments``."""
    from ase import Atoms

    atoms = Atoms(given["species"], scaled_positions=given["frac"], cell=given["lattice"], pbc=True)
    if given.get("moments"):
        atoms.set_initial_magnetic_moments(given["moments"])
    return atoms


def calculator(given: dict[str, Any], retry: dict[str, float], log: str = "gpaw.txt") -> Any:
    """GPAW in plane waves with a payload's settings.

    Args:
        given: ``cutoff_ev``, ``kpoints``, ``smearing_ev``, ``max_iterations`` and, if any, ``moments`` and ``charge``.
        retry: one of the ways to convergence.
        log: where GPAW writes.
    """
    from gpaw import GPAW, PW, Mixer, MixerSum

    spin = bool(given.get("moments"))
    mixer = (MixerSum if spin else Mixer)(retry["beta"], 5, 100.0) if "beta" in retry else None
    # A cell that changes needs the stress of a basis that changes with it (Pulay stress).
    basis = {"dedecut": "estimate"} if given.get("relax") == "full" else {}
    return GPAW(
        mode=PW(given["cutoff_ev"], **basis),
        xc="PBE",
        kpts={"size": given["kpoints"], "gamma": True},
        occupations={"name": "fermi-dirac", "width": retry.get("warm_ev", given["smearing_ev"])},
        convergence={"energy": _ENERGY_EV_PER_ELECTRON},
        maxiter=given["max_iterations"],
        charge=given.get("charge", 0.0),
        symmetry={"point_group": "no_symmetry" not in retry},
        spinpol=spin,
        txt=log,
        **({"mixer": mixer} if mixer else {}),
    )


def converge(atoms: Any, given: dict[str, Any]) -> int:
    """Give the atoms a calculator that has converged and return the number of ways tried; 0 when none led there."""
    from gpaw import KohnShamConvergenceError

    for number, retry in enumerate(_RETRIES, start=1):
        try:
            try:
                self_consistent(atoms, given, retry, f"gpaw-{number}.txt")
            except ArithmeticError:  # cells that are nearly symmetric can leave GPAW a k-point without weight
                self_consistent(atoms, given, {**retry, "no_symmetry": 1.0}, f"gpaw-{number}-p1.txt")
        except KohnShamConvergenceError:
            continue
        return number
    return 0


def self_consistent(atoms: Any, given: dict[str, Any], retry: dict[str, float], log: str) -> None:
    """Converge the density of the atoms in one of the ways."""
    atoms.calc = calculator(given, retry, log)
    atoms.get_potential_energy()
    if "warm_ev" in retry:
        atoms.calc.set(occupations={"name": "fermi-dirac", "width": given["smearing_ev"]})
        atoms.get_potential_energy()


def cell_filter(atoms: Any) -> Any:
    """Atoms and cell as what an optimiser moves; ASE 3.23 moved the filters."""
    try:
        from ase.filters import ExpCellFilter
    except ImportError:
        from ase.constraints import ExpCellFilter
    return ExpCellFilter(atoms)


def relax(atoms: Any, given: dict[str, Any]) -> tuple[int, bool]:
    """Let the movable sites, or with ``full`` everything, relax; return the steps and whether that converged."""
    moving: Any = atoms
    if given["relax"] == "h_only":
        from ase.constraints import FixAtoms

        atoms.set_constraint(FixAtoms([number for number, moves in enumerate(given["movable"]) if not moves]))
    elif given["relax"] == "full":
        moving = cell_filter(atoms)
    else:
        return 0, True
    from ase.optimize import BFGS

    optimiser = BFGS(moving, logfile="bfgs.txt")
    converged = optimiser.run(fmax=given["fmax_ev_per_a"], steps=given["max_steps"])
    return optimiser.nsteps, bool(converged)


def energy(given: dict[str, Any]) -> dict[str, Any]:
    """Energy, forces and magnetic moment of one structure, after the relaxation that is asked for."""
    import gpaw
    from gpaw import KohnShamConvergenceError

    atoms = structure(given)
    attempts = converge(atoms, given)
    tried = f"{len(_RETRIES)} ways of at most {given['max_iterations']} iterations"
    if not attempts:
        return {"reason": "not_converged", "detail": f"no self-consistent density in {tried}"}
    try:
        steps, converged = relax(atoms, given)
        if not converged:
            return {"reason": "not_converged", "detail": f"forces above the threshold after {steps} steps"}
        forces = atoms.get_forces()
    except KohnShamConvergenceError:
        return {
            "reason": "not_converged",
            "detail": f"no self-consistent density on the way of the relaxation, {tried}",
        }
    return {
        "version": gpaw.__version__,
        "energy_ev": float(atoms.get_potential_energy()),
        "fmax_ev_per_a": float((forces**2).sum(axis=1).max() ** 0.5),
        "moment_mb": float(atoms.get_magnetic_moment()) if given.get("moments") else None,
        "n_attempts": attempts,
        "n_steps": steps,
        "lattice": atoms.cell.array.ravel().tolist(),
        "frac": atoms.get_scaled_positions(wrap=False).ravel().tolist(),
    }


def settle(given: dict[str, Any]) -> dict[str, Any]:
    """Relax the movable sites as far as the steps go, then write a proton's energy to the file ``potential``, if any.

    The energy is that in the all-electron electrostatic potential, on a grid of at most ``grid_a``; one MPI rank only.
    """
    import numpy as np
    from ase.units import Bohr
    from gpaw import KohnShamConvergenceError
    from gpaw.utilities.ps2ae import PS2AE

    atoms = structure(given)
    lost = {"reason": "not_converged", "detail": f"no self-consistent density, charge {given['charge']}"}
    try:
        if not converge(atoms, given):
            return lost
        steps, converged = relax(atoms, given)
    except KohnShamConvergenceError:
        return lost
    if given.get("potential"):
        # The all-electron grid may not be coarser than GPAW's own.
        own_a = 0.9 * Bohr * atoms.calc.hamiltonian.finegd.get_grid_spacings().min()
        grid_a = min(given["grid_a"], float(own_a))
        electron_ev = PS2AE(atoms.calc, grid_spacing=grid_a).get_electrostatic_potential()
        np.save(given["potential"], (electron_ev.mean() - electron_ev).astype(np.float32))
    frac = atoms.get_scaled_positions(wrap=False).tolist()
    found = {"energy_ev": float(atoms.get_potential_energy()), "frac": frac}
    return {**found, "converged": converged, "n_steps": steps}


TASKS = {"elements": elements, "energy": energy, "settle": settle}


def main(source: str, target: str) -> None:
    """Do what the payload in a file asks for and write the answer to another."""
    from ase.parallel import world

    given = json.loads(Path(source).read_text(encoding="utf-8"))
    answer = TASKS[given["task"]](given)
    if world.rank == 0:
        Path(target).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:3])
