"""Both levels of a relaxation: the placed sites alone, then everything, with the gates that decide what counts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

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
    potential: LoadedPotential, jobs: Sequence[RelaxJob], settings: Relax, progress: Callable[[Level], Progress],
    known: Mapping[tuple[str, int], RelaxOutcome] = MappingProxyType({}),
    ended: Callable[[Level, RelaxOutcome], None] = lambda _level, _outcome: None,
    stepped: Callable[[], None] = lambda: None,
) -> list[tuple[Level, RelaxOutcome]]:  # fmt: skip
    """Relax jobs at both levels; the full level starts where the first one ended.

    A job that cannot go on has an outcome at the full level too, with the same reason, so that every job has equally
    many.

    Args:
        potential: what evaluates.
        jobs: what is to be relaxed; trial -1 is the reference, which no gate stops.
        settings: thresholds, step limits, gates.
        progress: makes the progress callback of a level.
        known: outcomes at h_only, by job key, that an earlier call has found.
        ended: called with every other outcome as soon as it is final.
        stepped: called after every step of a batch; what it raises beside :class:`Exception` ends the relaxation.

    Returns:
        (level, outcome) for every job at h_only, then for every job at full (unless ``max_steps_full`` is 0).
    """
    first = {each.key: known[each.key] for each in jobs if each.key in known}

    def keep_first(outcome: RelaxOutcome) -> None:
        first[outcome.key] = outcome
        ended("h_only", outcome)

    able = [each for each in jobs if each.key not in first and potential.knows(each.crystal.species)]
    relax(potential, able, settings, "h_only", progress("h_only"), keep_first, stepped)
    for each in jobs:
        if each.key not in first:
            unknown = sorted(set(each.crystal.species) - potential.elements)
            keep_first(failed(each, Reason.UNSUPPORTED_ELEMENT, f"{potential.name}: {', '.join(unknown)}"))
    levels: list[tuple[Level, RelaxOutcome]] = [("h_only", first[each.key]) for each in jobs]
    if settings.max_steps_full == 0:
        return levels
    second: dict[tuple[str, int], RelaxOutcome] = {}
    starts = {
        each.key: RelaxJob(each.key, first[each.key].crystal, each.movable)
        for each in jobs
        if first[each.key].reason in _GOES_ON
    }

    def keep_second(outcome: RelaxOutcome) -> None:
        gated = _gated(starts[outcome.key], outcome, settings) if outcome.key in starts else outcome
        second[outcome.key] = gated
        ended("full", gated)

    relax(potential, list(starts.values()), settings, "full", progress("full"), keep_second, stepped)
    for each in jobs:
        if each.key not in second:
            lost = first[each.key]
            keep_second(failed(each, lost.reason or Reason.NOT_CONVERGED, lost.detail))
    return levels + [("full", second[each.key]) for each in jobs]


def _gated(start: RelaxJob, end: RelaxOutcome, settings: Relax) -> RelaxOutcome:
    """The outcome, with a reason when it fails a plausibility gate; the reference is never gated."""
    gate = failed_gate(start.crystal, end.crystal, settings) if end.reason is None else None
    if gate is None or start.key[1] == REFERENCE:
        return end
    return replace(end, reason=Reason.GATED, detail=gate)
