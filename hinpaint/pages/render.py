"""What all pages share: templates, assets beside or inside a page, and text that stays text."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

_ROOM = resources.files("hinpaint.pages")
_CLOSED = "default-src 'none'; base-uri 'none'; form-action 'none'"
# To the letter of the standard 'self' covers no page that is opened from a disk.
_BESIDE = f"{_CLOSED}; script-src 'self' file:; style-src 'self' file: 'unsafe-inline'"
_TOKEN = re.compile(r"([A-Z][a-z]?)(\d+(?:\.\d+)?)?")


@dataclass(frozen=True)
class Assets:
    """Style sheets and scripts of a page.

    Attributes:
        policy: the page's content security policy.
        styles: elements of its head.
        scripts: elements at its end.
    """

    policy: str
    styles: tuple[Markup, ...]
    scripts: tuple[Markup, ...]


def beside(root: str, styles: tuple[str, ...], scripts: tuple[str, ...]) -> Assets:
    """Assets in files, named relative to the page; ``root`` is the way to the folder that holds ``assets/``."""
    return Assets(
        policy=_BESIDE,
        styles=tuple(Markup('<link rel="stylesheet" href="{}assets/{}">').format(root, name) for name in styles),
        scripts=tuple(Markup('<script src="{}assets/{}"></script>').format(root, name) for name in scripts),
    )


def inside(styles: tuple[str, ...], scripts: tuple[str, ...]) -> Assets:
    """Assets within the page, which then needs no other file; its policy knows the scripts by their hashes."""
    texts = [re.sub(r"</(script)", r"<\\/\1", asset(name), flags=re.IGNORECASE) for name in scripts]
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}'" for t in texts)
    return Assets(
        policy=f"{_CLOSED}; script-src {hashes}; style-src 'unsafe-inline'",
        styles=tuple(Markup(f"<style>{asset(name)}</style>") for name in styles),  # noqa: S704 - files of ours
        scripts=tuple(Markup(f"<script>{text}</script>") for text in texts),  # noqa: S704 - files of ours
    )


@cache
def asset(name: str) -> str:
    """Text of a style sheet or script: our own, or one of ``vendor/``."""
    own = _ROOM / name
    return (own if own.is_file() else _ROOM / "vendor" / name).read_text(encoding="utf-8")


@cache
def environment() -> Environment:
    """Templates with the filters that they use; everything that is put into them is escaped."""
    found = Environment(
        loader=PackageLoader("hinpaint.pages", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters |= {"formula": formula, "address": address, "trial": trial_name, "thousands": "{:,}".format}
    return found


def script_data(value: Any) -> Markup:
    """JSON that no HTML parser sees an end in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - nothing that HTML knows is left


def formula(text: str) -> Markup:
    """A chemical formula with its numbers as subscripts; any other text as it is."""
    tokens = text.split()
    found = [_TOKEN.fullmatch(token) for token in tokens]
    if not all(found):
        return escape(text)
    parts = [(match[1], match[2]) for match in found if match]
    return Markup("").join(
        Markup("{}<sub>{}</sub>").format(name, number) if number and number != "1" else escape(name)
        for name, number in parts
    )


def address(name: str) -> str:
    """A file's name as part of an address: its percent signs are no escapes."""
    return quote(name, safe="")


def trial_name(trial: int) -> str:
    """What people call a trial."""
    if trial == -1:
        return "reference"
    return f"trial {trial}" if trial >= 0 else f"chance {-1 - trial}"
