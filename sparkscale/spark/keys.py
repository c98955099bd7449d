"""Key columns, whose values identify and order mini-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyspark.sql import DataFrame
from pyspark.sql.types import (
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    FloatType,
    LongType,
    NumericType,
    StringType,
    TimestampNTZType,
    TimestampType,
)

from sparkscale.errors import ColumnTypeError
from sparkscale.spark import sql
from sparkscale.spark.names import Place, by_name, single_place

__all__ = ["ORDERED_TYPES", "KeyColumn", "key_struct", "ordered", "resolve_group", "resolve_key"]

ORDERED_TYPES = (DateType, NumericType, TimestampNTZType, TimestampType)
KEY_TYPES = (*ORDERED_TYPES, BooleanType, StringType)


@dataclass(frozen=True)
class KeyColumn:
    """A column whose values identify groups of rows, and can be sorted.

    Parameters
    ----------
    name : str
        The column's name as given.
    type : DataType
        The type of ``sql``.
    path : tuple of str
        The names of the column to read and of nested fields.
    pattern : str
        SQL text of the keys, with ``{}`` in place of the values.
    """

    name: str
    type: DataType
    path: tuple[str, ...]
    pattern: str = "{}"

    @property
    def plain(self) -> str:
        """The values as SQL text, unchanged."""
        return sql.path(self.path)

    @property
    def sql(self) -> str:
        """The keys as SQL text, with null for NaN, so that Python distinguishes them as Spark does."""
        return self.pattern.format(self.plain)

    def read_from(self, source: str) -> KeyColumn:
        """Return the column, to be read from a column of another name."""
        return replace(self, path=(source,))


def key_struct(keys: Sequence[KeyColumn]) -> str:
    """Return the keys of several columns as one struct, as SQL text."""
    return f"struct({', '.join(f'{key.sql} AS k{i}' for i, key in enumerate(keys))})"


def resolve_group(df: DataFrame, name: str) -> KeyColumn:
    """Look up a column whose values are keys of groups: null and NaN are keys, and zeros of both signs are one.

    Raises
    ------
    ColumnNotFoundError
        If no column, or more than one, has the name.
    ColumnTypeError
        If its type cannot be a key.
    """
    place = _place(df, name, (*KEY_TYPES, BinaryType), "Group column", "binary data, ")
    pattern = "{}"
    if isinstance(place.type, FloatType | DoubleType):
        number = place.type.simpleString()
        pattern = f"(nanvl({{}}, {number}('NaN')) + {number}(0))"  # one NaN, and of -0.0 it makes 0.0
    return KeyColumn(name, place.type, place.path, pattern)


def resolve_key(df: DataFrame, name: str) -> KeyColumn:
    """Look up a key column.

    Raises
    ------
    ColumnNotFoundError
        If no column, or more than one, has the name.
    ColumnTypeError
        If its type is not atomic: an array, map, struct or vector.
    """
    place = _place(df, name, KEY_TYPES, "Column", "")
    if isinstance(place.type, TimestampType):
        # Python cannot tell the repeated hour of a clock change apart; compare microseconds.
        return KeyColumn(name, LongType(), place.path, "unix_micros({})")
    return _without_nan(KeyColumn(name, place.type, place.path))


def ordered(key: KeyColumn) -> KeyColumn:
    """Return a key whose values order rows, with null for NaN.

    Raises
    ------
    ColumnTypeError
        If it does not hold dates, timestamps or numbers.
    """
    if not isinstance(key.type, ORDERED_TYPES):
        raise ColumnTypeError(
            f"asOf: column '{key.name}' is of type {key.type.simpleString()}, which says nothing of when a row was known: "
            "it must hold dates, timestamps or numbers. Cast it."
        )
    return _without_nan(key)


def _without_nan(key: KeyColumn) -> KeyColumn:
    if not isinstance(key.type, FloatType | DoubleType):
        return replace(key, pattern="{}")
    return replace(key, pattern=f"(nanvl({{}}, NULL) + {key.type.simpleString()}(0))")  # of -0.0 it makes 0.0


def _place(df: DataFrame, name: str, types: tuple[type[DataType], ...], what: str, more: str) -> Place:
    """Look up a column that can be a key: of one of these types, which a message names, and without a collation."""
    place = single_place(df, by_name(df.schema), name)
    collated = isinstance(place.type, StringType) and "collate" in place.type.simpleString()
    if collated or not isinstance(place.type, types):
        raise ColumnTypeError(
            f"{what} '{name}' is of type {place.type.simpleString()}, which cannot be a key: it must hold numbers, "
            f"booleans, strings, {more}dates or timestamps. Cast it."
        )
    return place
