"""Input and output of ``pw.x``, written and read by ASE, and tables of pseudopotentials as SSSP publishes them."""

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.crystal import Crystal
from hinpaint.verification.settings import FUNCTIONAL, Settings, start_moments
from hinpaint.whynot import Reason, Stop

RY_EV = 13.605693122994
MIXINGS: tuple[dict[str, Any], ...] = (
    {"mixing_beta": 0.5},
    {"mixing_beta": 0.2, "mixing_mode": "local-TF"},
    {"mixing_beta": 0.1, "mixing_mode": "local-TF", "mixing_ndim": 16},
)
"""What is tried in turn until a density is self-consistent."""
SCRATCH = "scratch"
"""Folder of wave functions and densities, large and of no use afterwards."""

_START_MAGNETIZATION = 0.4  # of the valence electrons, as pw.x wants it
_RY_PER_ATOM = 1e-9
_EV_PER_A_IN_RY_PER_BOHR = 0.529177210903 / RY_EV
_CALCULATIONS = {"none": "scf", "h_only": "relax", "full": "vc-relax"}
_VERSION = re.compile(r"Program PWSCF v\.(\S+) starts")
_FAILED_SCF = ("convergence NOT achieved", "convergence has not been achieved")
_FAILED_RELAX = ("maximum number of steps has been reached", "bfgs failed")


@dataclass(frozen=True)
class Pseudo:
    """One pseudopotential.

    Attributes:
        path: its file.
        wave_ry: cutoff of the wave functions, Ry.
        density_ry: cutoff of the density, Ry.
    """

    path: Path
    wave_ry: float
    density_ry: float


def read_table(table: Path) -> dict[str, Pseudo]:
    """Read a JSON table of pseudopotentials that lie beside it, by element.

    Raises:
        OSError: the table cannot be read.
        ValueError: it is no such table, or a file it names is absent.
    """
    found = {}
    try:
        for element, row in json.loads(table.read_text(encoding="utf-8")).items():
            path = table.parent.resolve() / Path(row["filename"]).name
            if not path.is_file():
                raise ValueError(f"{path}, the pseudopotential of {element}, does not exist")
            wave = float(row["cutoff_wfc"])
            found[str(element)] = Pseudo(path, wave, float(row.get("cutoff_rho") or 4 * wave))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{table} does not list filename, cutoff_wfc and cutoff_rho of each element") from error
    return found


def identity(pseudos: Mapping[str, Pseudo]) -> str:
    """SHA-256 of the pseudopotentials and their cutoffs."""
    digest = hashlib.sha256()
    for element, pseudo in sorted(pseudos.items()):
        digest.update(json.dumps([element, pseudo.wave_ry, pseudo.density_ry]).encode())
        digest.update(pseudo.path.read_bytes())
    return digest.hexdigest()


def input_text(
    crystal: Crystal, kpoints: tuple[int, ...], settings: Settings, pseudos: Mapping[str, Pseudo],
    mixing: Mapping[str, Any],
) -> str:  # fmt: skip
    """Input of ``pw.x``, run in its own folder.

    Smearing is Marzari and Vanderbilt's cold one, whose total energy hardly depends on its width.

    Args:
        crystal: the structure; sites that are not known may move at ``h_only``.
        kpoints: points along each reciprocal vector, the origin among them.
        settings: everything else.
        pseudos: pseudopotentials by element.
        mixing: one of :data:`MIXINGS`.
    """
    from ase.constraints import FixAtoms
    from ase.io.espresso import write_espresso_in

    atoms = crystal.to_ase()
    moments = start_moments(crystal.species)
    if moments is not None:
        atoms.set_initial_magnetic_moments([_START_MAGNETIZATION if moment else 0.0 for moment in moments])
    if settings.relax == "h_only":
        atoms.set_constraint(FixAtoms(mask=crystal.known))
    wave, density = cutoffs_ry(crystal, settings, pseudos)
    folder = pseudos[crystal.species[0]].path.parent  # of all: pw.x takes no path with the name of a file
    data = {
        "control": {
            "calculation": _CALCULATIONS[settings.relax], "outdir": SCRATCH, "prefix": "pw",
            "pseudo_dir": str(folder), "tprnfor": True, "disk_io": "low", "nstep": settings.max_steps,
            "forc_conv_thr": settings.fmax_ev_per_a * _EV_PER_A_IN_RY_PER_BOHR,
        },
        "system": {
            "ecutwfc": wave, "ecutrho": density, "input_dft": FUNCTIONAL, "occupations": "smearing",
            "smearing": "cold", "degauss": settings.smearing_ev / RY_EV, "nspin": 2 if moments else 1,
        },
        "electrons": {
            "conv_thr": _RY_PER_ATOM * crystal.n_sites, "electron_maxstep": settings.max_iterations, **mixing,
        },
        "ions": {},
        "cell": {},
    }  # fmt: skip
    files = {name: pseudos[name].path.name for name in sorted(set(crystal.species))}
    buffer = io.StringIO()
    write_espresso_in(
        buffer, atoms, input_data=data, pseudopotentials=files, kpts=tuple(kpoints), crystal_coordinates=True
    )
    return buffer.getvalue()


def cutoffs_ry(crystal: Crystal, settings: Settings, pseudos: Mapping[str, Pseudo]) -> tuple[float, float]:
    """Cutoffs of wave functions and density, Ry: the highest that one of the elements asks for, or the settings'."""
    used = [pseudos[name] for name in set(crystal.species)]
    wave = max(each.wave_ry for each in used) * settings.cutoff_factor
    dual = max(each.density_ry / each.wave_ry for each in used)
    if settings.cutoff_ev is not None:
        wave = settings.cutoff_ev / RY_EV
    return wave, wave * dual


def version_in(log: Path) -> str | None:
    """Version of the ``pw.x`` that wrote a log; None when it was none."""
    found = _VERSION.search(log.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else None


def read_output(log: Path, crystal: Crystal) -> dict[str, Any] | Stop:
    """Energy, forces and geometry out of an output, as :class:`backends.Energy` names them; or why there are none."""
    from ase.io.espresso import read_espresso_out

    text = log.read_text(encoding="utf-8", errors="replace")
    if any(words in text for words in _FAILED_SCF):
        return Stop(Reason.NOT_CONVERGED, f"no self-consistent density in {len(MIXINGS)} ways")
    if any(words in text for words in _FAILED_RELAX):
        return Stop(Reason.NOT_CONVERGED, "forces above the threshold after the last step")
    if "JOB DONE" not in text:
        return Stop(Reason.CODE_FAILED, _error_in(text))
    try:
        atoms = list(read_espresso_out(io.StringIO(text), index=slice(-1, None)))[-1]
        forces = atoms.get_forces()
        cutoff = re.search(r"kinetic-energy cutoff\s*=\s*([\d.]+)", text)
        assert cutoff is not None  # noqa: S101 - every output has it
        moment = re.findall(r"total magnetization\s*=\s*([-\d.]+)", text)
        return {
            "energy_ev": atoms.get_potential_energy(),
            "fmax_ev_per_a": float(np.linalg.norm(forces, axis=1).max()),
            "moment_mb": float(moment[-1]) if moment else None,
            "lattice": np.asarray(atoms.cell).ravel().tolist(),
            "frac": atoms.get_scaled_positions(wrap=False).ravel().tolist(),
            "n_steps": text.count("number of bfgs steps"),
            "cutoff_ev": float(cutoff[1]) * RY_EV,
        }
    except Exception as error:  # noqa: BLE001 - ASE raises anything on output it does not know
        return Stop(Reason.CODE_FAILED, f"the output of {crystal.n_sites} sites cannot be read: {error!r}")


def _error_in(text: str) -> str:
    """What ``pw.x`` says between two lines of percent signs when it gives up."""
    parts = re.split(r"^\s*%{20,}\s*$", text, flags=re.MULTILINE)
    words = parts[1] if len(parts) > 2 else text[-200:]
    return " ".join(words.split())[:300]
