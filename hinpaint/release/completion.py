"""What a released CIF says about how it was made: the completion, its symmetry, the dictionaries to read it by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from gemmi import cif

from hinpaint.release import dictionary
from hinpaint.release.blocks import name_dictionaries, quoted, tags_of
from hinpaint.release.items import ITEMS
from hinpaint.release.symmetry import Placement

METHOD = "score-based diffusion inpainting"
METHOD_DOI = "10.1038/s41524-026-02090-1"
_OWN_DICTIONARY = (dictionary.NAME, dictionary.VERSION, dictionary.NAME)
# Name, version and place as AiiDA's exporter of TCOD files gives them.
_TCOD_DICTIONARY = (
    "cif_tcod.dic", "0.010", "http://www.crystallography.net/tcod/cif/dictionaries/cif_tcod.dic",
)  # fmt: skip
_SOFTWARE = "_tcod_software_"


@dataclass(frozen=True)
class Completion:
    """What a released file says about how it was made.

    Attributes:
        entry_key: ``database|version|id``.
        action: ``completed`` or ``replaced``.
        element: element of the placed sites.
        energy_ev: energy of the candidate after the full relaxation, eV a cell.
        n_agree: trials that reached the candidate's arrangement, itself included.
        n_passed: trials that passed the gates.
        potential: potential that decided.
        model_sha256: SHA-256 of the diffusion weights.
        source_sha256: SHA-256 of the source record.
        licence: licence of the source record.
        version: version of hinpaint.
        confidence: calibrated probability of the published match, 0 to 1; None where it was not judged.
        confidence_strict: the same for the strict distance.
        grade: ``accept``, ``review`` or ``reject``; None where it was not judged.
        gap_mev_per_atom: energy of the next arrangement above this one; None without one.
        doubts: codes of what speaks against the candidate; None where it was not judged.
    """

    entry_key: str
    action: str
    element: str
    energy_ev: float | None
    n_agree: int
    n_passed: int
    potential: str
    model_sha256: str | None
    source_sha256: str
    licence: str
    version: str
    confidence: float | None = None
    confidence_strict: float | None = None
    grade: str | None = None
    gap_mev_per_atom: float | None = None
    doubts: tuple[str, ...] | None = None

    @classmethod
    def from_rows(cls, decision: Mapping[str, Any], entry: Mapping[str, Any], version: str) -> Self:
        """Build from a row of ``decisions`` and the same entry's row of ``entries``."""
        names = (
            "entry_key", "action", "element", "energy_ev", "n_agree", "n_passed", "potential", "model_sha256",
            "confidence", "confidence_strict", "grade", "gap_mev_per_atom",
        )  # fmt: skip
        return cls(
            **{name: decision[name] for name in names},
            doubts=tuple(decision["doubts"]),
            source_sha256=entry["source_sha256"],
            licence=entry["licence"],
            version=version,
        )

    def items(self, n_added: int) -> dict[str, str]:
        """Tags and quoted values for a CIF: ``?`` for what is not known, ``.`` for what there is none of.

        Args:
            n_added: placed sites in the cell.
        """
        judged = self.grade is not None
        gap = None if self.gap_mev_per_atom is None else f"{self.gap_mev_per_atom / 1000:.6f}"
        values: dict[str, str | int | None] = {
            "version": self.version,
            "entry_key": self.entry_key,
            "action": self.action,
            "element": self.element,
            "sites_added": n_added,
            "method": METHOD,
            "method_doi": METHOD_DOI,
            "model_sha256": self.model_sha256,
            "potential": self.potential,
            "energy_eV": None if self.energy_ev is None else f"{self.energy_ev:.6f}",
            "trials_passed": self.n_passed,
            "trials_agreeing": self.n_agree,
            "confidence": None if self.confidence is None else f"{self.confidence:.3f}",
            "confidence_strict": None if self.confidence_strict is None else f"{self.confidence_strict:.3f}",
            "grade": self.grade,
            "doubts": " ".join(self.doubts) if self.doubts else None,
            "gap_eV_per_atom": gap,
            "source_sha256": self.source_sha256,
            "source_licence": self.licence,
        }
        none = {"doubts": "." if self.doubts == () else "?", "gap_eV_per_atom": "." if judged else "?"}
        return {
            f"_hinpaint_{name}": none.get(name, "?") if value is None else quoted(str(value))
            for name, value in values.items()
        }


def write_provenance(block: cif.Block, completion: Completion, placement: Placement, source: str = "source") -> None:
    """Say in a block what was done, by which program, and by which dictionaries that is to be read.

    Args:
        block: the block that holds the sites.
        completion: what is said about the completion.
        placement: the placed sites and their symmetry.
        source: see :func:`symmetry_items`.
    """
    # What an earlier completion said is no longer so; not every item is written each time.
    for item in ITEMS:
        stale = block.find_pair_item(item.tag)
        if stale is not None:
            stale.erase()
    dictionaries = [_OWN_DICTIONARY]
    is_ours = block.find_value(f"{_SOFTWARE}package") == "hinpaint"
    # A theoretical source names the program that computed it; that statement stays alone.
    if is_ours or not any(tag.lower().startswith(_SOFTWARE) for tag in tags_of(block)):
        block.set_pair(f"{_SOFTWARE}package", "hinpaint")
        block.set_pair(f"{_SOFTWARE}package_version", quoted(completion.version))
        dictionaries.append(_TCOD_DICTIONARY)
    name_dictionaries(block, dictionaries)
    items = completion.items(len(placement.frac)) | symmetry_items(placement, source)
    for tag, value in items.items():
        block.set_pair(tag, value)


def symmetry_kind(placement: Placement, declared: bool) -> str:
    """Value of ``_hinpaint_symmetry``; ``declared`` is false where the operators were found and not the source's."""
    if declared:
        return placement.kind
    return "found" if len(placement.operators) > 1 else "P1"


def symmetry_items(placement: Placement, source: str = "source") -> dict[str, str]:
    """Tags and values that say what became of the symmetry, and why.

    Args:
        placement: the placed sites and their symmetry.
        source: whose operators the placement started from: ``source`` for those that are listed there, ``host`` for
            those that were found in a host without any.
    """
    n_kept, n_source = len(placement.operators), len(placement.source_operators)
    items = {
        "_hinpaint_symmetry": symmetry_kind(placement, source == "source"),
        "_hinpaint_symmetry_tolerance_A": f"{placement.tolerance_a:g}",
        "_hinpaint_symmetry_shift_A": f"{placement.shift_a:.4f}",
    }
    if n_source == 1:
        return items | {"_hinpaint_symmetry_reason": "no_symmetry"}
    if n_kept == n_source:
        return items
    reason = "read_back" if placement.refused else "placed_sites"
    return items | {
        "_hinpaint_symmetry_reason": reason,
        "_hinpaint_symmetry_detail": quoted(_symmetry_detail(placement, source)),
    }


def _symmetry_detail(placement: Placement, source: str) -> str:
    name = (placement.group.symbol or f"number {placement.group.number}") if placement.group else "without a name"
    n_kept, n_source = len(placement.operators), len(placement.source_operators)
    parts = [
        f"{n_kept} of {n_source} operators of the {source} are kept; the group is {name}, of index {placement.index}"
    ]
    if placement.refused:
        parts.append(f"with more of them the file does not read back: {placement.refused}")
    elif np.isfinite(placement.nearest_lost_a):
        parts.append(f"the best of the others misses a placed site by {placement.nearest_lost_a:.2f} angstroms")
    else:
        parts.append("each of the others takes two placed sites to one")
    if source == "source":
        parts.append("anisotropic and geometry items refer to the original operators")
    return "; ".join(parts)
