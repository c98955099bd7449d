"""Vector columns: Spark's own models where they compute the map, else arrays and back.

Measured on 500,000 dense vectors of 64 (benchmarks/): Spark's models take 0.4 times what ``vector_to_array``,
an expression and ``array_to_vector`` take, and they keep sparse vectors sparse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.ml.feature import ElementwiseProduct, Normalizer, VectorAssembler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.linalg import SparseVector, Vectors, VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkscale.affine import AffineMap
from sparkscale.errors import SizeMismatchError
from sparkscale.spark import jvm, sql
from sparkscale.spark.columns import FeatureColumn, attribute_metadata, fresh
from sparkscale.spark.expression import REFUSING, Bounds, array_map, failure, guarded, is_valid, literal, paired, sized

__all__ = ["as_array", "assemble", "complete", "from_array", "normalized", "through_arrays", "transform"]

Array = npt.NDArray[Any]
Made = Callable[[str], Column]  # from the name of an array to what is made of it
Entries = Callable[[Array, Array], Array]  # from indices and values to values

FITTED = ", but the model was fitted on size {0}. Give every row the size that fit saw, or fit again."
METADATA = ", but its metadata says {0}. Correct the rows, or the metadata."


@dataclass(frozen=True)
class _Checked:
    """A vector column that Spark's functions can take: null is a zero vector, and a wrong size fails the job.

    So does an invalid value that ``handle_invalid`` refuses. The functions must not rely on being called only where a value is present:
    whether Spark evaluates a column that is not used is up to its optimizer.
    """

    name: str
    parts: str
    zeros: str
    handle_invalid: str

    @property
    def temporary(self) -> list[str]:
        return [self.name, self.parts, self.zeros]

    @property
    def present(self) -> str:
        if self.handle_invalid == "error":  # which fails at null, if it is looked at
            return "true"
        return f"{self.parts} IS NOT NULL"

    def where_present(self, text: str) -> str:
        return f"CASE WHEN {self.present} THEN {text} END"


def transform(
    df: DataFrame,
    column: FeatureColumn,
    affine: AffineMap,
    bounds: Bounds,
    handle_invalid: str,
    mapped: Made | None = None,
) -> tuple[DataFrame, str, list[str]]:
    """Prepare the mapped vector; null stays null. With ``mapped``, it makes the map of an array.

    Returns
    -------
    pyspark.sql.DataFrame
        With new columns.
    str
        The mapped vector as SQL text over them.
    list of str
        Their names.
    """
    df, checked = _checked(df, column, handle_invalid)
    factor = _factor(affine)
    if mapped is None and bounds is None and factor is not None:
        scaled = _by_spark(df, checked.name, affine, factor)
        if scaled is not None:
            df, steps = scaled
            return df, checked.where_present(steps[0]), [*steps, *checked.temporary]
    sparse = affine.keeps_zero and (bounds is None or bounds[0] <= 0.0 <= bounds[1])
    entries = partial(_mapped_entries, affine, bounds) if sparse else None
    made = mapped or (lambda array: sql.expr(array_map(column, array, affine, bounds)))
    df, steps = _through_arrays(df, checked, made, entries)
    return df, steps[0], [*steps, *checked.temporary]


def through_arrays(
    df: DataFrame, column: FeatureColumn, mapped: Made, entries: Entries | None, handle_invalid: str
) -> tuple[DataFrame, str, list[str]]:
    """Prepare what ``mapped`` makes of the vector as an array; null stays null.

    With ``entries``, sparse vectors stay sparse, and it maps their indices and values.
    """
    df, checked = _checked(df, column, handle_invalid, METADATA)
    df, steps = _through_arrays(df, checked, mapped, entries)
    return df, steps[0], [*steps, *checked.temporary]


def normalized(
    df: DataFrame, column: FeatureColumn, p: float, mapped: Made, handle_invalid: str
) -> tuple[DataFrame, str, list[str]]:
    """Prepare the vector divided by its p-norm by Spark's Normalizer; null stays null.

    Vectors with an invalid value, and those whose powers overflow or vanish, become what ``mapped`` makes of them as
    arrays: dense vectors.
    """
    df, checked = _checked(df, column, handle_invalid, METADATA)
    stage = Normalizer(p=p, inputCol=checked.name, outputCol=fresh())
    df = stage.transform(df)
    values, limit = f"{checked.parts}.values", literal(1e300 if p == np.inf else 10.0 ** (280.0 / p))
    largest = f"greatest(array_max({values}), -array_min({values}))"  # NaN is the largest of all
    suits = f"coalesce({largest} <= {limit} AND ({largest} >= 1D / {limit} OR {largest} = 0D), true)"
    df, steps = _through_arrays(df, checked, mapped, None, f"NOT ({suits})")
    made = checked.where_present(f"CASE WHEN {suits} THEN {stage.getOutputCol()} ELSE {steps[0]} END")
    return df, made, [stage.getOutputCol(), *steps, *checked.temporary]


def _factor(affine: AffineMap) -> Any | None:
    """Return what to multiply by, or ``None`` where a reciprocal would lose digits."""
    if not affine.divides:
        return affine.scale
    with np.errstate(all="ignore"):
        factor = 1.0 / affine.scale
    tiny = np.finfo(np.float64).tiny
    exact = np.isinf(affine.scale) | np.isnan(affine.scale) | (np.isfinite(factor) & (np.abs(factor) >= tiny))
    return factor if exact.all() else None


def _checked(
    df: DataFrame, column: FeatureColumn, handle_invalid: str, expected: str = FITTED
) -> tuple[DataFrame, _Checked]:
    checked = _Checked(fresh(), fresh(), fresh(), handle_invalid)
    u, size = checked.parts, column.size or 0
    found = f"coalesce({u}.size, size({u}.values))"
    wrong = failure(
        SizeMismatchError,
        f"Column '{column.name}' holds a vector of size ",
        found,
        expected.format(size),
    )
    fits = "true" if column.size is None else f"{found} = {size}"
    right = f"CASE WHEN {u} IS NULL THEN {checked.zeros} WHEN {fits} THEN {column.sql} ELSE {wrong} END"
    right = paired(column, u, right)
    right = guarded(replace(column, kind="array"), f"{u}.values", right, handle_invalid, compiled=True)
    unwrapped = F.unwrap_udt(column.values)
    # The zero looks at the row, lest the optimizer put a constant vector into every task.
    zero = f"CASE WHEN {column.sql} IS NULL THEN 0D END"
    zeros = F.when(unwrapped.isNull(), array_to_vector(sql.expr(f"array_repeat({zero}, {size})")))
    df = df.select("*", unwrapped.alias(u), zeros.alias(checked.zeros))
    return sql.select(df, "*", f"{right} AS {checked.name}"), checked


def _by_spark(df: DataFrame, source: str, affine: AffineMap, factor: Any) -> tuple[DataFrame, list[str]] | None:
    """Map by ElementwiseProduct, or ``(x - center) / scale`` and the offset by Spark's StandardScalerModel."""
    if affine.keeps_zero:
        product = ElementwiseProduct(inputCol=source, outputCol=fresh(), scalingVec=Vectors.dense(factor))
        return product.transform(df), [product.getOutputCol()]
    if not affine.divides:
        return None
    steps = [(affine.center, affine.scale)]
    if np.any(affine.offset != 0):
        steps.append((-affine.offset, np.ones(len(affine))))
    names: list[str] = []
    for center, divisor in steps:
        names.insert(0, fresh())
        scaled = jvm.standard_scaled(df, names[1] if names[1:] else source, names[0], center, divisor)
        if scaled is None:
            return None
        df = scaled
    return df, names


def _through_arrays(
    df: DataFrame, checked: _Checked, mapped: Made, entries: Entries | None, where: str = "true"
) -> tuple[DataFrame, list[str]]:
    array, made, row, name = fresh(), fresh(), fresh(), fresh()
    is_sparse = f"{checked.parts}.indices IS NOT NULL" if entries else "false"
    wanted = f"{checked.present} AND {where}"
    dense = F.when(sql.expr(f"{wanted} AND NOT {is_sparse}"), vector_to_array(F.col(checked.name)))
    df = df.withColumn(array, dense)
    df = df.withColumn(made, mapped(array))
    result = F.when(sql.expr(f"{made} IS NOT NULL"), array_to_vector(F.col(made)))
    if not entries:
        return df.withColumn(name, result), [name, made, array]
    # No expression makes a sparse vector, so sparse rows, and only they, go through Python.
    by_python = F.udf(_sparse_map(entries), VectorUDT(), useArrow=False)  # Arrow knows no vectors
    only_sparse = F.when(sql.expr(f"{wanted} AND {is_sparse}"), F.col(checked.name))
    df = df.withColumn(row, by_python(only_sparse))
    return df.withColumn(name, result.otherwise(F.col(row))), [name, row, made, array]


def _sparse_map(entries: Entries) -> Any:
    def mapped(vector):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # PySpark would read the types as its own
        if vector is None:
            return None
        return SparseVector(vector.size, vector.indices, entries(vector.indices, vector.values))

    return mapped


def _mapped_entries(affine: AffineMap, bounds: Bounds, at: Array, values: Array) -> Array:
    part = AffineMap(affine.center[at], affine.scale[at], affine.offset[at], affine.divides)
    return part.apply(values) if bounds is None else np.clip(part.apply(values), *bounds)


def complete(df: DataFrame, column: FeatureColumn) -> DataFrame:
    """Drop rows whose vector is null or holds an invalid value."""
    name = fresh()
    df = df.withColumn(name, F.unwrap_udt(column.values))
    return sql.where(df, is_valid(replace(column, kind="array"), f"{name}.values")).drop(name)


def as_array(df: DataFrame, column: FeatureColumn, handle_invalid: str) -> tuple[DataFrame, list[str]]:
    """Add the vector or array as an array of doubles, checked; returns the new columns' names, the array's first."""
    name = fresh()
    if column.kind == "array":
        return df.withColumn(name, sql.expr(_doubles(column, handle_invalid))), [name]
    df, checked = _checked(df, column, handle_invalid)
    array = F.when(sql.expr(checked.present), vector_to_array(F.col(checked.name)))
    return df.withColumn(name, array), [name, *checked.temporary]


def _doubles(column: FeatureColumn, handle_invalid: str) -> str:
    """Return an array column as doubles, checked, as SQL text."""
    text = sized(column, column.sql, column.size or 0, f"cast({column.sql} AS array<double>)")
    return guarded(column, column.sql, text, handle_invalid)


def from_array(df: DataFrame, text: str) -> tuple[DataFrame, list[str]]:
    """Add an array, given as SQL text, as a vector; returns the names of the new columns, the vector's first."""
    array, name = fresh(), fresh()
    df = df.withColumn(array, sql.expr(text))
    present = F.when(sql.expr(f"{array} IS NOT NULL"), array_to_vector(F.col(array)))
    return df.withColumn(name, present), [name, array]


def assemble(df: DataFrame, columns: Sequence[FeatureColumn], handle_invalid: str) -> tuple[DataFrame, FeatureColumn]:
    """Add all columns as one vector, with NaN for null, as VectorAssembler makes it."""
    made: list[str] = []
    temporary: list[str] = []
    # VectorAssembler takes a plain name as it is; another, or a value to be checked, goes under a new name.
    plain = {name for name in df.columns if name.isidentifier()}
    as_it_is = handle_invalid not in REFUSING
    renamed = {c: fresh() for c in columns if c.kind == "scalar" and not (as_it_is and c.name in plain)}
    if renamed:
        texts = (c.sql if as_it_is else guarded(c, c.sql, f"double({c.sql})", handle_invalid) for c in renamed)
        df = sql.select(df, "*", *(f"{text} AS {name}" for text, name in zip(texts, renamed.values(), strict=True)))
        temporary.extend(renamed.values())
    for column in columns:
        if column.kind == "scalar":
            made.append(renamed.get(column, column.name))
        else:
            df, name = _vector_to_assemble(df, column, handle_invalid)
            made.append(name)
            temporary.append(name)
    names = tuple(name for column in columns for name in column.feature_names())
    whole = FeatureColumn(fresh(), "vector", False, len(names), names)
    assembler = VectorAssembler(inputCols=made, outputCol=whole.name, handleInvalid="keep")
    return assembler.transform(df).drop(*temporary), whole


def _vector_to_assemble(df: DataFrame, column: FeatureColumn, handle_invalid: str) -> tuple[DataFrame, str]:
    """Add a column as a vector of known size; VectorAssembler makes NaN of its nulls."""
    name, size = fresh(), column.size or 0
    if column.kind == "array":
        df = df.withColumn(
            name, sql.expr(f"transform({_doubles(column, handle_invalid)}, x -> coalesce(x, double('NaN')))")
        )
        df = df.withColumn(name, F.when(sql.expr(f"{name} IS NOT NULL"), array_to_vector(F.col(name))))
    else:
        df, checked = _checked(df, column, handle_invalid)
        df = df.withColumn(name, sql.expr(checked.where_present(checked.name))).drop(*checked.temporary)
    return df.withMetadata(name, attribute_metadata(None, size)), name
