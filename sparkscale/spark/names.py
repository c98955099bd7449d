"""Column names: which column or field a name refers to, and which names are equal."""

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
    "alternatives",
    "attribute",
    "by_name",
    "check_dataset",
    "column",
    "columns_named",
    "find_places",
    "folded",
    "listed",
    "path_parts",
    "same_name",
    "same_path",
    "single_place",
    "unquoted",
]

PATH_PART = re.compile(r"`((?:[^`]|``)+)`|([^`.]+)")  # as Spark parses it
PATH = re.compile(rf"(?:{PATH_PART.pattern})(?:\.(?:{PATH_PART.pattern}))*")
NO_STRING_LOOKUP = (ArrayType, MapType, StructType)  # key types of maps that Spark does not look up by a string
MAX_LISTED_COLUMNS = 10  # in a message


def check_dataset(df: Any, *, whole: str | None = None) -> None:
    """Refuse what is not a Spark DataFrame, and streams in a method, ``whole``, that needs all rows.

    Raises
    ------
    DatasetError
        With the type of ``df``, and what to pass.
    """
    df_class = type(df)
    if hasattr(df_class, "isStreaming"):  # the classes of classic Spark and Connect may be unrelated
        if whole and df.isStreaming:
            use = "fit on one, and update the model with each" if whole == "fit" else f"call {whole} on each"
            raise DatasetError(
                f"{whole} needs a static DataFrame. Got a stream. foreachBatch passes its batches as static DataFrames: "
                f"{use}."
            )
        return
    name = f"{df_class.__module__.partition('.')[0]}.{df_class.__name__}"
    remedy = "Convert it with spark.createDataFrame."
    if hasattr(df_class, "groupCols"):  # a Profile: only fit takes it
        remedy = "Fit a scaler on it; model.merge(scaler.fit(profile)) adds its rows to a model."
    if callable(getattr(df_class, "to_spark", None)):
        name, remedy = f"pandas-on-Spark {df_class.__name__}", "Pass the result of its to_spark()."
    raise DatasetError(f"A Spark DataFrame is needed. Got a {name}. {remedy}")


def attribute(path: Sequence[str]) -> str:
    """Return a path as the attribute name that `F.col` and ``withField`` take.

    It is not SQL text: Spark parses quotes and dots in it, but substitutes no variables.
    """
    return ".".join("`" + part.replace("`", "``") + "`" for part in path)


def column(path: Sequence[str]) -> Column:
    """Return a column, or a nested field; a table or alias of the same name does not shadow it."""
    values = F.col(attribute(path[:1]))
    for name in path[1:]:
        values = values.getField(name)
    return values


def same_name(df: DataFrame, one: str, other: str) -> bool:
    """Whether two names are equal, under the case sensitivity of the session."""
    if one == other or folded(one) != folded(other):
        return one == other
    return not is_on(df.sparkSession, "spark.sql.caseSensitive")


def same_path(df: DataFrame, one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two columns or fields, given by the names on their way, are the same one."""
    return len(one) == len(other) and all(same_name(df, a, b) for a, b in zip(one, other, strict=True))


def folded(name: str) -> str:
    """Fold the case of a name letter by letter, as Spark does to compare names.

    So "\u00df" is not "ss": letters without a single-letter counterpart are unchanged.
    """
    if name.isascii():
        return name.lower()
    capitals = (c if len(c.upper()) > 1 else c.upper() for c in name)
    return "".join(c.lower()[0] for c in capitals)  # only the dotted capital I has two: Java takes the i


def unquoted(name: str) -> str:
    """Return a name without the backticks that Spark parses as quotes."""
    return ".".join(path_parts(name)) or name if "`" in name else name


def find_places(df: DataFrame, names: Sequence[str]) -> list[Place | None]:
    """Look up names in a DataFrame, parsed as in `columns.resolve`; ``None`` for those that do not exist.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data.
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
    """The column or field that a name refers to.

    Parameters
    ----------
    path : tuple of str
        The names of the column and of nested fields, as spelled in the schema.
    type : DataType
        Its type.
    metadata : dict
        The metadata of the column or the innermost field.
    in_collection : bool
        Whether it is inside of an array or a map.
    matches : int
        Number of columns, or of fields of one struct, that have the name.
    parsed : bool
        Whether the name was parsed, since no column has exactly this name.
    """

    path: tuple[str, ...]
    type: DataType
    metadata: dict[str, Any] = field(default_factory=dict)
    in_collection: bool = False
    matches: int = 1
    parsed: bool = False


def _place(df: DataFrame, columns: dict[str, list[StructField]], name: str) -> Place | None:
    """Look up a name: first as the name of a column, then parsed as a path."""
    matches = columns_named(df, columns, name)
    if matches:
        return Place((matches[0].name,), matches[0].dataType, matches[0].metadata, matches=len(matches))
    place: Place | None = None
    for part in path_parts(name):
        if place is not None and isinstance(place.type, MapType):
            if isinstance(place.type.keyType, NO_STRING_LOOKUP):
                return None
            place = replace(place, path=(*place.path, part), type=place.type.valueType, metadata={}, in_collection=True)
            continue
        parent: Any = place.type if place else None
        array = isinstance(parent, ArrayType)
        parent = parent.elementType if array else parent
        fields = by_name(parent) if isinstance(parent, StructType) else {}
        matches = [f for f in fields.get(folded(part), []) if same_name(df, f.name, part)]
        matches = matches if place else columns_named(df, columns, part)
        if not matches:
            return None
        data_type = matches[0].dataType
        place = Place(
            (*(place.path if place else ()), matches[0].name),
            ArrayType(data_type) if array else data_type,
            matches[0].metadata,
            in_collection=array or (place is not None and place.in_collection),
            matches=max(len(matches), place.matches if place else 1),
            parsed=True,
        )
    return place


def columns_named(df: DataFrame, columns: dict[str, list[StructField]], name: str) -> list[StructField]:
    """Return the columns that Spark may resolve a name to: it compares names in lower case first."""
    candidates = columns.get(folded(name), [])
    return [c for c in candidates if c.name.lower() == name.lower() and same_name(df, c.name, name)]


def single_place(df: DataFrame, columns: dict[str, list[StructField]], name: str) -> Place:
    """Look up the one column or field of a name; ColumnNotFoundError if there is none, or more than one."""
    place = _place(df, columns, name)
    if place is None:
        raise ColumnNotFoundError(f"Column '{name}' does not exist. {alternatives(df, columns, name)}.")
    if place.matches > 1:
        raise ColumnNotFoundError(
            f"Column '{name}' is ambiguous: the DataFrame has {place.matches} of that name. Rename or drop all but one."
        )
    return place


def alternatives(df: DataFrame, columns: dict[str, list[StructField]], name: str) -> str:
    """List names for the message about a missing one: the fields of the struct on its path, or the columns."""
    parts = path_parts(name)
    for end in range(len(parts) - 1, 0, -1):
        place = _place(df, columns, attribute(parts[:end]))
        if place is not None and isinstance(place.type, StructType):
            return f"'{'.'.join(place.path)}' has: {listed(place.type.names, parts[end])}"
    return f"The DataFrame has: {listed(df.columns, name)}"


def listed(columns: Sequence[str], name: str) -> str:
    """List columns for the message about a missing one; of many, those with similar names, then the first."""
    if len(columns) <= MAX_LISTED_COLUMNS:
        return ", ".join(columns)
    similar = get_close_matches(name, columns, MAX_LISTED_COLUMNS)
    similar += [c for c in columns if c not in similar][: MAX_LISTED_COLUMNS - len(similar)]
    return f"{', '.join(similar)} and {len(columns) - len(similar):,} more"


def path_parts(name: str) -> list[str]:
    """Split a path into names as Spark parses it, without quotes; an empty list if it is not a path."""
    if not PATH.fullmatch(name):
        return []
    return [quoted.replace("``", "`") or plain for quoted, plain in PATH_PART.findall(name)]


def by_name(schema: StructType) -> dict[str, list[StructField]]:
    """Return the fields of a schema by their names in folded case."""
    fields: dict[str, list[StructField]] = {}
    for struct_field in schema.fields:
        fields.setdefault(folded(struct_field.name), []).append(struct_field)
    return fields
