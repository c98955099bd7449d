"""Tables of statistics by key that the driver holds: merged and chosen there, and keys that the driver makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_type
from pyspark.sql.types import (
    BinaryType,
    DataType,
    DateType,
    IntegerType,
    IntegralType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from sparkscale.spark import sql
from sparkscale.spark.arrow import key_order, numbered
from sparkscale.spark.fit.table_rows import MergedRows, encoded, key_of_number, key_type, statistics_type
from sparkscale.statistics import StatisticSet

__all__ = [
    "Task",
    "frame_of",
    "key_array",
    "key_literal",
    "merged_rows",
    "on_driver",
    "projected_rows",
    "replaced_rows",
]

Task = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


def on_driver(task: Task, rows: pa.Table) -> pa.Table:
    """Run a task on rows of the driver."""
    return pa.Table.from_batches(task(iter(rows.to_batches())))


def _numbers(rows: pa.Table) -> npt.NDArray[np.intp]:
    """Return the number of each row's key."""
    return numbered(pa.concat_arrays(rows.column("b").chunks))[0] if rows.num_rows else np.zeros(0, np.intp)


def merged_rows(rows: pa.Table, statistic_class: type[StatisticSet]) -> pa.Table:
    """Merge the rows of each key, in their order."""
    if not rows.num_rows:
        return rows
    order = np.argsort(_numbers(rows), kind="stable")
    return on_driver(MergedRows(statistic_class), rows.take(pa.array(order)).combine_chunks())


def replaced_rows(rows: pa.Table, new: pa.Table) -> pa.Table:
    """Return the rows of both tables, of a key in both the new one."""
    numbers = _numbers(pa.concat_tables([rows, new]))
    old, others = numbers[: rows.num_rows], numbers[rows.num_rows :]
    return pa.concat_tables([rows.take(pa.array(np.flatnonzero(~np.isin(old, others)))), new]).combine_chunks()


def projected_rows(rows: pa.Table, fields: Sequence[int]) -> pa.Table:
    """Return the rows with some of the key columns, in the order of the whole keys, NaN and null last."""
    keys = rows.column("b").combine_chunks()
    columns = keys.flatten()
    kept = pa.StructArray.from_arrays([columns[field] for field in fields], [f"k{i}" for i in range(len(fields))])
    return rows.set_column(0, "b", kept).take(pa.array(key_order(keys)))


def key_array(value: Any, data_type: DataType) -> pa.Array | None:
    """Return one value of a key, or ``None`` if the type cannot hold it.

    A zero has no sign; a time without a zone is in the local one, as Spark takes it.
    """
    if isinstance(value, float):
        value += 0.0
    cut = isinstance(data_type, IntegralType) and isinstance(value, float | Decimal) and value != value // 1
    if cut or (value is not None and not _is_of(value, data_type)):
        return None
    try:
        if not isinstance(data_type, TimestampType):
            return pa.array([value], to_arrow_type(data_type))
        if isinstance(value, datetime) and value.tzinfo is None:
            value = value.astimezone()
        return pa.array([value], pa.timestamp("us", "UTC"))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, TypeError):
        return None


def _is_of(value: Any, data_type: DataType) -> bool:
    """Whether a value is a date or a time, if the type is one; Arrow also takes numbers of days or of microseconds."""
    if isinstance(data_type, DateType):
        return isinstance(value, date) and not isinstance(value, datetime)
    return isinstance(value, datetime) or not isinstance(data_type, TimestampNTZType | TimestampType)


def key_literal(key: pa.Array, data_type: DataType) -> Column:
    """Return one value of a key as a literal of its type, whatever the time zones of Python and of the session are."""
    value = key[0].as_py()
    if value is None or isinstance(data_type, BinaryType | StringType):
        return F.lit(value)
    return sql.expr(f"cast('{pc.cast(key, pa.string())[0].as_py()}' AS {data_type.simpleString()})")


def frame_of(spark: SparkSession, statistic: StatisticSet) -> DataFrame:
    """Return a DataFrame of one row, whose key is 0."""
    batch = encoded(key_of_number(0), statistic.as_row())
    schema = StructType([StructField("b", key_type([IntegerType()])), *statistics_type(type(statistic)).fields])
    if hasattr(DataFrame, "toArrow"):
        return spark.createDataFrame(pa.Table.from_batches([batch]), schema)
    return spark.createDataFrame(batch.to_pylist(), schema)  # PySpark 3.5
