"""One decision becomes one released structure, or the reason why it is not released."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gemmi
import numpy as np

from hinpaint.crystal import Crystal, FloatArray
from hinpaint.release.cif import complete_cif, source_operators
from hinpaint.release.completion import Completion, symmetry_kind
from hinpaint.release.fresh import fresh_cif, host_operators
from hinpaint.release.optimade import structure_line
from hinpaint.release.roundtrip import TOLERANCE_A, check_round_trip
from hinpaint.release.symmetry import Placement, find_placement, without_symmetry
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.geometry import MERGE_A
from hinpaint.sources.records import ParsedRecord
from hinpaint.whynot import Reason, Stop


@dataclass(frozen=True)
class Released:
    """What is written for one entry: its CIF, its line of ``structures.jsonl`` and what became of its symmetry."""

    cif: str
    line: str
    symmetry: str


@dataclass(frozen=True)
class Changed:
    """An entry the release changes.

    Attributes:
        completion: what is said about the completion.
        host: the sites that stay.
        frac: (m, 3) fractional coordinates of the placed sites.
        source_id: the database's own id.
        name: file name without suffix.
    """

    completion: Completion
    host: Crystal
    frac: FloatArray
    source_id: str
    name: str

    @classmethod
    def from_rows(
        cls, decision: Mapping[str, Any], entry: Mapping[str, Any], task: Mapping[str, Any], version: str, name: str
    ) -> "Changed":
        """Build from the rows of ``decisions``, ``entries`` and ``tasks`` of one entry."""
        return cls(
            completion=Completion.from_rows(decision, entry, version),
            host=source_host(entry, task["element"]),
            frac=np.asarray(decision["frac_unknown"] or [], dtype=np.float64).reshape(-1, 3),
            source_id=entry["source_id"],
            name=name,
        )

    def completed(self, placement: Placement) -> Crystal:
        """Return the host with the sites of a placement."""
        return self.host.add_unknown(self.completion.element, placement.frac)


def source_host(entry: Mapping[str, Any], element: str) -> Crystal:
    """Sites of an entry that stay, in the source's cell and order: all in reconstruct mode, else all but the element's.

    Args:
        entry: row of ``entries``.
        element: the element whose sites were placed.
    """
    whole = Crystal.build(entry["lattice"], entry["species"], entry["frac"])
    return whole if entry["mode"] == "reconstruct" else whole.take(~whole.is_element(element))


def release_entry(changed: Changed, source_format: str, source_text: str) -> Released | Stop:
    """Write one entry and read it back.

    Where the file with the symmetry of the placed sites does not read back, P 1 is tried: rounded special positions or
    operators that readers understand in several ways must not cost the entry.

    Args:
        changed: the entry.
        source_format: ``cif``, or another format, of which only the sites are used.
        source_text: the record as it was read.

    Returns:
        What to write, or why there is nothing.
    """
    if not len(changed.frac) or not np.isfinite(changed.frac).all():
        return Stop(Reason.NOT_FINITE, "the decision holds no finite sites")
    try:
        text, placement, problem = _from_cif(changed, source_text) if source_format == "cif" else _from_sites(changed)
    except Exception as error:  # noqa: BLE001 - an entry may break a writer in any way and must cost its own file only
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        return Stop(Reason.ROUND_TRIP_FAILED, problem)
    if problem is not None:
        return Stop(Reason.ROUND_TRIP_FAILED, problem)
    symmetry = symmetry_kind(placement, declared=source_format == "cif")
    line = structure_line(changed.completed(placement), changed.completion, symmetry, changed.source_id, changed.name)
    return Released(text, line, symmetry)


def _from_cif(changed: Changed, source_text: str) -> tuple[str, Placement, str | None]:
    record = parse_cif(source_text)
    if not isinstance(record, ParsedRecord):
        raise ValueError(f"the source does not read: {record.reason}: {record.detail}")  # noqa: TRY004 - a value's reason

    def write(placement: Placement) -> str:
        return complete_cif(source_text, record, changed.completion, placement)

    return _write_and_read(changed, source_operators(source_text), write, MERGE_A)


def _from_sites(changed: Changed) -> tuple[str, Placement, str | None]:
    def write(placement: Placement) -> str:
        return fresh_cif(changed.host, changed.completion, placement)

    return _write_and_read(changed, host_operators(changed.host), write, TOLERANCE_A)


def _write_and_read(
    changed: Changed, operators: Sequence[gemmi.Op], write: Callable[[Placement], str], host_tolerance_a: float
) -> tuple[str, Placement, str | None]:
    """Write with the placed sites' symmetry, in P 1 where that does not read back; and say what is still wrong."""
    lattice = changed.host.lattice
    placement = find_placement(operators, lattice, changed.frac)
    text, problem = _attempt(changed, placement, write, host_tolerance_a)
    if problem is not None and len(placement.operators) > 1:
        placement = without_symmetry(operators, lattice, changed.frac, refused=problem)
        text, problem = _attempt(changed, placement, write, host_tolerance_a)
    return text, placement, problem


def _attempt(
    changed: Changed, placement: Placement, write: Callable[[Placement], str], host_tolerance_a: float
) -> tuple[str, str | None]:
    try:
        text = write(placement)
    except ValueError as error:
        return "", " ".join(str(error).split())[:150]
    return text, check_round_trip(text, changed.completed(placement), host_tolerance_a)
