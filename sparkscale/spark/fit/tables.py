"""Statistics by key as rows of a DataFrame, which the driver holds if they are few, and executors otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import and_
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_type
from pyspark.sql.types import DoubleType, FloatType, IntegerType, StructField, StructType

from sparkscale.errors import ParamError
from sparkscale.spark import arrow, sql, tasks
from sparkscale.spark.arrow import numbered
from sparkscale.spark.columns import temp_column_name
from sparkscale.spark.fit import scan
from sparkscale.spark.fit.local_rows import (
    Task,
    frame_of,
    key_array,
    key_literal,
    merged_rows,
    on_driver,
    projected_rows,
    replaced_rows,
)
from sparkscale.spark.fit.table_rows import (
    LISTS,
    CheckedRows,
    DecayedRows,
    MappedRows,
    MergedRows,
    RowFunction,
    SelectedRows,
    Total,
    decoded,
    key_type,
    statistics_type,
)
from sparkscale.statistics import StatisticSet

__all__ = ["HELD_BYTES", "StatisticTable"]

HELD_BYTES = 1 << 26  # of a table that the driver collects and holds
KEY_BYTES = 64  # assumed of a key


@dataclass(frozen=True)
class StatisticTable:
    """Statistics by key.

    Parameters
    ----------
    source : pyspark.sql.DataFrame
        A row for each key: ``b``, a struct of the key columns, and of each statistic a struct of lists of numbers. If
        the driver holds the rows, only the session of this DataFrame is used.
    key_type : pyspark.sql.types.StructType
        The type of the keys.
    statistic_class : type of StatisticSet
        The statistics.
    features : int
        The number of features.
    rows : int
        The number of keys; -1 if it was not computed yet.
    small : bool
        Whether the rows are few enough to be sent to every executor.
    local : pyarrow.Table or None
        The rows, if the driver holds them.
    """

    source: DataFrame
    key_type: StructType
    statistic_class: type[StatisticSet]
    features: int
    rows: int = -1
    small: bool = True
    local: pa.Table | None = None

    @property
    def df(self) -> DataFrame:
        """The rows; those of the driver in the session that is active now."""
        return self.source if self.local is None else self.spark.createDataFrame(self.local, self.schema)

    @property
    def spark(self) -> SparkSession:
        """The session of the rows, or if the driver holds them, the one that is active."""
        active = None if self.local is None else SparkSession.getActiveSession()
        return active or self.source.sparkSession

    @classmethod
    def of_one(cls, spark: SparkSession, statistic: StatisticSet) -> StatisticTable:
        """Return the table of one row, without a key."""
        return cls(frame_of(spark, statistic), key_type([IntegerType()]), type(statistic), len(statistic), 1)

    @property
    def schema(self) -> StructType:
        """The schema of the DataFrame."""
        return StructType([StructField("b", self.key_type), *statistics_type(self.statistic_class).fields])

    def of(self, df: DataFrame) -> StatisticTable:
        """Return the table of other rows of the same form, computed once, which does not depend on what they come from.

        The rows are collected if they are few, and then the driver holds them; otherwise they stay on the executors.
        """
        return self.with_totals(df)[0]

    def with_totals(self, df: DataFrame, *aggregates: str) -> tuple[StatisticTable, list[Any]]:
        """Return the table of other rows, and aggregates of its rows, SQL texts."""
        df = df.localCheckpoint()
        number, rows, *totals = sql.select(df, f"sum({self._bytes_sql})", "count(*)", *aggregates).collect()[0]
        small = (number or 0) <= HELD_BYTES
        # PySpark 3.5 creates no DataFrame from Arrow data.
        local = df.toArrow() if small and hasattr(df, "toArrow") else None
        if local is not None:
            local = local.cast(pa.schema([field.with_nullable(True) for field in local.schema]))  # as tasks return rows
            df = df.sparkSession.range(0)  # so that Spark drops the checkpoint
        return replace(self, source=df, rows=rows, small=small, local=local), totals

    def without(self, *columns: str) -> StatisticTable:
        """Return the table without columns that are not its own."""
        if self.local is not None:
            return replace(self, local=self.local.drop_columns([*columns]))
        return replace(self, source=self.source.drop(*columns))

    @property
    def _bytes_sql(self) -> str:
        """The number of bytes of a row."""
        classes = self.statistic_class.classes.items()
        sizes = (f"size({name}.{array})" for name, one in classes for array in one.names())
        return f"{KEY_BYTES} + 8L * ({' + '.join(sizes)})"

    def row(self) -> StatisticSet:
        """Return the statistics of the only row."""
        return decoded(arrow.batches(self.df)[0], self.statistic_class).of_row(0)

    def collected(self) -> tuple[pa.Array, StatisticSet]:
        """Return all keys and their statistics, one row each; for tables that the driver can hold."""
        batches = arrow.batches(self.df) if self.local is None else self.local.to_batches()
        batches = [batch for batch in batches if batch.num_rows]
        if not batches:
            nothing = self.statistic_class.missing(self.features, 0).as_row().take(np.zeros(0, np.intp))
            return pa.array([], to_arrow_type(self.key_type)), nothing
        (batch,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
        return batch.column("b"), decoded(batch, self.statistic_class)

    def merged(self, *others: StatisticTable) -> StatisticTable:
        """Return the keys of all tables, with the statistics of a key merged in the order of the operands."""
        if not others:
            return self
        local = self._held(*others)
        if local:
            return self.of_local(merged_rows(pa.concat_tables(local), self.statistic_class))
        rows = [sql.select(t.df, "*", f"{i} AS o") for i, t in enumerate((self, *others))]
        return self.of(self._merged(reduce(DataFrame.unionByName, rows), "o"))

    def replaced(self, other: StatisticTable) -> StatisticTable:
        """Return the keys of both tables, with the statistics of the other one where it has any."""
        local = self._held(other)
        if local:
            return self.of_local(replaced_rows(*local))
        rows, new = self.df, other.df
        keys = new.select("b").withColumnRenamed("b", "other")
        kept = rows.join(keys, rows["b"] == keys["other"], "left_anti")
        return self.of(kept.unionByName(new))

    def projected(self, fields: Sequence[int]) -> StatisticTable:
        """Return the table by some of the key columns, with all keys merged that agree in these."""
        table = replace(self, key_type=key_type([self.key_type[field].dataType for field in fields]))
        if self.local is not None:
            return table.of_local(merged_rows(projected_rows(self.local, fields), self.statistic_class))
        kept = ", ".join(f"b.k{field} AS k{i}" for i, field in enumerate(fields))
        rows = sql.select(self.df, f"struct({kept}) AS b", "b AS o", *self.statistic_class.classes)
        return table.of(table._merged(rows, "o"))

    def _held(self, *others: StatisticTable) -> list[pa.Table] | None:
        """Return the rows of tables that the driver holds, if it may hold them as one: it merges them faster than jobs."""
        tables = (self, *others)
        held = [table.local for table in tables if table.local is not None]
        return held if len(held) == len(tables) and sum(rows.nbytes for rows in held) <= HELD_BYTES else None

    def of_local(self, rows: pa.Table) -> StatisticTable:
        """Return the table of other rows that the driver holds."""
        return replace(self, local=rows, rows=rows.num_rows)

    def _merged(self, rows: DataFrame, order: str) -> DataFrame:
        ordered = rows.repartition("b").sortWithinPartitions("b", order).drop(order)
        return tasks.map_in_arrow(ordered, MergedRows(self.statistic_class), self.schema)

    def total(self) -> StatisticSet | None:
        """Return the statistics of all keys; ``None`` if there is no key."""
        task = Total(self.statistic_class)
        if self.local is not None:
            rows = [*task(iter(self.local.to_batches()))]
        else:
            parts = max(1, scan.DRIVER_BYTES // (8 * max(self.statistic_class.usual_numbers(self.features), 1)))
            schema = StructType([StructField("b", key_type([IntegerType()])), *self.schema.fields[1:]])
            rows = arrow.batches(tasks.map_in_arrow(self.df.coalesce(parts), task, schema))
        by_partition = {}
        for batch in rows:
            for k, key in enumerate(batch.column("b").to_pylist()):
                by_partition[key["k0"]] = decoded(batch, self.statistic_class).of_row(k)
        if not by_partition:
            return None
        first, *others = (by_partition[k] for k in sorted(by_partition))
        return first.merge(*others)

    def of_key(self, values: Sequence[Any]) -> StatisticSet | None:
        """Return the statistics of a key, given its values; ``None`` if there is no such key, or a value is of another type."""
        pairs = zip(self.key_type.fields, values, strict=True)
        arrays = [key_array(value, field.dataType) for field, value in pairs]
        if any(array is None for array in arrays):
            return None  # no key has a value that the type of the column cannot hold
        key = pa.StructArray.from_arrays(arrays, self.key_type.names)
        if self.local is not None:
            batches = self.local.to_batches()
        else:
            fields = zip(self.key_type.fields, arrays, strict=True)
            equal = [F.col("b")[f.name].eqNullSafe(key_literal(array, f.dataType)) for f, array in fields]
            batches = arrow.batches(self.df.where(F.lit(True) if not equal else reduce(and_, equal)))
        for batch in batches:
            keys = batch.column("b").cast(key.type)
            numbers, _ = numbered(pa.concat_arrays([key, keys]))
            (rows,) = np.nonzero(numbers[1:] == numbers[0])
            if len(rows):
                return decoded(batch, self.statistic_class).of_row(int(rows[0]))
        return None

    def chosen(self, names: Sequence[str], condition: str) -> StatisticTable:
        """Return the rows that fulfil a condition, SQL text in which the key columns have these names."""
        hidden = {name: temp_column_name() for name in self.schema.names}
        key = F.col(hidden["b"])
        rows = self.df.withColumnsRenamed(hidden)
        rows = rows.select("*", *(key[f"k{i}"].alias(name) for i, name in enumerate(names)))
        try:
            chosen = sql.where(rows, condition)
            chosen.schema  # noqa: B018  # analyzed now, on Connect too
        except AnalysisException as failure:
            keys = ", ".join(map(repr, names))
            raise ParamError(
                f"where: {condition!r} is not a condition over the key columns {keys}. Correct it."
            ) from failure
        return self.of(chosen.select(*(F.col(new).alias(old) for old, new in hidden.items())))

    def select(self, name: str, statistic_class: type[StatisticSet], features: npt.NDArray[np.intp]) -> StatisticTable:
        """Return the table of one of the statistics, and of some features; see `StatisticSet.select`."""
        table = replace(self, statistic_class=statistic_class, features=features.shape[-1])
        task = SelectedRows(self.statistic_class, name, statistic_class, features)
        return self._by_task(task, table)

    def decayed(self, field: int, half_life: float, at: pa.Array) -> StatisticTable:
        """Return the table with the weights of a key's rows halved for every so many units until ``at``."""
        task = DecayedRows(self.statistic_class, field, half_life, at)
        return self._by_task(task, self)

    def _by_task(self, task: Task, form: StatisticTable) -> StatisticTable:
        """Return the table of the rows that a task makes of these, in the form of another table."""
        if self.local is not None and self.rows:
            return form.of_local(on_driver(task, self.local))
        return form.of(tasks.map_in_arrow(self.df, task, form.schema))

    def latest(self, field: int) -> tuple[pa.Array, bool]:
        """Return the largest value of a key column, as an array of one, and whether no key lacks one."""
        name, data_type = f"b.k{field}", self.key_type[field].dataType
        lacks = f"isnan({name})" if isinstance(data_type, FloatType | DoubleType) else "false"
        (batch,) = arrow.batches(
            sql.select(self.df, f"max({name}) AS m", f"every({name} IS NOT NULL AND NOT {lacks}) AS e")
        )
        return batch.column("m"), batch.column("e")[0].as_py() is not False

    def map_rows(self, function: RowFunction, names: Sequence[str]) -> DataFrame:
        """Return key ``b`` and lists of numbers by name, from a function of the keys and their statistics."""
        schema = StructType([StructField("b", self.key_type), *(StructField(name, LISTS) for name in names)])
        task = MappedRows(self.statistic_class, function)
        if self.local is None or not self.rows:
            return tasks.map_in_arrow(self.df, task, schema)
        return self.spark.createDataFrame(on_driver(task, self.local), schema)

    def check_rows(self, function: RowFunction) -> None:
        """Apply a function of the keys and their statistics, for the errors that it raises."""
        if self.local is None or not self.rows:
            self.map_rows(CheckedRows(function), ["n"]).write.format("noop").mode("overwrite").save()
        else:
            on_driver(MappedRows(self.statistic_class, function), self.local)
