"""Trials of one structure: placed, relaxed, compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from hinpaint.crystal import FloatArray
from hinpaint.deciding.appraisal import Appraisal, survey
from hinpaint.deciding.arrangements import End, Member
from hinpaint.diffusion.checkpoints import LoadedModel
from hinpaint.diffusion.samplers import PlacementJob, place
from hinpaint.placements import host_operations
from hinpaint.planning import host_sha256
from hinpaint.relaxation.batch import Level, RelaxJob
from hinpaint.relaxation.engine import RelaxOutcome
from hinpaint.relaxation.levels import relax_levels
from hinpaint.relaxation.potentials import LoadedPotential
from hinpaint.relaxing import Relax
from hinpaint.sampling import Sampler
from hinpaint.single.reading import CannotCompleteError, Read, explain
from hinpaint.whynot import Reason, Stop

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Tools:
    """What completes a structure.

    Attributes:
        sampler: sampler settings.
        model: diffusion weights.
        potential: the potential, checked.
        relax: relaxation settings.
        seed: seed of the random streams.
    """

    sampler: Sampler
    model: LoadedModel
    potential: LoadedPotential
    relax: Relax
    seed: int


@dataclass(frozen=True)
class Candidate:
    """One trial after relaxation.

    Attributes:
        trial: its number.
        start: (n, 3) fractional coordinates where the sampler placed its sites.
        h_only: outcome with host and cell fixed; its sites are what is written.
        full: outcome with everything free; its energy decides.
        member: the arrangement it reached; None where the first level has no end.
        appraisal: how its geometry looks; None likewise.
    """

    trial: int
    start: FloatArray
    h_only: RelaxOutcome
    full: RelaxOutcome
    member: Member | None
    appraisal: Appraisal | None

    @property
    def placed(self) -> FloatArray:
        """(n, 3) its placed sites after the first level."""
        return self.h_only.crystal.frac[~self.h_only.crystal.known]

    @property
    def stop(self) -> Stop | None:
        """Why it cannot be released."""
        for outcome in (self.full, self.h_only):
            if outcome.reason is not None:
                return Stop(outcome.reason, outcome.detail)
        if self.appraisal is not None and self.appraisal.gate is not None:
            return Stop(Reason.GATED, self.appraisal.gate)
        return None


def jobs_of(read: Read, trials: int) -> list[PlacementJob]:
    """The trials to sample; the same as those of a run over a whole database with the same seed."""
    host = read.primitive_host
    key = host_sha256(host, read.element, read.n_placed)
    return [PlacementJob(key, number, host, read.element, read.n_placed) for number in range(trials)]


def run_trials(read: Read, trials: int, tools: Tools, progress: Progress) -> list[Candidate]:
    """Place and relax, and find out which trials are the same arrangement.

    Args:
        read: the structure.
        trials: number of trials.
        tools: what completes it.
        progress: called with (what, done, in all).

    Returns:
        Candidates in the order of their number; trials that could not be placed are left out.

    Raises:
        CannotCompleteError: no trial could be placed, or the potential does not know an element.
    """
    jobs = jobs_of(read, trials)
    placed = list(place(jobs, tools.sampler, tools.seed, tools.model, partial(progress, "placing")))
    starts = {p.job.trial: p.frac_unknown for p in placed if p.frac_unknown is not None}
    if not starts:
        reason = next((p.stop for p in placed if p.stop), Stop(Reason.NO_CANDIDATE))
        raise CannotCompleteError(explain(reason))
    host = read.primitive_host
    unknown = sorted({*host.species, read.element} - tools.potential.elements)
    if unknown:
        name = tools.potential.name
        raise CannotCompleteError(f"{name} does not know {', '.join(unknown)}; choose another --potential")
    crystals = {number: host.add_unknown(read.element, frac) for number, frac in starts.items()}
    relax_jobs = [RelaxJob((jobs[0].key, n), crystal, ~crystal.known) for n, crystal in crystals.items()]

    def reporter(level: Level) -> Callable[[int, int], None]:
        return partial(progress, f"relaxing ({level})")

    outcomes: dict[Level, dict[int, RelaxOutcome]] = {"h_only": {}, "full": {}}
    for level, outcome in relax_levels(lambda: tools.potential, relax_jobs, tools.relax, reporter):
        outcomes[level][outcome.key[1]] = outcome
    return compared(read, starts, outcomes["h_only"], outcomes["full"])


def compared(
    read: Read, starts: Mapping[int, FloatArray], h_only: Mapping[int, RelaxOutcome], full: Mapping[int, RelaxOutcome]
) -> list[Candidate]:
    """Find out which relaxed trials are the same arrangement, and how each of them looks.

    Args:
        read: the structure.
        starts: (n, 3) fractional coordinates where the sampler placed the sites, by trial.
        h_only: outcomes of the first level, by trial.
        full: outcomes of the second level, by trial.

    Returns:
        Candidates in the order of their number.
    """
    host = read.primitive_host
    ends = [
        End(number, outcome.energy_ev, outcome.crystal.frac[host.n_sites :])
        for number, outcome in h_only.items()
        if outcome.energy_ev is not None
    ]
    found = survey(host, read.element, starts, ends, host_operations(host))
    of_trial = {member.trial: (member, appraisal) for _, member, appraisal in found}
    return [
        Candidate(number, starts[number], h_only[number], full[number], *of_trial.get(number, (None, None)))
        for number in sorted(starts)
    ]
