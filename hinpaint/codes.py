"""Closed list of evidence codes, and what each does to the confidence in the count of missing sites."""

from collections.abc import Collection
from enum import StrEnum


class Code(StrEnum):
    """Evidence codes: what was seen in a record. The list is closed."""

    MISSING_ALL = "missing_all"
    MISSING_SOME = "missing_some"
    COMPLETE = "complete"
    EXCESS = "excess"
    DUMMY = "dummy"
    DUMMY_DISAGREES = "dummy_disagrees"
    ATTACHED = "attached"
    ATTACHED_CONFIRMS = "attached_confirms"
    ATTACHED_INCOMPLETE = "attached_incomplete"
    ATTACHED_DISAGREES = "attached_disagrees"
    ALL_CALCULATED = "all_calculated"
    DEUTERIUM = "deuterium"
    Z_DERIVED = "z_derived"
    Z_DISAGREES = "z_disagrees"
    NO_FORMULA = "no_formula"
    HOST_MISMATCH = "host_mismatch"
    FRACTIONAL_COUNT = "fractional_count"
    WATER_LABEL = "water_label"
    HYDROXYL_LABEL = "hydroxyl_label"
    LABELS_CONFIRM = "labels_confirm"
    DISORDERED_TARGET = "disordered_target"
    MULTIPLE_BLOCKS = "multiple_blocks"
    SYMMETRY_FROM_NAME = "symmetry_from_name"
    SYMMETRY_DISAGREES = "symmetry_disagrees"


CODE_EXPLANATIONS: dict[Code, str] = {
    Code.MISSING_ALL: "the formula asks for the element and no site of it has coordinates",
    Code.MISSING_SOME: "some sites of the element have coordinates, the formula asks for more",
    Code.COMPLETE: "as many sites of the element as the formula asks for",
    Code.EXCESS: "more sites of the element than the formula asks for",
    Code.DUMMY: "sites of the element are listed without coordinates",
    Code.DUMMY_DISAGREES: "the sites without coordinates are not as many as the formula lacks",
    Code.ATTACHED: "sites declare attached hydrogens",
    Code.ATTACHED_CONFIRMS: "the attached hydrogens are as many as the formula lacks (or as it asks for in all)",
    Code.ATTACHED_INCOMPLETE: "attached hydrogens explain a part of what is missing, and some sites do not say",
    Code.ATTACHED_DISAGREES: "the attached hydrogens contradict the formula",
    Code.ALL_CALCULATED: "every site of the element has a calculated position",
    Code.DEUTERIUM: "deuterium or tritium is counted and placed as H",
    Code.Z_DERIVED: "Z is not declared and was derived from the host's sites",
    Code.Z_DISAGREES: "the declared Z does not fit the host's sites; the Z that fits was used",
    Code.NO_FORMULA: "no readable formula is declared",
    Code.HOST_MISMATCH: "the sites of the other elements are not proportional to the formula",
    Code.FRACTIONAL_COUNT: "the formula asks for a number of sites in the cell that is not whole",
    Code.WATER_LABEL: "a label names an oxygen of water",
    Code.HYDROXYL_LABEL: "a label names an oxygen of a hydroxyl group",
    Code.LABELS_CONFIRM: "labels of water and hydroxyl promise as many hydrogens as are missing",
    Code.DISORDERED_TARGET: "sites of the element are partially occupied or alternative",
    Code.MULTIPLE_BLOCKS: "the file holds several structures; the first with atom sites was read",
    Code.SYMMETRY_FROM_NAME: "no operators are listed; they come from the space group's name",
    Code.SYMMETRY_DISAGREES: "the listed operators are not as many as the named space group has",
}

# Each factor is a judgement of how often the reading behind the code is right, not a fitted probability.
_FACTORS: dict[Code, float] = {
    Code.NO_FORMULA: 0.6,
    Code.Z_DERIVED: 0.97,
    Code.Z_DISAGREES: 0.7,
    Code.DUMMY_DISAGREES: 0.8,
    Code.ATTACHED_INCOMPLETE: 0.8,
    Code.ATTACHED_DISAGREES: 0.7,
    Code.EXCESS: 0.3,
    Code.HOST_MISMATCH: 0.1,
    Code.FRACTIONAL_COUNT: 0.2,
    Code.DISORDERED_TARGET: 0.5,
    Code.SYMMETRY_FROM_NAME: 0.9,
    Code.SYMMETRY_DISAGREES: 0.8,
    Code.MULTIPLE_BLOCKS: 0.95,
}
_UNCONFIRMED = 0.95
_CONFIRMING = (Code.ATTACHED_CONFIRMS, Code.LABELS_CONFIRM, Code.COMPLETE)


def confidence(codes: Collection[Code]) -> float:
    """Confidence, 0 to 1, in a count of missing sites that was reached under these codes."""
    value = 1.0 if any(code in codes for code in _CONFIRMING) else _UNCONFIRMED
    for code in codes:
        value *= _FACTORS.get(code, 1.0)
    return round(value, 4)
