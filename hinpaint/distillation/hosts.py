"""Which structures the labels start from: hydrides, split by formula, and others for elements that few of them hold."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from ase.data import chemical_symbols

from hinpaint.crystal import Crystal
from hinpaint.distillation.settings import DistillationSettings
from hinpaint.rng import stream

_COLUMNS = ["material_id", "reduced_formula", "lattice", "atomic_numbers", "frac_coords"]


@dataclass(frozen=True)
class Host:
    """A structure to make arrangements from.

    Attributes:
        name: its id in the source.
        formula: reduced formula, by which splits are made.
        crystal: the structure, with hydrogen marked as not known.
    """

    name: str
    formula: str
    crystal: Crystal

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of its elements."""
        return frozenset(self.crystal.species)


def read_hosts(parquet: Path, max_sites: int) -> Iterator[Host]:
    """Read structures of at most so many sites, in the order of the file.

    Args:
        parquet: columns ``material_id``, ``reduced_formula``, ``lattice`` (9), ``atomic_numbers`` and ``frac_coords``.
        max_sites: larger structures are left out.
    """
    table = pq.read_table(parquet, columns=_COLUMNS)
    table = table.filter(pc.less_equal(pc.list_value_length(table["atomic_numbers"]), max_sites))
    for row in table.to_pylist():
        species = [chemical_symbols[number] for number in row["atomic_numbers"]]
        known = [symbol != "H" for symbol in species]
        crystal = Crystal.build(row["lattice"], species, row["frac_coords"], known)
        yield Host(row["material_id"], row["reduced_formula"], crystal)


def hydrides(hosts: Sequence[Host], other_formulas: Collection[str] = ()) -> list[Host]:
    """Hosts that hold hydrogen and something else, and whose formula is in no other part.

    Args:
        hosts: candidates.
        other_formulas: reduced formulas of the other part.
    """
    other = frozenset(other_formulas)
    return [host for host in hosts if "H" in host.elements and len(host.elements) > 1 and host.formula not in other]


def fill_elements(
    hosts: Sequence[Host], elements: Collection[str], per_element: int, seed: int, other_formulas: Collection[str] = ()
) -> list[Host]:
    """Choose structures without hydrogen, so many for every element where there are enough.

    They are taken in random order as long as one of their elements is still wanted, so that an element few of them hold
    gets all there are.

    Args:
        hosts: candidates; those with hydrogen, or with an element that is not asked for, are left out.
        elements: what the potential is to know.
        per_element: structures wanted for each element.
        seed: decides the order.
        other_formulas: reduced formulas of the other part.
    """
    wanted, other = frozenset(elements) - {"H"}, frozenset(other_formulas)
    fitting = [host for host in hosts if host.elements <= wanted and host.formula not in other]
    order = sorted(fitting, key=lambda host: stream(seed, host.name, 0, "element").random())
    found: Counter[str] = Counter()
    chosen = []
    for host in order:
        if any(found[symbol] < per_element for symbol in host.elements):
            chosen.append(host)
            found.update(host.elements)
    return chosen


def all_elements(hosts: Sequence[Host]) -> list[str]:
    """Symbols of every element, by atomic number."""
    present = frozenset[str]().union(*(host.elements for host in hosts))
    return sorted(present, key=chemical_symbols.index)


def split(train: Path, held_out: Path, settings: DistillationSettings) -> dict[str, list[Host]]:
    """Choose what is trained on and what is held out; no reduced formula is in both.

    Args:
        train: Parquet of structures to train on.
        held_out: Parquet of structures to hold out; their formulas are kept out of training.
        settings: sizes and numbers.

    Returns:
        ``train``: hydrides and others, in random order; ``held_out``: hydrides.
    """
    labels = settings.labels
    candidates = list(read_hosts(train, max(labels.max_sites, labels.element_sites)))
    tested = hydrides(list(read_hosts(held_out, settings.held_out.max_sites)))
    formulas = {host.formula for host in tested}
    learnt = [host for host in hydrides(candidates, formulas) if host.crystal.n_sites <= labels.max_sites]
    elements = all_elements([*learnt, *tested]) + list(labels.elements)
    small = [host for host in candidates if host.crystal.n_sites <= labels.element_sites]
    learnt += fill_elements(small, elements, labels.per_element, labels.seed, formulas)
    shuffled = sorted(learnt, key=lambda host: stream(labels.seed, host.name, 0, "order").random())
    return {"train": shuffled[: labels.max_hosts], "held_out": tested[: settings.held_out.max_hosts]}
