"""What ships with hinpaint: the name of the default weights, and potentials (a packaged NequIP model and its card)."""

import json
from importlib import resources
from pathlib import Path
from typing import Any, Final

DEFAULT_WEIGHTS: Final = "td-medium"
"""Diffusion weights that are used where none are named."""

POTENTIALS: Final = ("nequip-small",)
"""Names of the shipped potentials, as the configuration takes them."""


def potential_files(name: str) -> tuple[Path, Path]:
    """Paths of a shipped potential's package and of its card."""
    folder = Path(str(resources.files("hinpaint") / "models"))
    return folder / f"{name}.nequip.zip", folder / f"{name}.json"


def potential_card(name: str) -> dict[str, Any]:
    """What the card of a shipped potential says; ``sha256`` is the hash of its package."""
    card: dict[str, Any] = json.loads(potential_files(name)[1].read_text(encoding="utf-8"))
    return card
