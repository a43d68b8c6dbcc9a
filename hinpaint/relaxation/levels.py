"""Both levels of a relaxation: the placed sites alone, then everything, with the gates that decide what counts."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from hinpaint.config import Relax
from hinpaint.gates import failed_gate
from hinpaint.relaxation.batch import Level, RelaxJob
from hinpaint.relaxation.engine import Progress, RelaxOutcome, failed, relax
from hinpaint.relaxation.potentials import LoadedPotential
from hinpaint.tables import REFERENCE
from hinpaint.whynot import Reason

# With one of these the end of the first level is the start of the second; otherwise the trial is lost.
_GOES_ON = (None, Reason.NOT_CONVERGED)


def relax_levels(
    potential: LoadedPotential, jobs: Sequence[RelaxJob], settings: Relax, progress: Callable[[Level], Progress]
) -> list[tuple[Level, RelaxOutcome]]:
    """Relax jobs at both levels; the full level starts where the first one ended.

    A job that cannot go on has an outcome at the full level too, with the same reason, so that every job has equally
    many.

    Args:
        potential: what evaluates.
        jobs: what is to be relaxed; trial -1 is the reference, which no gate stops.
        settings: thresholds, step limits, gates.
        progress: makes the progress callback of a level.

    Returns:
        (level, outcome) for every job at h_only, then for every job at full (unless ``max_steps_full`` is 0).
    """
    able = [each for each in jobs if potential.knows(each.crystal.species)]
    first = relax(potential, able, settings, "h_only", progress("h_only"))
    outcomes = {outcome.key: outcome for outcome in first}
    for each in jobs:
        if each.key not in outcomes:
            unknown = sorted(set(each.crystal.species) - potential.elements)
            outcomes[each.key] = failed(each, Reason.UNSUPPORTED_ELEMENT, f"{potential.name}: {', '.join(unknown)}")
    levels: list[tuple[Level, RelaxOutcome]] = [("h_only", outcomes[each.key]) for each in jobs]
    if settings.max_steps_full == 0:
        return levels
    going_on = [each for each in jobs if outcomes[each.key].reason in _GOES_ON]
    starts = [RelaxJob(each.key, outcomes[each.key].crystal, each.movable) for each in going_on]
    ends = relax(potential, starts, settings, "full", progress("full"))
    second = {end.key: _gated(start, end, settings) for start, end in zip(starts, ends, strict=True)}
    for each in jobs:
        lost = outcomes[each.key]
        reason = lost.reason or Reason.NOT_CONVERGED  # only lost ones use it, and those have a reason
        levels.append(("full", second.get(each.key) or failed(each, reason, lost.detail)))
    return levels


def _gated(start: RelaxJob, end: RelaxOutcome, settings: Relax) -> RelaxOutcome:
    """The outcome, with a reason when it fails a plausibility gate; the reference is never gated."""
    gate = failed_gate(start.crystal, end.crystal, settings) if end.reason is None else None
    if gate is None or start.key[1] == REFERENCE:
        return end
    return replace(end, reason=Reason.GATED, detail=gate)
