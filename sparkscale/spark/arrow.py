"""Arrow batches: concatenated up to a size, and brought to the driver as rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

__all__ = ["batches", "collect", "concat_batches", "iter_rows", "key_order", "numbered"]


def concat_batches(
    batches: Iterable[pa.RecordBatch], max_bytes: float, max_rows: float = inf
) -> Iterator[pa.RecordBatch]:
    """Concatenate batches up to ``max_bytes`` and ``max_rows``; a larger batch is returned unchanged."""
    pending: list[pa.RecordBatch] = []
    size = rows = 0
    for batch in batches:
        if pending and (size + batch.nbytes > max_bytes or rows + batch.num_rows > max_rows):
            yield _concat(pending)
            size = rows = 0
        pending.append(batch)
        size, rows = size + batch.nbytes, rows + batch.num_rows
        del batch  # drop our reference so that the consumer can free the batch
        if size >= max_bytes or rows >= max_rows:
            yield _concat(pending)
            size = rows = 0
    if pending:
        yield _concat(pending)


def _concat(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Concatenate the batches of the list, and empty it."""
    if len(batches) == 1:
        return batches.pop()
    table = pa.Table.from_batches(batches).combine_chunks()
    batch = table.to_batches()[0] if table.num_rows else batches[0]
    batches.clear()
    return batch


def collect(df: DataFrame) -> list[dict[str, Any]]:
    """Collect rows of numbers and arrays, with arrays as NumPy arrays."""
    return [row for batch in batches(df) for row in iter_rows(batch)]


def batches(df: DataFrame) -> list[pa.RecordBatch]:
    """Collect a DataFrame."""
    # PySpark 3.5 has no public method.
    return df.toArrow().to_batches() if hasattr(df, "toArrow") else df._collect_as_arrow()  # type: ignore[operator,no-any-return]


def iter_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Return the rows of a batch, with arrays as NumPy arrays."""
    columns = [
        np.split(c.flatten().to_numpy(zero_copy_only=False), np.cumsum(np.diff(c.offsets.to_numpy()))[:-1])
        if pa.types.is_list(c.type)
        else c.to_pylist()
        for c in batch.columns
    ]
    for cells in zip(*columns, strict=True) if batch.num_rows else ():
        yield dict(zip(batch.schema.names, cells, strict=True))


def numbered(keys: pa.Array) -> tuple[npt.NDArray[np.intp], pa.Array]:
    """Return the number of each key, and the distinct keys in the order of their numbers.

    Null and NaN are keys; the keys of a struct differ if any of its fields does.
    """
    if not pa.types.is_struct(keys.type):
        codes = keys.dictionary_encode(null_encoding="encode")
        return codes.indices.to_numpy().astype(np.intp), codes.dictionary
    numbers, distinct = np.zeros(len(keys), np.intp), 1
    for field in keys.flatten():
        codes, values = numbered(field)
        numbers = numbers * len(values) + codes
        distinct *= len(values)
        if distinct > len(keys):  # or the product might overflow
            numbers = np.unique(numbers, return_inverse=True)[1]
            distinct = int(numbers.max(initial=-1)) + 1
    _, first, numbers = np.unique(numbers, return_index=True, return_inverse=True)
    return numbers, keys.take(pa.array(first))


def key_order(keys: pa.StructArray) -> npt.NDArray[np.intp]:
    """Return the places of keys in ascending order, field after field, with NaN and null last."""
    fields = pa.Table.from_arrays(keys.flatten(), keys.type.names)
    order: npt.NDArray[np.intp] = pc.sort_indices(
        fields, sort_keys=[(name, "ascending") for name in keys.type.names]
    ).to_numpy()
    return order
