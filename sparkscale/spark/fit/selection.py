"""Selection of the data that workers need for a statistic, in forms that Arrow transfers fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkscale.errors import EmptyDataError, InvalidValueError, ParamError, SizeMismatchError
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import failure, guarded, indices_checked
from sparkscale.spark.frame import Frame

__all__ = ["MOST_FEATURES", "Group", "column_groups", "no_feature", "select", "too_many_features"]

# Rows that represent null, since Spark's Arrow writer takes quadratic time for null arrays. No other row has a single
# null element: in arrays of length 1, null becomes NaN.
NULL_ARRAY = "cast(array(null) AS {sql_type})"
NULL_VECTOR = "array(-1)"

MOST_FEATURES = 1 << 26  # of a vector: one array of this length is half a gigabyte, and a statistic has several


@dataclass(frozen=True)
class Group:
    """Columns that are sent to workers as one: all scalars as one packed array, or one array or vector column."""

    column: FeatureColumn
    positions: tuple[int, ...]
    scalars: tuple[FeatureColumn, ...] = ()

    @property
    def sized(self) -> bool:
        """Whether the number of features is known from the schema."""
        return self.column.size is not None


def column_groups(columns: Sequence[FeatureColumn]) -> tuple[Group, ...]:
    """Group all scalars into one array; every other column is a group of its own.

    Raises
    ------
    ParamError
        If a vector has too many features, according to its metadata.
    """
    for column in columns:
        if column.kind == "vector" and (column.size or 0) > MOST_FEATURES:
            raise ParamError(too_many_features(column, column.size or 0))
    scalars = [i for i, c in enumerate(columns) if c.kind == "scalar"]
    packed = FeatureColumn("scalars", "scalar", False, len(scalars))
    first = [Group(packed, tuple(scalars), tuple(columns[i] for i in scalars))] if scalars else []
    return (*first, *(Group(c, (i,)) for i, c in enumerate(columns) if c.kind != "scalar"))


def select(
    df: DataFrame, groups: Sequence[Group], handle_invalid: str, weight: FeatureColumn | None, key: str | None = None
) -> DataFrame:
    """Select only the data that the statistic needs, in forms that Arrow transfers fast.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data.
    groups : sequence of Group
        The columns.
    handle_invalid : str
        Which invalid values make the job fail.
    weight : FeatureColumn or None
        Row weights.
    key : str or None
        SQL text of the column ``b`` by which Python groups rows: their mini-batch, or their partition.
    """
    plain: list[str | Column] = []
    texts: list[str] = []
    frame = Frame(df)
    for k, group in enumerate(groups):
        column, source = group.column, group.column.sql
        if column.kind == "scalar":
            cells = [guarded(c, c.sql, f"double({c.sql})", handle_invalid) for c in group.scalars]
            plain.append(f"array({', '.join(cells)}) AS a{k}")
            texts.append(f"a{k}")
        elif column.kind == "array":
            array = source if column.single else f"cast({source} AS array<double>)"
            number = "float" if column.single else "double"
            without_null = f"transform({array}, x -> coalesce(x, {number}('NaN')))"
            array = f"CASE WHEN size({source}) = 1 THEN {without_null} ELSE {array} END"
            text = f"coalesce({guarded(column, source, array, handle_invalid)}, {NULL_ARRAY.format(sql_type=column.sql_type)})"
            plain.append(f"{text} AS a{k}")
            texts.append(f"a{k}")
        else:
            plain.append(F.unwrap_udt(column.values).alias(f"u{k}"))
            texts.extend(_vector_texts(k, column, handle_invalid))
    if weight is not None:
        source = weight.sql
        invalid = failure(
            InvalidValueError,
            f"Weight column '{weight.name}' holds ",
            source,
            ": weights must be finite and >= 0. Clean the column, or drop those rows.",
            "double",
        )
        valid = f"{source} >= 0 AND double({source}) < double('Infinity')"
        plain.append(f"CASE WHEN {valid} THEN double({source}) ELSE {invalid} END AS w")
        texts.append("w")
    if key is not None:
        plain.append(f"{key} AS b")
        texts.append("b")
    frame.df = frame.select(*plain)
    return frame.select(*texts) if any(group.column.kind == "vector" for group in groups) else frame.df


def _vector_texts(k: int, column: FeatureColumn, handle_invalid: str) -> list[str]:
    u = f"u{k}"
    values, indices = f"{u}.values", f"{u}.indices"
    values = guarded(replace(column, kind="array"), values, values, handle_invalid, compiled=True)
    stored = indices_checked(column, u, f"coalesce({indices}, cast(array() AS array<int>))")
    size = f"coalesce({u}.size, size({u}.values))"
    if column.size is not None:
        wrong = failure(
            SizeMismatchError,
            f"Column '{column.name}' holds a vector of size ",
            size,
            f", but size {column.size} is expected from its metadata or the model. Correct the rows, or the metadata.",
        )
        stored = f"CASE WHEN {size} <> {column.size} THEN {wrong} ELSE {stored} END"
    texts = [
        f"coalesce({values}, cast(array() AS array<double>)) AS a{k}",
        f"CASE WHEN {u} IS NULL THEN {NULL_VECTOR} ELSE {stored} END AS i{k}",
    ]
    return texts if column.size is not None else [*texts, f"coalesce({size}, 0) AS n{k}"]


def no_feature(column: FeatureColumn) -> EmptyDataError:
    """Return the error for a column without any value."""
    return EmptyDataError(
        f"Column '{column.name}' has no feature: every row is null or empty. fit needs at least one row with values."
    )


def too_many_features(column: FeatureColumn, size: int) -> str:
    """Return the message for vectors with too many features."""
    return (
        f"Column '{column.name}' holds vectors of size {size}; fit takes {MOST_FEATURES} features of a vector at most. Hash "
        "them into fewer, or correct the size."
    )
