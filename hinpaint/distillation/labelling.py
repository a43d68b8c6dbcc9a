"""What the teacher says about the structures: energies, forces, stresses, as extended XYZ that NequIP reads."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.crystal import Crystal, shortest_distance
from hinpaint.diffusion.checkpoints import LoadedModel
from hinpaint.diffusion.samplers import PlacementJob, place
from hinpaint.distillation.arrangements import around
from hinpaint.distillation.hosts import Host
from hinpaint.distillation.settings import LabelSettings
from hinpaint.files import write_atomic
from hinpaint.relaxation.batch import Answer, Level, RelaxJob, batch_state, crystal_state, evaluate
from hinpaint.relaxation.descent import Descent
from hinpaint.relaxation.potentials import LoadedPotential
from hinpaint.sampling import Sampler

_CHUNK = 40
_ATOMS = {"cpu": 48, "cuda": 4096}


@dataclass(frozen=True)
class Label:
    """A structure with the teacher's answer.

    Attributes:
        host: the host it was made from.
        kind: how: ``reference``, ``displaced``, ``sampled``, ``sampled-h_only``, ...
        crystal: the structure.
        answer: energy, forces and stress.
    """

    host: Host
    kind: str
    crystal: Crystal
    answer: Answer


def label_hosts(
    hosts: Sequence[Host], teacher: LoadedPotential, model: LoadedModel | None, settings: LabelSettings, out: Path,
    say: Callable[[str], None] = print,
) -> None:  # fmt: skip
    """Label every arrangement of the hosts; goes on where an earlier call stopped.

    Args:
        hosts: structures; hosts without hydrogen get no trials.
        teacher: what labels.
        model: diffusion weights; only needed for raw samples.
        settings: which arrangements.
        out: extended XYZ file to write; parts lie beside it until it is whole.
        say: takes progress lines.
    """
    if out.exists():
        return
    parts = []
    for start in range(0, len(hosts), _CHUNK):
        part = out.with_name(f"{out.stem}-part{start // _CHUNK:04d}.extxyz")
        parts.append(part)
        if part.exists():
            continue
        labels = label_chunk(hosts[start : start + _CHUNK], teacher, model, settings)
        _write(part, as_extxyz(labels).encode())
        say(f"{out.stem}: {min(start + _CHUNK, len(hosts))}/{len(hosts)} hosts, {len(labels)} labels in this part")
    whole = b"".join(part.read_bytes() for part in parts)
    _write(out, whole)
    for part in parts:
        part.unlink()


def label_chunk(
    hosts: Sequence[Host], teacher: LoadedPotential, model: LoadedModel | None, settings: LabelSettings
) -> list[Label]:
    """Label every arrangement of a few hosts, host by host."""
    by_host: dict[str, list[Label]] = {host.name: [] for host in hosts}
    static = [(host, kind, crystal) for host in hosts for kind, crystal in around(host, settings)]
    static += list(trials(hosts, model, settings))
    answers = answer_all(teacher, [crystal for _, _, crystal in static])
    for (host, kind, crystal), answer in zip(static, answers, strict=True):
        by_host[host.name].append(Label(host, kind, crystal, answer))
    starts = [
        label
        for labels in by_host.values()
        for label in labels
        if label.kind in settings.path_starts and label.crystal.n_sites <= settings.path_sites
    ]
    for label in walk(starts, teacher, settings):
        by_host[label.host.name].append(label)
    return [each for host in hosts for each in by_host[host.name] if usable(each, settings)]


def trials(
    hosts: Sequence[Host], model: LoadedModel | None, settings: LabelSettings
) -> Iterator[tuple[Host, str, Crystal]]:
    """One trial of each kind that is asked for, for every host with hydrogen."""
    by_name = {host.name: host for host in hosts}
    jobs = [
        PlacementJob(host.name, 0, host.crystal.take(host.crystal.known), "H", int((~host.crystal.known).sum()))
        for host in hosts
        if not host.crystal.known.all()
    ]
    samplers: dict[str, tuple[Sampler, LoadedModel | None]] = {
        "random": (Sampler(name="random"), None),
        "sampled": (Sampler(n_steps=settings.sampler_steps), model),
    }
    for kind in settings.trials:
        sampler, weights = samplers[kind]
        for placement in sorted(place(jobs, sampler, settings.seed, weights), key=lambda each: each.job.key):
            if placement.frac_unknown is None:
                continue
            made = placement.job.host.add_unknown("H", placement.frac_unknown)
            if shortest_distance(made) >= settings.min_distance_a:
                yield by_name[placement.job.key], kind, made


def walk(starts: Sequence[Label], teacher: LoadedPotential, settings: LabelSettings) -> list[Label]:
    """Relax trials for a few steps, hydrogen alone and then everything, and keep some of the steps."""
    labels: list[Label] = []
    for batch in _batches([start.crystal for start in starts], _ATOMS[teacher.device.type]):
        chosen = [starts[index] for index in batch]
        ends = [start.crystal for start in chosen]
        for level, n_steps in (("h_only", settings.steps_h_only), ("full", settings.steps_full)):
            path = descend(teacher, ends, level, n_steps)  # type: ignore[arg-type]
            for number, step in enumerate(path):
                if number and (number % settings.every == 0 or number == n_steps):
                    labels += [
                        Label(start.host, f"{start.kind}-{level}", crystal, answer)
                        for start, (crystal, answer) in zip(chosen, step, strict=True)
                    ]
            ends = [crystal for crystal, _ in path[-1]]
    return labels


def descend(
    teacher: LoadedPotential, crystals: Sequence[Crystal], level: Level, n_steps: int
) -> list[list[tuple[Crystal, Answer]]]:
    """Relax crystals side by side for a fixed number of steps.

    Returns:
        For the start and every step, each crystal with what the teacher says about it.
    """
    descents = [Descent(RelaxJob((str(i), 0), each, ~each.known), level) for i, each in enumerate(crystals)]
    path = []
    for number in range(n_steps + 1):
        columns = ([each.numbers for each in descents], [each.positions for each in descents])
        answers = evaluate(teacher, batch_state(teacher, *columns, [each.cell for each in descents]))
        path.append([(each.crystal(), answer) for each, answer in zip(descents, answers, strict=True)])
        for each, answer in zip(descents, answers, strict=True):
            each.read(answer)
            if number < n_steps:
                each.step()
    return path


def answer_all(teacher: LoadedPotential, crystals: Sequence[Crystal]) -> list[Answer]:
    """Evaluate structures in batches of similar size; answers in the order of the structures."""
    answers: dict[int, Answer] = {}
    for batch in _batches(crystals, _ATOMS[teacher.device.type]):
        state = crystal_state(teacher, [crystals[index] for index in batch])
        answers |= dict(zip(batch, evaluate(teacher, state), strict=True))
    return [answers[index] for index in range(len(crystals))]


def usable(label: Label, settings: LabelSettings) -> bool:
    """Tell whether a label is finite and its forces are not beyond what the teacher knows."""
    answer = label.answer
    finite = all(np.isfinite(each).all() for each in (answer.energy, answer.forces, answer.stress))
    return bool(finite and np.linalg.norm(answer.forces, axis=1).max() <= settings.max_force_ev_per_a)


def as_extxyz(labels: Sequence[Label]) -> str:
    """Labels as extended XYZ with the names that ASE and NequIP know."""
    from ase.io import write

    text = io.StringIO()
    write(text, [_atoms(label) for label in labels], format="extxyz")
    return text.getvalue()


def _write(path: Path, content: bytes) -> None:
    write_atomic(path, lambda handle: handle.write(content))


def _atoms(label: Label) -> Any:
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = label.crystal.to_ase()
    if np.linalg.det(label.crystal.lattice) < 0:  # the same structure in a right-handed cell
        atoms.set_cell(-label.crystal.lattice)
    answer = label.answer
    atoms.info |= {"host": label.host.name, "formula": label.host.formula, "kind": label.kind}
    atoms.calc = SinglePointCalculator(atoms, energy=answer.energy, forces=answer.forces, stress=answer.stress)
    return atoms


def _batches(crystals: Sequence[Crystal], max_atoms: int) -> list[list[int]]:
    """Numbers of crystals in batches of at most so many atoms, smallest crystals first."""
    batches: list[list[int]] = []
    room = 0
    for index in sorted(range(len(crystals)), key=lambda i: crystals[i].n_sites):
        if not batches or crystals[index].n_sites > room:
            batches.append([])
            room = max_atoms
        batches[-1].append(index)
        room -= crystals[index].n_sites
    return batches
