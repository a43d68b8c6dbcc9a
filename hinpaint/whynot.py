"""Closed list of the reasons why an entry or a trial went no further.

Every reason is a value of :class:`Reason`; free text goes into the ``detail`` column beside it. The list is closed so
that curators can group by it; adding a value is a change of schema and belongs in the changelog.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why an entry (or one of its trials) stopped. The docstring of each member is its public explanation."""

    # reading
    UNREADABLE = "unreadable"
    TIME_LIMIT = "time_limit"
    TOO_LARGE_FILE = "too_large_file"
    UNSAFE_PATH = "unsafe_path"
    DUPLICATE_ID = "duplicate_id"
    NO_CELL = "no_cell"
    NO_SITES = "no_sites"
    UNKNOWN_SYMMETRY = "unknown_symmetry"
    UNKNOWN_ELEMENT = "unknown_element"
    DISORDERED_HOST = "disordered_host"
    DISORDERED_HYDROGEN = "disordered_hydrogen"
    OVERLAPPING_SITES = "overlapping_sites"
    # evidence
    FORMULA_UNREADABLE = "formula_unreadable"
    FORMULA_MISMATCH = "formula_mismatch"
    CONFLICTING_EVIDENCE = "conflicting_evidence"
    NOTHING_MISSING = "nothing_missing"
    NO_TARGET_ELEMENT = "no_target_element"
    NO_HOST = "no_host"
    LICENCE_NOT_REDISTRIBUTABLE = "licence_not_redistributable"
    # planning
    TOO_MANY_SITES = "too_many_sites"
    NOT_SELECTED = "not_selected"
    OVER_LIMIT = "over_limit"
    UNSUPPORTED_ELEMENT = "unsupported_element"
    # trials
    NO_ROOM = "no_room"
    NOT_FINITE = "not_finite"
    COLLAPSED = "collapsed"
    EXPLODED = "exploded"
    NOT_CONVERGED = "not_converged"
    GATED = "gated"
    OUT_OF_MEMORY = "out_of_memory"
    NO_CANDIDATE = "no_candidate"
    # verification
    NO_PAIR = "no_pair"
    KILLED = "killed"
    CODE_FAILED = "code_failed"
    # release
    NOT_BETTER = "not_better"
    ROUND_TRIP_FAILED = "round_trip_failed"


EXPLANATIONS: dict[Reason, str] = {
    Reason.UNREADABLE: "the record could not be parsed; the detail holds the parser's message",
    Reason.TIME_LIMIT: "reading the record took longer than the source's time_limit_s, or DFT longer than "
    "verify.time_limit_s",
    Reason.TOO_LARGE_FILE: "the record is larger than the configured bound",
    Reason.UNSAFE_PATH: "the archive member is a link, absolute, or climbs out of the archive",
    Reason.DUPLICATE_ID: "an earlier record of the same source carries the same id",
    Reason.NO_CELL: "the unit cell is missing or has no volume",
    Reason.NO_SITES: "the record has no atom site with coordinates",
    Reason.UNKNOWN_SYMMETRY: "neither symmetry operators nor a known space group are given",
    Reason.UNKNOWN_ELEMENT: "a site carries no recognisable element",
    Reason.DISORDERED_HOST: "a site of another element is partially occupied (below 0.95), shared or alternative",
    Reason.DISORDERED_HYDROGEN: "sites of the target element are disordered and no formula says how many there are",
    Reason.OVERLAPPING_SITES: "two sites of the expanded cell are closer than any chemistry allows",
    Reason.FORMULA_UNREADABLE: "no chemical formula is declared, or it cannot be read",
    Reason.FORMULA_MISMATCH: "formula and sites differ in other elements than the target element",
    Reason.CONFLICTING_EVIDENCE: "the record contradicts itself on the number of missing sites",
    Reason.NOTHING_MISSING: "all sites of the target element are present",
    Reason.NO_TARGET_ELEMENT: "the record holds no target element, neither in formula nor in sites",
    Reason.NO_HOST: "the structure would have no site left without the target element",
    Reason.LICENCE_NOT_REDISTRIBUTABLE: "the source's licence does not let a release pass the record on",
    Reason.TOO_MANY_SITES: "the completed cell has more sites than select.max_sites (of a DFT calculation: "
    "verify.max_sites)",
    Reason.NOT_SELECTED: "outside select.elements, no mode of the source fits the entry, or it is retracted",
    Reason.OVER_LIMIT: "select.limit entries had been taken before this one",
    Reason.UNSUPPORTED_ELEMENT: "the model, the potential or the DFT code does not know an element of this entry",
    Reason.NO_ROOM: "no start position keeps the minimum distances",
    Reason.NOT_FINITE: "a coordinate, an energy or a force became NaN or infinite",
    Reason.COLLAPSED: "two atoms came closer than the gate allows",
    Reason.EXPLODED: "the cell or an atom moved further than the gate allows",
    Reason.NOT_CONVERGED: "the step limit was reached before the force threshold, or DFT found no "
    "self-consistent density",
    Reason.GATED: "the relaxed candidate fails a plausibility gate; the detail names it",
    Reason.OUT_OF_MEMORY: "the structure did not fit into memory even alone",
    Reason.NO_CANDIDATE: "no trial of this entry converged and passed the gates",
    Reason.NO_PAIR: "there is no relaxed reference and candidate to compare by DFT",
    Reason.KILLED: "the DFT code was ended by a signal",
    Reason.CODE_FAILED: "the DFT code ended with an error or without an answer; the detail holds its last words",
    Reason.NOT_BETTER: "the source structure is at least as good as every candidate",
    Reason.ROUND_TRIP_FAILED: "the written file does not read back to the same structure",
}


@dataclass(frozen=True)
class Stop:
    """One reason with its detail, as a value that functions return instead of raising.

    Attributes:
        reason: why nothing further happens.
        detail: one line a curator can act on; never the whole source text.
    """

    reason: Reason
    detail: str = ""
