"""Batched relaxation: converged structures leave the batch, waiting ones enter, a bad one harms only itself."""

import copy
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hinpaint.crystal import Crystal, FloatArray, IntArray, shortest_distance
from hinpaint.gates import Gate, failed_contact
from hinpaint.relaxation.batch import Answer, Level, RelaxJob, batch_state, evaluate
from hinpaint.relaxation.descent import Descent, Reading
from hinpaint.relaxation.potentials import LoadedPotential
from hinpaint.relaxing import Relax
from hinpaint.whynot import Reason

Progress = Callable[[int, int], None]
Columns = tuple[list[IntArray], list[FloatArray], list[FloatArray]]

_LOG = logging.getLogger(__name__)
# Below these no potential returns meaningful forces, and the neighbour list of a tiny cell would fill the memory.
_MIN_START_DISTANCE_A = 0.1
_MIN_VOLUME_PER_SITE_A3 = 0.5
# A cell that doubles or halves runs away. The gate on plausible changes is narrower, see gates.py.
_RUNAWAY_LOG_VOLUME = float(np.log(2.0))
# Outside their training data potentials have holes: SevenNet-0 gives -4e6 eV a site for a squeezed O-H rock salt, with
# no two atoms closer than 1.1 Å. An end like that must not pass for "lower in energy than the reference".
_MAX_END_FORCE_EV_PER_A = 50.0
_MAX_ENERGY_DROP_EV_PER_SITE = 50.0
# One CPU core is busy with one crystal; what batching adds there is intermediate results that do not fit its cache
# (measured: 512 atoms at once take 10 to 20 % longer an atom than 24 do). A GPU wants all that the memory holds.
_ATOMS_PER_CPU_THREAD = 32


@dataclass(frozen=True)
class RelaxOutcome:
    """What became of one job at one level.

    Attributes:
        key: (entry key, trial number) of the job.
        energy_start_ev: energy of the start in eV a cell, if it could be evaluated.
        energy_ev: energy of the end in eV a cell; None when the relaxation failed.
        fmax_ev_per_a: largest force on a free site at the end; None when the relaxation failed.
        n_steps: optimiser steps done.
        converged: true when every free force (and cell force) is below the threshold.
        crystal: the end; the start when the relaxation failed.
        volume_change: relative change of the cell volume; None when the relaxation failed.
        reason: why it did not converge; None when it did. With ``not_converged`` the end is sane and kept.
        detail: one line about the reason.
        gate: the plausibility rule that the end breaks, if that is the reason.
        shared_from: number of the trial whose full relaxation this is; None for one of its own.
        answer: what the potential says about the end; None when the relaxation failed or was another's.
    """

    key: tuple[str, int]
    energy_start_ev: float | None
    energy_ev: float | None
    fmax_ev_per_a: float | None
    n_steps: int
    converged: bool
    crystal: Crystal
    volume_change: float | None
    reason: Reason | None
    detail: str = ""
    gate: Gate | None = None
    shared_from: int | None = None
    answer: Answer | None = None


def failed(
    job: RelaxJob, reason: Reason, detail: str = "", n_steps: int = 0, energy_start_ev: float | None = None,
    gate: Gate | None = None,
) -> RelaxOutcome:  # fmt: skip
    """Outcome of a job that has no end worth keeping: the start, with the reason."""
    return RelaxOutcome(job.key, energy_start_ev, None, None, n_steps, False, job.crystal, None, reason, detail, gate)


def relax(
    potential: LoadedPotential,
    jobs: Sequence[RelaxJob],
    settings: Relax,
    level: Level,
    progress: Progress = lambda _done, _total: None,
    ended: Callable[[RelaxOutcome], None] = lambda _outcome: None,
    stepped: Callable[[], None] = lambda: None,
) -> list[RelaxOutcome]:
    """Relax structures with L-BFGS, many at a time: one evaluation moves every structure of the batch by one step.

    No site moves by more than 0.2 Å in a step. That is all that is done about short contacts of a start: the first
    steps push such atoms apart slowly, whatever the force.

    Args:
        potential: what evaluates; check it with :func:`hinpaint.relaxation.canary.check` first.
        jobs: structures; only elements that the potential knows.
        settings: thresholds, step limits and batch size.
        level: ``h_only`` moves the movable sites in a fixed host and cell; ``full`` moves all sites and the cell.
        progress: called with (jobs done, jobs in all) whenever jobs end.
        ended: called with each outcome as it comes.
        stepped: called after every step of the batch; what it raises beside :class:`Exception` ends the relaxation.

    Returns:
        One outcome a job, in the order of the jobs. No exception of a structure reaches the caller.

    Raises:
        BrokenPotentialError: the potential no longer evaluates what it has evaluated before (a device that is gone).
    """
    engine = _Engine(potential, jobs, settings, level, progress, ended, stepped)
    waiting = deque(index for index in engine.by_size() if not engine.refuse(index))
    engine.drain(waiting)
    return [engine.outcomes[index] for index in range(len(jobs))]


class BrokenPotentialError(RuntimeError):
    """The potential, its library or its device fails whatever the structure is."""


class _Engine:
    """The scheduler behind :func:`relax`; it lives for one call."""

    def __init__(
        self, potential: LoadedPotential, jobs: Sequence[RelaxJob], settings: Relax, level: Level, progress: Progress,
        ended: Callable[[RelaxOutcome], None], stepped: Callable[[], None],
    ) -> None:  # fmt: skip
        self.potential = potential
        self.jobs = jobs
        self.settings = settings
        self.level: Level = level
        self.progress, self.ended, self.stepped = progress, ended, stepped
        self.max_steps = settings.max_steps_h_only if level == "h_only" else settings.max_steps_full
        self.max_atoms = settings.max_atoms
        if potential.device.type == "cpu":
            self.max_atoms = min(settings.max_atoms, _ATOMS_PER_CPU_THREAD * torch.get_num_threads())
        self.outcomes: dict[int, RelaxOutcome] = {}
        self.boarded: dict[int, float] = {}
        self.landed: list[tuple[int, RelaxOutcome]] = []
        self.known_good: Columns | None = None

    def by_size(self) -> list[int]:
        """Job numbers, largest first: no long relaxation is left over when the rest is done."""
        return sorted(range(len(self.jobs)), key=lambda index: -self.jobs[index].crystal.n_sites)

    def finish(self, index: int, outcome: RelaxOutcome) -> None:
        """Record the one outcome of a job."""
        self.outcomes[index] = outcome
        if outcome.reason not in (None, Reason.NOT_CONVERGED):
            _LOG.info("%s %s: %s %s", outcome.key, self.level, outcome.reason, outcome.detail)
        self.ended(outcome)
        self.progress(len(self.outcomes), len(self.jobs))

    def refuse(self, index: int) -> bool:
        """End a job at once when its start is one that no potential can evaluate; tell whether it was."""
        job = self.jobs[index]
        reason, detail = _unusable(job.crystal)
        if reason is not None:
            self.finish(index, failed(job, reason, detail))
        return reason is not None

    def drain(self, waiting: deque[int]) -> None:
        """Run jobs until none waits. An exception stops one flight; its jobs are tried again in halves."""
        while waiting:
            flight: dict[int, Descent] = {}
            error = self._fly(flight, waiting)
            if error is not None:
                self._isolate(list(flight), error)

    def _isolate(self, suspects: list[int], error: Exception) -> None:
        out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if out_of_memory and self.potential.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(suspects) == 1:
            if not out_of_memory:
                self._check_potential(error)
            reason = Reason.OUT_OF_MEMORY if out_of_memory else Reason.NOT_FINITE
            detail = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            self.finish(suspects[0], failed(self.jobs[suspects[0]], reason, detail))
            return
        if out_of_memory:  # the whole batch was too large, so the later ones would be too
            self.max_atoms = max(1, sum(self.jobs[index].crystal.n_sites for index in suspects) // 2)
        middle = len(suspects) // 2
        for half in (suspects[:middle], suspects[middle:]):
            self.drain(deque(half))

    def _check_potential(self, error: Exception) -> None:
        """A structure failed alone: ask whether the potential still evaluates what it could evaluate before."""
        if self.known_good is None:
            return
        try:
            evaluate(self.potential, batch_state(self.potential, *self.known_good))
        except Exception as again:
            raise BrokenPotentialError(f"the potential fails on every structure: {error}") from again

    def _fly(self, flight: dict[int, Descent], waiting: deque[int]) -> Exception | None:
        """Let waiting jobs enter, evaluate, move, take out what has ended; ``flight`` goes by job number.

        Returns:
            What stopped the flight, without the frames that hold its tensors; None when all have landed. What the
            caller's own functions raise is not caught.
        """
        while True:
            stopped = None
            try:
                self._board(flight, waiting)
                self._step(flight)
            except Exception as error:
                if not flight:
                    raise
                stopped = error.with_traceback(None)
            for index, outcome in self.landed:
                self.finish(index, outcome)
            self.landed.clear()
            if stopped is not None:
                return stopped
            self.stepped()
            if not flight:
                return None

    def _step(self, flight: dict[int, Descent]) -> None:
        """One evaluation of everything in flight, and where it takes each structure."""
        if not flight:
            return
        descents = list(flight.values())
        answers = evaluate(self.potential, batch_state(self.potential, *_columns(descents)))
        if self.known_good is None:
            self.known_good = copy.deepcopy(_columns(descents[:1]))
        for (index, descent), answer in zip(list(flight.items()), answers, strict=True):
            self._move(flight, index, descent, answer)

    def _move(self, flight: dict[int, Descent], index: int, descent: Descent, answer: Answer) -> None:
        """Take one structure a step on, or out of the flight."""
        outcome = self._judge(descent, answer, time.monotonic() - self.boarded[index])
        if outcome is None:
            descent.step()
        else:
            del flight[index]
            self.landed.append((index, outcome))

    def _board(self, flight: dict[int, Descent], waiting: deque[int]) -> None:
        """Let waiting jobs enter as long as there is room; a job larger than the room flies alone."""
        free = self.max_atoms - sum(len(each.numbers) for each in flight.values())
        while waiting:
            job = self.jobs[waiting[0]]
            if flight and job.crystal.n_sites > free:
                return
            free -= job.crystal.n_sites
            index = waiting.popleft()
            flight[index] = descent = Descent(job, self.level, fix_symmetry=self.settings.fix_symmetry)
            self.boarded[index] = time.monotonic()
            if job.answer is not None:  # of the level before: its first evaluation is done
                self._move(flight, index, descent, job.answer)

    def _judge(self, descent: Descent, answer: Answer, seconds: float) -> RelaxOutcome | None:
        """The outcome of a job that has converged, reached a limit or failed; None when it goes on."""
        job, steps, reading = descent.job, descent.n_steps, descent.read(answer)
        first = descent.energy_start_ev
        start = first if first is not None and np.isfinite(first) else None
        if not reading.finite or start is None:
            return failed(job, Reason.NOT_FINITE, f"after {steps} steps", steps, start)
        change = reading.volume_a3 / job.crystal.volume - 1.0
        if abs(np.log1p(change)) > _RUNAWAY_LOG_VOLUME:
            return failed(job, Reason.EXPLODED, f"volume changed by {change:+.0%}", steps, start, Gate.VOLUME)
        limit = self.settings.fmax_ev_per_a
        converged = reading.fmax_ev_per_a < limit and reading.cell_fmax_ev < limit
        if not converged and steps < self.max_steps:
            if self.settings.time_limit_s is None or seconds < self.settings.time_limit_s:
                return None
            return failed(job, Reason.TIME_LIMIT, f"{seconds:.0f} s, {steps} steps", steps, start)
        return self._land(descent, reading, start, answer, converged=converged)

    def _land(
        self, descent: Descent, reading: Reading, start: float, answer: Answer, *, converged: bool
    ) -> RelaxOutcome:
        """The outcome of a relaxation that is over, unless its end is one that no potential can be believed in."""
        job, steps, crystal = descent.job, descent.n_steps, descent.crystal()
        breach = failed_contact(crystal, self.settings)
        if breach is not None:
            return failed(job, Reason.COLLAPSED, breach.detail, steps, start, breach.gate)
        energy, fmax = reading.energy_ev, reading.fmax_ev_per_a
        drop = (start - energy) / job.crystal.n_sites
        if fmax > _MAX_END_FORCE_EV_PER_A or drop > _MAX_ENERGY_DROP_EV_PER_SITE:
            detail = f"{fmax:.0f} eV/Å, {drop:.0f} eV a site lower: outside of what the potential knows"
            return failed(job, Reason.EXPLODED, detail, steps, start)
        change = reading.volume_a3 / job.crystal.volume - 1.0 if self.level == "full" else 0.0
        reason = None if converged else Reason.NOT_CONVERGED
        return RelaxOutcome(job.key, start, energy, fmax, steps, converged, crystal, change, reason, answer=answer)


def _columns(descents: Sequence[Descent]) -> Columns:
    """Numbers, positions and cells as they are evaluated."""
    return [each.numbers for each in descents], [each.positions for each in descents], [each.cell for each in descents]


def _unusable(crystal: Crystal) -> tuple[Reason | None, str]:
    """Say why a start cannot be evaluated at all, or (None, "")."""
    if not (np.isfinite(crystal.frac).all() and np.isfinite(crystal.lattice).all()):
        return Reason.NOT_FINITE, "the start holds a coordinate that is not finite"
    if crystal.n_sites == 0:
        return Reason.NO_ROOM, "the start has no site"
    if crystal.volume / crystal.n_sites < _MIN_VOLUME_PER_SITE_A3:
        return Reason.COLLAPSED, f"the start has {crystal.volume / crystal.n_sites:.2f} Å³ a site"
    distance = shortest_distance(crystal)
    if distance < _MIN_START_DISTANCE_A:
        return Reason.COLLAPSED, f"shortest distance of the start {distance:.2f} Å"
    return None, ""
