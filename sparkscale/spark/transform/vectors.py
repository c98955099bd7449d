"""Vector columns: mapped by Spark ML stages where possible, otherwise converted to arrays and back.

Measured on 500,000 dense vectors of length 64 (benchmarks/): Spark's models take 0.4 times as long as
``vector_to_array``, an expression and ``array_to_vector``, and keep sparse vectors sparse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.linalg import SparseVector, VectorUDT
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkscale.errors import SizeMismatchError
from sparkscale.spark.columns import FeatureColumn, attribute_metadata, temp_column_name
from sparkscale.spark.expression import (
    REFUSING,
    elementwise,
    failure,
    guarded,
    indices_checked,
    is_valid,
    length_checked,
    literal,
    unrounded,
)
from sparkscale.spark.frame import Frame
from sparkscale.spark.transform.column_map import FITTED, ColumnMap, Entries, Staged

__all__ = [
    "Vectors",
    "as_array",
    "assemble",
    "checked_array",
    "drop_invalid_rows",
    "from_array",
    "without_mask",
    "without_null",
]


@dataclass(frozen=True)
class Vectors:
    """A vector column whose rows are split by the way in which they are mapped.

    Parameters
    ----------
    present : str
        The condition that a row is not null.
    staged : Staged or None
        The rows that a Spark ML stage maps.
    array : str or None
        Name of the column with the rows that are mapped as arrays; null in other rows.
    sparse : str or None
        Name of the column with the mapped sparse rows; null in other rows.
    """

    present: str
    staged: Staged | None = None
    array: str | None = None
    sparse: str | None = None

    @classmethod
    def split(cls, frame: Frame, column: FeatureColumn, column_map: ColumnMap, policy: str, *, native: bool) -> Vectors:
        """Split the rows of a column; ``native`` allows mapping by Spark ML stages."""
        vector = _checked(frame, column, policy, column_map.size_remedy)
        staged = column_map.by_stage(frame, vector) if native and column.mask is None else None
        if staged and staged.condition == "true":
            return cls(vector.present, staged)
        entries = None if staged else column_map.entries()
        remaining = f"{vector.present} AND NOT ({staged.condition})" if staged else vector.present
        is_sparse = (
            f"({vector.unwrapped}.indices IS NOT NULL AND {column_map.sparse_condition})" if entries else "false"
        )
        as_arrays = F.when(frame.expr(f"{remaining} AND NOT {is_sparse}"), vector_to_array(F.col(vector.name)))
        if entries is None:
            return cls(vector.present, staged, frame.add(as_arrays))
        # No expression creates a sparse vector, so that sparse rows, and only those, are mapped in Python.
        by_python = F.udf(
            _sparse_map(entries, column.mask), VectorUDT(), useArrow=False
        )  # Arrow does not support vectors
        sparse_rows = F.when(frame.expr(f"{remaining} AND {is_sparse}"), F.col(vector.name))
        parameters = map(frame.expr, column_map.entry_parameters(f"{vector.unwrapped}.indices"))
        return cls(vector.present, staged, *frame.add_all([as_arrays, by_python(sparse_rows, *parameters)]))

    def joined(self, frame: Frame, mapped: str) -> str:
        """Return the mapped vector as SQL, given the SQL of the mapped arrays."""
        if self.array is None:
            return self._staged("NULL")
        vector = from_array(frame, mapped, self.sparse)
        return self._staged(vector) if self.staged else vector

    def _staged(self, other: str) -> str:
        assert self.staged is not None  # noqa: S101  # set if there is no array
        if self.present == self.staged.condition == "true":
            return self.staged.name
        return f"CASE WHEN {self.present} AND {self.staged.condition} THEN {self.staged.name} ELSE {other} END"


class CheckedVector:
    """A vector column that is safe as input of Spark's functions: null is replaced by a zero vector.

    A wrong size, or an invalid value that the policy refuses, makes the job fail. Null must be replaced, since Spark's
    optimizer may evaluate the functions on rows whose result is not used.
    """

    def __init__(self, frame: Frame, name: str, present: str = "true") -> None:
        self.name, self.present, self._frame = name, present, frame

    @cached_property
    def unwrapped(self) -> str:
        """Name of the column with the vector as a struct of its size, indices and values."""
        return self._frame.add(F.unwrap_udt(F.col(self.name)))


def _checked(frame: Frame, column: FeatureColumn, policy: str, size_remedy: str) -> CheckedVector:
    if isinstance(column, Assembled):
        return CheckedVector(frame, column.name)
    struct, size = F.unwrap_udt(column.values), column.size or 0
    # Refer to the row, or the optimizer ships a constant vector with each task.
    zero = f"CASE WHEN {column.sql} IS NULL THEN 0D END"
    zeros = F.when(struct.isNull(), array_to_vector(frame.expr(f"array_repeat({zero}, {size})")))
    unwrapped, when_null = frame.add_all([struct, zeros])
    row_size = f"coalesce({unwrapped}.size, size({unwrapped}.values))"
    wrong = failure(
        SizeMismatchError, f"Column '{column.name}' holds a vector of size ", row_size, size_remedy.format(size)
    )
    fits = "true" if column.size is None else f"{row_size} = {size}"
    checked = f"CASE WHEN {unwrapped} IS NULL THEN {when_null} WHEN {fits} THEN {column.sql} ELSE {wrong} END"
    checked = indices_checked(column, unwrapped, checked)
    checked = guarded(replace(column, kind="array"), f"{unwrapped}.values", checked, policy, compiled=True)
    # With "error", null makes the job fail if it is evaluated.
    vector = CheckedVector(frame, frame.add(checked), "true" if policy == "error" else f"{unwrapped} IS NOT NULL")
    vector.unwrapped = unwrapped
    return vector


def _sparse_map(entries: Entries, mask: float | None) -> Any:
    def map_row(vector, *parameters):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN202  # PySpark would interpret annotations
        if vector is None:
            return None
        mapped = entries(vector.indices, vector.values, *parameters)
        if mask is not None:
            mapped = np.where(vector.values == mask, mask, mapped)
        return SparseVector(vector.size, vector.indices, mapped)

    return map_row


def drop_invalid_rows(frame: Frame, columns: Sequence[FeatureColumn]) -> None:
    """Keep the rows in which no column is null or contains an invalid value."""
    vectors = [c for c in columns if c.kind == "vector"]
    structs = frame.add_all([F.unwrap_udt(c.values) for c in vectors]) if vectors else []
    conditions = [is_valid(c, c.sql) for c in columns if c.kind != "vector"]
    conditions += [is_valid(replace(c, kind="array"), f"{s}.values") for c, s in zip(vectors, structs, strict=True)]
    frame.where(conditions)


def as_array(frame: Frame, column: FeatureColumn, policy: str) -> str:
    """Add a vector or array as a checked array of doubles, and return its name."""
    if column.kind == "array":
        return frame.add(checked_array(column, policy))
    vector = _checked(frame, column, policy, FITTED)
    return frame.add(F.when(frame.expr(vector.present), vector_to_array(F.col(vector.name))))


def checked_array(column: FeatureColumn, policy: str) -> str:
    """Return the SQL text of an array column as checked doubles."""
    doubles = f"cast({column.sql} AS array<double>)"
    if column.mask_value != column.mask:
        doubles = f"transform({column.sql}, x -> {unrounded(column, 'x')})"
    text = length_checked(column, column.sql, column.size or 0, doubles)
    return guarded(column, column.sql, text, policy)


def without_null(array: str) -> str:
    """Return an SQL array with NaN for null, which no vector holds."""
    return f"transform({array}, x -> coalesce(x, double('NaN')))"


def from_array(frame: Frame, text: str, otherwise: str | None = None) -> str:
    """Add an array, given as SQL text, as a vector, with another column or null in place of null; return its name."""
    array = frame.add(text)
    vector = F.when(frame.expr(f"{array} IS NOT NULL"), array_to_vector(F.col(array)))
    return frame.add(vector.otherwise(F.col(otherwise)) if otherwise else vector)


class Assembled(FeatureColumn):
    """A vector assembled from checked columns: never null, and of the right size."""


def assemble(frame: Frame, columns: Sequence[FeatureColumn], policy: str) -> Assembled:
    """Add all columns as one vector by VectorAssembler, with NaN for null."""
    # VectorAssembler reads simple names directly; other columns, and those to be checked, get temporary names.
    simple = {name for name in frame.df.columns if name.isidentifier()} if policy not in REFUSING else set()
    texts = {}
    for k, column in enumerate(columns):
        if column.kind == "array":
            texts[k] = without_null(checked_array(column, policy))
        elif column.kind == "scalar" and (column.name not in simple or column.mask_value != column.mask):
            texts[k] = guarded(column, column.sql, unrounded(column, column.sql), policy)
    added = dict(zip(texts, frame.add_all([*texts.values()]), strict=True)) if texts else {}
    names = [added.get(k, column.name) for k, column in enumerate(columns)]
    for k, column in enumerate(columns):
        if column.kind == "array":
            present = F.when(frame.expr(f"{added[k]} IS NOT NULL"), array_to_vector(F.col(added[k])))
            names[k] = frame.add(present, attribute_metadata(None, column.size or 0))
        elif column.kind == "vector":
            vector = _checked(frame, column, policy, FITTED)
            present = F.when(frame.expr(vector.present), F.col(vector.name))
            names[k] = frame.add(present, attribute_metadata(None, column.size or 0))
    features = tuple(name for column in columns for name in column.feature_names())
    mask = columns[0].mask
    assembled = Assembled(temp_column_name(), "vector", size=len(features), attributes=features, mask=mask)
    assembler = VectorAssembler(inputCols=names, outputCol=assembled.name, handleInvalid="keep")
    frame.add_by(assembler.transform, assembled.name)
    return assembled


def without_mask(df: DataFrame, columns: Sequence[FeatureColumn]) -> tuple[DataFrame, list[FeatureColumn]]:
    """Return columns with null in place of their masks, in a DataFrame that has them; vectors become arrays."""
    if all(column.mask_value is None for column in columns):
        return df, list(columns)
    frame = Frame(df)
    texts, results = [], []
    for column in frame.read(columns):
        source = as_array(frame, column, "keep") if column.kind == "vector" else column.sql
        mask = literal(column.mask_value if column.mask_value is not None else np.nan)
        texts.append(
            f"nullif({source}, {mask})" if column.kind == "scalar" else elementwise(source, f"nullif(x, {mask})")
        )
        results.append(replace(column.output(""), kind="scalar" if column.kind == "scalar" else "array", mask=None))
    names = frame.add_all(texts)
    return frame.df, [replace(column, name=name) for column, name in zip(results, names, strict=True)]
