"""Columns of a DataFrame as features: scalar, array or vector, checked before any job runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import uuid4

from pyspark.errors import AnalysisException
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    FloatType,
    MapType,
    NumericType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from sparkscale.errors import ColumnNotFoundError, ColumnTypeError, SizeMismatchError
from sparkscale.spark.sql import VARIABLE, quoted

__all__ = [
    "FeatureColumn",
    "KeyColumn",
    "as_fitted",
    "attribute",
    "attribute_metadata",
    "find_paths",
    "fresh",
    "readable",
    "resolve",
    "resolve_key",
    "same_name",
]


PART = re.compile(r"`((?:[^`]|``)+)`|([^`.]+)")  # of a path, as Spark reads it
PATH = re.compile(rf"(?:{PART.pattern})(?:\.(?:{PART.pattern}))*")
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
        Whether the name is the path of a struct's field.
    """

    name: str
    kind: str
    single: bool = False
    size: int | None = None
    attributes: tuple[str, ...] | None = None
    nested: bool = False

    @property
    def path(self) -> Sequence[str]:
        """The names of the column to read and of the fields in it."""
        return _path_parts(self.name) if self.nested else [self.name]

    @property
    def sql(self) -> str:
        """The column as SQL text."""
        return ".".join(map(quoted, self.path))

    def read_from(self, source: str) -> FeatureColumn:
        """Return the column as one that is read under another name."""
        return _Renamed(**{**vars(self), "source": source})

    def feature_name(self, feature: int) -> str:
        """Return the name of a feature, as VectorAssembler makes it."""
        if self.kind == "scalar":
            return self.name
        return self.attributes[feature] if self.attributes else f"{self.name}_{feature}"

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
    type : str
        The type of ``sql``, as SQL text.
    source : str
        The name of the column to read.
    pattern : str
        What makes of the SQL text of its values, at ``{}``, that of the keys.
    """

    name: str
    type: str
    source: str
    pattern: str = "{}"

    @property
    def path(self) -> Sequence[str]:
        """The name of the column to read."""
        return [self.source]

    @property
    def plain(self) -> str:
        """The values as SQL text."""
        return quoted(self.source)

    @property
    def sql(self) -> str:
        """The keys as SQL text, without NaN: what Python tells apart as Spark does."""
        return self.pattern.format(self.plain)

    def read_from(self, source: str) -> KeyColumn:
        """Return the column as one that is read under another name."""
        return replace(self, source=source)


C = TypeVar("C", FeatureColumn, KeyColumn)


def fresh() -> str:
    """Return a name that no column has."""
    return f"sparkscale_{uuid4().hex[:12]}"


def resolve(df: DataFrame, names: Sequence[str]) -> list[FeatureColumn]:
    """Find the named columns and their kinds.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        Where to look.
    names : sequence of str
        Column names; ``a.b`` also names field ``b`` of struct ``a``.

    Returns
    -------
    list of FeatureColumn
        In the order of the names.

    Raises
    ------
    ColumnNotFoundError
        If a name is not a column, or is the name of several.
    ColumnTypeError
        If a column is not numeric, an array of numbers or a vector.
    """
    fields = _by_casefold(df.schema)
    return [_find(df, name, fields.get(name.casefold(), [])) for name in names]


def resolve_key(df: DataFrame, name: str) -> KeyColumn:
    """Find a column of keys.

    Raises
    ------
    ColumnNotFoundError
        If there is none of the name, or several.
    ColumnTypeError
        If its values have no parts that could be ordered: arrays, maps, structs, vectors.
    """
    found = [f for f in df.schema.fields if same_name(df, f.name, name)]
    if len(found) != 1:
        there = "is ambiguous" if found else "does not exist"
        raise ColumnNotFoundError(f"Column '{name}' {there}. The DataFrame has: {', '.join(df.columns)}.")
    kind = found[0].dataType
    if not isinstance(kind, KEYS):
        raise ColumnTypeError(
            f"Column '{name}' is of type {kind.simpleString()}, by whose values rows cannot be told apart: it must be "
            "of numbers, strings, dates or timestamps. Cast it."
        )
    if isinstance(kind, TimestampType):  # of the hour that comes twice in autumn Python knows but one
        return KeyColumn(name, "bigint", found[0].name, "unix_micros({})")
    pattern = "nanvl({}, NULL)" if isinstance(kind, FloatType | DoubleType) else "{}"
    return KeyColumn(name, kind.simpleString(), found[0].name, pattern)


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
    names: dict[C, str] = {c: fresh() for c in columns if any(VARIABLE in part for part in c.path)}
    if names:
        df = df.select("*", *(F.col(attribute(c.path)).alias(name) for c, name in names.items()))
    return df, [c.read_from(names[c]) if c in names else c for c in columns], [*names.values()]


def attribute(path: Sequence[str]) -> str:
    """Return the names of a column and of the fields in it as `F.col` takes them, and never SQL text.

    Of such a name Spark reads quotes and dots, and puts in no variable.
    """
    return ".".join("`" + part.replace("`", "``") + "`" for part in path)


def same_name(df: DataFrame, one: str, other: str) -> bool:
    """Whether two names are one to the session."""
    if one == other or one.casefold() != other.casefold():
        return one == other
    return str(df.sparkSession.conf.get("spark.sql.caseSensitive", "false")).lower() != "true"


def find_paths(df: DataFrame, names: Sequence[str]) -> list[tuple[str, ...] | None]:
    """Find where each name stands in a DataFrame, read as `resolve` reads it.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        Where to look.
    names : sequence of str
        Column names, or paths of fields of structs.

    Returns
    -------
    list of (tuple of str or None)
        The name of the column and those of the fields in it, as the schema spells them. ``None`` if nothing of that name
        is there; empty if it is no single column or field: within an array or a map, or one name of several.
    """
    fields = _by_casefold(df.schema)
    return [_path(df, fields, name) for name in names]


def _path(df: DataFrame, columns: dict[str, list[StructField]], name: str) -> tuple[str, ...] | None:
    literal = any(same_name(df, field.name, name) for field in columns.get(name.casefold(), []))
    path: list[str] = []
    kind: DataType | None = None
    single = True
    for part in [name] if literal else _path_parts(name):
        if isinstance(kind, MapType):  # any part may be a key
            return ()
        if isinstance(kind, ArrayType):
            kind, single = kind.elementType, False
        fields = columns if kind is None else _by_casefold(kind) if isinstance(kind, StructType) else {}
        alike = [f for f in fields.get(part.casefold(), []) if same_name(df, f.name, part)]
        if not alike:
            return None
        path.append(alike[0].name)
        kind, single = alike[0].dataType, single and len(alike) == 1
    if not path:
        return None
    return tuple(path) if single else ()


def _path_parts(name: str) -> list[str]:
    """Return the parts of a path as Spark reads it, with quotes taken off; none if it is not a path."""
    if not PATH.fullmatch(name):
        return []
    return [quotes.replace("``", "`") or plain for quotes, plain in PART.findall(name)]


def _by_casefold(schema: StructType) -> dict[str, list[StructField]]:
    fields: dict[str, list[StructField]] = {}
    for field in schema.fields:
        fields.setdefault(field.name.casefold(), []).append(field)
    return fields


def _find(df: DataFrame, name: str, alike: Sequence[StructField]) -> FeatureColumn:
    found = [f for f in alike if same_name(df, f.name, name)]
    if len(found) > 1:
        raise ColumnNotFoundError(
            f"Column '{name}' is ambiguous: the DataFrame has {len(found)} of that name. Rename or drop all but one."
        )
    if found:
        return _column(name, found[0])
    try:  # a field of a struct
        return replace(_column(name, df.select(name).schema.fields[0]), nested=bool(_path_parts(name)))
    except AnalysisException:
        raise ColumnNotFoundError(
            f"Column '{name}' does not exist. The DataFrame has: {', '.join(df.columns)}."
        ) from None


def _column(name: str, field: StructField) -> FeatureColumn:
    kind: DataType = field.dataType
    if isinstance(kind, NumericType):
        return FeatureColumn(name, "scalar", isinstance(kind, FloatType), 1)
    if isinstance(kind, ArrayType) and isinstance(kind.elementType, NumericType):
        return FeatureColumn(name, "array", isinstance(kind.elementType, FloatType))
    if isinstance(kind, VectorUDT):
        return _vector(name, field.metadata.get("ml_attr", {}))
    raise ColumnTypeError(
        f"Column '{name}' is of type {kind.simpleString()}, which cannot be scaled: it must be numeric, an array "
        "of numbers, or a vector. Cast it, or leave it out."
    )


def _vector(name: str, group: dict[str, Any]) -> FeatureColumn:
    found = sorted((a["idx"], a.get("name")) for kind in group.get("attrs", {}).values() for a in kind if "idx" in a)
    size = group.get("num_attrs", len(found) or None)
    names = tuple(str(n) for _, n in found if n is not None)
    return FeatureColumn(name, "vector", False, size, names if names and len(names) == size else None)


def as_fitted(found: Sequence[FeatureColumn], fitted: Sequence[FeatureColumn]) -> list[FeatureColumn]:
    """Check columns against those of fit, and give them their sizes."""
    for now, then in zip(found, fitted, strict=True):
        if now.kind != then.kind:
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
