"""What was known before: the statistics of each group up to every value of the last key column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import IntegerType, StructField, StructType

from sparkscale.errors import ParamError, ParamTypeError
from sparkscale.spark import arrow, sql, tasks
from sparkscale.spark.arrow import key_order, numbered
from sparkscale.spark.fit.key_runs import slices
from sparkscale.spark.fit.local_rows import Task, key_array, key_literal, on_driver
from sparkscale.spark.fit.table_rows import LISTS, CheckedRows, RowFunction, decoded, key_type, lists_of_rows
from sparkscale.spark.fit.tables import StatisticTable
from sparkscale.statistics import StatisticSet

__all__ = ["History"]

MOST_VALUES = 100_000  # of the last key column: the driver holds them, and a query contains them


@dataclass(frozen=True)
class History:
    """A table by groups and by a value that orders the rows of each group, such as a day.

    The place of any value is the number of the table's different values before it. So a statistic of the rows up to a
    value holds at the places from the next one to that of the group's next value.

    Parameters
    ----------
    table : StatisticTable
        The table; the last of its key columns holds the values.
    name : str
        The name of that column, for messages.
    """

    table: StatisticTable
    name: str

    @property
    def _last(self) -> int:
        return len(self.table.key_type) - 1

    @cached_property
    def _rows_of_driver(self) -> pa.Table | None:
        """The rows, if the driver holds them: group ``b``, value ``t`` and the statistics, in this order."""
        rows = self.table.local
        if rows is None or not rows.num_rows:
            return None
        keys = rows.column("b").combine_chunks()
        *groups, values = keys.flatten()
        groups = groups or [pa.array(np.zeros(len(values), np.int32))]
        group = pa.StructArray.from_arrays(groups, self._group_type.names)
        rows = rows.set_column(0, "b", group).add_column(1, "t", values)
        return rows.take(pa.array(key_order(keys))).combine_chunks()

    @property
    def grouped(self) -> bool:
        """Whether there are groups, so that the rows of all of them are more than those of one."""
        return self._last > 0

    @cached_property
    def of_all(self) -> History:
        """The same of the rows of all groups, as one group."""
        return History(self.table.projected([self._last]), self.name) if self.grouped else self

    @cached_property
    def values(self) -> pa.Array:
        """The different values, ascending.

        Raises
        ------
        ParamError
            If there are too many, or a row has none.
        """
        table = self.of_all.table
        if table.rows > MOST_VALUES:
            raise ParamError(
                f"asOf: '{self.name}' has {table.rows:,} different values, more than {MOST_VALUES:,}. Round it, such as to "
                "days."
            )
        batches = table.local.to_batches() if table.local is not None else arrow.batches(sql.select(table.df, "b"))
        values = pa.concat_arrays([batch.column("b") for batch in batches if batch.num_rows]).field(0)
        if pc.any(pc.is_null(values, nan_is_null=True)).as_py():
            raise ParamError(f"asOf: some rows have no '{self.name}': it is null or NaN. Drop these rows, or fill it.")
        return values.take(pc.sort_indices(values))

    @property
    def values_sql(self) -> str:
        """The values as an SQL array."""
        texts = ",".join(map(str, pc.cast(self.values, pa.string()).to_pylist()))
        data_type = self.table.key_type.fields[-1].dataType.simpleString()
        return f"cast(split('{texts}', ',') AS array<{data_type}>)"

    @cached_property
    def step(self) -> int:
        """How many places form a span: those that each row of the table stands for, on average.

        Then rows that hold in several spans, and are repeated for each, double the table at most.
        """
        rows = max(self.table.rows, 1)
        return -(-self._groups() * len(self.values) // rows)

    def _groups(self) -> int:
        if not self.grouped:
            return 1
        if self._rows_of_driver is not None:
            return len(numbered(self._rows_of_driver.column("b").combine_chunks())[1])
        (batch,) = arrow.batches(sql.select(self.table.df, f"count(DISTINCT {self._group_sql}) AS n"))
        return int(batch.column("n")[0].as_py())

    @property
    def _group_sql(self) -> str:
        fields = ", ".join(f"b.k{i} AS k{i}" for i in range(self._last))
        return f"struct({fields})" if self.grouped else "struct(0 AS k0)"

    @property
    def _group_type(self) -> StructType:
        types = [field.dataType for field in self.table.key_type.fields[:-1]]
        return key_type(types or [IntegerType()])

    def map_rows(self, function: RowFunction, names: Sequence[str]) -> DataFrame:
        """Return what a function computes from the statistics up to each value, as rows for the places where they hold.

        A row has the group ``b``, the number of a span, the first and the last place, and lists of numbers by name.
        """
        integers = [StructField(name, IntegerType()) for name in ("span", "first", "last")]
        lists = [StructField(name, LISTS) for name in names]
        schema = StructType([StructField("b", self._group_type), *integers, *lists])
        return self._mapped(_KnownBefore(self.table.statistic_class, function, self.values, self.step), schema)

    def map_keys(self, function: RowFunction, names: Sequence[str]) -> DataFrame:
        """Return key ``b`` and what a function computes from the statistics up to each value, as lists by name."""
        schema = StructType([StructField("b", self.table.key_type), *(StructField(name, LISTS) for name in names)])
        return self._mapped(_KnownAt(self.table.statistic_class, function, self._last), schema)

    def check(self, function: RowFunction) -> None:
        """Apply a function to the statistics up to each value, for the errors that it raises."""
        if self._rows_of_driver is not None:
            on_driver(_KnownAt(self.table.statistic_class, function, self._last), self._rows_of_driver)
        else:
            self.map_keys(CheckedRows(function), ["n"]).write.format("noop").mode("overwrite").save()

    def before(self, key: Sequence[Any]) -> StatisticSet | None:
        """Return the statistics of a group's rows before a value, the last of the key; ``None`` if there are none."""
        *group, value = key
        before = self._less(value)
        if before is None:
            data_type = self.table.key_type.fields[-1].dataType.simpleString()
            raise ParamTypeError(
                f"asOf: '{self.name}' is of type {data_type}. Got {value!r}. Pass a value of this type."
            )
        if not before.rows:
            return None
        if not self.grouped:
            return before.total()
        return before.projected(range(self._last)).of_key(group)

    def _less(self, value: Any) -> StatisticTable | None:
        """Return the rows whose value is less than another one; ``None`` if the type of the column cannot hold that."""
        table, data_type = self.table, self.table.key_type.fields[-1].dataType
        limit = None if value is None else key_array(value, data_type)
        if limit is None:
            return None
        if table.local is None:
            return table.of(table.df.where(F.col("b")[f"k{self._last}"] < key_literal(limit, data_type)))
        less = pc.less(table.local.column("b").combine_chunks().field(self._last), limit[0])
        return table.of_local(table.local.take(pa.array(np.flatnonzero(less.to_numpy(zero_copy_only=False)))))

    def _mapped(self, task: Task, schema: StructType) -> DataFrame:
        if self._rows_of_driver is not None:
            return self.table.spark.createDataFrame(on_driver(task, self._rows_of_driver), schema)
        columns = [f"{self._group_sql} AS b", f"b.k{self._last} AS t", *self.table.statistic_class.classes]
        rows = sql.select(self.table.df, *columns).repartition("b").sortWithinPartitions("b", "t")
        return tasks.map_in_arrow(rows, task, schema)


def _places(values: pa.Array, ordered: pa.Array) -> npt.NDArray[np.intp]:
    """Return the place of each value among all of them."""
    places: npt.NDArray[np.intp] = pc.index_in(values, value_set=ordered).to_numpy().astype(np.intp)
    return places


@dataclass(frozen=True, eq=False)
class _Running:
    """Rows in the order of their groups and values, with the statistics of each group up to each row.

    The last row is there for the others, and comes again as the first one of the next rows; ``complete`` are the rows
    before it, and in the end all of them.
    """

    groups: pa.Array
    numbers: npt.NDArray[np.intp]  # of the groups
    values: pa.Array
    statistics: StatisticSet
    complete: int

    @classmethod
    def of(cls, batches: Iterator[pa.RecordBatch], statistic_class: type[StatisticSet]) -> Iterator[_Running]:
        """Merge the rows in one pass, which holds a slice of them and the statistics so far."""
        last: _Running | None = None
        for batch in slices(batches):
            if not batch.num_rows:
                continue
            groups, values, statistics = batch.column("b"), batch.column("t"), decoded(batch, statistic_class)
            if last is not None:
                groups, values = pa.concat_arrays([last.groups, groups]), pa.concat_arrays([last.values, values])
                statistics = statistic_class.concat([last.statistics, statistics])
            numbers, end = numbered(groups)[0], len(groups) - 1
            running = statistics.running(numbers)
            if end:
                yield cls(groups, numbers, values, running, end)
            last = cls(groups.slice(end), numbers[end:], values.slice(end), running.take(np.array([end])), 1)
        if last is not None:
            yield last

    def results(self, function: RowFunction, keys: pa.Array) -> dict[str, npt.NDArray[Any]]:
        """Return what a function computes from the complete rows."""
        return dict(function(keys, self.statistics.take(np.arange(self.complete))))


@dataclass(frozen=True, eq=False)
class _KnownAt:
    """A task that computes numbers from the statistics up to each row."""

    statistic_class: type[StatisticSet]
    function: RowFunction
    groups: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return the rows of the result."""
        for rows in _Running.of(batches, self.statistic_class):
            fields = [*rows.groups.flatten()[: self.groups], rows.values]
            keys = pa.StructArray.from_arrays(fields, [f"k{i}" for i in range(len(fields))])[: rows.complete]
            results = rows.results(self.function, keys)
            yield pa.RecordBatch.from_pydict({"b": keys, **{n: lists_of_rows(v) for n, v in results.items()}})


@dataclass(frozen=True, eq=False)
class _KnownBefore:
    """A task that computes numbers from the statistics up to each row, for the places where they hold."""

    statistic_class: type[StatisticSet]
    function: RowFunction
    values: pa.Array
    step: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return the rows of the result."""
        for running in _Running.of(batches, self.statistic_class):
            complete = running.complete
            first = _places(running.values, self.values) + 1
            goes_on = np.append(running.numbers[1:] == running.numbers[:-1], False)
            last = np.where(goes_on, np.append(first[1:] - 1, 0), len(self.values))[:complete]
            first = first[:complete]
            span = first // self.step
            repeats = last // self.step - span + 1
            rows = np.repeat(np.arange(complete), repeats)
            spans = span[rows] + np.arange(len(rows)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
            results = running.results(self.function, running.groups[:complete])
            integers = {"span": spans, "first": first[rows], "last": last[rows]}
            yield pa.RecordBatch.from_pydict(
                {
                    "b": running.groups.take(pa.array(rows)),
                    **{name: pa.array(values, pa.int32()) for name, values in integers.items()},
                    **{name: lists_of_rows(values[rows]) for name, values in results.items()},
                }
            )
