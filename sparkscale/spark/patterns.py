"""The columns that names and patterns choose, by the schema alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql.types import NumericType

from sparkscale.errors import ColumnNotFoundError, ParamError, ParamTypeError
from sparkscale.spark.names import alternatives, by_name, check_dataset, columns_named, folded, single_place
from sparkscale.spark.sql import is_on

__all__ = ["columns", "matching", "numeric"]

NUMERIC = "numeric"
QUOTED = re.compile(r"`[^`]*`")
WILDCARD = re.compile(r"[*?[]")


def columns(df: DataFrame, *patterns: str, exclude: Collection[str] = ()) -> list[str]:
    """Return the names of the columns that match names and patterns, for ``inputCols``.

    Only the schema is read; no job runs. Upper and lower case differ only if they do in the session
    (``spark.sql.caseSensitive``).

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data; a stream, too.
    *patterns : str
        Names, as ``inputCols`` takes them: of columns, in backticks or without, or of fields of structs. Patterns
        with ``*``, ``?`` and ``[...]``, as of file names, which match the names of columns, not of fields. Or
        ``"numeric"``, all columns of numbers: no booleans, arrays or vectors. The name of a column is that column, also
        if it looks like a pattern.
    exclude : collection of str
        Names and patterns of the same kinds, whose columns are left out, even if they are named.

    Returns
    -------
    list of str
        Each column once, in the order of the patterns, and those of one pattern in the order of the schema.

    Raises
    ------
    ColumnNotFoundError
        If a name or pattern, also one of ``exclude``, matches no column.
    ParamError
        If there is no pattern.
    ParamTypeError
        If a pattern is not a string, or ``exclude`` is not a collection of strings.
    DatasetError
        If ``df`` is not a Spark DataFrame.

    Examples
    --------
    >>> from sparkscale import StandardScaler, columns
    >>> df = spark.createDataFrame([(1, 4.0, 6.0, "UA"), (2, 8.0, 7.0, "AA")], ["id", "dep_delay", "dep_hour", "carrier"])
    >>> columns(df, "dep_*")
    ['dep_delay', 'dep_hour']
    >>> columns(df, "dep_hour", "numeric", exclude=["id"])
    ['dep_hour', 'dep_delay']
    >>> scaler = StandardScaler(inputCols=columns(df, "numeric", exclude=["id"]))
    """
    check_dataset(df)
    if not patterns:
        raise ParamError(
            "columns needs names or patterns: \"numeric\" for all columns of numbers, '*' for all columns."
        )
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise ParamTypeError(
                f"columns takes names and patterns one by one: columns(df, 'a', 'b_*'). Got {pattern!r}."
            )
    if isinstance(exclude, str) or not isinstance(exclude, Collection) or not all(isinstance(e, str) for e in exclude):
        raise ParamTypeError(f"exclude takes a list of names and patterns: exclude=['a', 'b_*']. Got {exclude!r}.")
    return matching(df, patterns, partial(numeric, df), exclude)


def matching(
    df: DataFrame, patterns: Sequence[str], numbers: Callable[[], list[str]], exclude: Collection[str] = ()
) -> list[str]:
    """Return what ``columns`` returns, where a function gives the columns of numbers."""
    chosen = _chosen(df, patterns, numbers)
    excluded = _chosen(df, exclude, numbers)
    return [name for path, name in chosen.items() if path not in excluded]


def numeric(df: DataFrame) -> list[str]:
    """Return the names of the columns of numbers."""
    return [f.name for f in df.schema.fields if isinstance(f.dataType, NumericType)]


def _chosen(df: DataFrame, patterns: Collection[str], numbers: Callable[[], list[str]]) -> dict[tuple[str, ...], str]:
    """Return the paths of columns and fields, with the names by which ``inputCols`` takes them."""
    fields = by_name(df.schema)
    chosen: dict[tuple[str, ...], str] = {}
    for pattern in patterns:
        names = [column.name for column in columns_named(df, fields, pattern)]
        if not names and (pattern == NUMERIC or WILDCARD.search(QUOTED.sub("", pattern))):
            names = numbers() if pattern == NUMERIC else _like(df, pattern)
            if not names:
                raise ColumnNotFoundError(f"No column matches '{pattern}'. {alternatives(df, fields, pattern)}.")
        if names:
            chosen |= {(name,): name for name in names}
        else:
            path = single_place(df, fields, pattern).path
            chosen[path] = path[0] if len(path) == 1 else pattern
    return chosen


def _like(df: DataFrame, pattern: str) -> list[str]:
    """Return the names that match a pattern, under the case sensitivity of the session."""
    if is_on(df.sparkSession, "spark.sql.caseSensitive"):
        return [name for name in df.columns if fnmatchcase(name, pattern)]
    return [name for name in df.columns if fnmatchcase(folded(name), folded(pattern))]
