"""Vector columns: Spark's own stages where they compute the map, else arrays and back.

Measured on 500,000 dense vectors of 64 (benchmarks/): Spark's models take 0.4 times what ``vector_to_array``,
an expression and ``array_to_vector`` take, and they keep sparse vectors sparse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pyspark.ml.feature import VectorAssembler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.linalg import SparseVector, VectorUDT
from pyspark.sql import functions as F

from sparkscale.errors import SizeMismatchError
from sparkscale.spark.columns import FeatureColumn, attribute_metadata, temp_column_name
from sparkscale.spark.expression import REFUSING, failure, guarded, indices_checked, is_valid, length_checked
from sparkscale.spark.frame import Frame
from sparkscale.spark.transform.column_map import ColumnMap, Entries, Staged

__all__ = ["Vectors", "as_array", "assemble", "checked_array", "drop_invalid_rows", "from_array"]

FITTED = ", but the model was fitted on size {0}. Give every row the size that fit saw, or fit again."


@dataclass(frozen=True)
class Vectors:
    """A vector column, its rows split by how they are mapped.

    Parameters
    ----------
    present : str
        The condition that a row is not null.
    staged : Staged or None
        The rows that a stage of Spark's has mapped.
    array : str or None
        Name of the column of the rows that are to be mapped as arrays; null in others.
    sparse : str or None
        Name of the column of sparse rows, mapped; null in others.
    """

    present: str
    staged: Staged | None = None
    array: str | None = None
    sparse: str | None = None

    @classmethod
    def split(cls, frame: Frame, column: FeatureColumn, column_map: ColumnMap, policy: str, *, native: bool) -> Vectors:
        """Split the rows of a column; ``native`` is whether Spark's stages may map them."""
        vector = _checked(frame, column, policy, column_map.size_remedy)
        staged = column_map.by_stage(frame, vector) if native else None
        if staged and staged.condition == "true":
            return cls(vector.present, staged)
        entries = None if staged else column_map.entries()
        left = f"{vector.present} AND NOT ({staged.condition})" if staged else vector.present
        is_sparse = f"{vector.parts}.indices IS NOT NULL" if entries else "false"
        as_arrays = F.when(frame.expr(f"{left} AND NOT {is_sparse}"), vector_to_array(F.col(vector.name)))
        if entries is None:
            return cls(vector.present, staged, frame.add(as_arrays))
        # No expression makes a sparse vector, so sparse rows, and only they, go through Python.
        by_python = F.udf(_sparse_map(entries), VectorUDT(), useArrow=False)  # Arrow knows no vectors
        sparse_rows = F.when(frame.expr(f"{left} AND {is_sparse}"), F.col(vector.name))
        return cls(vector.present, staged, *frame.add_all([as_arrays, by_python(sparse_rows)]))

    def joined(self, frame: Frame, mapped: str) -> str:
        """Return the mapped vector as SQL, given the SQL of what the arrays became."""
        if self.array is None:
            return self._staged("NULL")
        vector = from_array(frame, mapped, self.sparse)
        return self._staged(vector) if self.staged else vector

    def _staged(self, other: str) -> str:
        assert self.staged is not None  # noqa: S101  # else there is an array, and no stage
        if self.present == self.staged.condition == "true":
            return self.staged.name
        return f"CASE WHEN {self.present} AND {self.staged.condition} THEN {self.staged.name} ELSE {other} END"


class CheckedVector:
    """A vector column that Spark's functions can take: null is a zero vector, and a wrong size fails the job.

    So does an invalid value that the policy refuses. The functions must not rely on being called only where a value is
    present: whether Spark evaluates a column that is not used is up to its optimizer.
    """

    def __init__(self, frame: Frame, name: str, present: str = "true") -> None:
        self.name, self.present, self._frame = name, present, frame

    @cached_property
    def parts(self) -> str:
        """Name of the column of the vector's parts: its size, indices and values."""
        return self._frame.add(F.unwrap_udt(F.col(self.name)))


def _checked(frame: Frame, column: FeatureColumn, policy: str, size_remedy: str) -> CheckedVector:
    if isinstance(column, Assembled):
        return CheckedVector(frame, column.name)
    unwrapped, size = F.unwrap_udt(column.values), column.size or 0
    # Refer to the row, or the optimizer ships a constant vector with each task.
    zero = f"CASE WHEN {column.sql} IS NULL THEN 0D END"
    zeros = F.when(unwrapped.isNull(), array_to_vector(frame.expr(f"array_repeat({zero}, {size})")))
    parts, when_null = frame.add_all([unwrapped, zeros])
    row_size = f"coalesce({parts}.size, size({parts}.values))"
    wrong = failure(
        SizeMismatchError, f"Column '{column.name}' holds a vector of size ", row_size, size_remedy.format(size)
    )
    fits = "true" if column.size is None else f"{row_size} = {size}"
    right = f"CASE WHEN {parts} IS NULL THEN {when_null} WHEN {fits} THEN {column.sql} ELSE {wrong} END"
    right = indices_checked(column, parts, right)
    right = guarded(replace(column, kind="array"), f"{parts}.values", right, policy, compiled=True)
    # Under "error" the job fails at null, if it is looked at.
    vector = CheckedVector(frame, frame.add(right), "true" if policy == "error" else f"{parts} IS NOT NULL")
    vector.parts = parts
    return vector


def _sparse_map(entries: Entries) -> Any:
    def mapped(vector):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # PySpark would read the types as its own
        if vector is None:
            return None
        return SparseVector(vector.size, vector.indices, entries(vector.indices, vector.values))

    return mapped


def drop_invalid_rows(frame: Frame, columns: Sequence[FeatureColumn]) -> None:
    """Keep the rows of which no column is null or holds an invalid value."""
    vectors = [c for c in columns if c.kind == "vector"]
    parts = frame.add_all([F.unwrap_udt(c.values) for c in vectors]) if vectors else []
    conditions = [is_valid(c, c.sql) for c in columns if c.kind != "vector"]
    conditions += [is_valid(replace(c, kind="array"), f"{p}.values") for c, p in zip(vectors, parts, strict=True)]
    frame.where(conditions)


def as_array(frame: Frame, column: FeatureColumn, policy: str) -> str:
    """Add a vector, or an array, as an array of doubles, checked; returns its name."""
    if column.kind == "array":
        return frame.add(checked_array(column, policy))
    vector = _checked(frame, column, policy, FITTED)
    return frame.add(F.when(frame.expr(vector.present), vector_to_array(F.col(vector.name))))


def checked_array(column: FeatureColumn, policy: str) -> str:
    """Return an array column as doubles, checked, as SQL text."""
    text = length_checked(column, column.sql, column.size or 0, f"cast({column.sql} AS array<double>)")
    return guarded(column, column.sql, text, policy)


def from_array(frame: Frame, text: str, otherwise: str | None = None) -> str:
    """Add an array, given as SQL text, as a vector; where it is null, another column, or null. Returns its name."""
    array = frame.add(text)
    vector = F.when(frame.expr(f"{array} IS NOT NULL"), array_to_vector(F.col(array)))
    return frame.add(vector.otherwise(F.col(otherwise)) if otherwise else vector)


class Assembled(FeatureColumn):
    """A vector that was put together of checked columns, so that it is never null and of the right size."""


def assemble(frame: Frame, columns: Sequence[FeatureColumn], policy: str) -> Assembled:
    """Add all columns as one vector, with NaN for null, as VectorAssembler makes it."""
    # VectorAssembler takes a plain name as it is; another, or a value to be checked, goes under a new name.
    plain = {name for name in frame.df.columns if name.isidentifier()} if policy not in REFUSING else set()
    texts = {}
    for k, column in enumerate(columns):
        if column.kind == "array":
            texts[k] = f"transform({checked_array(column, policy)}, x -> coalesce(x, double('NaN')))"
        elif column.kind == "scalar" and column.name not in plain:
            texts[k] = guarded(column, column.sql, f"double({column.sql})", policy)
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
    whole = Assembled(temp_column_name(), "vector", size=len(features), attributes=features)
    assembler = VectorAssembler(inputCols=names, outputCol=whole.name, handleInvalid="keep")
    frame.add_by(assembler.transform, whole.name)
    return whole
