"""Both levels of a relaxation: the placed sites alone, then everything, with the gates that decide what counts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from hinpaint.gates import failed_gate
from hinpaint.relaxation.batch import Key, Level, RelaxJob
from hinpaint.relaxation.engine import Progress, RelaxOutcome, failed, relax
from hinpaint.relaxation.potentials import LoadedPotential
from hinpaint.relaxation.sharing import plan_full
from hinpaint.relaxing import Relax
from hinpaint.tables import REFERENCE
from hinpaint.whynot import Reason

Ended = Callable[[Level, RelaxOutcome], None]

# With one of these the end of the first level is the start of the second; otherwise the trial is lost.
_GOES_ON = (None, Reason.NOT_CONVERGED)


def relax_levels(
    load: Callable[[], LoadedPotential], jobs: Sequence[RelaxJob], settings: Relax,
    progress: Callable[[Level], Progress],
    known: Mapping[tuple[Key, Level], RelaxOutcome] = MappingProxyType({}),
    ended: Ended = lambda _level, _outcome: None,
    stepped: Callable[[], None] = lambda: None,
) -> list[tuple[Level, RelaxOutcome]]:  # fmt: skip
    """Relax jobs at both levels; the full level starts where the first one ended.

    A job that cannot go on has an outcome at the full level too, with the same reason, so that every job has equally
    many. Trials of one arrangement share one full relaxation, see :mod:`hinpaint.relaxation.sharing`.

    Args:
        load: gives what evaluates; called only when something is to be evaluated.
        jobs: what is to be relaxed, all trials of an entry together; trial -1 is the reference, which no gate stops.
        settings: thresholds, step limits, gates.
        progress: makes the progress callback of a level.
        known: outcomes by job key and level that an earlier call has found.
        ended: called with every other outcome as soon as it is final.
        stepped: called after every step of a batch; what it raises beside :class:`Exception` ends the relaxation.

    Returns:
        (level, outcome) for every job at h_only, then for every job at full (unless ``max_steps_full`` is 0).
    """
    levels = _Levels(load, settings, progress, known, ended, stepped)
    first = levels.h_only(jobs)
    found: list[tuple[Level, RelaxOutcome]] = [("h_only", first[each.key]) for each in jobs]
    if settings.max_steps_full == 0:
        return found
    second = levels.full(jobs, first)
    return found + [("full", second[each.key]) for each in jobs]


class _Levels:
    """What :func:`relax_levels` was given; it lives for one call."""

    def __init__(
        self, load: Callable[[], LoadedPotential], settings: Relax, progress: Callable[[Level], Progress],
        known: Mapping[tuple[Key, Level], RelaxOutcome], ended: Ended, stepped: Callable[[], None],
    ) -> None:  # fmt: skip
        self._load, self._settings, self._progress = load, settings, progress
        self._known, self._ended, self._stepped = known, ended, stepped

    def h_only(self, jobs: Sequence[RelaxJob]) -> dict[Key, RelaxOutcome]:
        """Outcomes of the first level, by key."""
        found = {each.key: self._known[each.key, "h_only"] for each in jobs if (each.key, "h_only") in self._known}
        todo = [each for each in jobs if each.key not in found]
        self._relax([each for each in todo if self._load().knows(each.crystal.species)], "h_only", found)
        for each in todo:
            if each.key not in found:
                unknown = sorted(set(each.crystal.species) - self._load().elements)
                detail = f"{self._load().name}: {', '.join(unknown)}"
                self._keep("h_only", failed(each, Reason.UNSUPPORTED_ELEMENT, detail), found)
        return found

    def full(self, jobs: Sequence[RelaxJob], first: Mapping[Key, RelaxOutcome]) -> dict[Key, RelaxOutcome]:
        """Outcomes of the second level, by key."""
        starts = {
            each.key: replace(each, crystal=first[each.key].crystal, answer=first[each.key].answer)
            for each in jobs
            if first[each.key].reason in _GOES_ON
        }
        plan = plan_full(list(starts.values()), first, self._settings)
        found: dict[Key, RelaxOutcome] = {}
        groups = plan.groups
        while groups:
            groups = self._share(groups, starts, first, found)
        for key, above in plan.cut.items():
            detail = f"{above:.2f} eV above the entry's lowest"
            outcome = failed(starts[key], Reason.TOO_HIGH, detail, energy_start_ev=first[key].energy_ev)
            self._keep("full", outcome, found)
        for each in jobs:
            if each.key not in found:
                lost = first[each.key]
                outcome = failed(each, lost.reason or Reason.NOT_CONVERGED, lost.detail, gate=lost.gate)
                self._keep("full", outcome, found)
        return found

    def _share(
        self, groups: Sequence[list[Key]], starts: Mapping[Key, RelaxJob], first: Mapping[Key, RelaxOutcome],
        found: dict[Key, RelaxOutcome],
    ) -> list[list[Key]]:  # fmt: skip
        """Relax the first of each group for all of it, and return what is left of the groups where that failed.

        Only an end that counts is shared: a failure may be narrow, and the next trial, whose start differs a little,
        gets over it.
        """
        leaders = [group[0] for group in groups]
        found.update({key: self._known[key, "full"] for key in leaders if (key, "full") in self._known})
        self._relax([starts[key] for key in leaders if key not in found], "full", found)
        left = []
        for leader, *others in groups:
            if found[leader].reason is None:
                for key in others:
                    self._keep("full", _shared(found[leader], first[key]), found)
            elif others:
                left.append(others)
        return left

    def _relax(self, jobs: Sequence[RelaxJob], level: Level, found: dict[Key, RelaxOutcome]) -> None:
        """Relax jobs, and gate what comes out of the full level."""
        starts = {each.key: each for each in jobs}

        def keep(outcome: RelaxOutcome) -> None:
            gated = _gated(starts[outcome.key], outcome, self._settings) if level == "full" else outcome
            self._keep(level, gated, found)

        if jobs:
            relax(self._load(), jobs, self._settings, level, self._progress(level), keep, self._stepped)

    def _keep(self, level: Level, outcome: RelaxOutcome, found: dict[Key, RelaxOutcome]) -> None:
        found[outcome.key] = outcome
        self._ended(level, outcome)


def _shared(outcome: RelaxOutcome, first: RelaxOutcome) -> RelaxOutcome:
    """The full outcome of a trial of the same arrangement, for one whose first level is known; no step was done."""
    source = outcome.key[1]
    return replace(outcome, key=first.key, energy_start_ev=first.energy_ev, n_steps=0, shared_from=source, answer=None)


def _gated(start: RelaxJob, end: RelaxOutcome, settings: Relax) -> RelaxOutcome:
    """The outcome, with a reason when it fails a plausibility gate; the reference is never gated."""
    breach = failed_gate(start.crystal, end.crystal, settings) if end.reason is None else None
    if breach is None or start.key[1] == REFERENCE:
        return end
    return replace(end, reason=Reason.GATED, gate=breach.gate, detail=breach.detail)
