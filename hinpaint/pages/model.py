"""What one page shows, whether it comes from a catalog or from a single structure."""

from dataclasses import dataclass

from hinpaint.codes import Code
from hinpaint.crystal import Crystal, FloatArray

CANDIDATE = "candidate"
"""Outcome of the trial that is released, or would be."""


@dataclass(frozen=True)
class TrialView:
    """One trial as a page shows it.

    Attributes:
        trial: its number; -1 the reference, below it random-placement controls.
        outcome: :data:`CANDIDATE`, ``passed``, or the reason why the trial does not count.
        energy_mev_per_atom: energy above the lowest trial that passed; None without one.
        arrangement: number of the arrangement it reached, 0 the lowest in energy; None where nobody compared them.
        frac: (m, 3) its placed sites after the hydrogen-only relaxation, in the source's cell; None without any.
        detail: what the reason means here.
    """

    trial: int
    outcome: str
    energy_mev_per_atom: float | None = None
    arrangement: int | None = None
    frac: FloatArray | None = None
    detail: str = ""


@dataclass(frozen=True)
class Fact:
    """One line of a list: what it is, and its value as text."""

    name: str
    value: str


@dataclass(frozen=True)
class EntryPage:
    """Everything one page shows.

    Attributes:
        key: key of the entry, or the name of a file.
        name: name of the page's own file, without suffix.
        formula: formula of the completed cell or as declared; None without.
        action: ``completed``, ``replaced`` or ``unchanged``.
        element: element of the placed sites.
        host: the sites that stay, in the source's cell.
        source_frac: (k, 3) the source's own sites of the element that were taken out to be found again.
        placed_frac: (m, 3) the candidate's placed sites.
        trials: all trials, the reference and the controls.
        decision: what was decided, and on what grounds.
        doubts: what speaks against the candidate, with meanings.
        evidence: what the record says about its sites.
        codes: evidence codes.
        provenance: hashes, seeds, versions.
        grade: ``accept``, ``review`` or ``reject``; None where nobody graded.
        confidence: 0 to 1; None where nobody said.
        downloads: (label, relative address).
    """

    key: str
    name: str
    formula: str | None
    action: str
    element: str
    host: Crystal
    source_frac: FloatArray
    placed_frac: FloatArray
    trials: tuple[TrialView, ...]
    decision: tuple[Fact, ...] = ()
    doubts: tuple[Fact, ...] = ()
    evidence: tuple[Fact, ...] = ()
    codes: tuple[Code, ...] = ()
    provenance: tuple[Fact, ...] = ()
    grade: str | None = None
    confidence: float | None = None
    downloads: tuple[tuple[str, str], ...] = ()
