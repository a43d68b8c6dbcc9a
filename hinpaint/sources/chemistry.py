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
_CHARGE = re.compile(r"[A-Za-z]{1,2}(?:([0-9.]*)([+-])|([+-])([0-9.]+))$")
_LETTERS = re.compile(r"[A-Za-z]+")
_WATER = re.compile(r"(?:[Ww]at|WAT|O-?[Ww]|H2O|W)(?![a-z]*-?[Hh])")
_HYDROXYL = re.compile(r"O-?[Hh]")
_METAL_SITE = re.compile(r"M[0-9()]*")
# Labels that mean an oxygen of water whatever the formula holds: no element begins with "Wa".
_WATER_WORD = re.compile(r"wat", re.IGNORECASE)

# Symbol or bracket, then a number; "1.", ".5" and "0.5" are numbers, a single dot is none.
_FORMULA_PIECE = re.compile(r"(?:([A-Z][a-z]?)|([(\[])|([)\]]))((?:(?<![(\[])(?:[0-9]+\.?[0-9]*|\.[0-9]+))?)")
_BLANKS = re.compile(r"[\s,]+")
# Moiety formulae: "2(C12 H12 Ag N2 +), C4 H2 O4 2-, 9(H2 O)", polymers "(C5 H4)n", COD's mark-up "^2+^" and "~n~".
_PARTS = re.compile(r"(?:[,;·*]+|\s\.\s)(?![^(]*\))")
_CHARGES = re.compile(r"\^[^^]*\^|(?<=[\s)\]])(?:\d+(?:\.\d*)?)?n?[+-](?=\s*(?:[)\]]|$))|[+-](?=\s*(?:[)\]]|$))")
_POLYMER = re.compile(r"(?<=[)\]])\s*(?:~n~|[nx]\b|∞)|^\s*(?:~n~|n)(?=[(\[{ ])")
_MULTIPLIED = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)?\s*(?=[A-Z(\[])(.+)", re.DOTALL)
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
    if _is_water(label, elements):
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
    if candidates:
        return candidates[-1]
    metals = [name for name in elements if gemmi.Element(name).is_metal]
    return (metals[0], False) if len(metals) == 1 and is_metal_site(label) else None


def _is_water(label: str, elements: frozenset[str]) -> bool:
    """Say whether a label means water as one site: ``Wat``, ``W`` (but not tungsten's), ``H2O`` (but not H on O2)."""
    if _WATER_WORD.match(label):
        return True
    if "O" not in elements:
        return False
    return (label[0] == "W" and "W" not in elements) or (label.startswith("H2O") and "C" not in elements)


def is_metal_site(label: str) -> bool:
    """Say whether a label names a site of mineralogy (``M1``, ``M(2)``), which is the formula's metal if it has one."""
    return _METAL_SITE.fullmatch(label) is not None


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
    has_deuterium = has_tritium = False
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
            has_tritium |= symbol == "T"
    present = {name: count for name, count in counts.items() if 0 < count < _MAX_COUNT}
    complete = len(multipliers) == 1 and len(present) == sum(count != 0 for count in counts.values())
    return Formula(present, has_deuterium, stripped, has_tritium) if present and complete else None


def parse_moiety(text: str | None) -> Formula | None:
    """Read a formula by moieties such as ``2(C H3 O -), Ca 2+, 5(H2 O)``, or a structural one such as ``(Mg O)2 H2 O``.

    Charges are dropped and a polymer's ``n`` counts as one, which leaves the ratio of the elements right.

    Args:
        text: the formula; anything that cannot be read makes all of it unreadable.

    Returns:
        The sum over the parts, or None.
    """
    stripped = (text or "").strip()
    if not stripped or len(stripped) > _MAX_FORMULA:
        return None
    plain = stripped.translate(str.maketrans("{}", "()"))
    counts: dict[str, float] = {}
    has_deuterium = has_tritium = False
    for part in _PARTS.split(plain):
        body = _POLYMER.sub("", _CHARGES.sub("", part.strip()))
        match = _MULTIPLIED.match(re.sub(r"~([0-9.]+)~", r"\1", body))
        formula = parse_formula(match.group(2)) if match else None
        if match is None or formula is None:
            return None
        for name, count in formula.counts.items():
            counts[name] = counts.get(name, 0.0) + float(match.group(1) or 1) * count
        has_deuterium |= formula.has_deuterium
        has_tritium |= formula.has_tritium
    return Formula(counts, has_deuterium, stripped, has_tritium)


@lru_cache(maxsize=4096)
def charge_of_type(type_symbol: str) -> float | None:
    """Oxidation state in a type symbol (``Fe3+``, ``O-2``, ``Na+``); None when there is none."""
    match = _CHARGE.match(type_symbol)
    if match is None:
        return None
    digits, sign = (match.group(1), match.group(2)) if match.group(2) else (match.group(4), match.group(3))
    try:
        size = float(digits or 1)
    except ValueError:
        return None
    return -size if sign == "-" else size


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
