"""Vector columns: Spark's own models where they compute the map, else arrays and back.

Measured on 500,000 dense vectors of 64 (benchmarks/): Spark's models take 0.4 times what ``vector_to_array``,
an expression and ``array_to_vector`` take, and they keep sparse vectors sparse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
from pyspark.ml.feature import ElementwiseProduct, VectorAssembler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.linalg import SparseVector, Vectors, VectorUDT
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkscale.affine import AffineMap
from sparkscale.errors import SizeMismatchError
from sparkscale.spark import jvm
from sparkscale.spark.columns import FeatureColumn, attribute_metadata
from sparkscale.spark.expression import Bounds, array_map, failure, guarded, is_valid

__all__ = ["as_array", "assemble", "complete", "from_array", "transform"]


def _fresh() -> str:
    return f"sparkscale_{uuid4().hex[:12]}"


def transform(
    df: DataFrame, column: FeatureColumn, affine: AffineMap, bounds: Bounds, strict: bool
) -> tuple[DataFrame, str]:
    """Add the mapped vector under a new name, which is returned too; null stays null."""
    df, checked = _checked(df, column, strict)
    factor = _factor(affine)
    sparse = affine.keeps_zero and (bounds is None or bounds[0] <= 0.0 <= bounds[1])
    if bounds is None and factor is not None and affine.keeps_zero:
        product = ElementwiseProduct(inputCol=checked, outputCol=_fresh(), scalingVec=Vectors.dense(factor))
        return _null_again(product.transform(df), column, product.getOutputCol(), checked)
    if bounds is None and factor is not None:
        shifted = _shifted(df, checked, affine)
        if shifted is not None:
            return _null_again(shifted[0], column, shifted[1], checked)
    return _through_arrays(df, column, checked, affine, bounds, sparse)


def _factor(affine: AffineMap) -> Any | None:
    """Return what to multiply by, or ``None`` where a reciprocal would lose digits."""
    if not affine.divides:
        return affine.scale
    with np.errstate(all="ignore"):
        factor = 1.0 / affine.scale
    tiny = np.finfo(np.float64).tiny
    exact = np.isinf(affine.scale) | np.isnan(affine.scale) | (np.isfinite(factor) & (np.abs(factor) >= tiny))
    return factor if exact.all() else None


def _checked(df: DataFrame, column: FeatureColumn, strict: bool) -> tuple[DataFrame, str]:
    """Add the column with null as a zero vector; a wrong size, or an invalid value if strict, fails the job."""
    name, u, zeros, size = _fresh(), _fresh(), _fresh(), column.size or 0
    found = f"coalesce({u}.size, size({u}.values))"
    wrong = failure(
        SizeMismatchError,
        f"Column '{column.name}' holds a vector of size ",
        found,
        f", but the model was fitted on size {size}.",
    )
    right = f"CASE WHEN {found} = {size} THEN {column.sql} ELSE {wrong} END"
    df = df.withColumn(u, F.unwrap_udt(F.col(column.sql)))
    if strict:
        right = guarded(replace(column, kind="array"), f"{u}.values", right)
        return df.withColumn(name, F.expr(right)).drop(u), name
    df = df.withColumn(zeros, F.when(F.expr(f"{u} IS NULL"), array_to_vector(F.expr(f"array_repeat(0D, {size})"))))
    return df.withColumn(name, F.expr(f"CASE WHEN {u} IS NULL THEN {zeros} ELSE {right} END")).drop(u, zeros), name


def _null_again(df: DataFrame, column: FeatureColumn, made: str, checked: str) -> tuple[DataFrame, str]:
    name = _fresh()
    restored = F.expr(f"CASE WHEN {column.sql} IS NOT NULL THEN {made} END")
    return df.withColumn(name, restored).drop(made, checked), name


def _shifted(df: DataFrame, checked: str, affine: AffineMap) -> tuple[DataFrame, str] | None:
    """Compute ``(x - center) / scale`` by Spark's StandardScalerModel, and the offset by a second one."""
    scale = affine.scale if affine.divides else None
    if scale is None:
        return None
    steps = [(affine.center, scale)]
    if np.any(affine.offset != 0):
        steps.append((-affine.offset, np.ones(len(affine))))
    source = checked
    for center, divisor in steps:
        model = jvm.standard_scaler_model(df, center, divisor)
        if model is None:
            return None
        target = _fresh()
        df = model.setInputCol(source).setOutputCol(target).transform(df)
        if source != checked:
            df = df.drop(source)
        source = target
    return df, source


def _through_arrays(
    df: DataFrame, column: FeatureColumn, checked: str, affine: AffineMap, bounds: Bounds, sparse: bool
) -> tuple[DataFrame, str]:
    array, mapped, row, name = _fresh(), _fresh(), _fresh(), _fresh()
    present = F.expr(f"{column.sql} IS NOT NULL")
    is_sparse = F.unwrap_udt(F.col(checked)).indices.isNotNull() if sparse else F.lit(False)
    df = df.withColumn(array, F.when(present & ~is_sparse, vector_to_array(F.col(checked))))
    df = df.withColumn(mapped, F.expr(array_map(replace(column, kind="array"), array, affine, bounds)))
    result = F.when(F.expr(f"{mapped} IS NOT NULL"), array_to_vector(F.col(mapped)))
    if sparse:  # no expression makes a sparse vector, so sparse rows, and only they, go through Python
        entries = F.udf(_sparse_map(affine, bounds), VectorUDT())
        df = df.withColumn(row, entries(F.when(present & is_sparse, F.col(checked))))
        result = result.otherwise(F.col(row))
    return df.withColumn(name, result).drop(array, mapped, row, checked), name


def _sparse_map(affine: AffineMap, bounds: Bounds) -> Any:
    def mapped(vector):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # PySpark would read the types as its own
        if vector is None:
            return None
        at = vector.indices
        values = AffineMap(affine.center[at], affine.scale[at], affine.offset[at], affine.divides).apply(vector.values)
        return SparseVector(vector.size, at, values if bounds is None else np.clip(values, *bounds))

    return mapped


def complete(df: DataFrame, column: FeatureColumn) -> DataFrame:
    """Drop rows whose vector is null or holds an invalid value."""
    name = _fresh()
    df = df.withColumn(name, F.unwrap_udt(F.col(column.sql)))
    return df.filter(is_valid(replace(column, kind="array"), f"{name}.values")).drop(name)


def as_array(df: DataFrame, column: FeatureColumn, strict: bool) -> tuple[DataFrame, str]:
    """Add the vector as an array, checked, under a new name."""
    df, checked = _checked(df, column, strict)
    name = _fresh()
    present = F.when(F.expr(f"{column.sql} IS NOT NULL"), vector_to_array(F.col(checked)))
    return df.withColumn(name, present).drop(checked), name


def from_array(df: DataFrame, text: str) -> tuple[DataFrame, str]:
    """Add an array, given as SQL text, as a vector under a new name."""
    array, name = _fresh(), _fresh()
    df = df.withColumn(array, F.expr(text))
    present = F.when(F.expr(f"{array} IS NOT NULL"), array_to_vector(F.col(array)))
    return df.withColumn(name, present).drop(array), name


def assemble(df: DataFrame, columns: Sequence[FeatureColumn], strict: bool) -> tuple[DataFrame, FeatureColumn]:
    """Add all columns as one vector, with NaN for null, as VectorAssembler makes it."""
    made: list[str] = []
    temporary: list[str] = []
    # VectorAssembler takes a plain name as it is; another, or a value to be checked, goes under a new name.
    renamed = {c: _fresh() for c in columns if c.kind == "scalar" and (strict or not c.name.isidentifier())}
    if renamed:
        texts = (guarded(c, c.sql, f"double({c.sql})") if strict else c.sql for c in renamed)
        df = df.selectExpr("*", *(f"{text} AS {name}" for text, name in zip(texts, renamed.values(), strict=True)))
        temporary.extend(renamed.values())
    for column in columns:
        if column.kind == "scalar":
            made.append(renamed.get(column, column.name))
        else:
            df, name = _vector_to_assemble(df, column, strict)
            made.append(name)
            temporary.append(name)
    names = tuple(name for column in columns for name in column.feature_names())
    whole = FeatureColumn(_fresh(), "vector", False, len(names), names)
    assembler = VectorAssembler(inputCols=made, outputCol=whole.name, handleInvalid="keep")
    return assembler.transform(df).drop(*temporary), whole


def _vector_to_assemble(df: DataFrame, column: FeatureColumn, strict: bool) -> tuple[DataFrame, str]:
    """Add a column as a vector of known size; VectorAssembler makes NaN of its nulls."""
    name, size = _fresh(), column.size or 0
    if column.kind == "array":
        identity = AffineMap(np.zeros(size), np.ones(size), np.zeros(size))
        text = array_map(replace(column, single=False), column.sql, identity, None)
        text = guarded(column, column.sql, text) if strict else text
        df = df.withColumn(name, F.expr(f"transform({text}, x -> coalesce(x, double('NaN')))"))
        df = df.withColumn(name, F.when(F.expr(f"{name} IS NOT NULL"), array_to_vector(F.col(name))))
    else:
        df, checked = _checked(df, column, strict)
        df = df.withColumn(name, F.expr(f"CASE WHEN {column.sql} IS NOT NULL THEN {checked} END")).drop(checked)
    return df.withMetadata(name, attribute_metadata(None, size)), name
