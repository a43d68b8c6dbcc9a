"""The structures of a release as extended XYZ for training, with where each site came from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from hinpaint.crystal import Crystal
from hinpaint.ids import file_name

NAME = "training.extxyz"
_ROWS = 500
_COLUMNS = ("entry_key", "action", "grade", "confidence", "licence", "potential", "energy_h_only_ev", "n_placed",
            "lattice", "species", "frac")  # fmt: skip


def write_training(connection: duckdb.DuckDBPyConnection, folder: Path) -> int:
    """Write ``training.extxyz`` and return the number of frames.

    Energies are not named ``energy``: they are an interatomic potential's for the placed sites relaxed on a fixed host,
    no label of a first-principles calculation.

    Args:
        connection: the ledger, complete.
        folder: the release.
    """
    from ase.io.extxyz import write_extxyz

    n_frames = 0
    with (folder / NAME).open("w", encoding="utf-8", newline="\n") as handle, connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(_COLUMNS)} FROM holdings ORDER BY entry_key")  # noqa: S608 - names of ours
        while rows := cursor.fetchmany(_ROWS):
            write_extxyz(handle, [_frame(dict(zip(_COLUMNS, row, strict=True))) for row in rows])
            n_frames += len(rows)
    return n_frames


def _frame(row: Mapping[str, Any]) -> Any:
    from ase import Atoms

    crystal = Crystal.build(row["lattice"], row["species"], row["frac"])
    atoms = Atoms(crystal.species, scaled_positions=crystal.frac, cell=crystal.lattice, pbc=True)
    atoms.arrays["placed"] = np.arange(crystal.n_sites) >= crystal.n_sites - row["n_placed"]
    info = {
        # the name of its CIF: quotes and backslashes of a key are read differently by different readers
        "entry": file_name(row["entry_key"]),
        "action": row["action"],
        "grade": row["grade"],
        "confidence": row["confidence"],
        "licence": " ".join(row["licence"].replace("\\", "/").replace('"', "'").split()),
        "hinpaint_potential": row["potential"],
        "hinpaint_energy_level": None if row["energy_h_only_ev"] is None else "h_only",
        "hinpaint_energy_ev": row["energy_h_only_ev"],
    }
    atoms.info = {name: value for name, value in info.items() if value is not None}
    return atoms
