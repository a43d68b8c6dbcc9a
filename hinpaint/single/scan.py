"""How many sites are missing? Trials for several counts on the same fixed host, on one energy scale.

Energies of different compositions do not compare. What compares is what each count gains on the host as it is:

    E(host + n X) - E(host) - n mu,   mu = E(H2) / 2 for hydrogen

all by the same potential, host and cell fixed, at 0 K and without zero-point motion. Negative means that taking the
atoms from H2 gas pays. The number to look at is the *step* from one count to the next: it is strongly negative while
atoms saturate the host and near zero or positive when one too many is added. For elements other than hydrogen no
reference is assumed: then mu is 0, and only the differences of steps mean something.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hinpaint.crystal import Crystal
from hinpaint.relaxation.batch import RelaxJob, crystal_state, evaluate
from hinpaint.relaxation.engine import relax
from hinpaint.single.reading import CannotCompleteError, Read
from hinpaint.single.trials import Candidate, Progress, Tools, run_trials

_BOX_A = 12.0
_H2_BOND_A = 0.74


@dataclass(frozen=True)
class Count:
    """The trials of one number of sites.

    Attributes:
        read: the structure with that number.
        candidates: its trials.
        energy_ev: lowest energy after the hydrogen-only relaxation, eV for the cell of the file; None without one. It
            need not have converged: every energy bounds the lowest one from above.
        gain_ev: that energy above host and reference, eV for the cell of the file; None likewise.
    """

    read: Read
    candidates: list[Candidate]
    energy_ev: float | None
    gain_ev: float | None


def scan(read: Read, counts: Sequence[int], trials: int, tools: Tools, progress: Progress) -> list[Count]:
    """Run trials for several numbers of sites.

    Args:
        read: the structure.
        counts: numbers of sites in the cell of the file, rising.
        trials: trials of each number.
        tools: what completes it.
        progress: called with (what, done, in all).

    Raises:
        CannotCompleteError: the potential does not know an element.
    """
    if not tools.potential.knows({*read.host.species, read.element}):
        raise CannotCompleteError(f"{tools.potential.name} does not know every element; choose another --potential")
    (host,) = evaluate(tools.potential, crystal_state(tools.potential, [read.host]))
    reference = half_molecule_ev(tools) if read.element == "H" else 0.0
    found = []
    for n_unknown in counts:
        each = read.with_count(n_unknown)
        try:
            candidates = run_trials(each, trials, tools, lambda what, *n, k=n_unknown: progress(f"{k}: {what}", *n))
        except CannotCompleteError:  # no room for so many
            candidates = []
        energies = [c.h_only.energy_ev for c in candidates if c.appraisal is not None and c.appraisal.gate is None]
        lowest = min((e for e in energies if e is not None), default=None)
        if lowest is None:
            found.append(Count(each, candidates, None, None))
            continue
        energy = lowest * each.n_cells
        found.append(Count(each, candidates, energy, energy - host.energy - n_unknown * reference))
    return found


def steps_ev(counts: Sequence[Count]) -> list[float | None]:
    """Energy of each count above the one before it, eV per added site; the first one's per site above the host."""
    steps: list[float | None] = []
    n_before, before = 0, 0.0
    for each in counts:
        if each.gain_ev is None:
            steps.append(None)
            continue
        steps.append((each.gain_ev - before) / (each.read.n_unknown - n_before))
        n_before, before = each.read.n_unknown, each.gain_ev
    return steps


def best(counts: Sequence[Count]) -> Count:
    """The count with the lowest energy above host and reference.

    Raises:
        CannotCompleteError: no count has an energy.
    """
    able = [(each.gain_ev, number) for number, each in enumerate(counts) if each.gain_ev is not None]
    if not able:
        raise CannotCompleteError("no trial of any count could be relaxed; try more --trials")
    return counts[min(able)[1]]


def half_molecule_ev(tools: Tools) -> float:
    """Energy of one hydrogen atom in a relaxed H2 molecule by the potential, eV.

    Raises:
        CannotCompleteError: the potential does not hold the molecule together.
    """
    frac = np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5 + _H2_BOND_A / _BOX_A]])
    molecule = Crystal.build(_BOX_A * np.eye(3), ["H", "H"], frac, known=[False, False])
    (end,) = relax(tools.potential, [RelaxJob(("H2", 0), molecule, ~molecule.known)], tools.relax, "h_only")
    if end.energy_ev is None:
        raise CannotCompleteError(f"{tools.potential.name} gives no energy of H2, so counts cannot be compared")
    return end.energy_ev / 2
