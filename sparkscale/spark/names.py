"""Names of columns: what they mean in a DataFrame, and when two are one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StructField, StructType

from sparkscale.errors import ColumnNotFoundError, DatasetError
from sparkscale.spark.sql import is_on

__all__ = [
    "Place",
    "attribute",
    "by_name",
    "check_dataset",
    "column",
    "find_places",
    "folded",
    "listed",
    "path_parts",
    "same_name",
    "single_place",
    "unquoted",
]

PART = re.compile(r"`((?:[^`]|``)+)`|([^`.]+)")  # of a path, as Spark reads it
PATH = re.compile(rf"(?:{PART.pattern})(?:\.(?:{PART.pattern}))*")
NO_KEYS = (ArrayType, MapType, StructType)  # of a map, that Spark does not look up by a string
SHOWN = 10  # columns in a message


def check_dataset(df: Any, *, whole: str | None = None) -> None:
    """Refuse what is no DataFrame of Spark's; for a method that needs the ``whole`` of the rows, a stream, too.

    Raises
    ------
    DatasetError
        That says what to pass.
    """
    kind = type(df)
    if hasattr(kind, "isStreaming"):  # whether of classic Spark or of Connect, whose classes may be unrelated
        if whole and df.isStreaming:
            use = "fit on a table, and update the model with them" if whole == "fit" else f"call {whole} on them"
            raise DatasetError(
                f"{whole} needs a table, whose rows come to an end. Got a stream. Its batches are tables, which "
                f"foreachBatch hands out: {use}."
            )
        return
    name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    remedy = "Make it one with spark.createDataFrame."
    if callable(getattr(kind, "to_spark", None)):
        name, remedy = f"pandas-on-Spark {kind.__name__}", "Pass what its to_spark() returns."
    raise DatasetError(f"A Spark DataFrame is needed. Got a {name}. {remedy}")


def attribute(path: Sequence[str]) -> str:
    """Return names as `F.col` and ``withField`` take them, and never SQL text.

    Of such a name Spark reads quotes and dots, and puts in no variable.
    """
    return ".".join("`" + part.replace("`", "``") + "`" for part in path)


def column(path: Sequence[str]) -> Column:
    """Return a column, or a field in it, which no table or alias of the column's name can hide."""
    values = F.col(attribute(path[:1]))
    for name in path[1:]:
        values = values.getField(name)
    return values


def same_name(df: DataFrame, one: str, other: str) -> bool:
    """Whether two names are one to the session."""
    if one == other or folded(one) != folded(other):
        return one == other
    return not is_on(df.sparkSession, "spark.sql.caseSensitive")


def folded(name: str) -> str:
    """Return what is the same for names that differ in case alone, letter by letter as Spark compares them.

    So "\u00df" is not "ss". Of what has no single letter in the other case nothing changes.
    """
    if name.isascii():
        return name.lower()
    capitals = (c if len(c.upper()) > 1 else c.upper() for c in name)
    return "".join(c.lower()[0] for c in capitals)  # of the only one that has more, the i with a dot, Java takes the i


def unquoted(name: str) -> str:
    """Return a name without the backticks that Spark would read as quotes."""
    return ".".join(path_parts(name)) or name if "`" in name else name


def find_places(df: DataFrame, names: Sequence[str]) -> list[Place | None]:
    """Find where each name stands in a DataFrame, read as `columns.resolve` reads it; ``None`` if nowhere.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        Where to look.
    names : sequence of str
        Column names, or paths of fields of structs.

    Returns
    -------
    list of (Place or None)
        In the order of the names.
    """
    fields = by_name(df.schema)
    return [_place(df, fields, name) for name in names]


@dataclass(frozen=True)
class Place:
    """Where a name stands in a DataFrame.

    Parameters
    ----------
    path : tuple of str
        The names of the column and of the fields in it, as the schema spells them.
    type : DataType
        What is there.
    metadata : dict
        That of the column or the last field.
    within : bool
        Whether it is part of each element of an array, or the value of a key of a map.
    alike : int
        The number of columns, or fields of one struct, that have the name.
    parsed : bool
        Whether the name is no column as it stands.
    """

    path: tuple[str, ...]
    type: DataType
    metadata: dict[str, Any] = field(default_factory=dict)
    within: bool = False
    alike: int = 1
    parsed: bool = False


def _place(df: DataFrame, columns: dict[str, list[StructField]], name: str) -> Place | None:
    """Find a name, which may be a column as it stands, else is read as Spark reads it."""
    alike = _alike(df, columns, name)
    if alike:
        return Place((alike[0].name,), alike[0].dataType, alike[0].metadata, alike=len(alike))
    place: Place | None = None
    for part in path_parts(name):
        if place is not None and isinstance(place.type, MapType):
            if isinstance(place.type.keyType, NO_KEYS):
                return None
            place = replace(place, path=(*place.path, part), type=place.type.valueType, metadata={}, within=True)
            continue
        kind: Any = place.type if place else None
        array = isinstance(kind, ArrayType)
        kind = kind.elementType if array else kind
        fields = by_name(kind) if isinstance(kind, StructType) else {}
        alike = [f for f in fields.get(folded(part), []) if same_name(df, f.name, part)]
        alike = alike if place else _alike(df, columns, part)
        if not alike:
            return None
        of = alike[0].dataType
        place = Place(
            (*(place.path if place else ()), alike[0].name),
            ArrayType(of) if array else of,
            alike[0].metadata,
            within=array or (place is not None and place.within),
            alike=max(len(alike), place.alike if place else 1),
            parsed=True,
        )
    return place


def _alike(df: DataFrame, columns: dict[str, list[StructField]], name: str) -> list[StructField]:
    """Return the columns that Spark may read by a name: first it looks for the name in lower case."""
    alike = columns.get(folded(name), [])
    return [c for c in alike if c.name.lower() == name.lower() and same_name(df, c.name, name)]


def single_place(df: DataFrame, columns: dict[str, list[StructField]], name: str) -> Place:
    """Find a name that is to be of one column or field; ColumnNotFoundError if it is of none or of several."""
    place = _place(df, columns, name)
    if place is None:
        raise ColumnNotFoundError(f"Column '{name}' does not exist. {_surroundings(df, columns, name)}.")
    if place.alike > 1:
        raise ColumnNotFoundError(
            f"Column '{name}' is ambiguous: the DataFrame has {place.alike} of that name. Rename or drop all but one."
        )
    return place


def _surroundings(df: DataFrame, columns: dict[str, list[StructField]], name: str) -> str:
    """Return what is there where a name is missing: the fields of the struct that its path leads to, or the columns."""
    parts = path_parts(name)
    for end in range(len(parts) - 1, 0, -1):
        place = _place(df, columns, attribute(parts[:end]))
        if place is not None and isinstance(place.type, StructType):
            return f"'{'.'.join(place.path)}' has: {listed(place.type.names, parts[end])}"
    return f"The DataFrame has: {listed(df.columns, name)}"


def listed(columns: Sequence[str], name: str) -> str:
    """Return columns for a message on one that is not there; of many the first, those of names like it before others."""
    if len(columns) <= SHOWN:
        return ", ".join(columns)
    near = get_close_matches(name, columns, SHOWN)
    near += [c for c in columns if c not in near][: SHOWN - len(near)]
    return f"{', '.join(near)} and {len(columns) - len(near):,} more"


def path_parts(name: str) -> list[str]:
    """Return the parts of a path as Spark reads it, with quotes taken off; none if it is not a path."""
    if not PATH.fullmatch(name):
        return []
    return [quotes.replace("``", "`") or plain for quotes, plain in PART.findall(name)]


def by_name(schema: StructType) -> dict[str, list[StructField]]:
    """Return the fields by what is the same for names that Spark may take for one."""
    fields: dict[str, list[StructField]] = {}
    for one in schema.fields:
        fields.setdefault(folded(one.name), []).append(one)
    return fields
