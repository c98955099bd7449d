"""Columns of a DataFrame as features: scalar, array or vector, checked before any job runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import uuid4

from pyspark.sql import Column, DataFrame
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    FloatType,
    IntegralType,
    LongType,
    NumericType,
    StringType,
    TimestampNTZType,
    TimestampType,
)

from sparkscale.errors import ColumnTypeError, SizeMismatchError
from sparkscale.spark import sql
from sparkscale.spark.names import Place, by_name, check_dataset, column, path_parts, single_place, unquoted

__all__ = [
    "FeatureColumn",
    "KeyColumn",
    "as_fitted",
    "attribute_metadata",
    "readable",
    "resolve",
    "resolve_key",
    "temp_column_name",
]


KEYS = (BooleanType, DateType, NumericType, StringType, TimestampNTZType, TimestampType)


@dataclass(frozen=True)
class FeatureColumn:
    """A column that holds one or more features.

    Parameters
    ----------
    name : str
        The column's name as given.
    kind : {"scalar", "array", "vector"}
        How the features are held.
    single : bool
        Whether the values are of single precision, which outputs keep.
    size : int or None
        Number of features; ``None`` while the schema does not tell.
    attributes : tuple of str or None
        The names of a vector's ML attributes, if it has any.
    nested : bool
        Whether the name is to be read as Spark reads it: quoted, or the path of a struct's field.
    boolean : bool
        Whether the values are booleans, which count as 0 and 1.
    integral : bool
        Whether the schema tells that the values are whole numbers, of which none is NaN or infinite.
    """

    name: str
    kind: str
    single: bool = False
    size: int | None = None
    attributes: tuple[str, ...] | None = None
    nested: bool = False
    boolean: bool = False
    integral: bool = False

    @property
    def path(self) -> Sequence[str]:
        """The names of the column to read and of the fields in it."""
        return path_parts(self.name) if self.nested else [self.name]

    @property
    def sql(self) -> str:
        """The column's numbers as SQL text."""
        text = sql.path(self.path)
        if self.boolean:
            return f"cast({text} AS {'double' if self.kind == 'scalar' else 'array<double>'})"
        return text

    @property
    def sql_type(self) -> str:
        """The type of what the column becomes, in SQL text; vectors are arrays there."""
        number = "float" if self.single else "double"
        return number if self.kind == "scalar" else f"array<{number}>"

    def read_from(self, source: str) -> FeatureColumn:
        """Return the column as one that is read under another name."""
        return _Renamed(**{**vars(self), "source": source})

    @property
    def values(self) -> Column:
        """The column as it is."""
        return column(self.path)

    def renamed(self, name: str) -> FeatureColumn:
        """Return the column under another name, of which no schema tells how it is to be read: as the old one was."""
        return replace(self, name=name, nested=bool(path_parts(name)) and (self.nested or "`" in name))

    def output(self, name: str) -> FeatureColumn:
        """Return the column of numbers of this kind that is made under a name."""
        return replace(self, name=name, nested=False, boolean=False, integral=False)

    def feature_name(self, feature: int) -> str:
        """Return the name of a feature, as VectorAssembler makes it."""
        if self.kind == "scalar":
            return self._label
        return self.attributes[feature] if self.attributes else f"{self._label}_{feature}"

    @property
    def _label(self) -> str:
        """The name without quotes, if it has any."""
        return unquoted(self.name) if self.nested else self.name

    def feature_names(self) -> list[str]:
        """Return one name a feature."""
        return [self.feature_name(i) for i in range(self.size or 0)]


@dataclass(frozen=True)
class _Renamed(FeatureColumn):
    """A column that is read under another name than its own, which messages and outputs have."""

    source: str = ""

    @property
    def path(self) -> Sequence[str]:
        return [self.source]


@dataclass(frozen=True)
class KeyColumn:
    """A column whose values are told apart and ordered.

    Parameters
    ----------
    name : str
        The column's name as given.
    type : DataType
        The type of ``sql``.
    path : tuple of str
        The names of the column to read and of the fields in it.
    pattern : str
        What makes of the SQL text of its values, at ``{}``, that of the keys.
    """

    name: str
    type: DataType
    path: tuple[str, ...]
    pattern: str = "{}"

    @property
    def plain(self) -> str:
        """The values as SQL text."""
        return sql.path(self.path)

    @property
    def sql(self) -> str:
        """The keys as SQL text, without NaN: what Python tells apart as Spark does."""
        return self.pattern.format(self.plain)

    def read_from(self, source: str) -> KeyColumn:
        """Return the column as one that is read under another name."""
        return replace(self, path=(source,))


C = TypeVar("C", FeatureColumn, KeyColumn)


def temp_column_name() -> str:
    """Return a name that no column has."""
    return f"sparkscale_{uuid4().hex[:12]}"


def resolve(df: DataFrame, names: Sequence[str]) -> list[FeatureColumn]:
    """Find the named columns and their kinds.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        Where to look.
    names : sequence of str
        Column names. One that is no column as it stands is read as Spark reads it: ``a.b`` names field ``b`` of struct
        ``a``, and backticks enclose names with dots.

    Returns
    -------
    list of FeatureColumn
        In the order of the names.

    Raises
    ------
    DatasetError
        If ``df`` is no Spark DataFrame.
    ColumnNotFoundError
        If a name is not a column, or is the name of several.
    ColumnTypeError
        If a column is not numeric or boolean, an array of such, or a vector.
    """
    check_dataset(df)
    fields = by_name(df.schema)
    return [_column(name, single_place(df, fields, name)) for name in names]


def resolve_key(df: DataFrame, name: str) -> KeyColumn:
    """Find a column of keys.

    Raises
    ------
    ColumnNotFoundError
        If there is none of the name, or several.
    ColumnTypeError
        If its values have no parts that could be ordered: arrays, maps, structs, vectors.
    """
    place = single_place(df, by_name(df.schema), name)
    if not isinstance(place.type, KEYS):
        raise ColumnTypeError(
            f"Column '{name}' is of type {place.type.simpleString()}, by whose values rows cannot be told apart: it "
            "must be of numbers, strings, dates or timestamps. Cast it."
        )
    if isinstance(place.type, TimestampType):
        # Python cannot tell the repeated hour of a clock change apart; compare microseconds.
        return KeyColumn(name, LongType(), place.path, "unix_micros({})")
    if not isinstance(place.type, FloatType | DoubleType):
        return KeyColumn(name, place.type, place.path)
    pattern = f"(nanvl({{}}, NULL) + {place.type.simpleString()}(0))"  # of -0.0 it makes 0.0
    return KeyColumn(name, place.type, place.path, pattern)


def readable(df: DataFrame, columns: Sequence[C]) -> tuple[DataFrame, list[C], list[str]]:
    """Let SQL text read columns whose names it cannot hold: it finds these under temporary names.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        With the columns.
    columns : sequence of FeatureColumn or of KeyColumn
        What is to be read.

    Returns
    -------
    pyspark.sql.DataFrame
        With the temporary columns beside.
    list of FeatureColumn or of KeyColumn
        In the order of the columns; those that text can name are as they were.
    list of str
        The temporary names.
    """
    unreadable = sql.unreadable(df.sparkSession, [c.path for c in columns])
    names: dict[C, str] = {c: temp_column_name() for c, hidden in zip(columns, unreadable, strict=True) if hidden}
    if names:
        df = df.select("*", *(column(c.path).alias(name) for c, name in names.items()))
    return df, [c.read_from(names[c]) if c in names else c for c in columns], [*names.values()]


def _column(name: str, place: Place) -> FeatureColumn:
    kind = place.type
    element = kind.elementType if isinstance(kind, ArrayType) else kind
    if isinstance(element, NumericType | BooleanType):
        return FeatureColumn(
            name,
            "array" if isinstance(kind, ArrayType) else "scalar",
            isinstance(element, FloatType),
            None if isinstance(kind, ArrayType) else 1,
            nested=place.parsed,
            boolean=isinstance(element, BooleanType),
            integral=isinstance(element, IntegralType),
        )
    from pyspark.ml.linalg import VectorUDT  # noqa: PLC0415  # with pyspark.ml comes pandas, which workers need not import

    if isinstance(kind, VectorUDT):
        return replace(_vector(name, place.metadata.get("ml_attr", {})), nested=place.parsed)
    if type(kind).__module__.startswith("pyspark.mllib."):
        raise ColumnTypeError(
            f"Column '{name}' holds vectors of pyspark.mllib, which cannot be scaled. Make them vectors of pyspark.ml: "
            "MLUtils.convertVectorColumnsToML(df) of pyspark.mllib.util."
        )
    raise ColumnTypeError(
        f"Column '{name}' is of type {kind.simpleString()}, which cannot be scaled: it must be numeric or boolean, an "
        "array of such, or a vector. Cast it, or leave it out."
    )


def _vector(name: str, group: dict[str, Any]) -> FeatureColumn:
    attributes = sorted(
        (a["idx"], a.get("name")) for kind in group.get("attrs", {}).values() for a in kind if "idx" in a
    )
    size = group.get("num_attrs", len(attributes) or None)
    names = tuple(str(n) for _, n in attributes if n is not None)
    return FeatureColumn(name, "vector", False, size, names if names and len(names) == size else None)


def as_fitted(found: Sequence[FeatureColumn], fitted: Sequence[FeatureColumn]) -> list[FeatureColumn]:
    """Check columns against those of fit, and give them their sizes. Arrays and vectors are features alike."""
    for now, then in zip(found, fitted, strict=True):
        if (now.kind == "scalar") != (then.kind == "scalar"):
            raise ColumnTypeError(
                f"Column '{now.name}' is of kind {now.kind}, but the model was fitted on {then.kind}. "
                "Convert it to the kind that fit saw, or fit again."
            )
        if now.size is not None and now.size != then.size:
            raise SizeMismatchError(
                f"Column '{now.name}' has {now.size} features, but the model was fitted on {then.size}. "
                "Give it the features that fit saw, or fit again."
            )
    return [
        replace(now, size=then.size, attributes=then.attributes or now.attributes)
        for now, then in zip(found, fitted, strict=True)
    ]


def attribute_metadata(names: Sequence[str] | None, size: int) -> dict[str, Any]:
    """Return the metadata that Spark ML reads feature names and the vector's size from."""
    group: dict[str, Any] = {"num_attrs": size}
    if names:
        group["attrs"] = {"numeric": [{"idx": i, "name": n} for i, n in enumerate(names)]}
    return {"ml_attr": group}
