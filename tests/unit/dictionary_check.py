"""A small validator of CIF blocks against a DDLm dictionary: what gemmi does for DDL1 and DDL2 only.

It knows single values of the types Text, Code, Integer and Real, ranges and enumerations; that is all our items use.
"""

import math
from dataclasses import dataclass

from gemmi import cif

from hinpaint.release.items import replaced_tag


@dataclass(frozen=True)
class Definition:
    """What a dictionary says about one item."""

    contents: str
    units: str | None
    low: float
    high: float
    states: frozenset[str]


def read_definitions(text: str) -> dict[str, Definition]:
    """Definitions by the tag that data files use (the alias)."""
    (block,) = cif.read_string(text)
    found = {}
    for item in block:
        frame = item.frame
        if frame is None or frame.find_value("_definition.scope") == "Category":
            continue
        low, _, high = str(frame.find_value("_enumeration.range") or ":").partition(":")
        found[str(cif.as_string(frame.find_value("_alias.definition_id")))] = Definition(
            contents=str(frame.find_value("_type.contents")),
            units=frame.find_value("_units.code"),
            low=float(low or -math.inf),
            high=float(high or math.inf),
            states=frozenset(frame.find_values("_enumeration_set.state")),
        )
    return found


def violations(block: cif.Block, definitions: dict[str, Definition]) -> list[str]:
    """What the items of our category in a block do that the dictionary does not allow."""
    wrong = []
    for item in block:
        if item.pair is not None and item.pair[0].startswith("_hinpaint_"):
            tag, value = item.pair
            if tag in definitions:
                wrong += [f"{tag} {value}: {said}" for said in _of_value(definitions[tag], value)]
            elif replaced_tag(tag) is None:
                wrong.append(f"{tag} is not defined")
        elif item.loop is not None:
            tags = [tag for tag in item.loop.tags if tag.startswith("_hinpaint_")]
            wrong += [f"{tag} is a loop" for tag in tags if replaced_tag(tag) is None]
    return wrong


def _of_value(definition: Definition, raw: str) -> list[str]:
    if cif.is_null(raw):
        return []
    text = str(cif.as_string(raw))
    if definition.contents == "Code" and not (text.isascii() and text.split() == [text]):
        return ["no code"]
    if definition.states and text not in definition.states:
        return ["no state of it"]
    if definition.contents not in ("Integer", "Real"):
        return []
    try:
        number = int(text) if definition.contents == "Integer" else float(text)
    except ValueError:
        return [f"no {definition.contents}"]
    return [] if definition.low <= number <= definition.high else ["out of range"]
