"""Which records a release may pass on, changed: by their source's word and by their licence."""

import re
from collections.abc import Collection

# A completed structure is a changed copy. Creative Commons' ND licences forbid passing those on; SPDX writes NONE and
# NOASSERTION where nobody has granted anything. People write both in many ways, so both are looked for in plain words.
_NO_CHANGES = re.compile(r"\b(cc)?(by)?(nc)?nd(\b|\d)|\bnon? ?deriv")
_NOTHING_GRANTED = re.compile(
    r"(licen[cs]e(ref)?\b)? ?(no|none|n ?a|nil|null|nan|tbd|private|restricted|)"
    r"|.*(\bno ?licen[cs]e|\bno ?assertion|\bproprietary|\bconfidential|\ball ?rights ?reserved"
    r"|\b(un|not |none )(known|licensed|specified|defined|stated|given|available)"
    r"|\b(no|non|not|not be) ?(re)?distribut).*"
)
_SPDX = re.compile(r"[A-Za-z0-9.+-]+")


def refusal(licence: str, *, redistributable: bool, allowed: Collection[str] | None = None) -> str | None:
    """Say why a record may not enter a release.

    Args:
        licence: the record's licence, an SPDX identifier where one exists.
        redistributable: what the configuration says about its source.
        allowed: the only licences that may enter, if the configuration names some.

    Returns:
        One line, or None when it may enter.
    """
    if not redistributable:
        return f"the source is redistributable: false (licence {licence})"
    if allowed is not None:
        return None if licence in allowed else f"licence {licence} is not in release.licences"
    plain = re.sub(r"[\W_]+", " ", licence.lower()).strip()
    if _NO_CHANGES.search(plain):
        return f"licence {licence} forbids passing on changed copies"
    if _NOTHING_GRANTED.fullmatch(plain):
        return f"licence {licence} grants nothing; name it in release.licences if you have permission"
    return None


def licence_url(licence: str) -> str:
    """Page of an SPDX identifier; other text as it is."""
    plain = _SPDX.fullmatch(licence) and not licence.startswith("LicenseRef")
    return f"https://spdx.org/licenses/{licence}.html" if plain else licence
