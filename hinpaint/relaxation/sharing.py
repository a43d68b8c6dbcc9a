"""Which full relaxations are worth doing: one for each arrangement, none for a trial without hope.

Trials of one entry that end the hydrogen-only level in one arrangement take one way down from there. The one with the
number nearest to zero goes for all of them. Which one that is depends on numbers before its own alone, so more trials,
other batches and other shards change nothing. References are always relaxed themselves: they are what trials are
compared with. Controls share among themselves, so that the rate of chance knows nothing of the model. Where relaxations
keep the symmetry of their start, ends of unlike symmetry do not share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hinpaint.crystal import Crystal
from hinpaint.placements import Operations, host_operations, images, same_within
from hinpaint.relaxation.batch import Key, RelaxJob
from hinpaint.relaxation.engine import RelaxOutcome
from hinpaint.relaxation.symmetry import space_group
from hinpaint.relaxing import Relax
from hinpaint.tables import REFERENCE

SAME_ENERGY_EV_PER_SITE = 0.0002
"""Ends further apart in energy do not share, however near their sites: one of them may be past a saddle. Chosen on
development entries, docs/benchmarks.md."""


@dataclass(frozen=True)
class Plan:
    """What the full level has to do.

    Attributes:
        groups: jobs by arrangement; the first of each is to be relaxed, the others share its result.
        cut: by how many eV a job lies too high above the lowest of its entry.
    """

    groups: list[list[Key]]
    cut: dict[Key, float]


def plan_full(jobs: Sequence[RelaxJob], ends: Mapping[Key, RelaxOutcome], settings: Relax) -> Plan:
    """Decide which jobs go on by themselves.

    Args:
        jobs: jobs whose hydrogen-only level has an end; every trial of an entry must be among them.
        ends: outcome of that level, by key.
        settings: thresholds.
    """
    families: dict[tuple[str, int], list[RelaxJob]] = {}
    for job in sorted(jobs, key=lambda each: (each.key[0], abs(each.key[1]))):
        entry_key, trial = job.key
        families.setdefault((entry_key, max(min(trial, 0), REFERENCE - 1)), []).append(job)
    plan = Plan([], {})
    for family in families.values():
        plan.cut.update(_too_high(family, ends, settings.max_above_lowest_ev))
        plan.groups.extend(_arrangements([job for job in family if job.key not in plan.cut], ends, settings))
    return plan


def _too_high(family: Sequence[RelaxJob], ends: Mapping[Key, RelaxOutcome], limit_ev: float | None) -> dict[Key, float]:
    """How far each job without hope lies above the lowest of its family, eV."""
    energies = {job.key: energy for job in family if (energy := ends[job.key].energy_ev) is not None}
    if limit_ev is None or not energies:
        return {}
    lowest = min(energies.values())
    return {key: energy - lowest for key, energy in energies.items() if energy - lowest > limit_ev}


def _arrangements(family: Sequence[RelaxJob], ends: Mapping[Key, RelaxOutcome], settings: Relax) -> list[list[Key]]:
    """Group the jobs of one family; those that have not converged stay by themselves."""
    groups: list[list[RelaxJob]] = []
    operations: Operations = []
    for job in family:
        able = settings.share_within_a > 0.0 and ends[job.key].reason is None
        if able and len(family) > 1 and not operations:
            operations = host_operations(job.crystal.take(job.crystal.known))
        found = next((group for group in groups if able and _same(job, group[0], ends, operations, settings)), None)
        if found is None:
            groups.append([job])
        else:
            found.append(job)
    return [[job.key for job in group] for group in groups]


def _same(
    job: RelaxJob, first: RelaxJob, ends: Mapping[Key, RelaxOutcome], operations: Operations, settings: Relax
) -> bool:
    """Whether two jobs of one host ended in one arrangement."""
    end, other = ends[job.key], ends[first.key]
    if other.reason is not None or end.energy_ev is None or other.energy_ev is None:
        return False
    if abs(end.energy_ev - other.energy_ev) > SAME_ENERGY_EV_PER_SITE * job.crystal.n_sites:
        return False
    if settings.fix_symmetry and _symmetry(end.crystal) != _symmetry(other.crystal):
        return False
    placed = ~job.crystal.known
    moved = images(end.crystal.frac[placed], operations)
    bound = settings.share_within_a
    return same_within(job.crystal.lattice, moved, other.crystal.frac[placed], bound) is not None


def _symmetry(crystal: Crystal) -> tuple[int, int]:
    """Number of a crystal's space group, and of its operations in the cell."""
    group = space_group(crystal)
    return (1, 1) if group is None else (group.number, len(group.rotations))
