"""Build the demonstration database from the table of facts, or check it.

``facts.toml`` holds every number; this script writes ``cod/cif/*/*/*/*.cif``, ``mc3d/structures.jsonl`` and the
tables of ``README.md``. With ``--check`` it writes nothing and fails if a file differs from what would be written, if
sites and formula do not add up, or if a distance is not one that crystals have.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import reduce
from math import gcd
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from facts import (
    HYDROGEN,
    Crystal,
    Facts,
    Paper,
    Record,
    Site,
    distance,
    expand,
    load_facts,
    missing_hydrogen,
    parse_sites,
)

HERE = Path(__file__).resolve().parent
# Distance from H to its nearest other atom, in angstrom: the bonds that occur in the table.
BOND = {"O": (0.85, 1.05), "N": (0.95, 1.08), "F": (1.10, 1.20), "Al": (1.55, 1.75), "Fe": (1.50, 1.60)}
BOND_TO_OTHER_METAL = (1.85, 2.50)
CLOSEST = {0: 1.20, 1: 0.85, 2: 1.45}  # shortest allowed distance by how many of the two atoms are hydrogen
PRIMITIVE = {  # rows: primitive basis vectors in units of the conventional ones, by centring letter
    "P": np.eye(3),
    "I": np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2,
    "F": np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2,
}
SITE_OPTIONS = {"occ": "occupancy", "calc": "calc_flag", "attached": "attached_hydrogens", "group": "disorder_group"}


def hill(composition: dict[str, float]) -> str:
    """Formula in Hill order as COD prints it: C and H first if there is carbon, else alphabetical."""
    first = [element for element in ("C", "H") if "C" in composition and element in composition]
    order = first + sorted(element for element in composition if element not in first)
    return " ".join(element + (f"{composition[element]:g}" if composition[element] != 1 else "") for element in order)


def cif_header(record: Record, paper: Paper) -> Iterator[str]:
    """Lines up to the end of the bibliography."""
    journal, year, volume, first, last = paper.source
    yield "# Demonstration database of hinpaint. Facts from the paper cited below, compiled by hand; CC0-1.0."
    yield "# The number is ours and not one of the Crystallography Open Database."
    yield f"data_{record.id}"
    yield "loop_\n_publ_author_name"
    yield from (gemmi.cif.quote(author) for author in paper.authors)
    yield f"_publ_section_title\n;\n {paper.title}\n;"
    for tag, value in (
        ("name_full", journal),
        ("page_first", first),
        ("page_last", last),
        ("volume", volume),
        ("year", str(year)),
    ):
        yield f"{'_journal_' + tag:<32} {gemmi.cif.quote(value)}"
    if paper.doi:
        yield f"{'_journal_paper_doi':<32} {gemmi.cif.quote(paper.doi)}"


def cif_crystal(record: Record) -> Iterator[str]:
    """Lines on formula, symmetry and cell."""
    crystal, group, cell = record.crystal, record.crystal.space_group(), record.crystal.unit_cell()
    weight = sum(gemmi.Element(e).weight * n for e, n in crystal.composition().items()) * crystal.z
    items = {
        "_chemical_formula_sum": "?" if record.damage == "no formula" else gemmi.cif.quote(hill(crystal.composition()))
    }
    if crystal.mineral:
        items["_chemical_name_mineral"] = crystal.mineral
    if not record.old_style:
        items["_chemical_name_systematic"] = gemmi.cif.quote(crystal.name)
        items["_space_group_IT_number"] = str(group.number)
        items["_symmetry_space_group_name_Hall"] = gemmi.cif.quote(group.hall)
    items["_symmetry_space_group_name_H-M"] = gemmi.cif.quote(crystal.group.replace(":", " :"))
    if record.damage != "no cell":
        names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
        items |= {f"_cell_{name}": value for name, value in zip(names, crystal.cell.split(), strict=True)}
        items["_cell_volume"] = f"{cell.volume:.2f}"
        items["_exptl_crystal_density_diffrn"] = f"{weight * 1.66053907 / cell.volume:.3f}"
    if not record.old_style:
        items["_cell_formula_units_Z"] = str(crystal.z)
    if crystal.temperature:
        items["_diffrn_ambient_temperature"] = str(crystal.temperature)
    items["_cod_database_code"] = str(record.id)
    yield from (f"{tag:<32} {value}" for tag, value in items.items())


def cif_text(record: Record, paper: Paper) -> str:
    """The whole CIF, with the damage the record asks for."""
    lines = [*cif_header(record, paper), *cif_crystal(record)]
    lines += ["loop_", "_space_group_symop_operation_xyz" if record.old_style else "_symmetry_equiv_pos_as_xyz"]
    lines += [operation.triplet() for operation in record.crystal.space_group().operations()]
    sites = record.sites()
    options = [option for option in SITE_OPTIONS if any(option in site.options for site in sites)]
    columns = ["label", *([] if record.old_style else ["type_symbol"]), "fract_x", "fract_y", "fract_z"]
    lines += ["loop_", *(f"_atom_site_{column}" for column in columns + [SITE_OPTIONS[option] for option in options])]
    default = {"occ": "1", "calc": "d", "attached": "0", "group": "."}
    for site in sites:
        values = [site.label, *([] if record.old_style else [site.type_symbol]), *site.xyz]
        lines.append(" ".join(values + [site.options.get(option, default[option]) for option in options]))
    text = "\n".join(lines) + "\n"
    if record.damage == "truncated":
        return text.rsplit(maxsplit=4)[0]
    if record.damage == "open quote":
        return text.replace(f"{'_chemical_name_mineral':<32} ", f"{'_chemical_name_mineral':<32} '")
    return text


def optimade_resource(key: str, crystal: Crystal, last_modified: str) -> dict[str, Any]:
    """One `structures` resource: the primitive cell, deuterium written as hydrogen, angstrom, 8 decimals."""
    basis = PRIMITIVE[crystal.space_group().hm[0]]
    lattice = basis @ np.array(crystal.unit_cell().orth.mat.tolist()).T
    kept: list[tuple[str, np.ndarray]] = []
    for site, position in expand(crystal, parse_sites(crystal.sites)):
        fractional = np.round(position @ np.linalg.inv(basis), 8) % 1.0
        gaps = (fractional - other for _, other in kept)
        if all(np.abs(gap - np.round(gap)).max() > 1e-4 for gap in gaps):
            kept.append(("H" if site.element == "D" else site.element, fractional))
    counts = dict(sorted(Counter(element for element, _ in kept).items()))
    divisor = reduce(gcd, counts.values())
    reduced = {element: count // divisor for element, count in counts.items()}
    identifier = str(uuid.uuid5(uuid.NAMESPACE_URL, f"hinpaint/examples/mc3d/{key}"))
    attributes = {
        "immutable_id": identifier,
        "last_modified": last_modified,
        "elements": list(counts),
        "nelements": len(counts),
        "elements_ratios": [count / len(kept) for count in counts.values()],
        "chemical_formula_descriptive": " ".join(f"{e}{n if n > 1 else ''}" for e, n in counts.items()),
        "chemical_formula_reduced": "".join(f"{e}{n if n > 1 else ''}" for e, n in reduced.items()),
        "chemical_formula_anonymous": "".join(
            f"{letter}{n if n > 1 else ''}" for letter, n in zip("ABCDEFGH", sorted(reduced.values()), strict=False)
        ),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": (np.round(lattice, 8) + 0.0).tolist(),
        "cartesian_site_positions": [(np.round(position @ lattice, 8) + 0.0).tolist() for _, position in kept],
        "nsites": len(kept),
        "species": [{"name": e, "chemical_symbols": [e], "concentration": [1.0]} for e in counts],
        "species_at_sites": [element for element, _ in kept],
        "structure_features": [],
    }
    return {"id": identifier, "type": "structures", "attributes": attributes}


def optimade_text(facts: Facts) -> str:
    """The JSON Lines export: a header line, then one resource a line."""
    resources = [
        optimade_resource(key, facts.crystals[key], facts.optimade["last_modified"])
        for key in facts.optimade["crystals"]
    ]
    return "".join(json.dumps(line) + "\n" for line in [{"x-optimade": {"meta": {"api_version": "1.1.0"}}}, *resources])


def readme_text(facts: Facts, current: str) -> str:
    """The hand-written README with its two tables and its list of papers written afresh."""
    rows = [
        "| id | compound | space group | sites in the cell | missing H | class | shows | reference |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for record in facts.records:
        crystal = record.crystal
        unknown = record.cls in ("broken", "unusable")
        sites = "-" if unknown else str(len(expand(crystal, record.sites())))
        missing = "-" if unknown else f"{missing_hydrogen(record):g}"
        name = f"{crystal.name} ({crystal.mineral})" if crystal.mineral else crystal.name
        row = [str(record.id), name, crystal.group, sites, missing, record.cls, record.shows, crystal.paper]
        rows.append(f"| {' | '.join(row)} |")
    exported = [
        "| id | compound | formula of the cell | space group | sites | reference |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for key in facts.optimade["crystals"]:
        crystal = facts.crystals[key]
        given = optimade_resource(key, crystal, "")["attributes"]
        columns = [
            given["immutable_id"],
            crystal.name,
            given["chemical_formula_descriptive"],
            crystal.group,
            given["nsites"],
            crystal.paper,
        ]
        exported.append(f"| {' | '.join(map(str, columns))} |")
    papers = []
    for key, paper in sorted(facts.papers.items()):
        uses = [f"{crystal.name}: {crystal.used}" for crystal in facts.crystals.values() if crystal.paper == key]
        papers.append(f"- **{key}** {paper.cite()}. Used for {'. '.join(uses)}.")
    for marker, lines in (("cif", rows), ("optimade", exported), ("papers", papers)):
        block = f"<!-- {marker}: written by build.py -->\n" + "\n".join(lines) + f"\n<!-- {marker}: end -->"
        before, rest = current.split(f"<!-- {marker}: written by build.py -->")
        current = before + block + rest.split(f"<!-- {marker}: end -->")[1]
    return current


def geometry_faults(crystal: Crystal, sites: list[Site]) -> Iterator[str]:
    """Clashes, and hydrogen whose nearest other atom is not at a bond length."""
    atoms, cell = expand(crystal, sites), crystal.unit_cell()
    for index, (site, position) in enumerate(atoms):
        hydrogen = site.element in HYDROGEN
        neighbours = []
        for other_index, (other, other_position) in enumerate(atoms):
            # A mixed site and alternative hydrogen positions may coincide: at most one of them is there.
            partial = "occ" in site.options and "occ" in other.options
            if other_index == index or (partial and float(site.options["occ"]) < 1 and float(other.options["occ"]) < 1):
                continue
            gap = distance(cell, position, other_position)
            other_hydrogen = other.element in HYDROGEN
            if gap < CLOSEST[hydrogen + other_hydrogen]:
                yield f"{site.label}-{other.label} {gap:.3f}"
            if not other_hydrogen:
                neighbours.append((gap, other.element))
        if hydrogen:
            gap, element = min(neighbours)
            low, high = BOND.get(element, BOND_TO_OTHER_METAL)
            if not low <= gap <= high:
                yield f"{site.label} {gap:.3f} from {element}"


def formula_faults(record: Record) -> Iterator[str]:
    """Heavy atoms must give the formula exactly; hydrogen too where the record claims to be complete."""
    placed: defaultdict[str, float] = defaultdict(float)
    for site, _ in expand(record.crystal, record.sites()):
        placed[site.element] += float(site.options.get("occ", 1))
    for element, count in record.crystal.composition().items():
        wanted = count * record.crystal.z
        if element not in HYDROGEN and abs(placed[element] - wanted) > 1e-6:
            yield f"{placed[element]:g} {element} in the cell, formula says {wanted:g}"
    gap, complete = missing_hydrogen(record), record.cls in ("complete", "no H", "H disordered", "H calculated")
    if (complete and abs(gap) > 1e-6) or (not complete and not record.damage and gap < 1):
        yield f"{gap:g} hydrogen missing in a record of class '{record.cls}'"


def generate(facts: Facts) -> dict[str, str]:
    """Every file of the database: path below this folder, and text."""
    files = {record.path: cif_text(record, facts.papers[record.crystal.paper]) for record in facts.records}
    files["mc3d/structures.jsonl"] = optimade_text(facts)
    files["README.md"] = readme_text(facts, (HERE / "README.md").read_text(encoding="utf-8"))
    return files


def faults(facts: Facts, files: dict[str, str]) -> Iterator[str]:
    """Everything that is wrong, one line each."""
    for record in facts.records:
        for fault in (*formula_faults(record), *geometry_faults(record.crystal, record.sites())):
            yield f"{record.id} {record.crystal.name}: {fault}"
    for key in facts.optimade["crystals"]:
        for fault in geometry_faults(facts.crystals[key], parse_sites(facts.crystals[key].sites)):
            yield f"{key}: {fault}"
    for path, text in files.items():
        target = HERE / path
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            yield f"{path} is not what facts.toml gives"
    written = {
        str(path.relative_to(HERE))
        for folder in ("cod", "mc3d")
        for path in (HERE / folder).rglob("*")
        if path.is_file()
    }
    yield from (f"{path} is not in facts.toml" for path in sorted(written - set(files)))


def main() -> int:
    """Exit code 0 if all is right, 1 otherwise."""
    parser = argparse.ArgumentParser(description="Build or check the demonstration database.")
    parser.add_argument("--check", action="store_true", help="write nothing, verify files, formulas and distances")
    check = parser.parse_args().check
    facts = load_facts(HERE / "facts.toml")
    files = generate(facts)
    if not check:
        for path, text in files.items():
            (HERE / path).parent.mkdir(parents=True, exist_ok=True)
            (HERE / path).write_text(text, encoding="utf-8")
    found = list(faults(facts, files))
    fine = f"{len(facts.records)} CIFs and {len(facts.optimade['crystals'])} OPTIMADE structures are as they should be"
    print("\n".join(found) or fine)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
