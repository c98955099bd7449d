"""DataFrames for tests, and their values as numbers again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from pyspark.ml.linalg import DenseVector, SparseVector, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, LongType, StructField, StructType

from strategies import FEATURES, Row

NAN, INF = float("nan"), float("inf")
KINDS = ("scalar", "array", "dense", "sparse", "mixed")


def vector_field(name: str, size: int | None = None) -> StructField:
    """Return a column of vectors. Its metadata may tell their size: where nothing does, a fit runs twice the jobs."""
    return StructField(name, VectorUDT(), metadata={"ml_attr": {"num_attrs": size}} if size else None)


def scalars(spark: SparkSession, *values: float | None) -> DataFrame:
    """Return a column ``x`` of doubles."""
    return spark.createDataFrame([(v,) for v in values], "x double")


def arrays(spark: SparkSession, *values: list[float | None] | None) -> DataFrame:
    """Return a column ``a`` of arrays of doubles."""
    return spark.createDataFrame([(v,) for v in values], "a array<double>")


def vectors(spark: SparkSession, *values: Any, size: int | None = None, name: str = "v") -> DataFrame:
    """Return a column ``v`` of vectors, in whose metadata there may be a size."""
    return spark.createDataFrame([(v,) for v in values], StructType([vector_field(name, size)]))


def names_of(kinds: Sequence[str], features: int = FEATURES) -> list[str]:
    """Return the columns of a frame that hold the data in these kinds."""
    scalar_names = [f"s{i}" for i in range(features)]
    return [name for kind in kinds for name in (scalar_names if kind == "scalar" else [kind])]


def frame(
    spark: SparkSession, rows: Sequence[Row], features: int = FEATURES, row_weights: Sequence[float] | None = None
) -> DataFrame:
    """Return the same rows as scalars, as an array, and as dense, sparse and mixed vectors, with ``id`` and ``w``."""
    fields = [StructField("id", LongType()), StructField("w", DoubleType())]
    fields += [StructField(f"s{i}", DoubleType()) for i in range(features)]
    fields += [StructField("array", ArrayType(DoubleType()))]
    fields += [vector_field(kind, features) for kind in ("dense", "sparse", "mixed")]
    records = []
    for i, row in enumerate(rows):
        weight = 1.0 if row_weights is None else float(row_weights[i])
        if row is None:
            records.append((i, weight, *[None] * features, None, None, None, None))
            continue
        numbers = [np.nan if v is None else v for v in row]
        full = DenseVector(numbers)
        few = SparseVector(features, [(j, v) for j, v in enumerate(numbers) if v != 0])
        records.append((i, weight, *row, list(row), full, few, few if i % 2 else full))
    return spark.createDataFrame(records, StructType(fields))


def cells(df: DataFrame, *names: str) -> list[list[Any]]:
    """Return the named columns of all rows, vectors as lists, in the order of ``id`` where there is one."""
    ordered = "id" in df.columns
    rows = df.select(*(["id"] if ordered and "id" not in names else []), *(names or df.columns)).collect()
    if ordered:
        rows.sort(key=lambda row: row["id"])
    shown = names or df.columns
    return [[listed(row[n]) for n in shown] for row in rows]


def listed(cell: Any) -> Any:
    """Return a vector as a list, and anything else as it is."""
    return cell.toArray().tolist() if hasattr(cell, "toArray") else cell


def rows_of_each(frames: Mapping[str, DataFrame]) -> dict[str, list[Any]]:
    """Return the rows of frames of the same columns, by the frames' names, in the order of ``id``: one query for all."""
    frames_by_name = (df.select(F.lit(name).alias("frame"), "*") for name, df in frames.items())
    whole = reduce(DataFrame.union, frames_by_name)
    rows = whole.collect()
    if "id" in whole.columns:
        rows.sort(key=lambda row: row["id"])
    return {name: [row for row in rows if row["frame"] == name] for name in frames}


def cells_of_each(frames: Mapping[str, DataFrame]) -> dict[str, list[list[Any]]]:
    """Return the cells of frames whose columns are of the same types, by the frames' names: one query for all of them."""
    return {name: [[listed(cell) for cell in row[1:]] for row in rows] for name, rows in rows_of_each(frames).items()}


def values_of(df: DataFrame, names: Sequence[str], features: int = FEATURES) -> np.ndarray:
    """Return columns as numbers, in the order of ``id``; null is NaN, and so is each element of a null."""
    rows = []
    for row in cells(df, *names):
        numbers: list[float] = []
        for name, cell in zip(names, row, strict=True):
            if cell is None:
                numbers += [np.nan] * (1 if name[0] == "s" and name[1:2].isdigit() else features)
            elif isinstance(cell, int | float):
                numbers.append(cell)
            else:
                numbers += [np.nan if v is None else v for v in cell]
        rows.append(numbers)
    return np.array(rows, dtype=np.float64)


def near(actual: Any, expected: Any, rtol: float = 1e-12, atol: float = 0.0) -> None:
    """Numbers agree; null is NaN."""
    np.testing.assert_allclose(np.array(actual, dtype=np.float64), np.asarray(expected), rtol=rtol, atol=atol)
