"""Columns of a DataFrame as features: scalars, arrays or vectors, checked before any job runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    FloatType,
    IntegralType,
    NumericType,
)

from sparkscale.errors import ColumnTypeError, SizeMismatchError
from sparkscale.layout import Layout
from sparkscale.spark import sql
from sparkscale.spark.keys import KeyColumn
from sparkscale.spark.names import Place, by_name, check_dataset, column, path_parts, single_place, unquoted

__all__ = [
    "FeatureColumn",
    "as_fitted",
    "attribute_metadata",
    "readable",
    "resolve",
    "resolve_weight",
    "temp_column_name",
]


@dataclass(frozen=True)
class FeatureColumn:
    """A column that holds one or more features.

    Parameters
    ----------
    name : str
        The column's name as given.
    kind : {"scalar", "array", "vector"}
        The form of the column's values.
    single : bool
        Whether the values are in single precision; outputs keep it.
    size : int or None
        Number of features; ``None`` if the schema does not contain it.
    attributes : tuple of str or None
        The names of a vector's ML attributes, if it has any.
    nested : bool
        Whether the name is parsed like an identifier of Spark: quoted, or the path of a struct's field.
    boolean : bool
        Whether the values are booleans, which are converted to 0 and 1.
    integral : bool
        Whether the values are of an integer type, and so never NaN or infinite.
    integer_type : str or None
        The SQL type of an output whose values are integers.
    layout : Layout or None
        How arrays of any length hold channels. The features are then the channels.
    mask : float or None
        A value that counts as missing, and is kept.
    """

    name: str
    kind: str
    single: bool = False
    size: int | None = None
    attributes: tuple[str, ...] | None = None
    nested: bool = False
    boolean: bool = False
    integral: bool = False
    integer_type: str | None = None
    layout: Layout | None = None
    mask: float | None = None

    @property
    def path(self) -> Sequence[str]:
        """The names of the column to read and of nested fields."""
        return path_parts(self.name) if self.nested else [self.name]

    @property
    def sql(self) -> str:
        """The column as SQL text; booleans as numbers."""
        text = sql.path(self.path)
        if self.boolean:
            return f"cast({text} AS {'double' if self.kind == 'scalar' else 'array<double>'})"
        return text

    @property
    def sql_type(self) -> str:
        """The SQL type of the mapped column; vectors are arrays."""
        number = self.integer_type or ("float" if self.single else "double")
        return number if self.kind == "scalar" else f"array<{number}>"

    @property
    def mask_value(self) -> float | None:
        """The mask as the column holds it, in single precision if its values are; ``None`` if it cannot hold it."""
        if self.mask is None or not self.single:
            return self.mask
        with np.errstate(over="ignore"):
            rounded = float(np.float32(self.mask))
        return rounded if np.isfinite(rounded) else None

    def read_from(self, source: str) -> FeatureColumn:
        """Return the column, to be read from a column of another name."""
        return _Renamed(**{**vars(self), "source": source})

    @property
    def values(self) -> Column:
        """The column, unchanged."""
        return column(self.path)

    def renamed(self, name: str) -> FeatureColumn:
        """Return the column under another name, which is parsed in the same way as the old one."""
        return replace(self, name=name, nested=bool(path_parts(name)) and (self.nested or "`" in name))

    def output(self, name: str) -> FeatureColumn:
        """Return the output column of this kind under a name."""
        return replace(self, name=name, nested=False, boolean=False, integral=False)

    def integers(self, sql_type: str) -> FeatureColumn:
        """Return the output column with integers of a type; those of a vector are in an array."""
        kind = "array" if self.kind == "vector" else self.kind
        return replace(self, kind=kind, single=False, integral=True, integer_type=sql_type)

    def feature_name(self, feature: int) -> str:
        """Return the name of a feature, in the form that VectorAssembler uses."""
        if self.kind == "scalar":
            return self._label
        channel = "channel_" if self.layout else ""
        return self.attributes[feature] if self.attributes else f"{self._label}_{channel}{feature}"

    @property
    def _label(self) -> str:
        """The name without quotes."""
        return unquoted(self.name) if self.nested else self.name

    def feature_names(self) -> list[str]:
        """Return the name of each feature."""
        return [self.feature_name(i) for i in range(self.size or 0)]


@dataclass(frozen=True)
class _Renamed(FeatureColumn):
    """A column that is read from another column; messages and outputs use its own name."""

    source: str = ""

    @property
    def path(self) -> Sequence[str]:
        return [self.source]


C = TypeVar("C", FeatureColumn, KeyColumn)


def temp_column_name() -> str:
    """Return a unique name for a temporary column."""
    return f"sparkscale_{uuid4().hex[:12]}"


def resolve(df: DataFrame, names: Sequence[str]) -> list[FeatureColumn]:
    """Look up columns by name, and check their types.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data.
    names : sequence of str
        Column names. If no column has exactly this name, it is parsed like an identifier of Spark: ``a.b`` is field
        ``b`` of struct ``a``, and backticks quote names with dots.

    Returns
    -------
    list of FeatureColumn
        In the order of the names.

    Raises
    ------
    DatasetError
        If ``df`` is not a Spark DataFrame.
    ColumnNotFoundError
        If no column, or more than one, has the name.
    ColumnTypeError
        If a column is not numeric or boolean, an array of numbers or booleans, or a vector.
    """
    check_dataset(df)
    fields = by_name(df.schema)
    return [_column(name, single_place(df, fields, name)) for name in names]


def resolve_weight(df: DataFrame, name: str) -> FeatureColumn:
    """Look up a column of row weights."""
    try:
        weight = resolve(df, [name])[0]
    except ColumnTypeError:
        weight = None
    if weight is None or weight.kind != "scalar":
        raise ColumnTypeError(f"Weight column '{name}' must be one number a row. Name another column, or cast it.")
    return weight


def readable(df: DataFrame, columns: Sequence[C]) -> tuple[DataFrame, list[C], list[str]]:
    """Copy columns whose names cannot be written in SQL text to temporary columns.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data.
    columns : sequence of FeatureColumn or of KeyColumn
        The columns to read.

    Returns
    -------
    pyspark.sql.DataFrame
        The data, with the temporary columns added.
    list of FeatureColumn or of KeyColumn
        In the order of the columns; those that SQL text can name are unchanged.
    list of str
        The temporary names.
    """
    unreadable = sql.unreadable(df.sparkSession, [c.path for c in columns])
    names: dict[C, str] = {c: temp_column_name() for c, hidden in zip(columns, unreadable, strict=True) if hidden}
    if names:
        df = df.select("*", *(column(c.path).alias(name) for c, name in names.items()))
    return df, [c.read_from(names[c]) if c in names else c for c in columns], [*names.values()]


def _column(name: str, place: Place) -> FeatureColumn:
    data_type = place.type
    element = data_type.elementType if isinstance(data_type, ArrayType) else data_type
    if isinstance(element, NumericType | BooleanType):
        return FeatureColumn(
            name,
            "array" if isinstance(data_type, ArrayType) else "scalar",
            isinstance(element, FloatType),
            None if isinstance(data_type, ArrayType) else 1,
            nested=place.parsed,
            boolean=isinstance(element, BooleanType),
            integral=isinstance(element, IntegralType),
        )
    from pyspark.ml.linalg import VectorUDT  # noqa: PLC0415  # pyspark.ml imports pandas, which workers do not need

    if isinstance(data_type, VectorUDT):
        return replace(_vector(name, place.metadata.get("ml_attr", {})), nested=place.parsed)
    if type(data_type).__module__.startswith("pyspark.mllib."):
        raise ColumnTypeError(
            f"Column '{name}' holds vectors of pyspark.mllib, which cannot be scaled. Convert them to vectors of pyspark.ml: "
            "MLUtils.convertVectorColumnsToML(df) of pyspark.mllib.util."
        )
    raise ColumnTypeError(
        f"Column '{name}' is of type {data_type.simpleString()}, which cannot be scaled: it must be numeric or boolean, an "
        "array of these, or a vector. Cast it, or leave it out."
    )


def _vector(name: str, group: dict[str, Any]) -> FeatureColumn:
    attributes = sorted(
        (a["idx"], a.get("name")) for attrs in group.get("attrs", {}).values() for a in attrs if "idx" in a
    )
    size = group.get("num_attrs", len(attributes) or None)
    names = tuple(str(n) for _, n in attributes if n is not None)
    return FeatureColumn(name, "vector", False, size, names if names and len(names) == size else None)


def as_fitted(columns: Sequence[FeatureColumn], fitted: Sequence[FeatureColumn]) -> list[FeatureColumn]:
    """Check columns against those of fit, and set their sizes. Arrays and vectors are interchangeable."""
    for now, then in zip(columns, fitted, strict=True):
        if (now.kind == "scalar") != (then.kind == "scalar"):
            raise ColumnTypeError(
                f"Column '{now.name}' is of kind {now.kind}, but the model was fitted on {then.kind}. "
                "Convert it to the same kind as in fit, or fit again."
            )
        if then.layout is not None and now.kind != "array":
            raise ColumnTypeError(
                f"Column '{now.name}' holds vectors, but the model was fitted on arrays of any length. Convert them to "
                "arrays, or fit again."
            )
        if now.size is not None and now.size != then.size:
            raise SizeMismatchError(
                f"Column '{now.name}' has {now.size} features, but the model was fitted on {then.size}. "
                "Give it the same features as in fit, or fit again."
            )
    return [
        replace(now, size=then.size, attributes=then.attributes or now.attributes, layout=then.layout, mask=then.mask)
        for now, then in zip(columns, fitted, strict=True)
    ]


def attribute_metadata(names: Sequence[str] | None, size: int) -> dict[str, Any]:
    """Return Spark ML metadata with the vector's size and feature names."""
    group: dict[str, Any] = {"num_attrs": size}
    if names:
        group["attrs"] = {"numeric": [{"idx": i, "name": n} for i, n in enumerate(names)]}
    return {"ml_attr": group}
