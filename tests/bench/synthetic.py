"""Tables of any size for benchmarks: the columns that matter given, the others plain."""

import numpy as np
import pyarrow as pa

from hinpaint.tables import SCHEMA_VERSION, Table


def lists(lengths: np.ndarray, values: pa.Array) -> pa.Array:
    """A column of lists: so many of the values in each row."""
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)), values)


def filled(table: Table, columns: dict[str, pa.Array], n_rows: int) -> pa.Table:
    """The table with every column not given empty, or the same plain value in each row where it must not be."""
    plain = {"string": "x", "int32": 0, "int64": 0, "double": 0.5, "bool": True}
    constants = {"run_id": "bench", "schema_version": SCHEMA_VERSION}
    arrays = []
    for field in table.schema:
        if field.name in columns:
            arrays.append(columns[field.name].cast(field.type))
        elif field.nullable:
            arrays.append(pa.nulls(n_rows, field.type))
        elif pa.types.is_list(field.type):
            arrays.append(lists(np.zeros(n_rows, dtype=int), pa.array([], type=field.type.value_type)))
        else:
            value = constants[field.name] if field.name in constants else plain[str(field.type)]
            arrays.append(pa.repeat(pa.scalar(value, field.type), n_rows))
    return pa.Table.from_arrays(arrays, schema=table.schema)
