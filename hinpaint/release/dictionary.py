"""The CIF dictionary of the ``_hinpaint_*`` items, in DDLm, written from their one definition."""

import textwrap
from collections.abc import Iterable, Sequence

from gemmi import cif

from hinpaint.release.items import ITEMS, ORIGINALS, Item
from hinpaint.tabledoc import table_markdown

NAME = "cif_hinpaint.dic"
VERSION = "1.0.0"
"""Grows with every change of an item: the first number where a file that was valid no longer is."""
_DATE = "2026-11-23"
_WIDTH = 80

_ABOUT = """\
Items that hinpaint adds to a CIF whose hydrogen it completed. Everything else in such a file is the source's own, with
its own tags and values.

Two families of items follow a rule and are not all listed here, as a source may hold any tag. '_hinpaint_original'
before a tag of the source gives the value that stood under this tag before the completion. '_hinpaint_repeated_<n>'
before a tag gives the value of its n-th occurrence, where a source repeats a tag, which no strict reader accepts. For
the type of either see the definition of the tag itself."""

_PURPOSES = {"Text": "Describe", "Code": "Encode", "Integer": "Number", "Real": "Number"}
_CATEGORIES = {
    "single": ("HINPAINT_ORIGINAL", "Set", "Single values of the source that the completion changed."),
    "operators": ("HINPAINT_ORIGINAL_OPERATOR", "Loop", "The source's symmetry operators, where they were replaced."),
    "atom_site": (
        "HINPAINT_ORIGINAL_ATOM_SITE",
        "Loop",
        "Rows of the source's atom-site loop that were removed or rewritten; all where the symmetry was lowered.",
    ),
}


def dictionary_text() -> str:
    """Text of ``cif_hinpaint.dic``, which every released CIF names and every release holds."""
    head = (
        "#\\#CIF_2.0",
        f"# The items that hinpaint adds to a CIF. Written by hinpaint/release/dictionary.py; {NAME} {VERSION}.",
        "data_CIF_HINPAINT",
        *_pairs(
            ("_dictionary.title", "CIF_HINPAINT"),
            ("_dictionary.class", "Instance"),
            ("_dictionary.version", VERSION),
            ("_dictionary.date", _DATE),
            ("_dictionary.uri", NAME),
            ("_dictionary.ddl_conformance", "4.2.0"),
            ("_dictionary.namespace", "Hinpaint"),
        ),
        *_text("_description.text", _ABOUT),
    )
    frames = [
        _category("HINPAINT_HEAD", "CIF_HINPAINT", "Head", "The head of all categories of this dictionary."),
        _category("HINPAINT", "HINPAINT_HEAD", "Set", "What was done to the source, by what, and how sure it is."),
        *(_item(item) for item in ITEMS),
        *(frame for kind in ORIGINALS for frame in _originals(kind)),
    ]
    audit = _loop(
        ("_dictionary_audit.version", "_dictionary_audit.date", "_dictionary_audit.revision"),
        [(VERSION, _DATE, "'First version.'")],
    )
    return "\n".join([*head, *(line for frame in frames for line in ("", *frame)), "", *audit]) + "\n"


def items_markdown() -> str:
    """Table of the items for docs/cif.md, which a test keeps in step."""
    rows = []
    for item in ITEMS:
        states = " ".join(f"`{value}`: {text}" for value, text in item.values.items())
        unit = "" if item.units == "none" else f", {item.units.replace('_', ' ')}"
        limits = "" if item.low is None and item.high is None else f", {_range(item)}"
        rows.append((f"`{item.tag}`", f"{item.contents}{unit}{limits}", f"{item.text} {states}".strip()))
    return table_markdown(("item", "type", "meaning"), rows)


def _range(item: Item) -> str:
    low, high = ("" if limit is None else f"{limit:g}" for limit in (item.low, item.high))
    return f"{low}:{high}"


def _category(name: str, parent: str, kind: str, text: str, key: str | None = None) -> list[str]:
    pairs = [("_definition.id", name), ("_definition.scope", "Category"), ("_definition.class", kind)]
    pairs += [("_definition.update", _DATE)]
    names = [("_name.category_id", parent), ("_name.object_id", name)]
    keys = [("_category_key.name", f"'{key}'")] if key else []
    return [f"save_{name}", *_pairs(*pairs), *_text("_description.text", text), *_pairs(*names, *keys), "save_"]


def _item(item: Item) -> list[str]:
    purpose = "State" if item.values else _PURPOSES[item.contents]
    lines = _definition("hinpaint", item.name, item.tag, item.text)
    lines += _pairs(("_type.purpose", purpose), ("_type.source", "Derived" if purpose == "Number" else "Assigned"))
    lines += _pairs(("_type.container", "Single"), ("_type.contents", item.contents))
    if item.low is not None or item.high is not None:
        lines += _pairs(("_enumeration.range", _range(item)))
    if purpose == "Number":
        lines += _pairs(("_units.code", item.units))
    if item.values:
        states = [(value, str(cif.quote(text))) for value, text in item.values.items()]
        lines += _loop(("_enumeration_set.state", "_enumeration_set.detail"), states)
    return [*lines, "save_"]


def _originals(kind: str) -> Iterable[list[str]]:
    category, shape, text = _CATEGORIES[kind]
    names = {tag: _object_name(kind, tag) for tag in ORIGINALS[kind]}
    first = next(iter(names.values()))
    key = f"_{category.lower()}.{first}" if shape == "Loop" else None
    yield _category(category, "HINPAINT_HEAD", shape, text, key)
    for tag, name in names.items():
        lines = _definition(category.lower(), name, f"_hinpaint_original{tag}", f"The source's value of {tag}.")
        purpose = "Key" if f"_{category.lower()}.{name}" == key else "Describe"
        lines += _pairs(("_type.purpose", purpose), ("_type.source", "Recorded"), ("_type.container", "Single"))
        yield [*lines, *_pairs(("_type.contents", "Text")), "save_"]


def _object_name(kind: str, tag: str) -> str:
    return tag.removeprefix("_atom_site_") if kind == "atom_site" else tag.removeprefix("_")


def _definition(category: str, name: str, tag: str, text: str) -> list[str]:
    """Lines of a definition up to its type; data files use the tag without a dot, which becomes an alias."""
    return [
        f"save_{category}.{name}",
        *_pairs(
            ("_definition.id", f"'_{category}.{name}'"),
            ("_alias.definition_id", f"'{tag}'"),
            ("_definition.update", _DATE),
        ),
        *_text("_description.text", text),
        *_pairs(("_name.category_id", category), ("_name.object_id", name)),
    ]


def _pairs(*pairs: tuple[str, str]) -> list[str]:
    return [f"{tag:<33} {value}" for tag, value in pairs]


def _text(tag: str, text: str) -> list[str]:
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    lines = [textwrap.wrap(part, _WIDTH - 4) for part in paragraphs]
    body = [f"    {line}" if line else "" for part in lines for line in (*part, "")][:-1]
    return [tag, ";", *body, ";"]


def _loop(tags: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return ["loop_", *tags, *("  ".join(row) for row in rows)]
