"""Closed list of evidence codes: what each means, its kind and severity, and what it does to the confidence."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Kind = Literal["count", "formula", "geometry", "chemistry", "disorder", "symmetry", "file"]
Severity = Literal["info", "notice", "warning", "error"]


class Code(StrEnum):
    """Evidence codes: what was seen in a record. The list is closed."""

    MISSING_ALL = "missing_all"
    MISSING_SOME = "missing_some"
    COMPLETE = "complete"
    EXCESS = "excess"
    FRACTIONAL_COUNT = "fractional_count"
    DUMMY = "dummy"
    DUMMY_DISAGREES = "dummy_disagrees"
    ATTACHED = "attached"
    ATTACHED_CONFIRMS = "attached_confirms"
    ATTACHED_INCOMPLETE = "attached_incomplete"
    ATTACHED_DISAGREES = "attached_disagrees"
    WATER_LABEL = "water_label"
    HYDROXYL_LABEL = "hydroxyl_label"
    LABELS_CONFIRM = "labels_confirm"
    NO_FORMULA = "no_formula"
    FORMULA_FROM_MOIETY = "formula_from_moiety"
    FORMULA_FROM_STRUCTURAL = "formula_from_structural"
    FORMULAE_DISAGREE = "formulae_disagree"
    HOST_MISMATCH = "host_mismatch"
    Z_DERIVED = "z_derived"
    Z_FROM_DENSITY = "z_from_density"
    Z_DISAGREES = "z_disagrees"
    ALL_CALCULATED = "all_calculated"
    XRAY_SHORTENED = "xray_shortened"
    XH_DISTANCE_ODD = "xh_distance_odd"
    HH_DISTANCE_SHORT = "hh_distance_short"
    CHARGE_BALANCED = "charge_balanced"
    CHARGE_UNBALANCED = "charge_unbalanced"
    BOND_VALENCE_CONFIRMS = "bond_valence_confirms"
    BOND_VALENCE_DISAGREES = "bond_valence_disagrees"
    DEUTERIUM = "deuterium"
    TRITIUM = "tritium"
    ELEMENT_FROM_FORMULA = "element_from_formula"
    HOST_ORDERED = "host_ordered"
    DISORDERED_TARGET = "disordered_target"
    DISORDERED_TARGET_REPLACED = "disordered_target_replaced"
    SYMMETRY_FROM_NAME = "symmetry_from_name"
    SYMMETRY_DISAGREES = "symmetry_disagrees"
    MULTIPLE_BLOCKS = "multiple_blocks"


@dataclass(frozen=True)
class CodeInfo:
    """What a code says; kind and severity stand apart, as in checkCIF alerts.

    Attributes:
        kind: what it is about.
        severity: ``info`` is usual, ``notice`` worth knowing, ``warning`` makes the count less sure, ``error`` means
            that the record contradicts itself.
        text: explanation.
        factor: what the confidence is multiplied by, a judgement of how often the reading behind the code is right.
    """

    kind: Kind
    severity: Severity
    text: str
    factor: float = 1.0


CODES: dict[Code, CodeInfo] = {
    Code.MISSING_ALL: CodeInfo("count", "notice", "the element is declared and no site of it has coordinates"),
    Code.MISSING_SOME: CodeInfo(
        "count", "notice", "some sites of the element have coordinates, the formula asks for more"
    ),
    Code.COMPLETE: CodeInfo("count", "info", "as many sites of the element as the formula asks for"),
    Code.EXCESS: CodeInfo("count", "error", "more sites of the element than the formula asks for", 0.3),
    Code.FRACTIONAL_COUNT: CodeInfo(
        "count", "error", "the formula asks for a number of sites in the cell that is not whole", 0.2
    ),
    Code.DUMMY: CodeInfo("count", "info", "sites of the element are listed without coordinates"),
    Code.DUMMY_DISAGREES: CodeInfo(
        "count", "warning", "the sites without coordinates are not as many as the formula lacks", 0.8
    ),
    Code.ATTACHED: CodeInfo("count", "info", "sites declare attached hydrogens"),
    Code.ATTACHED_CONFIRMS: CodeInfo(
        "count", "info", "the attached hydrogens are as many as the formula lacks (or as it asks for in all)"
    ),
    Code.ATTACHED_INCOMPLETE: CodeInfo(
        "count", "notice", "attached hydrogens explain a part of what is missing, and some sites do not say", 0.8
    ),
    Code.ATTACHED_DISAGREES: CodeInfo("count", "error", "the attached hydrogens contradict the formula", 0.7),
    Code.WATER_LABEL: CodeInfo("count", "info", "a label names an oxygen of water"),
    Code.HYDROXYL_LABEL: CodeInfo("count", "info", "a label names an oxygen of a hydroxyl group"),
    Code.LABELS_CONFIRM: CodeInfo(
        "count", "info", "labels of water and hydroxyl promise as many hydrogens as are missing"
    ),
    Code.NO_FORMULA: CodeInfo("formula", "warning", "no readable formula is declared", 0.6),
    Code.FORMULA_FROM_MOIETY: CodeInfo(
        "formula", "notice", "no readable sum; the formula was read from the moieties", 0.9
    ),
    Code.FORMULA_FROM_STRUCTURAL: CodeInfo(
        "formula", "notice", "no readable sum; the formula was read from the structural formula", 0.9
    ),
    Code.FORMULAE_DISAGREE: CodeInfo(
        "formula", "warning", "another formula of the record asks for another number of sites", 0.7
    ),
    Code.HOST_MISMATCH: CodeInfo(
        "formula", "error", "the sites of the other elements are not proportional to the formula", 0.3
    ),
    Code.Z_DERIVED: CodeInfo("formula", "info", "Z is not declared and was derived from the host's sites", 0.97),
    Code.Z_FROM_DENSITY: CodeInfo(
        "formula", "notice", "Z is neither declared nor plain from the sites; density, volume and formula give it", 0.9
    ),
    Code.Z_DISAGREES: CodeInfo(
        "formula", "warning", "the declared Z does not fit the host's sites; the Z that fits was used", 0.7
    ),
    Code.ALL_CALCULATED: CodeInfo("geometry", "notice", "every site of the element has a calculated position"),
    Code.XRAY_SHORTENED: CodeInfo(
        "geometry", "info", "a bond to hydrogen is shorter than neutrons find it, as X-rays see it"
    ),
    Code.XH_DISTANCE_ODD: CodeInfo(
        "geometry", "warning", "a hydrogen lies where no bond to its nearest neighbour ends"
    ),
    Code.HH_DISTANCE_SHORT: CodeInfo(
        "geometry", "warning", "two ordered hydrogens lie closer than in any common group"
    ),
    Code.CHARGE_BALANCED: CodeInfo("chemistry", "info", "the completed cell is neutral by its oxidation states"),
    Code.CHARGE_UNBALANCED: CodeInfo(
        "chemistry", "notice", "the completed cell is not neutral by its oxidation states", 0.95
    ),
    Code.BOND_VALENCE_CONFIRMS: CodeInfo("chemistry", "info", "bond valences ask for as many hydrogens as are missing"),
    Code.BOND_VALENCE_DISAGREES: CodeInfo(
        "chemistry", "notice", "bond valences ask for another number of hydrogens than is missing", 0.97
    ),
    Code.DEUTERIUM: CodeInfo("chemistry", "info", "deuterium is counted and placed as H"),
    Code.TRITIUM: CodeInfo("chemistry", "info", "tritium is counted and placed as H"),
    Code.ELEMENT_FROM_FORMULA: CodeInfo(
        "chemistry", "notice", "sites named M1, M2, ... were taken as the formula's only metal", 0.95
    ),
    Code.HOST_ORDERED: CodeInfo(
        "disorder", "notice", "host sites with an occupancy of 0.95 or more and no alternative are taken as full", 0.95
    ),
    Code.DISORDERED_TARGET: CodeInfo(
        "disorder", "warning", "sites of the element are partially occupied or alternative", 0.8
    ),
    Code.DISORDERED_TARGET_REPLACED: CodeInfo(
        "disorder", "notice", "the disordered sites of the element are dropped and counted as missing"
    ),
    Code.SYMMETRY_FROM_NAME: CodeInfo(
        "symmetry", "notice", "no operators are listed; they come from the space group's name", 0.9
    ),
    Code.SYMMETRY_DISAGREES: CodeInfo(
        "symmetry", "warning", "the listed operators are not as many as the named space group has", 0.8
    ),
    Code.MULTIPLE_BLOCKS: CodeInfo(
        "file", "notice", "the file holds several structures; the first with atom sites was read", 0.95
    ),
}

CODE_EXPLANATIONS: dict[Code, str] = {code: info.text for code, info in CODES.items()}

# The record's own statements confirm a count; chemistry only supports it.
_CONFIRMING = (Code.ATTACHED_CONFIRMS, Code.LABELS_CONFIRM, Code.COMPLETE)
_SUPPORTING = (Code.CHARGE_BALANCED, Code.BOND_VALENCE_CONFIRMS)
_SUPPORTED, _UNCONFIRMED = 0.98, 0.95


def confidence(codes: Collection[Code]) -> float:
    """Confidence, 0 to 1, in a count of missing sites that was reached under these codes."""
    value = 1.0
    if not any(code in codes for code in _CONFIRMING):
        value = _SUPPORTED if any(code in codes for code in _SUPPORTING) else _UNCONFIRMED
    for code in codes:
        value *= CODES[code].factor
    return round(value, 4)
