"""The evidence of one record as a value, and what it allows to be done."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hinpaint.codes import Code
from hinpaint.config import Mode
from hinpaint.whynot import Reason, Stop

_COUNT_OPEN = (Reason.CONFLICTING_EVIDENCE, Reason.FORMULA_MISMATCH, Reason.DISORDERED_HYDROGEN)
"""Conflicts on the count itself; others (a disordered host, say) stop an entry whose count is known."""


@dataclass(frozen=True)
class Evidence:
    """What a record says about its sites of the target element, counted in the cell.

    Attributes:
        n_declared_per_formula: atoms in one formula unit, None without a readable formula.
        n_declared: sites the formula asks for, None without a usable formula and Z.
        n_sites: sites with coordinates (occupancies summed and rounded).
        n_dummy: sites listed without coordinates.
        n_attached: hydrogens declared as attached.
        n_calculated: sites whose positions were calculated.
        n_refined: sites whose coordinates carry a standard uncertainty.
        n_missing: what inpainting has to place, None when it cannot be said.
        n_missing_low: least number that a reading of the record gives.
        n_missing_high: greatest number that a reading gives, None when there is no bound.
        d_xh_min_a: shortest distance of a site to its nearest host site, ångström; None without sites.
        d_xh_max_a: longest such distance.
        d_hh_min_a: shortest distance between two ordered sites of the element.
        charge_balance: charge of the completed cell, None where oxidation states are not plain.
        bond_valence_missing: hydrogens that bond valences ask for beyond those present, None where not computed.
        z: formula units in the cell that were used.
        confidence: 0 to 1, how sure ``n_missing`` is.
        codes: what was seen.
        conflict: why the record is refused whatever is asked of it, None when it is usable.
        dropped: numbers of the asymmetric sites that are disordered and counted as missing.
    """

    n_declared_per_formula: float | None
    n_declared: int | None
    n_sites: int
    n_dummy: int
    n_attached: int
    n_calculated: int
    n_refined: int
    n_missing: int | None
    n_missing_low: int | None
    n_missing_high: int | None
    d_xh_min_a: float | None
    d_xh_max_a: float | None
    d_hh_min_a: float | None
    charge_balance: float | None
    bond_valence_missing: float | None
    z: float | None
    confidence: float
    codes: tuple[Code, ...]
    conflict: Stop | None
    dropped: tuple[int, ...] = ()

    def columns(self) -> dict[str, Any]:
        """Columns of the table ``evidence``, without the key."""
        return {
            "n_h_declared_per_formula": self.n_declared_per_formula,
            "n_h_declared": self.n_declared,
            "n_h_sites": self.n_sites,
            "n_h_dummy": self.n_dummy,
            "n_h_attached": self.n_attached,
            "n_h_calculated": self.n_calculated,
            "n_h_refined": self.n_refined,
            "n_missing": self.n_missing,
            "n_missing_low": self.n_missing_low,
            "n_missing_high": self.n_missing_high,
            "d_xh_min_a": self.d_xh_min_a,
            "d_xh_max_a": self.d_xh_max_a,
            "d_hh_min_a": self.d_hh_min_a,
            "charge_balance": self.charge_balance,
            "bond_valence_missing": self.bond_valence_missing,
            "confidence": self.confidence,
            "codes": [code.value for code in self.codes],
        }


@dataclass
class Findings:
    """Codes and the first conflict while the rules run; any conflict on the count leaves the count open."""

    codes: list[Code] = field(default_factory=list)
    conflict: Stop | None = None
    count_open: bool = False

    def add(self, code: Code, when: bool = True) -> None:
        """Note a code once."""
        if when and code not in self.codes:
            self.codes.append(code)

    def stop(self, reason: Reason, detail: str) -> None:
        """Note why the record is refused; the first reason stands."""
        self.count_open |= reason in _COUNT_OPEN
        if self.conflict is None:
            self.conflict = Stop(reason, detail)


def choose_mode(modes: Sequence[Mode], evidence: Evidence) -> Mode | Stop:
    """Choose what to do with an entry: the first wish of its source that fits the evidence.

    Args:
        modes: the source's wishes in order.
        evidence: what the record says.

    Returns:
        ``reconstruct`` when sites are missing; ``audit`` when none is and all were only calculated; ``benchmark`` when
        none is and some are present; otherwise why nothing is to be done.
    """
    if evidence.conflict is not None:
        return evidence.conflict
    missing = evidence.n_missing
    if missing is None:
        return Stop(Reason.FORMULA_UNREADABLE, f"{evidence.n_sites} sites present, but nothing says how many there are")
    complete = missing == 0 and evidence.n_sites > 0
    fits: dict[Mode, bool] = {
        "reconstruct": missing > 0,
        "audit": complete and evidence.n_calculated >= evidence.n_sites,
        "benchmark": complete,
    }
    for mode in modes:
        if fits[mode]:
            return mode
    if missing > 0:
        return Stop(Reason.NOT_SELECTED, f"{missing} sites missing, but the source's mode is {', '.join(modes)}")
    if evidence.n_sites == 0:
        return Stop(Reason.NO_TARGET_ELEMENT, "")
    return Stop(Reason.NOTHING_MISSING, f"all {evidence.n_sites} sites present")
