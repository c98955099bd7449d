"""Rows of Arrow batches by key: sorted, cut where keys end, and merged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkscale.spark.arrow import numbered
from sparkscale.statistics._reductions import run_starts

__all__ = ["MOST_NUMBERS", "by_key", "merged", "slices", "whole_keys"]

Numbers = npt.NDArray[np.intp]

MOST_NUMBERS = 1 << 22  # of the statistics that a task computes at a time; it holds at most three times as many
ROWS_TO_MERGE = 64  # of a key that goes on in the next batch, so that it holds no more numbers than it must


def merged(statistics: Sequence[tuple[pa.Array, Any]]) -> tuple[pa.Array, Any]:
    """Merge statistics by key, those of each key in order."""
    if len(statistics) == 1:
        return statistics[0]
    numbers, distinct = numbered(pa.concat_arrays([keys for keys, _ in statistics]))
    order = np.argsort(numbers, kind="stable")
    one_class = type(statistics[0][1])
    return distinct, one_class.merge_ordered([s for _, s in statistics], order, numbers[order])


def by_key(batch: pa.RecordBatch) -> tuple[pa.Array, Numbers, pa.RecordBatch]:
    """Return the distinct keys of a batch, the index of each row's key, and the batch, both sorted by that index."""
    numbers, keys = numbered(batch.column("b"))
    if np.any(np.diff(numbers) < 0):
        order = np.argsort(numbers, kind="stable")
        batch, numbers = batch.take(pa.array(order)), numbers[order]
    return keys, numbers, batch


def slices(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Cut batches so that none holds many more numbers than a task may."""
    for batch in batches:
        rows = max(1, MOST_NUMBERS * 8 * batch.num_rows // max(batch.nbytes, 1))
        yield from (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))


def whole_keys(
    batches: Iterator[pa.RecordBatch], compacted: Callable[[pa.RecordBatch], list[pa.RecordBatch]]
) -> Iterator[pa.RecordBatch]:
    """Split batches where the key changes, so that all rows of a key are in one batch; many rows of one are merged."""
    rest: list[pa.RecordBatch] = []  # rows of the last key, which may go on
    for batch in batches:
        whole = _concatenated([*rest, batch])
        numbers, _ = numbered(whole.column("b"))
        last = int(run_starts(numbers)[-1])
        if last:
            yield whole.slice(0, last)
        open_key = whole.slice(last)
        rest = compacted(open_key) if open_key.num_rows > ROWS_TO_MERGE else [open_key]
    if rest:
        yield _concatenated(rest)


def _concatenated(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    schema = batches[-1].schema  # batches of Spark and those that tasks make may differ in what can be null
    alike = [pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in batches]
    return pa.Table.from_batches(alike).combine_chunks().to_batches()[0]
