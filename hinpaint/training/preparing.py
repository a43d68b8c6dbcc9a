"""Structures in other people's files -> the compact file that training reads."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ase.data import atomic_numbers

from hinpaint.config import Source
from hinpaint.crystal import Crystal
from hinpaint.files import write_atomic
from hinpaint.sources import parse_record, read_source
from hinpaint.training.dataset import TrainingSet
from hinpaint.whynot import Stop

_COLUMNS = ("lattice", "atomic_numbers", "frac_coords")
_LARGEST_NUMBER = 100  # rows of MatterGen's atom embedding


def prepare(structures: Path, output: Path, max_sites: int) -> TrainingSet:
    """Write the compact training file.

    Args:
        structures: Parquet with columns ``lattice`` (9 numbers, ångström), ``atomic_numbers``, ``frac_coords`` (flat),
            or an OPTIMADE export in JSON Lines, of which the ordered structures are taken.
        output: ``.npz`` file.
        max_sites: larger structures are left out.

    Returns:
        The training set as written.

    Raises:
        ValueError: the file cannot be read, a column is missing or odd, or no structure is left.
    """
    data = (
        from_parquet(structures, max_sites) if structures.suffix == ".parquet" else from_optimade(structures, max_sites)
    )
    if not len(data):
        raise ValueError(f"{structures} holds no structure of at most {max_sites} sites")
    write_atomic(
        output,
        lambda handle: np.savez_compressed(
            handle, lattice=data.lattice, start=data.start, numbers=data.numbers, frac=data.frac
        ),
    )
    return data


def from_parquet(path: Path, max_sites: int) -> TrainingSet:
    """Structures of a Parquet file.

    Raises:
        ValueError: the file cannot be read, or a column is missing or odd.
    """
    try:
        names = pq.read_schema(path).names
        missing = [name for name in _COLUMNS if name not in names]
        if missing:
            raise ValueError(f"{path} has no column {' and no '.join(missing)}; it has {', '.join(names)}")
        table = pq.read_table(path, columns=list(_COLUMNS))
        n_sites, n_lattice, n_frac = (_lengths(table, name) for name in ("atomic_numbers", "lattice", "frac_coords"))
        odd = np.flatnonzero((n_lattice != 9) | (n_frac != 3 * n_sites) | (n_sites < 1))
        if odd.size:
            raise ValueError(
                f"{path}, row {odd[0]}: {n_lattice[odd[0]]} numbers in lattice, {n_frac[odd[0]]} in frac_coords for "
                f"{n_sites[odd[0]]} sites ({odd.size} rows of that kind)"
            )
        kept = n_sites <= max_sites
        table = table.filter(pa.array(kept))
        lattice, numbers, frac = (_flat(table, name) for name in _COLUMNS)
    except (pa.ArrowException, OSError, TypeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not (np.isfinite(lattice).all() and np.isfinite(frac).all()):
        raise ValueError(f"{path} holds numbers that are not finite")
    if numbers.size and not 1 <= numbers.min() <= numbers.max() <= _LARGEST_NUMBER:
        raise ValueError(f"{path}: atomic numbers are from 1 to {_LARGEST_NUMBER}")
    return TrainingSet.from_arrays(
        lattice=lattice.reshape(-1, 3, 3).astype(np.float32),
        start=np.concatenate([[0], np.cumsum(n_sites[kept])]).astype(np.int64),
        numbers=numbers.astype(np.uint8),
        frac=(frac.reshape(-1, 3) % 1.0).astype(np.float32),
    )


def from_optimade(path: Path, max_sites: int) -> TrainingSet:
    """Ordered structures of an OPTIMADE export.

    Raises:
        ValueError: the file holds none.
    """
    source = Source(database="export", version="1", format="optimade", path=path, licence="-", mode=("benchmark",))
    crystals = []
    for raw in read_source(source, 0):
        record = parse_record("optimade", raw.text or "")
        if isinstance(record, Stop) or not record.is_ordered or not 0 < len(record.species) <= max_sites:
            continue
        if all(atomic_numbers.get(symbol, 0) in range(1, _LARGEST_NUMBER + 1) for symbol in record.species):
            crystals.append(Crystal.build(record.lattice, record.species, record.cell_frac))
    if not crystals:
        raise ValueError(f"{path} is no Parquet file, and as an OPTIMADE export holds no structure to take")
    return from_crystals(crystals)


def from_crystals(crystals: list[Crystal]) -> TrainingSet:
    """Structures held in memory, at least one."""
    return TrainingSet.from_arrays(
        lattice=np.stack([c.lattice for c in crystals]).astype(np.float32),
        start=np.cumsum([0] + [c.n_sites for c in crystals]),
        numbers=np.array([atomic_numbers[s] for c in crystals for s in c.species], dtype=np.uint8),
        frac=(np.concatenate([c.frac for c in crystals]) % 1.0).astype(np.float32),
    )


def _lengths(table: pa.Table, name: str) -> np.ndarray:
    lengths = pc.list_value_length(table[name])
    return np.asarray(pc.fill_null(lengths, 0).to_numpy(), dtype=np.int64)


def _flat(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(pc.list_flatten(table[name]).to_numpy())
