"""The classes a census sorts records into: each record is in exactly one."""

from dataclasses import dataclass

from hinpaint.whynot import Reason


@dataclass(frozen=True)
class Class:
    """One class of records, with what a curator should know about it. Texts hold ``{element}`` where it is named.

    Attributes:
        name: as in JSON.
        title: as people read it.
        meaning: what was seen in the record.
        action: what to do next; what one types stands in backquotes.
        colour: of Okabe and Ito's palette, which colour-blind people can tell apart.
    """

    name: str
    title: str
    meaning: str
    action: str
    colour: str


_CLASSES = (
    Class(
        "missing_all", "{element} missing entirely",
        "The formula (or another statement of the record) asks for {element}, and no site of it has coordinates.",
        "Complete them: mode `reconstruct`. Look first at those with low confidence.", "#d55e00",
    ),
    Class(
        "missing_some", "{element} missing in part",
        "Some {element} sites have coordinates, but fewer than the formula asks for.",
        "Complete them: mode `reconstruct`. The ordered sites that are there stay as they are.", "#e69f00",
    ),
    Class(
        "calculated", "{element} only calculated",
        "All {element} sites are there, but the record says that their positions were calculated, not measured.",
        "Check them: mode `audit` finds the sites again and replaces them only if that lowers the energy.", "#cc79a7",
    ),
    Class(
        "complete", "{element} complete",
        "As many {element} sites as the formula asks for, refined or of unstated origin.",
        "Nothing to repair. Mode `benchmark` uses them to measure how well sites are found again.", "#009e73",
    ),
    Class(
        "none", "No {element}",
        "Neither the formula nor the sites hold {element}.", "Nothing to do.", "#8c8c8c",
    ),
    Class(
        "disordered", "Disordered",
        "Sites are partly occupied or shared, so that the record describes an average, not one structure.",
        "Order the structure by hand, or leave it. The detail says which site it is.", "#56b4e9",
    ),
    Class(
        "conflict", "Contradicts itself",
        "Formula, sites and other statements do not fit together, or two sites overlap.",
        "Compare with the publication and mend the record. The detail says what disagrees.", "#0072b2",
    ),
    Class(
        "unclear", "Count unknown",
        "Nothing readable in the record says how much {element} there should be.",
        "Add a formula to the record, or complete it alone: `hinpaint inpaint` takes `--n-missing`.", "#b8a900",
    ),
    Class(
        "unreadable", "Not readable",
        "The record is no structure that can be read: damaged, without a cell or sites, or beyond a safety bound.",
        "Open the file at the place the detail names. Many such records may mean the wrong `--format`.", "#7f3c8d",
    ),
    Class(
        "duplicate", "Repeated id",
        "An earlier record of the same export carries the same id; only the first one was read.",
        "Remove one of the two, or give it an id of its own.", "#a5672a",
    ),
    Class(
        "set_aside", "Set aside",
        "Readable, but left out for another reason, which the list of reasons names.",
        "See the reason.", "#5a6b7b",
    ),
)  # fmt: skip
CLASSES: dict[str, Class] = {each.name: each for each in _CLASSES}
"""All classes by name, in the order they are shown."""

_OF_MODE = {"audit": "calculated", "benchmark": "complete"}
_OF_REASON = {
    Reason.NO_TARGET_ELEMENT: "none",
    Reason.NOTHING_MISSING: "complete",
    Reason.DISORDERED_HOST: "disordered",
    Reason.DISORDERED_HYDROGEN: "disordered",
    Reason.CONFLICTING_EVIDENCE: "conflict",
    Reason.FORMULA_MISMATCH: "conflict",
    Reason.OVERLAPPING_SITES: "conflict",
    Reason.FORMULA_UNREADABLE: "unclear",
    Reason.UNREADABLE: "unreadable",
    Reason.TIME_LIMIT: "unreadable",
    Reason.TOO_LARGE_FILE: "unreadable",
    Reason.UNSAFE_PATH: "unreadable",
    Reason.NO_CELL: "unreadable",
    Reason.NO_SITES: "unreadable",
    Reason.UNKNOWN_SYMMETRY: "unreadable",
    Reason.UNKNOWN_ELEMENT: "unreadable",
    Reason.DUPLICATE_ID: "duplicate",
}


def class_of(mode: str | None, reason: str | None, *, all_missing: bool) -> str:
    """Name the class of one record.

    Args:
        mode: what is to be done with it, None when it stopped.
        reason: why it stopped, None when it did not.
        all_missing: its evidence holds the code ``missing_all``.
    """
    if reason is not None:
        return _OF_REASON.get(Reason(reason), "set_aside")
    return _OF_MODE.get(mode or "", "missing_all" if all_missing else "missing_some")


def spoken(element: str) -> str:
    """The element as texts name it: hydrogen by name, the others by symbol."""
    return "hydrogen" if element == "H" else element


def named(text: str, element: str) -> str:
    """Put the element into a class's text."""
    filled = text.replace("{element}", spoken(element))
    return filled[:1].upper() + filled[1:]
