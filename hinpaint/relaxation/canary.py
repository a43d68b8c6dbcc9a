"""Checks that a potential does what it claims, before a job trusts it with a shard.

Found in the wild: compiled models whose forces were silently wrong, models compiled for one system that add up a whole
batch, and weights that were not the ones named. Each of them returns plausible numbers, so only a comparison tells.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hinpaint.crystal import Crystal
from hinpaint.files import write_atomic
from hinpaint.relaxation.batch import Answer, crystal_state, evaluate
from hinpaint.relaxation.canary_structures import moved, structures
from hinpaint.relaxation.potentials import LoadedPotential, PotentialError

# Single precision differs by about 1e-6 eV a site between batches and 1e-5 between devices; a mixed-up batch by eV.
_ENERGY_TOLERANCE_EV_PER_ATOM = 2e-4
_FORCE_TOLERANCE_EV_PER_A = 2e-3
_STRESS_TOLERANCE_EV_PER_A3 = 2e-4
# Central differences with this step leave an error of third order well below 2 % of the slope.
_STEP = 0.01
_SLOPE_RELATIVE, _SLOPE_ABSOLUTE_EV = 0.02, 0.03

_RECORDED = Path(__file__).with_name("canary.json")
"""What shipped potentials say: energy (eV a cell) and length of all forces together (eV/Å), by structure. Recorded in
single precision on a CPU, with the versions that pyproject.toml pins."""

Recorded = dict[str, tuple[float, float]]


def check(potential: LoadedPotential, record: Path | None = None) -> dict[str, float]:
    """Check a potential on 16 fixed structures of elements that it knows.

    A batch gives what its members give one by one; energies and forces are the recorded ones; forces and stress are the
    slopes of the energy.

    Args:
        potential: what is checked.
        record: where the first check of a potential that does not ship with hinpaint keeps what it found, so that a
            later job, on another machine or compiled anew, has to find the same; named by the potential's hash.

    Returns:
        Energy in eV a cell of each structure, by name.

    Raises:
        PotentialError: a check fails; the message says which one, for which structure and by how much.
    """
    crystals = structures(potential)
    batched = _answers(potential, list(crystals.values()))
    single = [_answers(potential, [crystal])[0] for crystal in crystals.values()]
    for name, together, alone in zip(crystals, batched, single, strict=True):
        _compare(potential, name, together, alone)
    found = {name: _measured(answer) for name, answer in zip(crystals, batched, strict=True)}
    for name, expected in _expected(potential, found, record).items():
        _compare_recorded(potential, name, found[name], expected, crystals[name].n_sites)
    name = next(iter(crystals))
    _compare_slopes(potential, name, crystals[name], batched[0])
    return {name: energy for name, (energy, _) in found.items()}


def measure(potential: LoadedPotential) -> Recorded:
    """What a potential says about the structures: what belongs into ``canary.json`` for one that ships."""
    crystals = structures(potential)
    answers = _answers(potential, list(crystals.values()))
    return {name: _measured(answer) for name, answer in zip(crystals, answers, strict=True)}


def _measured(answer: Answer) -> tuple[float, float]:
    return round(answer.energy, 5), round(float(np.linalg.norm(answer.forces)), 5)


def _expected(potential: LoadedPotential, found: Recorded, record: Path | None) -> Recorded:
    """The recorded values: those that ship, else those that the first check with this file kept."""
    shipped = json.loads(_RECORDED.read_text(encoding="utf-8"))
    if potential.name in shipped:
        return {name: tuple(values) for name, values in shipped[potential.name].items()}
    if record is None or not all(np.isfinite(values).all() for values in found.values()):
        return {}
    path = record / f"{potential.sha256}.json"
    if not path.exists():
        write_atomic(path, lambda handle: handle.write(json.dumps(found, indent=1).encode()))
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {name: (float(kept[name][0]), float(kept[name][1])) for name in found}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise PotentialError(f"canary: {path} cannot be read; delete it, and the next job records anew") from error


def _answers(potential: LoadedPotential, crystals: Sequence[Crystal]) -> list[Answer]:
    """Evaluate crystals as one batch."""
    try:
        return evaluate(potential, crystal_state(potential, crystals))
    except PotentialError as error:
        raise PotentialError(f"canary: {error}") from error
    except Exception as error:
        raise PotentialError(f"canary: {potential.name} fails on a batch of {len(crystals)}: {error}") from error


def _compare(potential: LoadedPotential, name: str, together: Answer, alone: Answer) -> None:
    _compare_energy(potential, name, together.energy, alone.energy, len(alone.forces))
    for what, first, second, tolerance in (
        ("forces", together.forces, alone.forces, _FORCE_TOLERANCE_EV_PER_A),
        ("stress", together.stress, alone.stress, _STRESS_TOLERANCE_EV_PER_A3),
    ):
        difference = float(np.abs(first - second).max())
        if not difference <= tolerance:  # also true for NaN
            raise PotentialError(
                f"canary: {potential.name} on {name}: {what} in a batch and alone differ by {difference:.2g}"
            )


def _compare_recorded(
    potential: LoadedPotential, name: str, found: tuple[float, float], expected: tuple[float, float], n_sites: int
) -> None:
    _compare_energy(potential, name, found[0], expected[0], n_sites)
    if not abs(found[1] - expected[1]) <= _FORCE_TOLERANCE_EV_PER_A * np.sqrt(n_sites):
        raise PotentialError(
            f"canary: {potential.name} on {name}: forces of {found[1]:.4f} eV/Å together, expected {expected[1]:.4f}"
        )


def _compare_energy(potential: LoadedPotential, name: str, found: float, expected: float, n_sites: int) -> None:
    difference = abs(found - expected) / n_sites
    if not difference <= _ENERGY_TOLERANCE_EV_PER_ATOM:
        raise PotentialError(
            f"canary: {potential.name} on {name}: energy {found:.5f} eV, expected {expected:.5f} eV; "
            "the weights or the batching are not what they should be"
        )


def _compare_slopes(potential: LoadedPotential, name: str, crystal: Crystal, answer: Answer) -> None:
    """Compare forces and stress with central differences of the energy along one direction each."""
    direction = answer.forces / max(float(np.linalg.norm(answer.forces)), 1e-9)
    strain = np.array([[0.6, 0.3, 0.0], [0.3, -0.2, 0.1], [0.0, 0.1, 0.5]])
    variants = [moved(crystal, direction * step) for step in (_STEP, -_STEP)]
    variants += [replace(crystal, lattice=crystal.lattice @ (np.eye(3) + strain * step)) for step in (_STEP, -_STEP)]
    up, down, stretched, squeezed = (each.energy for each in _answers(potential, variants))
    for what, found, expected in (
        ("forces", -(up - down) / (2 * _STEP), float((answer.forces * direction).sum())),
        ("stress", (stretched - squeezed) / (2 * _STEP), float((answer.stress * strain).sum() * crystal.volume)),
    ):
        if not abs(found - expected) <= _SLOPE_RELATIVE * abs(found) + _SLOPE_ABSOLUTE_EV:
            raise PotentialError(
                f"canary: {potential.name} on {name}: {what} are not the slope of the energy "
                f"({expected:.4f} against {found:.4f})"
            )
