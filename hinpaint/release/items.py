"""Every ``_hinpaint_*`` item that a released CIF can hold: the one definition of its meaning, type, unit and values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Contents = Literal["Text", "Code", "Integer", "Real", "Version"]

ORIGINAL = "_hinpaint_original"
"""What stands before a tag of the source whose value was replaced."""

REPEATED = "_hinpaint_repeated"
"""With a number, what stands before a tag that the source gives a second time."""

_FAMILIES = re.compile(r"(_hinpaint_original|_hinpaint_repeated_\d+)(_.+)", re.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """One item.

    Attributes:
        name: its name behind ``_hinpaint_``.
        text: what it means.
        contents: DDLm type of its value.
        units: DDLm unit code of a number; ``none`` where it has no dimension.
        low: smallest number allowed.
        high: largest number allowed.
        values: allowed values and their meanings; empty where any value is.
    """

    name: str
    text: str
    contents: Contents = "Text"
    units: str = "none"
    low: float | None = None
    high: float | None = None
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """Tag in a CIF."""
        return f"_hinpaint_{self.name}"


ITEMS = (
    Item("version", "Version of hinpaint that wrote the file."),
    Item("entry_key", "The source record: name of the database, its version and the database's own identifier, "
         "separated by vertical bars."),
    Item("action", "What was done to the source record.", "Code", values={
        "completed": "Sites that the source lacks were added.",
        "replaced": "Sites that the source had calculated gave way to sites of lower energy."}),
    Item("element", "Chemical symbol of the placed sites. Deuterium and tritium count as H.", "Code"),
    Item("sites_added", "Number of placed sites in the unit cell.", "Integer", low=1),
    Item("method", "How the placed sites were proposed."),
    Item("method_doi", "Digital object identifier of the publication of the method."),
    Item("model_sha256", "SHA-256 of the weights of the diffusion model, in hexadecimal.", "Code"),
    Item("potential", "Interatomic potential that relaxed and ranked the candidates."),
    Item("energy_eV", "Potential energy of the unit cell that was relaxed, after all its sites and its lattice were.",
         "Real", "electron_volts"),
    Item("trials_passed", "Independent trials that converged and passed the geometric gates.", "Integer", low=0),
    Item("trials_agreeing", "Of these, trials that reached the released arrangement, the released one included.",
         "Integer", low=0),
    Item("confidence", "Calibrated probability that the placed sites are those of the true structure, as "
         "StructureMatcher of pymatgen judges with its default tolerances.", "Real", low=0.0, high=1.0),
    Item("confidence_strict", "Calibrated probability that every placed site is within 0.3 angstroms of the true one.",
         "Real", low=0.0, high=1.0),
    Item("grade", "What the confidence and the gates recommend.", "Code", values={
        "accept": "It can be taken as it is.",
        "review": "A person should look at it.",
        "reject": "It should not be used."}),
    Item("doubts", "Codes of what speaks against the placed sites, separated by blanks; '.' when nothing does. "
         "Their meanings are in docs/tables.md of hinpaint."),
    Item("gap_eV_per_atom", "Energy of the next arrangement found above the released one, relative to it, for each "
         "atom; '.' when no other arrangement was found.", "Real", "electron_volts"),
    Item("source_sha256", "SHA-256 of the source record as it was read, in hexadecimal.", "Code"),
    Item("source_licence", "Licence of the source record."),
    Item("symmetry", "What became of the symmetry.", "Code", values={
        "kept": "All operators of the source hold for the placed sites.",
        "lowered": "Some operators of the source hold; the group is a subgroup.",
        "P1": "Only the identity holds.",
        "found": "The source declares no symmetry; the operators were found in its host."}),
    Item("symmetry_tolerance_A", "Largest distance between a placed site and the image of another that counted as "
         "symmetric.", "Real", "angstroms", low=0.0),
    Item("symmetry_shift_A", "Largest displacement of a placed site when the sites were made exactly symmetric.",
         "Real", "angstroms", low=0.0),
    Item("symmetry_reason", "Why operators of the source, or of the host, are no longer there.", "Code", values={
        "placed_sites": "They do not map the placed sites onto themselves within the tolerance.",
        "read_back": "With them the file does not read back to the structure that it was written for.",
        "no_symmetry": "None are lost: the host has the identity alone."}),
    Item("symmetry_detail", "The same in words."),
)  # fmt: skip
"""Items about the completion, in the order in which they are written."""

_SYMMETRY_TAGS = (
    "_space_group_name_H-M_alt", "_space_group_name_H-M_full", "_symmetry_space_group_name_H-M",
    "_space_group_name_Hall", "_symmetry_space_group_name_Hall", "_space_group_IT_number",
    "_symmetry_Int_Tables_number", "_space_group_crystal_system", "_symmetry_cell_setting",
)  # fmt: skip
_ANGLE_TAGS = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
_FORMULA_TAGS = ("_chemical_formula_sum", "_chemical_formula_weight", "_cell_formula_units_Z")
_OPERATOR_TAGS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_SITE_NAMES = (
    "label", "type_symbol", "fract_x", "fract_y", "fract_z", "Cartn_x", "Cartn_y", "Cartn_z", "occupancy",
    "U_iso_or_equiv", "U_equiv_geom_mean", "B_iso_or_equiv", "B_equiv_geom_mean", "adp_type", "thermal_displace_type",
    "attached_hydrogens", "calc_attached_atom", "calc_flag", "chemical_conn_number", "constraints", "restraints",
    "description", "disorder_assembly", "disorder_group", "refinement_flags", "refinement_flags_posn",
    "refinement_flags_adp", "refinement_flags_occupancy", "symmetry_multiplicity", "site_symmetry_multiplicity",
    "site_symmetry_order", "Wyckoff_symbol",
)  # fmt: skip

ORIGINALS: Mapping[str, tuple[str, ...]] = {
    "single": (*_SYMMETRY_TAGS, *_FORMULA_TAGS, *_ANGLE_TAGS),
    "operators": _OPERATOR_TAGS,
    "atom_site": tuple(f"_atom_site_{name}" for name in _SITE_NAMES),
}
"""Tags of the core dictionary that can be set aside: single ones, the loop of operators, the loop of sites."""


def replaced_tag(tag: str) -> str | None:
    """The source's tag behind ``_hinpaint_original`` or ``_hinpaint_repeated_<n>``; None for any other tag."""
    found = _FAMILIES.fullmatch(tag)
    return found[2] if found else None
