"""A DataFrame with keys of every kind, and its rows by key as numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
from pyspark.ml.linalg import DenseVector, SparseVector, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

NAN = float("nan")
COLUMNS = ("x", "y", "a", "v")  # of 1, 1, 2 and 3 features
ROWS = 48
# Key columns, with the values that rows take in turn: null, NaN, zeros of both signs, empty and near values.
KEYS: dict[str, tuple[Any, list[Any]]] = {
    "string": (StringType(), ["a", "", None, "A"]),
    "double": (DoubleType(), [0.0, -0.0, NAN, None]),
    "float": (FloatType(), [0.5, NAN, -0.0, 0.0]),
    "long": (LongType(), [2**60, 2**60 + 1, None]),
    "boolean": (BooleanType(), [True, None, False]),
    "binary": (BinaryType(), [b"", b"\x00", None]),
    "decimal": (DecimalType(20, 2), [Decimal("1.10"), Decimal("1.1"), Decimal(-7)]),
    "date": (DateType(), [date(1600, 1, 1), date(2024, 2, 29), None]),
    "timestamp": (TimestampType(), [datetime(2024, 10, 27, 1), datetime(1969, 12, 31, 5, 0, 0, 1), None]),  # noqa: DTZ001
    "ntz": (TimestampNTZType(), [datetime(2024, 3, 31, 2, 30), datetime(2024, 3, 31, 3, 30)]),  # noqa: DTZ001
}


def values() -> np.ndarray:
    """Return the features of all columns of each row, with invalid ones among them; null rows are NaN."""
    rng = np.random.default_rng(7)
    matrix = rng.normal(size=(ROWS, 7)) * [1, 5, 1, 2, 1, 1, 3] + [0, 100, 3, -2, 0, 0, 7]
    matrix[::3, 5] = 0.0
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    matrix[::7, 2:4] = np.nan
    matrix[::11, 4:] = np.nan
    return matrix


def keyed_frame(spark: SparkSession) -> DataFrame:
    """Return rows of all kinds of columns, with an ``id``, and with each key as a column."""
    fields = [StructField("id", LongType()), *(StructField(name, kind) for name, (kind, _) in KEYS.items())]
    fields += [StructField("x", DoubleType()), StructField("y", DoubleType())]
    fields += [StructField("a", ArrayType(DoubleType())), StructField("v", VectorUDT())]
    records = []
    for i, row in enumerate(values().tolist()):
        keys = [choices[i % len(choices)] for _, choices in KEYS.values()]
        x, y, *rest = (None if math.isnan(number) and i % 2 else number for number in row)
        array = None if i % 7 == 0 else rest[:2]
        numbers = [NAN if n is None else n for n in rest[2:]]
        vector = SparseVector(3, [(j, n) for j, n in enumerate(numbers) if n != 0]) if i % 2 else DenseVector(numbers)
        records.append((i, *keys, x, y, array, None if i % 11 == 0 else vector))
    return spark.createDataFrame(records, StructType(fields)).repartition(3, "id")


def canonical(key: Any) -> Any:
    """Return a key so that equal keys are equal in Python."""
    if isinstance(key, float):
        return "NaN" if math.isnan(key) else key + 0.0
    return bytes(key) if isinstance(key, bytearray) else key


def rows_of_keys(names: Sequence[str]) -> dict[tuple[Any, ...], np.ndarray]:
    """Return which rows are of each key."""
    by_key: dict[tuple[Any, ...], list[int]] = {}
    for i in range(ROWS):
        key = tuple(canonical(KEYS[name][1][i % len(KEYS[name][1])]) for name in names)
        if "float" in names:  # a double in Python
            key = tuple(np.float32(k).item() if isinstance(k, float) else k for k in key)
        by_key.setdefault(key, []).append(i)
    return {key: np.array(rows) for key, rows in by_key.items()}
