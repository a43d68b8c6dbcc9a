"""Released structures as OPTIMADE 1.1 JSON Lines."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

from hinpaint.crystal import Crystal, FloatArray
from hinpaint.release.completion import METHOD_DOI, Completion

API_VERSION = "1.1.0"
PREFIX = "hinpaint"
_DECIMALS = 8


@dataclass(frozen=True)
class Property:
    """A property that hinpaint adds to a structure, as OPTIMADE describes properties.

    Attributes:
        type: OPTIMADE type of its value.
        text: what it means.
        unit: unit of a number in UCUM; None where it has no dimension.
    """

    type: Literal["string", "integer", "float", "list"]
    text: str
    unit: str | None = None


PROPERTIES: Mapping[str, Property] = {
    "entry_key": Property("string", "The source record: database, version and the database's own id, joined by |."),
    "source_id": Property("string", "The database's own id of the source record."),
    "source_sha256": Property("string", "SHA-256 of the source record as it was read."),
    "licence": Property("string", "Licence of the source record."),
    "cif": Property("string", "Path of the CIF in the release."),
    "action": Property("string", "completed: sites were added; replaced: calculated sites gave way to others."),
    "element": Property("string", "Element of the placed sites."),
    "n_added": Property("integer", "Number of placed sites; they are the last of the sites."),
    "energy_ev": Property("float", "Potential energy of the cell that was relaxed, after a full relaxation.", "eV"),
    "n_agree": Property("integer", "Trials that reached the released arrangement, itself included."),
    "n_passed": Property("integer", "Trials that converged and passed the geometric gates."),
    "confidence": Property("float", "Calibrated probability of the published match, 0 to 1; null if not judged."),
    "confidence_strict": Property("float", "Calibrated probability that every placed site is within 0.3 angstrom."),
    "grade": Property("string", "accept, review or reject; null if not judged."),
    "gap_mev_per_atom": Property("float", "Energy of the next arrangement above this one; null without one.", "meV"),
    "doubts": Property("list", "Codes of what speaks against the placed sites; null if not judged."),
    "symmetry": Property("string", "kept, lowered or P1 against the source's; found where the source declares none."),
    "potential": Property("string", "Interatomic potential that relaxed and ranked the candidates."),
    "model_sha256": Property("string", "SHA-256 of the weights of the diffusion model."),
    "method_doi": Property("string", "DOI of the publication of the method."),
    "version": Property("string", "Version of hinpaint."),
}
"""Every property of ours by its name behind ``_hinpaint_``."""


def header_line() -> str:
    """First line of an OPTIMADE JSON Lines file."""
    return _line({"x-optimade": {"meta": {"api_version": API_VERSION}}})


def info_line() -> str:
    """Second line: describes the properties that are not the standard's own, as ``/info/structures`` does."""
    properties = {
        f"_{PREFIX}_{name}": {"description": p.text, "type": p.type} | ({"unit": p.unit} if p.unit else {})
        for name, p in PROPERTIES.items()
    }
    return _line(
        {
            "id": "structures",
            "type": "info",
            "description": "Structures whose hydrogen was completed by hinpaint.",
            "properties": properties,
            "formats": ["json"],
            "output_fields_by_format": {"json": list(properties)},
        }
    )


def server_config() -> str:
    """Configuration file (JSON) with which the reference server of optimade-python-tools serves a release."""
    # Names with the prefix mean that the data hold it too.
    fields = [
        {"name": f"_{PREFIX}_{name}", "description": p.text, "type": p.type} | ({"unit": p.unit} if p.unit else {})
        for name, p in PROPERTIES.items()
    ]
    provider = {"prefix": PREFIX, "name": "hinpaint", "description": "Structures with completed hydrogen"}
    content = {"insert_test_data": False, "provider": provider, "provider_fields": {"structures": fields}}
    return json.dumps(content, indent=2) + "\n"


def structure_line(crystal: Crystal, completion: Completion, symmetry: str, source_id: str, name: str) -> str:
    """Write one completed structure as an OPTIMADE resource.

    Args:
        crystal: the host, then the placed sites (``known`` is false for these).
        completion: what is said about the completion.
        symmetry: kept, lowered or P1, or found where the source declares no symmetry.
        source_id: the database's own id.
        name: file name of the entry without suffix; becomes the resource's id.

    Returns:
        One line of JSON without its end; equal structures give equal text.
    """
    provider = {
        "entry_key": completion.entry_key,
        "source_id": source_id,
        "source_sha256": completion.source_sha256,
        "licence": completion.licence,
        "cif": f"cif/{name}.cif",
        "action": completion.action,
        "element": completion.element,
        "n_added": int((~crystal.known).sum()),
        "energy_ev": _number(completion.energy_ev),
        "n_agree": completion.n_agree,
        "n_passed": completion.n_passed,
        "confidence": _number(completion.confidence),
        "confidence_strict": _number(completion.confidence_strict),
        "grade": completion.grade,
        "gap_mev_per_atom": _number(completion.gap_mev_per_atom),
        "doubts": None if completion.doubts is None else list(completion.doubts),
        "symmetry": symmetry,
        "potential": completion.potential,
        "model_sha256": completion.model_sha256,
        "method_doi": METHOD_DOI,
        "version": completion.version,
    }
    attributes = structure_attributes(crystal) | {f"_{PREFIX}_{key}": value for key, value in provider.items()}
    return _line({"id": name, "type": "structures", "attributes": attributes})


def structure_attributes(crystal: Crystal) -> dict[str, Any]:
    """Give all properties that OPTIMADE 1.1 asks of an ordered structure."""
    counts = Counter(crystal.species)
    elements = sorted(counts)
    reduced = reduced_counts(counts)
    return {
        "immutable_id": None,
        # A time would make equal releases differ; the manifest and the version say which release this is.
        "last_modified": None,
        "elements": elements,
        "nelements": len(elements),
        "elements_ratios": [counts[element] / crystal.n_sites for element in elements],
        "chemical_formula_descriptive": _formula(reduced),
        "chemical_formula_reduced": _formula(reduced),
        "chemical_formula_anonymous": anonymous_formula(reduced),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": _rows(crystal.lattice),
        "cartesian_site_positions": _rows(crystal.frac @ crystal.lattice),
        "nsites": crystal.n_sites,
        "species": [{"name": e, "chemical_symbols": [e], "concentration": [1.0]} for e in elements],
        "species_at_sites": list(crystal.species),
        "structure_features": [],
    }


def reduced_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Divide counts by their greatest common divisor; elements in alphabetical order."""
    divisor = reduce(math.gcd, counts.values())
    return {element: counts[element] // divisor for element in sorted(counts)}


def anonymous_formula(counts: Mapping[str, int]) -> str:
    """Formula with letters for elements (A, B, ..., Z, Aa, Ba, ...), the most frequent element first."""
    names = [chr(65 + i % 26) + (chr(96 + i // 26) if i >= 26 else "") for i in range(len(counts))]
    return _formula(dict(zip(names, sorted(counts.values(), reverse=True), strict=True)))


def _formula(counts: Mapping[str, int]) -> str:
    return "".join(name + (str(count) if count > 1 else "") for name, count in counts.items())


def _rows(values: FloatArray) -> list[list[float]]:
    # Adding zero turns a negative zero into a positive one.
    return [[round(value, _DECIMALS) + 0.0 for value in row] for row in values.tolist()]


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, _DECIMALS)


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, allow_nan=False, separators=(",", ":"))
