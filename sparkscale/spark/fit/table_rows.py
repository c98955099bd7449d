"""Rows of tables of statistics by key, as Arrow batches, and tasks on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql.types import ArrayType, DataType, DoubleType, StructField, StructType

from sparkscale.spark import gpu
from sparkscale.spark.arrow import numbered
from sparkscale.spark.fit.key_runs import slices, whole_keys
from sparkscale.statistics import Fold, StatisticSet
from sparkscale.statistics._reductions import run_starts

__all__ = [
    "LISTS",
    "CheckedRows",
    "DecayedRows",
    "MappedRows",
    "MergedRows",
    "RowFunction",
    "SelectedRows",
    "Total",
    "decoded",
    "encoded",
    "key_of_number",
    "key_type",
    "lists_of_rows",
    "statistics_type",
    "units_until",
]

MICROSECONDS_PER_DAY = 86_400e6
LISTS = ArrayType(DoubleType())

RowFunction = Callable[[pa.Array, StatisticSet], Mapping[str, npt.NDArray[Any]]]


def key_type(types: Sequence[DataType]) -> StructType:
    """Return the type of keys of several columns: a struct."""
    return StructType([StructField(f"k{i}", data_type) for i, data_type in enumerate(types)])


def statistics_type(statistic_class: type[StatisticSet]) -> StructType:
    """Return the columns of a table's statistics: of each one a struct of its arrays."""
    fields = StructType()
    for name, one in statistic_class.classes.items():
        fields.add(name, StructType([StructField(array, LISTS) for array in one.names()]))
    return fields


def encoded(keys: pa.Array, statistic: StatisticSet) -> pa.RecordBatch:
    """Return keys and their statistics, one row each, as rows of a table."""
    columns = {"b": keys}
    lists = statistic.lists()
    for name, one in statistic.classes.items():
        arrays = [_list_array(*lists[f"{name}.{array}"]) for array in one.names()]
        columns[name] = pa.StructArray.from_arrays(arrays, [*one.names()])
    return pa.RecordBatch.from_pydict(columns)


def _list_array(lengths: npt.NDArray[np.intp], values: npt.NDArray[np.float64]) -> pa.ListArray:
    offsets = np.append(0, np.cumsum(lengths))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, pa.float64()))


def lists_of_rows(matrix: npt.NDArray[Any]) -> pa.ListArray:
    """Return the rows of a matrix as lists."""
    return _list_array(np.full(len(matrix), matrix.shape[1]), matrix.ravel())


def decoded(batch: pa.RecordBatch, statistic_class: type[StatisticSet]) -> StatisticSet:
    """Return the statistics of the rows of a table."""
    lists = {}
    for name, one in statistic_class.classes.items():
        for array, column in zip(one.names(), batch.column(name).flatten(), strict=True):
            lists[f"{name}.{array}"] = np.diff(column.offsets.to_numpy()), column.flatten().to_numpy()
    return statistic_class.of_lists(lists)


def key_of_number(number: int) -> pa.Array:
    """Return one key, a number."""
    return pa.array([{"k0": number}], pa.struct([("k0", pa.int32())]))


@dataclass(frozen=True)
class MergedRows:
    """A task that merges consecutive rows of the same key."""

    statistic_class: type[StatisticSet]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return the rows of the result."""
        for batch in whole_keys(slices(batches), lambda rows: [self._merged(rows)]):
            yield self._merged(batch)

    def _merged(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        numbers, keys = numbered(batch.column("b"))
        distinct = keys.take(pa.array(numbers[run_starts(numbers)]))
        return encoded(distinct, decoded(batch, self.statistic_class).merge_rows(numbers))


@dataclass(frozen=True)
class Total:
    """A task that merges all its rows into one, whose key is the number of the partition."""

    statistic_class: type[StatisticSet]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return the rows of the result."""
        fold, partition = Fold(), gpu.partition_id()
        for batch in slices(batches):
            if batch.num_rows:
                rows = decoded(batch, self.statistic_class)
                fold.add(rows.merge_rows(np.zeros(batch.num_rows, np.intp)).of_row(0))
        statistic = fold.result()
        if statistic is not None:
            yield encoded(key_of_number(partition), statistic.as_row())


@dataclass(frozen=True, eq=False)
class SelectedRows:
    """A task that selects a statistic and features."""

    statistic_class: type[StatisticSet]
    name: str
    selected_class: type[StatisticSet]
    features: npt.NDArray[np.intp]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return the rows of the result."""
        for batch in slices(batches):
            if batch.num_rows:
                rows = decoded(batch, self.statistic_class)
                yield encoded(batch.column("b"), rows.select(self.name, self.selected_class, self.features))


@dataclass(frozen=True)
class DecayedRows:
    """A task that halves the weights of a key's rows for every so many units between one of its fields and ``at``."""

    statistic_class: type[StatisticSet]
    field: int
    half_life: float
    at: pa.Array

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return the rows of the result."""
        for batch in slices(batches):
            if batch.num_rows:
                keys = batch.column("b")
                ages = units_until(keys.field(self.field), self.at)
                rows = decoded(batch, self.statistic_class)
                yield encoded(keys, rows.weighted(np.exp2(-ages / self.half_life)))


def units_until(keys: pa.Array, at: pa.Array) -> npt.NDArray[np.float64]:
    """Return how far keys are before the one of ``at``: in days if they are dates or times, otherwise as they are."""
    if pa.types.is_date(keys.type):
        whole, unit = pa.int32(), 1.0
    elif pa.types.is_timestamp(keys.type):
        whole, unit = pa.int64(), MICROSECONDS_PER_DAY
    else:
        whole, unit = keys.type if pa.types.is_integer(keys.type) else pa.float64(), 1.0
    last, numbers = (array.cast(whole).to_numpy(zero_copy_only=False) for array in (at, keys))
    return (last - numbers) / unit  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class MappedRows:
    """A task that computes numbers from the statistics of each key."""

    statistic_class: type[StatisticSet]
    function: RowFunction

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return the rows of the result."""
        for batch in slices(batches):
            if batch.num_rows:
                results = self.function(batch.column("b"), decoded(batch, self.statistic_class))
                lists = {name: lists_of_rows(values) for name, values in results.items()}
                yield pa.RecordBatch.from_pydict({"b": batch.column("b"), **lists})


@dataclass(frozen=True)
class CheckedRows:
    """Applies a function for the errors that it raises."""

    function: RowFunction

    def __call__(self, keys: pa.Array, statistics: StatisticSet) -> dict[str, npt.NDArray[Any]]:
        """Return zeros."""
        self.function(keys, statistics)
        return {"n": np.zeros((len(keys), 1))}
