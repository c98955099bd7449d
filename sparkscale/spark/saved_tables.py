"""Tables of statistics as Parquet: the key columns, then of each statistic a struct of lists of numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BinaryType,
    BooleanType,
    ByteType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    ShortType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from sparkscale.errors import PersistenceError
from sparkscale.spark import paths, sql
from sparkscale.spark.fit.table_rows import key_type, statistics_type
from sparkscale.spark.fit.tables import StatisticTable
from sparkscale.spark.names import column
from sparkscale.spark.storage import MalformedError, data_folder, unreadable
from sparkscale.statistics import StatisticSet

__all__ = ["Form", "key_data_type", "named", "read_table", "write_table"]

KEY_TYPES: dict[str, DataType] = {
    t.simpleString(): t
    for t in (
        BinaryType(),
        BooleanType(),
        ByteType(),
        DateType(),
        DoubleType(),
        FloatType(),
        IntegerType(),
        LongType(),
        ShortType(),
        StringType(),
        TimestampNTZType(),
        TimestampType(),
    )
}
DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


@dataclass(frozen=True)
class Form:
    """What a saved table holds: the names and types of its keys, its statistics and the number of features."""

    names: tuple[str, ...]
    types: tuple[DataType, ...]
    statistic_class: type[StatisticSet]
    features: int

    @property
    def schema(self) -> StructType:
        """The schema of the files."""
        keys = [StructField(n, t) for n, t in zip(self.names, self.types, strict=True)]
        return StructType([*keys, *statistics_type(self.statistic_class).fields])


def key_data_type(text: str) -> DataType:
    """Return a type of keys from its name."""
    decimal = DECIMAL.fullmatch(text)
    if decimal:
        return DecimalType(*map(int, decimal.groups()))
    if text not in KEY_TYPES:
        raise MalformedError(f"{text!r} is not a type of keys")
    return KEY_TYPES[text]


def named(rows: DataFrame, names: Sequence[str], columns: Iterable[str]) -> DataFrame:
    """Return rows with the key columns under their own names, and some of the other columns."""
    keys = [F.col("b")[f"k{i}"].alias(name) for i, name in enumerate(names)]
    return rows.select(*keys, *columns)


def write_table(path: str, table: StatisticTable, names: Sequence[str]) -> dict[str, Any]:
    """Write a table, and return its number of rows and checksum."""
    df = named(table.df, names, table.statistic_class.classes)
    df = df.coalesce(1) if table.small else df  # one file, and a checksum without a shuffle
    df.write.mode("overwrite").parquet(path)
    return _checksum(df)


def read_table(spark: SparkSession, path: str, metadata: Mapping[str, Any], form: Form) -> StatisticTable:
    """Return the table that the metadata refer to; raise if it is not the one that was saved with them."""
    place = f"{path}/{data_folder(metadata)}"
    try:
        df = spark.read.schema(form.schema).parquet(paths.escaped(place))
        keys = [column([name]).alias(f"k{i}") for i, name in enumerate(form.names)] or [F.lit(0).alias("k0")]
        rows = df.select(F.struct(*keys).alias("b"), *form.statistic_class.classes)
        table = StatisticTable(rows, key_type(form.types or [IntegerType()]), form.statistic_class, form.features).of(
            rows
        )
        held = table.df.coalesce(1) if table.small else table.df  # for fewer jobs
        saved = _checksum(named(held, form.names, form.statistic_class.classes))
    except Exception as failure:
        raise unreadable(place, failure) from failure
    if saved != {name: metadata.get(name) for name in saved}:
        raise PersistenceError(f"'{place}': the saved statistics do not match the metadata.")
    checks = [f"sum(int({_is_wrong(form)}))", "count(*) - count(DISTINCT b)"]
    wrong, twice = sql.select(held, *checks).collect()[0]
    if wrong:
        raise PersistenceError(f"'{place}': some of the saved statistics are not those of {form.features} features.")
    if twice:
        raise PersistenceError(f"'{place}': some keys have more than one row.")
    return table


def _is_wrong(form: Form) -> str:
    """Return a condition on rows, as SQL: of a wrong length, with a null, or with counts that cannot be."""
    conditions = []
    for name, one in form.statistic_class.classes.items():
        for array in one.names():
            field = f"{name}.{array}"
            conditions.append(f"{field} IS NULL OR exists({field}, x -> x IS NULL)")
            if one.fixed:
                conditions.append(f"size({field}) <> {form.features ** (2 if array == 'comoments' else 1)}")
        conditions += [
            f"exists({name}.{n}, x -> NOT (x >= 0 AND x < double('Infinity')))" for n in ("count", "invalid")
        ]
        conditions.append(f"size({name}.count) <> {form.features}")
    return f"coalesce({' OR '.join(conditions)}, true)"


def _checksum(df: DataFrame) -> dict[str, Any]:
    """Return the number of rows, and the sum of their hashes, which does not depend on their order."""
    hashes = df.select(F.xxhash64(*(column([name]) for name in df.columns)).cast("decimal(20,0)").alias("hash"))
    rows, total = hashes.agg(F.count("*"), F.sum("hash")).collect()[0]
    return {"rows": rows, "dataChecksum": str(total)}
