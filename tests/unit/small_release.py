"""A small run for tests of releases: seven entries of brucite, five to release in different ways, and two reasons."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from sample_crystals import BRUCITE_CELL

from hinpaint.catalog import build
from hinpaint.config import Config, parse_config
from hinpaint.ids import EntryKey
from hinpaint.sources.cif import parse_cif
from hinpaint.sources.records import ParsedRecord
from hinpaint.store import write_table
from hinpaint.tables import ALL_TABLES, SOURCE_TEXT, Table
from hinpaint.whynot import Reason

Rows = dict[str, list[dict[str, Any]]]
OPERATORS = "\n".join(op.triplet() for op in gemmi.find_spacegroup_by_name("P -3 m 1").operations())
BRUCITE = f"""data_brucite
{BRUCITE_CELL}_symmetry_space_group_name_H-M 'P -3 m 1'
loop_
_symmetry_equiv_pos_as_xyz
{OPERATORS}
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Mg1 0 0 0
O1 0.3333 0.6667 0.2203
"""
HOSTILE = "<script>alert(1)</script> | `x` ../../etc/passwd"
KEYS = {
    "kept": "cod|1|1000001", "hostile": str(EntryKey("cod", "1", HOSTILE.replace("|", "!"))),
    "wrong": "cod|1|1000003", "still": "cod|1|1000004", "lost": "cod|1|1000005", "optimade": "mc3d|2|a-b",
    "long": "cod|1|" + "ü" * 150,
}  # fmt: skip


def make_config(folder: Path, **settings: Any) -> Config:
    source = {"database": "cod", "version": "1", "format": "cif", "path": str(folder), "licence": "CC0-1.0"}
    return parse_config({"run": "test", "sources": [source | {"mode": "reconstruct"}]} | settings)


def filled(table: Table, **values: Any) -> dict[str, Any]:
    """A row with the values given and something of the right type for the others."""
    defaults = {"string": "x", "int32": 0, "int64": 0, "double": 0.0, "bool": True}
    row = {
        c.name: values.get(c.name, None if c.nullable else defaults.get(str(c.type), []))
        for c in table.columns
        if c.name not in ("run_id", "schema_version")
    }
    assert values.keys() <= row.keys()
    return row


def entry_rows(key: str, frac: list[list[float]], action: str = "completed") -> dict[str, list[dict[str, Any]]]:
    record = parse_cif(BRUCITE)
    assert isinstance(record, ParsedRecord)
    entry = EntryKey.parse(key)
    structure = {"lattice": record.lattice.ravel().tolist()}
    sites = {"species": list(record.species), "frac": record.cell_frac.ravel().tolist()}
    identity = {"entry_key": key, "database": entry.database, "version": entry.version, "source_id": entry.source_id,
                "licence": "CC0 <b>|</b>", "source_sha256": "ab" * 32}  # fmt: skip
    decision = {"action": action, "mode": "reconstruct", "element": "H", "n_passed": 5, "n_agree": 4, "trial": 3,
                "potential": "sevennet-0", "energy_ev": -21.5, "frac_unknown": np.ravel(frac).tolist()}  # fmt: skip
    return {
        "records": [filled(ALL_TABLES["records"], **identity)],
        "entries": [filled(ALL_TABLES["entries"], **identity, **structure, **sites, mode="reconstruct")],
        "tasks": [filled(ALL_TABLES["tasks"], entry_key=key, element="H", n_unknown=2, **structure)],
        "decisions": [filled(ALL_TABLES["decisions"], entry_key=key, **decision)],
    }


def make_run(
    folder: Path, reverse: bool = False, edit: Callable[[Rows], None] | None = None
) -> tuple[Path, list[Path]]:
    """Write a catalog and its source texts; `edit` may change the rows before."""
    on_axis = [[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, 0.58]]
    one_sided = [[1 / 3, 2 / 3, 0.42], [2 / 3, 1 / 3, 0.7]]
    frac = dict.fromkeys(KEYS, on_axis) | {"hostile": one_sided, "wrong": [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]}
    parts = [entry_rows(key, frac[n], "unchanged" if n == "still" else "completed") for n, key in KEYS.items()]
    rows: Rows = {name: [] for name in ALL_TABLES}
    for part in reversed(parts) if reverse else parts:
        for name, found in part.items():
            rows[name] += found
    for key, detail in (("cod|1|a", HOSTILE), ("cod|1|b", "")):
        values = {"entry_key": key, "stage": "ingest", "reason": Reason.NO_TARGET_ELEMENT.value, "detail": detail}
        rows["whynot"].append(filled(ALL_TABLES["whynot"], **values))
        rows["records"].append(filled(ALL_TABLES["records"], entry_key=key, database="cod", version="1"))
    rates = {"metric": "les", "k": 10, "rate": 0.912, "ci_low": 0.88, "ci_high": 0.94, "n_entries": 50}
    rows["les_summary"].append(filled(ALL_TABLES["les_summary"], **rates))
    if edit is not None:
        edit(rows)
    folder.mkdir()
    connection = build.create(folder / "catalog.duckdb")
    for name, table in ALL_TABLES.items():
        build.insert_rows(connection, table, rows[name], "test")
    build.close(connection)
    resource = json.dumps({"id": "a-b", "type": "structures", "attributes": {}})
    texts = [{"entry_key": key, "format": "optimade" if n == "optimade" else "cif",
              "text": resource if n == "optimade" else BRUCITE} for n, key in KEYS.items() if n != "lost"]  # fmt: skip
    paths = [folder / f"source_text-{i}.parquet" for i in range(2)]
    for i, path in enumerate(paths):
        write_table(path, SOURCE_TEXT, texts[i::2], "test")
    return folder / "catalog.duckdb", paths
