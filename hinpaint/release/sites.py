"""The ``_atom_site`` loop of a CIF: which rows stay, which are expanded, which are added. Values stay as written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gemmi import cif

from hinpaint.crystal import FloatArray
from hinpaint.release.blocks import pairs_of
from hinpaint.release.items import ORIGINAL
from hinpaint.release.symmetry import Placement, host_orbits
from hinpaint.sources.chemistry import element_of_site
from hinpaint.sources.records import ParsedRecord

_PREFIX = "_atom_site_"
_AXES = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
_LABEL, _TYPE, _FLAG = "_atom_site_label", "_atom_site_type_symbol", "_atom_site_calc_flag"
_MULTIPLICITIES = ("_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity")
_ATTACHED = "_atom_site_attached_hydrogens"
_ORDER = "_atom_site_site_symmetry_order"
_WYCKOFF = "_atom_site_wyckoff_symbol"
# What the labels of placed sites hold.
_PLACED = re.compile(r"_hp\d")
# Values that hold for one site and not for its images: operators move and turn them.
_OF_ONE_SITE = ("_atom_site_cartn_", "_atom_site_aniso_")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_*'+().-]*")
# What does not apply to a placed site, against what is not known of it ("?").
_NOT_APPLICABLE = frozenset(
    _PREFIX + name
    for name in (
        "disorder_assembly", "disorder_group", "refinement_flags", "refinement_flags_posn", "refinement_flags_adp",
        "refinement_flags_occupancy", "adp_type", "thermal_displace_type", "attached_hydrogens", "calc_attached_atom",
        "constraints", "restraints", "chemical_conn_number",
    )
)  # fmt: skip


@dataclass(frozen=True)
class SiteTable:
    """The atom-site loop as text.

    Attributes:
        tags: tags as written.
        rows: raw values, one tuple a row, quotes and standard uncertainties included.
    """

    tags: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, tag: str) -> int | None:
        """Position of a tag (lower case), None when absent."""
        names = [name.lower() for name in self.tags]
        return names.index(tag) if tag in names else None

    def value(self, row: Sequence[str], tag: str) -> str | None:
        """Unquoted value of a row; None when absent, ``.`` or ``?``."""
        position = self.column(tag)
        if position is None or cif.is_null(row[position]):
            return None
        return str(cif.as_string(row[position]))

    def with_column(self, tag: str, values: Sequence[str]) -> "SiteTable":
        """Return the table with a column; one that is there keeps its values, and empty ones (``?``) are filled in."""
        position = self.column(tag)
        if position is not None:
            filled = ((*r[:position], v if cif.is_null(r[position]) else r[position], *r[position + 1 :])
                      for r, v in zip(self.rows, values, strict=True))  # fmt: skip
            return SiteTable(self.tags, tuple(filled))
        return SiteTable((*self.tags, tag), tuple((*r, v) for r, v in zip(self.rows, values, strict=True)))


@dataclass(frozen=True)
class Edited:
    """The atom-site loop after the completion.

    Attributes:
        table: what the released loop holds.
        set_aside: original rows that were removed or rewritten; None when the original rows all stand as they were.
    """

    table: SiteTable
    set_aside: SiteTable | None


def read_site_table(block: cif.Block) -> SiteTable:
    """Read the atom-site loop of a block; sites written as single items become a loop of one row.

    Raises:
        ValueError: the block has no atom sites.
    """
    loop = block.find_loop(_AXES[0]).get_loop()
    if loop is not None:
        return _table_of(loop)
    pairs = [pair for pair in pairs_of(block) if pair[0].lower().startswith(_PREFIX)]
    pairs = [pair for pair in pairs if not pair[0].lower().startswith("_atom_site_aniso")]
    if not pairs:
        raise ValueError("the block has no atom sites")
    tags, row = zip(*pairs, strict=True)
    for tag in tags:
        block.find_pair_item(tag).erase()
    block.init_loop("", list(tags)).add_row(list(row))
    return SiteTable(tags, (row,))


def _table_of(loop: cif.Loop) -> SiteTable:
    width, values = loop.width(), list(loop.values)
    return SiteTable(tuple(loop.tags), tuple(tuple(values[i : i + width]) for i in range(0, len(values), width)))


def write_site_table(block: cif.Block, edited: Edited) -> None:
    """Put the edited loop in the place of the original one, and what was set aside behind everything else."""
    loop = block.find_loop(_AXES[0]).get_loop()
    missing = list(edited.table.tags[loop.width() :])
    if missing:
        loop.add_columns(missing, "?")
    loop.set_all_values([list(column) for column in zip(*edited.table.rows, strict=True)])
    if edited.set_aside is not None:
        _put_aside(block, edited.set_aside)


def _put_aside(block: cif.Block, aside: SiteTable) -> None:
    """Write rows that are set aside, behind the source's rows that an earlier completion set aside.

    What that completion wrote itself is none of the source's: the sites it placed, the rows it rewrote and, where it
    lowered the symmetry, all rows.
    """
    loop = block.find_loop(ORIGINAL + _AXES[0]).get_loop()
    if loop is not None and block.find_value("_hinpaint_symmetry") in ("lowered", "P1"):
        return
    rows = list(aside.rows)
    if block.find_value("_hinpaint_version") is not None:
        rows = [row for row in rows if not _PLACED.search(aside.value(row, _LABEL) or "")]
    if not rows:
        return
    if loop is None:
        loop = block.init_loop("", [ORIGINAL + tag for tag in aside.tags])
    before = SiteTable(tuple(tag[len(ORIGINAL) :] for tag in loop.tags), _table_of(loop).rows)
    same = [tag for tag in (_LABEL, *_AXES) if before.column(tag) is not None]
    known = {tuple(before.value(row, tag) for tag in same) for row in before.rows}
    places = [aside.column(tag.lower()) for tag in before.tags]
    for row in rows:
        if tuple(aside.value(row, tag) for tag in same) not in known:
            loop.add_row(["?" if place is None else row[place] for place in places])


def sites_given_way(record: ParsedRecord, element: str, replace: bool) -> frozenset[int]:
    """Indices of the source's sites that the placed ones stand for.

    Args:
        record: the source.
        element: element that was completed.
        replace: true when all the element's sites give way; false when only those do that have no coordinates or are
            disordered (these were counted as missing, see ``Evidence.dropped``).
    """
    return frozenset(
        i
        for i, site in enumerate(record.sites)
        if site.element == element and (replace or site.frac is None or not site.is_full)
    )


def edit_sites(
    table: SiteTable, record: ParsedRecord, placement: Placement, element: str, symbol: str, given_way: frozenset[int]
) -> Edited:
    """Add the placed sites; remove what they stand for; expand the host where symmetry is lost.

    Args:
        table: the original loop.
        record: what the source's reader made of the same text.
        placement: the added sites and their symmetry.
        element: element that was completed.
        symbol: how its sites are to be typed, ``D`` in a deuterated compound.
        given_way: indices of the record's sites that leave, see :func:`sites_given_way`.

    Returns:
        The new loop, and the original rows that are not in it as they were.
    """
    owners = _site_of_rows(table, record)
    gone = [owner in given_way for owner in owners]
    # A dummy must not get a type: readers would take it for an atom (Cg1, a ring's centroid, for carbon).
    types = [
        "." if owner is None or record.sites[owner].frac is None else record.sites[owner].element for owner in owners
    ]
    taken = {table.value(row, _LABEL) or "" for row in table.rows}
    labels = [_unique(f"{kind if kind != '.' else 'X'}{i + 1}", taken) for i, kind in enumerate(types)]
    wide = table.with_column(_LABEL, labels).with_column(_TYPE, types)
    if wide.column(_FLAG) is None:
        wide = wide.with_column(_FLAG, ["."] * len(types))
    settled = _settle_attached(wide, record, element, len(placement.frac))
    kept = [(row, owner) for row, owner, out in zip(settled.rows, owners, gone, strict=True) if not out]
    lost_symmetry = placement.kind != "kept"
    host = _expand_rows(wide, kept, record, placement) if lost_symmetry else [row for row, _ in kept]
    added = _added_rows(wide, host, placement, symbol)
    changed = [out or before != after for out, before, after in zip(gone, wide.rows, settled.rows, strict=True)]
    aside = table.rows if lost_symmetry else tuple(row for row, new in zip(table.rows, changed, strict=True) if new)
    return Edited(SiteTable(wide.tags, (*host, *added)), SiteTable(table.tags, aside) if aside else None)


def _settle_attached(table: SiteTable, record: ParsedRecord, element: str, n_placed: int) -> SiteTable:
    """Set declared attached hydrogens to zero: by definition the item counts those without coordinates only.

    Where fewer sites were placed than the source declares, nobody knows whose are still missing, and all stay.
    """
    position = table.column(_ATTACHED)
    numbers = zip(record.sites, record.multiplicities.tolist(), strict=True)
    declared = sum((site.attached or 0) * n for site, n in numbers)
    if position is None or element != "H" or declared > n_placed:
        return table
    counts = [cif.as_number(row[position]) for row in table.rows]
    rows = (
        (*row[:position], "0", *row[position + 1 :]) if count > 0 else row
        for row, count in zip(table.rows, counts, strict=True)
    )
    return SiteTable(table.tags, tuple(rows))


def _site_of_rows(table: SiteTable, record: ParsedRecord) -> list[int | None]:
    """Index into ``record.sites`` of each row; None for rows the reader passed over (dummies that are no element)."""
    if len(table.rows) == len(record.sites):
        return list(range(len(table.rows)))
    owners: list[int | None] = []
    count = 0
    for row in table.rows:
        kind = table.value(row, _TYPE)
        label = table.value(row, _LABEL) or kind or ""
        is_site = element_of_site(kind, label, record.formula) is not None
        owners.append(count if is_site else None)
        count += is_site
    if count != len(record.sites):
        raise ValueError(f"{count} rows are sites, but the reader found {len(record.sites)}")
    return owners


def _expand_rows(
    table: SiteTable, kept: Sequence[tuple[tuple[str, ...], int | None]], record: ParsedRecord, placement: Placement
) -> list[tuple[str, ...]]:
    orbits = host_orbits(placement.operators, record.lattice, record.cell_site, record.cell_frac)
    taken = {table.value(row, _LABEL) or "" for row, _ in kept}
    rows: list[tuple[str, ...]] = []
    for row, owner in kept:
        if owner is None or record.sites[owner].frac is None:
            rows.append(row)
            continue
        for i, (member, multiplicity) in enumerate(orbits[owner]):
            values = _symmetry_values(multiplicity, len(placement.operators))
            # The first one is the source's own site: its label and its digits stay, further ones are images of it.
            if i > 0:
                values |= {tag.lower(): "?" for tag in table.tags if tag.lower().startswith(_OF_ONE_SITE)}
                stem = table.value(row, _LABEL) or record.sites[owner].element
                values |= {_LABEL: _quote(_unique(f"{stem}_{i + 1}", taken))}
                values |= dict(zip(_AXES, format_frac(record.cell_frac[member]), strict=True))
            rows.append(tuple(values.get(tag.lower(), v) for tag, v in zip(table.tags, row, strict=True)))
    return rows


def _added_rows(
    table: SiteTable, host: Sequence[tuple[str, ...]], placement: Placement, symbol: str
) -> list[tuple[str, ...]]:
    taken = {table.value(row, _LABEL) or "" for row in host}
    rows: list[tuple[str, ...]] = []
    for member, multiplicity in placement.asymmetric:
        values = _symmetry_values(multiplicity, len(placement.operators))
        values |= {_LABEL: _unique(f"{symbol}_hp{len(rows) + 1}", taken), _TYPE: symbol, _FLAG: "calc"}
        values |= {"_atom_site_occupancy": "1", **dict(zip(_AXES, format_frac(placement.frac[member]), strict=True))}
        empty = ("." if tag.lower() in _NOT_APPLICABLE else "?" for tag in table.tags)
        rows.append(tuple(values.get(tag.lower(), v) for tag, v in zip(table.tags, empty, strict=True)))
    return rows


def _symmetry_values(multiplicity: int, n_operators: int) -> dict[str, str]:
    values = dict.fromkeys(_MULTIPLICITIES, str(multiplicity))
    return {**values, _ORDER: str(n_operators // multiplicity), _WYCKOFF: "?"}


def _unique(label: str, taken: set[str]) -> str:
    """Take a label; where it is in use, with the first letter behind it that makes it free."""
    number, found = 0, label
    while found in taken:
        number += 1
        found = f"{label}x{number}"
    taken.add(found)
    return found


def _quote(label: str) -> str:
    return label if _PLAIN.fullmatch(label) else str(cif.quote(label))


def format_frac(frac: FloatArray) -> list[str]:
    """Three fractional coordinates in [0, 1) with six decimals."""
    return [f"{value % 1.0:.6f}".replace("1.000000", "0.000000") for value in frac.tolist()]
