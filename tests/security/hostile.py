"""A good record, archives to hide it in, and ingest of what comes out."""

import io
import tarfile
from pathlib import Path
from typing import Any

from hinpaint.config import parse_config
from hinpaint.stages import ingest
from hinpaint.store import read_table
from hinpaint.tables import ENTRIES, RECORDS, WHYNOT

GOOD = """data_x
_cell_length_a 6
_cell_length_b 6
_cell_length_c 6
_symmetry_space_group_name_H-M 'P -1'
_chemical_formula_sum 'Ca O H2'
_cell_formula_units_Z 2
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_attached_hydrogens
O1 .1 .1 .1(2) 2
Ca1 .3 .3 .3 0
"""


def ingest_path(path: Path, out: Path, kind: str = "cif") -> dict[str, list[dict[str, Any]]]:
    source = {"database": "d", "version": "1", "format": kind, "path": str(path), "licence": "x", "mode": "reconstruct"}
    names = ("records", "entries", "evidence", "source_text", "whynot", "runs")
    outputs = ingest.IngestOutputs(*(out / f"{name}.parquet" for name in names))
    ingest.run(parse_config({"run": "t", "sources": [source]}), 0, outputs)
    tables = {"records": RECORDS, "entries": ENTRIES, "whynot": WHYNOT}
    found = {name: read_table(getattr(outputs, name), table).to_pylist() for name, table in tables.items()}
    assert len(found["records"]) == len(found["entries"]) + len(found["whynot"])
    return found


def add(archive: tarfile.TarFile, name: str, content: bytes = GOOD.encode(), **fields: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
