"""A CIF becomes a host and a number of sites to place."""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from hinpaint.block import Block
from hinpaint.config import Element, parse_block
from hinpaint.crystal import Crystal
from hinpaint.deciding.decision import COUNT_UNSURE
from hinpaint.evidence import Evidence, weigh
from hinpaint.reduction import IDENTITY, find_supercell, n_cells, reduce_sites
from hinpaint.sources import parse_record
from hinpaint.sources.archive import read_files
from hinpaint.sources.records import ParsedRecord
from hinpaint.whynot import EXPLANATIONS, Reason, Stop

_DISORDER = (Reason.DISORDERED_HOST, Reason.DISORDERED_HYDROGEN)


class _Asked(Block):
    """What the user asks for is held to the rules of a configuration."""

    element: Element


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
        count_unsure: the record leaves open how many sites are missing, and nobody said.
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
    count_unsure: bool

    @property
    def n_cells(self) -> int:
        """Primitive cells in the cell of the file."""
        return n_cells(self.supercell)

    @property
    def primitive_host(self) -> Crystal:
        """The host in the cell that is completed."""
        return self.host if self.supercell == IDENTITY else reduce_sites(self.host, self.supercell)

    @property
    def n_placed(self) -> int:
        """Sites to place in the cell that is completed."""
        return self.n_unknown // self.n_cells

    def with_count(self, n_unknown: int) -> "Read":
        """The same structure with another number of sites to place."""
        unsure = n_unknown != self.evidence.n_missing or self.evidence.confidence < COUNT_UNSURE
        return replace(self, n_unknown=n_unknown, supercell=find_supercell(self.host, n_unknown), count_unsure=unsure)


def read_cif(path: Path, element: str, n_missing: int | None) -> Read:
    """Read a CIF and say how many sites are missing.

    Args:
        path: the file.
        element: element to place.
        n_missing: sites to place in the cell; None to take it from the record.

    Raises:
        ConfigError: there is no such element.
        CannotCompleteError: no single CIF, unreadable, disordered, contradictory, or nothing is missing.
    """
    parse_block(_Asked, {"element": element})
    files = list(islice(read_files(path, path.suffix.lower()), 2))  # an archive may hold none, or millions
    if len(files) != 1:
        raise CannotCompleteError(f"{path.name} is no single CIF; a database is read by snakemake")
    (raw,) = files
    if raw.stop is not None or raw.text is None:
        raise CannotCompleteError(explain(raw.stop or Stop(Reason.UNREADABLE)))
    record = parse_record("cif", raw.text)
    if isinstance(record, Stop):
        raise CannotCompleteError(explain(record))
    evidence = weigh(record, element)
    if evidence.conflict is not None and evidence.conflict.reason in _DISORDER:
        raise CannotCompleteError(explain(evidence.conflict))
    missing = evidence.n_missing if n_missing is None else n_missing
    if n_missing is None and evidence.conflict is not None:
        raise CannotCompleteError(f"{explain(evidence.conflict)}; give the number of sites with --n-missing")
    if not missing:
        raise CannotCompleteError(f"no {element} is missing; --n-missing places sites all the same")
    kept = record.without(evidence.dropped)
    host = Crystal.build(kept.lattice, kept.species, kept.cell_frac)
    unsure = n_missing is None and evidence.confidence < COUNT_UNSURE
    supercell = find_supercell(host, missing)
    return Read(path.name, raw.text, raw.sha256, record, evidence, host, element, missing, supercell, unsure)


def explain(stop: Stop) -> str:
    """A reason as one line."""
    return f"{stop.reason}: {EXPLANATIONS[stop.reason]}" + (f" ({stop.detail})" if stop.detail else "")
