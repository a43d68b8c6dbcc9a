"""Released structures as OPTIMADE 1.1 JSON Lines."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from functools import reduce
from typing import Any

from hinpaint.crystal import Crystal, FloatArray
from hinpaint.release.cif import METHOD_DOI, Completion

API_VERSION = "1.1.0"
_DECIMALS = 8


def header_line() -> str:
    """First line of an OPTIMADE JSON Lines file."""
    return _line({"x-optimade": {"meta": {"api_version": API_VERSION}}})


def structure_line(crystal: Crystal, completion: Completion, symmetry: str, source_id: str, name: str) -> str:
    """Write one completed structure as an OPTIMADE resource.

    Args:
        crystal: the host, then the placed sites (``known`` is false for these).
        completion: what is said about the completion.
        symmetry: kept, lowered, P1, or none where the source declares no symmetry.
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
        "symmetry": symmetry,
        "potential": completion.potential,
        "model_sha256": completion.model_sha256,
        "method_doi": METHOD_DOI,
        "version": completion.version,
    }
    attributes = structure_attributes(crystal) | {f"_hinpaint_{key}": value for key, value in provider.items()}
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
