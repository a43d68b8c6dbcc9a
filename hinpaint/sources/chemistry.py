"""Elements from type symbols and labels, and chemical formulae."""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache

import gemmi

from hinpaint.sources.records import Formula, Hint

_MAX_ATOMIC_NUMBER = 103
ELEMENTS: frozenset[str] = frozenset(gemmi.Element(z).name for z in range(1, _MAX_ATOMIC_NUMBER + 1))
_NO_ELEMENT = frozenset({"x", "q", "cnt", "du", "dum"})
"""Type symbols that say of a point that it is no atom, whatever its label looks like."""
_ISOTOPES = ("D", "T")

_TYPE_SYMBOL = re.compile(r"([A-Za-z]{1,2})(?:[0-9.]*[+-]?|[+-][0-9.]*)$")
_LETTERS = re.compile(r"[A-Za-z]+")
_WATER = re.compile(r"(?:[Ww]at|WAT|O-?[Ww]|H2O|W)(?![a-z]*-?[Hh])")
_HYDROXYL = re.compile(r"O-?[Hh]")
# Labels that mean an oxygen of water whatever the formula holds: no element begins with "Wa".
_WATER_WORD = re.compile(r"wat", re.IGNORECASE)

# Symbol or bracket, then a number; "1.", ".5" and "0.5" are numbers, a single dot is none.
_FORMULA_PIECE = re.compile(r"(?:([A-Z][a-z]?)|([(\[])|([)\]]))((?:(?<![(\[])(?:[0-9]+\.?[0-9]*|\.[0-9]+))?)")
_BLANKS = re.compile(r"[\s,]+")
_MAX_FORMULA = 2000
_MAX_COUNT = 1e6


def as_element(symbol: str) -> tuple[str, bool] | None:
    """Normalise an element symbol.

    Args:
        symbol: letters only, any case.

    Returns:
        The element (``H`` for D and T) and whether an isotope symbol was written, or None when it is no element.
    """
    name = symbol.capitalize()
    if name in _ISOTOPES:
        return "H", True
    return (name, False) if name in ELEMENTS else None


def element_of_site(type_symbol: str | None, label: str, formula: Formula | None) -> tuple[str, bool] | None:
    """Find the element of a site.

    Args:
        type_symbol: ``_atom_site_type_symbol`` with or without charge (``Fe3+``, ``O-2``), or None.
        label: ``_atom_site_label``.
        formula: declared formula, which decides where a label is ambiguous (``HO1``, ``CA1``, ``W1``).

    Returns:
        The element and whether it is D or T, or None when nothing recognisable is written.
    """
    elements = frozenset(formula.counts) if formula else frozenset[str]()
    has_isotope = formula is not None and formula.has_deuterium
    if type_symbol and type_symbol.lower() in _NO_ELEMENT:
        return None
    if type_symbol:
        found = _of_type_symbol(type_symbol)
        if found is not None:
            return found
        return _of_label(type_symbol, elements, has_isotope) or _of_label(label, elements, has_isotope)
    return _of_label(label, elements, has_isotope)


@lru_cache(maxsize=4096)
def _of_type_symbol(text: str) -> tuple[str, bool] | None:
    match = _TYPE_SYMBOL.match(text)
    return as_element(match.group(1)) if match else None


@lru_cache(maxsize=65536)
def _of_label(label: str, elements: frozenset[str], has_isotope: bool) -> tuple[str, bool] | None:
    match = _LETTERS.match(label)
    if match is None:
        return None
    letters = match.group()
    # AMCSD writes water as one site called Wat or W; it is tungsten only where the formula has tungsten.
    if _WATER_WORD.match(letters) or (letters[0] == "W" and "W" not in elements and "O" in elements):
        return "O", False
    found = [as_element(letters[:2]) if len(letters) > 1 else None, as_element(letters[0])]
    # T is a tetrahedral site in mineralogy and tritium almost never.
    if letters[0] == "T" and not has_isotope:
        found[1] = None
    candidates = [c for c in found if c is not None]
    declared = [c for c in candidates if c[0] in elements]
    if declared:
        return declared[0]
    if found[0] is not None and letters[1].islower():
        return found[0]
    return candidates[-1] if candidates else None


def hint_of_label(label: str, element: str) -> Hint | None:
    """Say what an oxygen's label promises about hydrogens: ``Wat``, ``OW``, ``W1`` two, ``OH``, ``O-H`` one."""
    if element != "O":
        return None
    if _HYDROXYL.match(label):
        return Hint.HYDROXYL
    return Hint.WATER if _WATER.match(label) else None


def parse_formula(text: str | None) -> Formula | None:
    """Read a formula sum such as ``C2 H6 O``, ``Mg3 (O12 Si4) H2`` (AMCSD) or ``CdCl2``.

    Args:
        text: the formula; charges, variables and anything else but symbols, brackets and numbers make it unreadable.

    Returns:
        The formula, or None when there is none or it cannot be read completely.
    """
    stripped = (text or "").strip()
    if not stripped or len(stripped) > _MAX_FORMULA:
        return None
    counts: dict[str, float] = {}
    # One multiplier for each open bracket, found by reading from the end, where it stands behind the bracket.
    multipliers = [1.0]
    has_deuterium = False
    pieces = _FORMULA_PIECE.findall(stripped)
    if "".join("".join(piece) for piece in pieces) != _BLANKS.sub("", stripped):
        return None
    for symbol, opening, closing, number in reversed(pieces):
        if closing:
            multipliers.append(multipliers[-1] * float(number or 1))
        elif opening:
            multipliers.pop()
            if not multipliers:
                return None
        else:
            element = as_element(symbol)
            if element is None:
                return None
            counts[element[0]] = counts.get(element[0], 0.0) + multipliers[-1] * float(number or 1)
            has_deuterium |= element[1]
    present = {name: count for name, count in counts.items() if 0 < count < _MAX_COUNT}
    complete = len(multipliers) == 1 and len(present) == sum(count != 0 for count in counts.values())
    return Formula(present, has_deuterium, stripped) if present and complete else None


def hill_formula(counts: Mapping[str, float]) -> str:
    """Write counts in Hill order: C, H, then the alphabet; without carbon the alphabet alone."""
    first = ("C", "H") if "C" in counts else ()
    names: Collection[str] = [n for n in first if n in counts] + sorted(n for n in counts if n not in first)
    terms = []
    for name in names:
        count = round(counts[name], 3)
        if count:
            terms.append(name if count == 1 else f"{name}{count:.10g}")
    return " ".join(terms)
