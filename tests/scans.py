"""Fits without Spark: rows as the Arrow batches that a fit selects, through its tasks' function and the merge of partials.

``test_laws.py`` compares these batches with what Spark makes of a DataFrame of the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from pyspark.sql.types import ArrayType, DoubleType, StructField, StructType

from frames import vector_field
from sparkscale.layout import Layout
from sparkscale.scalers import _fit
from sparkscale.spark import arrow, gpu
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import merging, partials, scan, selection
from sparkscale.spark.fit.blocks import Pool
from sparkscale.statistics import Statistic
from strategies import FEATURES, Row

ROWS = 5  # in a batch


@dataclass(frozen=True)
class Partitions:
    """What stands for a DataFrame where a scaler is fitted: the rows of each partition, with their weights.

    As many features as rows have are there in every kind, under the names of ``frames.frame``; if ``sized``, metadata tell the
    size of vectors.
    """

    rows: Sequence[Sequence[Row]]
    weights: Sequence[Sequence[float]] | None = None
    features: int = FEATURES
    sized: bool = True
    shared: bool = False  # whether one task has all partitions
    sparkSession: None = None
    isStreaming: bool = False

    @property
    def schema(self) -> StructType:
        scalars = [StructField(name, DoubleType()) for name in ("w", *(f"s{i}" for i in range(self.features)))]
        size = self.features if self.sized else None
        vectors = [vector_field(kind, size) for kind in ("dense", "sparse", "mixed")]
        return StructType([*scalars, StructField("array", ArrayType(DoubleType())), *vectors])

    @property
    def columns(self) -> list[str]:
        return self.schema.names

    def batches(self, number: int, groups: Sequence[selection.Group], weighted: bool) -> Iterator[pa.RecordBatch]:
        """Return what a partition sends."""
        rows = list(enumerate(self.rows[number]))
        weights = self.weights[number] if self.weights else [1.0] * len(rows)
        for start in range(0, len(rows), ROWS):
            some = slice(start, start + ROWS)
            yield batch(rows[some], groups, weights[some] if weighted else None, self.features)


def batch(
    rows: Sequence[tuple[int, Row]], groups: Sequence[selection.Group], weights: Sequence[float] | None, features: int
) -> pa.RecordBatch:
    """Return numbered rows as ``selection.select`` makes them of a DataFrame; of mixed vectors those of odd number are sparse."""
    cells: dict[str, pa.Array] = {}
    for k, group in enumerate(groups):
        if group.column.kind == "scalar":
            places = [int(column.name[1:]) for column in group.scalars]
            values = [[None if row is None else row[i] for i in places] for _, row in rows]
            cells[f"a{k}"] = pa.array(values, pa.list_(pa.float64()))
        elif group.column.kind == "array":
            values = [[None] if row is None else list(row) for _, row in rows]
            cells[f"a{k}"] = pa.array(values, pa.list_(pa.float64()))
        else:
            entries = [_entries(row, _is_sparse(group.column, number)) for number, row in rows]
            cells[f"a{k}"] = pa.array([values for _, values in entries], pa.list_(pa.float64()))
            cells[f"i{k}"] = pa.array([indices for indices, _ in entries], pa.list_(pa.int32()))
            if not group.sized:
                cells[f"n{k}"] = pa.array([0 if row is None else features for _, row in rows], pa.int32())
    if weights is not None:
        cells["w"] = pa.array(weights, pa.float64())
    return pa.RecordBatch.from_pydict(cells)


def _is_sparse(column: FeatureColumn, number: int) -> bool:
    return column.name == "sparse" or (column.name == "mixed" and number % 2 == 1)


def _entries(row: Row, sparse: bool) -> tuple[list[int], list[float]]:
    """Return the indices and values of a vector: of a dense one no indices, of null an index and no value."""
    if row is None:
        return [-1], []
    numbers = [np.nan if v is None else v for v in row]
    if not sparse:
        return [], numbers
    indices = [j for j, v in enumerate(numbers) if v != 0]
    return indices, [numbers[j] for j in indices]


def fit(estimator: Any, partitions: Partitions) -> Any:
    """Return the model that a scaler learns through Arrow, in a single process."""
    with patch.object(_fit, "summarize", _summarized):
        return estimator.fit(partitions)


def _numbered(batch: pa.RecordBatch, number: int) -> pa.RecordBatch:
    """Return a batch that says which partition it is of."""
    return batch.append_column("b", pa.array([number] * batch.num_rows, pa.int32()))


def _summarized(
    df: Partitions,
    columns: Sequence[FeatureColumn],
    statistic_class: type[Statistic],
    *,
    handle_invalid: str,
    weight: FeatureColumn | None,
    device: str,
    layout: Layout | None,
) -> scan.Summary | None:
    groups = selection.column_groups(columns)
    task = scan.Scan(groups, statistic_class, handle_invalid == "skip", device, Pool(layout), by_partition=df.shared)
    rows: list[dict[str, Any]] = []
    each = [df.batches(number, groups, weight is not None) for number in range(len(df.rows))]
    if df.shared:
        each = [(_numbered(batch, number) for number, batches in enumerate(each) for batch in batches)]
    for number, batches in enumerate(each):
        with patch.object(gpu, "partition_id", return_value=number):
            sent = [*task(batches, scan.Limit(scan.DRIVER_BYTES))]
        rows = [row for one in sent for row in arrow.iter_rows(one)] + rows  # the last partition ends first
    parts = [partials.of_row(row, statistic_class) for row in rows]
    return scan.summary(merging.merge(parts, groups, statistic_class), task) if rows else None
