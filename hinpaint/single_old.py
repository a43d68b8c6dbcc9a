"""One structure, no workflow: what `hinpaint inpaint` does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hinpaint.config import Potential, Relax, Sampler
from hinpaint.crystal import Crystal
from hinpaint.diffusion.checkpoints import LoadedModel
from hinpaint.diffusion.samplers import Placement, PlacementJob, place
from hinpaint.evidence import Evidence, weigh
from hinpaint.jobs import library_versions
from hinpaint.planning import host_sha256
from hinpaint.reduction import IDENTITY, expand_sites, find_supercell, lattice_points, reduce_sites
from hinpaint.relaxation import canary
from hinpaint.relaxation.batch import Level, RelaxJob
from hinpaint.relaxation.engine import RelaxOutcome
from hinpaint.relaxation.levels import relax_levels
from hinpaint.relaxation.potentials import load_potential
from hinpaint.release.cif import Completion, complete_cif, source_operators
from hinpaint.release.roundtrip import check_round_trip
from hinpaint.release.symmetry import find_placement
from hinpaint.sources import parse_record
from hinpaint.sources.archive import read_files
from hinpaint.sources.records import ParsedRecord
from hinpaint.whynot import EXPLANATIONS, Reason, Stop

Progress = Callable[[str, int, int], None]
_DISORDER = (Reason.DISORDERED_HOST, Reason.DISORDERED_HYDROGEN)


class CannotCompleteError(Exception):
    """The structure cannot be completed; the message says why and what the user can give."""


@dataclass(frozen=True)
class Read:
    """A CIF as read.

    Attributes:
        name: name of the file.
        text: its text.
        sha256: hash of its bytes.
        record: what the reader made of it.
        evidence: what it says about the missing sites.
        host: the known sites.
        element: element to place.
        n_unknown: sites to place in the cell.
        supercell: 9 integers, the cell in vectors of the primitive cell that is completed.
    """

    name: str
    text: str
    sha256: str
    record: ParsedRecord
    evidence: Evidence
    host: Crystal
    element: str
    n_unknown: int
    supercell: tuple[int, ...]

    @property
    def n_cells(self) -> int:
        """Primitive cells in the cell of the file."""
        return len(lattice_points(np.array(self.supercell).reshape(3, 3)))

    @property
    def primitive_host(self) -> Crystal:
        """The host in the cell that is completed."""
        return self.host if self.supercell == IDENTITY else reduce_sites(self.host, self.supercell)


@dataclass(frozen=True)
class Candidate:
    """One trial after relaxation.

    Attributes:
        trial: its number.
        h_only: outcome with host and cell fixed; its sites are what is written.
        full: outcome with everything free; its energy decides.
    """

    trial: int
    h_only: RelaxOutcome
    full: RelaxOutcome

    @property
    def passed(self) -> bool:
        """Both levels converged and every gate was passed."""
        return self.h_only.reason is None and self.full.reason is None and self.full.converged

    @property
    def energy_ev(self) -> float:
        """Energy that ranks the trial; infinite when it does not count."""
        return self.full.energy_ev if self.passed and self.full.energy_ev is not None else float("inf")


def read_cif(path: Path, element: str, n_missing: int | None) -> Read:
    """Read a CIF and say how many sites are missing.

    Args:
        path: the file.
        element: element to place.
        n_missing: sites to place in the cell; None to take it from the record.

    Raises:
        CannotCompleteError: unreadable, disordered, contradictory, or nothing is missing.
    """
    (raw,) = read_files(path, path.suffix.lower())
    if raw.stop is not None or raw.text is None:
        raise CannotCompleteError(_explain(raw.stop or Stop(Reason.UNREADABLE)))
    record = parse_record("cif", raw.text)
    if isinstance(record, Stop):
        raise CannotCompleteError(_explain(record))
    evidence = weigh(record, element)
    if evidence.conflict is not None and evidence.conflict.reason in _DISORDER:
        raise CannotCompleteError(_explain(evidence.conflict))
    missing = evidence.n_missing if n_missing is None else n_missing
    if n_missing is None and evidence.conflict is not None:
        raise CannotCompleteError(f"{_explain(evidence.conflict)}; give the number of sites with --n-missing")
    if not missing:
        raise CannotCompleteError(f"no {element} is missing; --n-missing places sites all the same")
    kept = record.without(evidence.dropped)
    host = Crystal.build(kept.lattice, kept.species, kept.cell_frac)
    supercell = find_supercell(host, missing)
    return Read(path.name, raw.text, raw.sha256, record, evidence, host, element, missing, supercell)


def place_and_relax(
    read: Read, trials: int, sampler: Sampler, model: LoadedModel, potential: Potential, settings: Relax, seed: int,
    device: str, progress: Progress,
) -> list[Candidate]:  # fmt: skip
    """Run trials and relax them.

    Args:
        read: the structure.
        trials: number of trials.
        sampler: sampler settings.
        model: diffusion weights.
        potential: potential settings.
        settings: relaxation settings.
        seed: seed of the random streams.
        device: torch device.
        progress: called with (what, done, in all).

    Returns:
        Candidates in the order of their energy, failed ones last.

    Raises:
        CannotCompleteError: no trial could be placed, or the potential does not know an element.
    """
    host, n_unknown = read.primitive_host, read.n_unknown // read.n_cells
    key = host_sha256(host, read.element, n_unknown)  # the same trials as in a run over a whole database
    jobs = [PlacementJob(key, i, host, read.element, n_unknown) for i in range(trials)]
    placed = list(place(jobs, sampler, seed, model, lambda done, total: progress("placing", done, total)))
    starts = [_start(p) for p in placed if p.frac_unknown is not None]
    if not starts:
        reason = next((p.stop for p in placed if p.stop), Stop(Reason.NO_CANDIDATE))
        raise CannotCompleteError(_explain(reason))
    loaded = load_potential(potential, device)
    unknown = sorted(set(starts[0].crystal.species) - loaded.elements)
    if unknown:
        raise CannotCompleteError(f"{loaded.name} does not know {', '.join(unknown)}; choose another --potential")
    canary.check(loaded)

    def reporter(level: Level) -> Callable[[int, int], None]:
        return lambda done, total: progress(f"relaxing ({level})", done, total)

    outcomes: dict[Level, list[RelaxOutcome]] = {"h_only": [], "full": []}
    for level, outcome in relax_levels(loaded, starts, settings, reporter):
        outcomes[level].append(outcome)
    candidates = [Candidate(a.key[1], a, b) for a, b in zip(outcomes["h_only"], outcomes["full"], strict=True)]
    return sorted(candidates, key=lambda c: (c.energy_ev, c.trial))


def write_best(
    read: Read, candidates: Sequence[Candidate], model: LoadedModel, potential: Potential, tol_ev: float
) -> tuple[str, Candidate]:
    """Write the CIF of the best candidate.

    Args:
        read: the structure.
        candidates: what :func:`place_and_relax` returned.
        model: diffusion weights.
        potential: potential settings.
        tol_ev: candidates within so many eV of the best agree with it.

    Returns:
        The text and the candidate.

    Raises:
        CannotCompleteError: no candidate passed, or the text does not read back.
    """
    best = candidates[0]
    if not best.passed:
        reasons = sorted({str(c.full.reason or c.h_only.reason) for c in candidates})
        raise CannotCompleteError(f"no trial converged and passed the gates ({', '.join(reasons)}); try more --trials")
    completion = Completion(
        entry_key=read.name,
        action="completed",
        element=read.element,
        energy_ev=best.energy_ev,
        n_agree=sum(c.energy_ev <= best.energy_ev + tol_ev for c in candidates),
        n_passed=sum(c.passed for c in candidates),
        potential=potential.name,
        model_sha256=model.sha256,
        source_sha256=read.sha256,
        licence="as the source",
        version=library_versions()["hinpaint"],
    )
    frac = expand_sites(best.h_only.crystal.frac[-(read.n_unknown // read.n_cells) :], read.supercell)
    placement = find_placement(source_operators(read.text), read.host.lattice, frac)
    text = complete_cif(read.text, read.record, completion, placement)
    problem = check_round_trip(text, read.host.add_unknown(read.element, placement.frac))
    if problem:
        raise CannotCompleteError(f"the completed file does not read back: {problem}")
    return text, best


def _start(placement: Placement) -> RelaxJob:
    job = placement.job
    crystal = job.host.add_unknown(job.element, placement.frac_unknown if placement.frac_unknown is not None else [])
    return RelaxJob((job.key, job.trial), crystal, ~crystal.known)


def _explain(stop: Stop) -> str:
    return f"{stop.reason}: {EXPLANATIONS[stop.reason]}" + (f" ({stop.detail})" if stop.detail else "")
