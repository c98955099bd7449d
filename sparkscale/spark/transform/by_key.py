"""The numbers of the map of each row's key, joined to the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkscale.errors import GroupError
from sparkscale.spark.columns import temp_column_name
from sparkscale.spark.expression import array_literal, failure
from sparkscale.spark.frame import Frame
from sparkscale.spark.keys import KeyColumn, key_struct
from sparkscale.spark.transform.column_map import Array

__all__ = ["NULL", "AsOf", "Joined", "MapTable", "join_columns", "join_maps"]

NULL = "cast(NULL AS double)"


@dataclass(frozen=True, eq=False)
class MapTable:
    """The maps of all keys.

    Parameters
    ----------
    table : pyspark.sql.DataFrame
        Key ``b``, and lists of numbers: the arrays of the maps, such as ``center``, ``scale`` and ``offset``; ``fill``, the
        result for null and NaN, of each entry or empty; and ``zero``, 1 if all entries map 0 to 0.
    names : sequence of str
        The names of these lists.
    small : bool
        Whether to send the table to every executor.
    keys : sequence of KeyColumn
        The columns that make up a key, in the DataFrame to transform.
    unseen : dict of str to numpy.ndarray, or None
        The lists of a key that is not in the table; ``None`` if its results are null.
    refuse : bool
        Whether such a key makes the job fail.
    as_of : AsOf, optional
        If the maps of a key depend on how far its rows go back: what the last of ``keys`` says of it.
    """

    table: DataFrame
    names: Sequence[str]
    small: bool
    keys: Sequence[KeyColumn]
    unseen: dict[str, Array] | None
    refuse: bool
    as_of: AsOf | None = None


@dataclass(frozen=True, eq=False)
class AsOf:
    """How a row finds the map of what was known before its value: by the place of the value; see `fit.history.History`.

    Parameters
    ----------
    values : str
        The values, ascending, as an SQL array.
    count : int
        Their number.
    step : int
        The number of places in a span. The table also has columns ``span``, ``first`` and ``last``.
    of_all : pyspark.sql.DataFrame or None
        The maps of the rows of all keys, for spans of one place; they replace what is NaN in the map of a key.
    small : bool
        Whether to send these to every executor.
    unseen : bool
        Whether they also replace the map of a key of which nothing was known.
    """

    values: str
    count: int
    step: int
    of_all: DataFrame | None
    small: bool
    unseen: bool


@dataclass(frozen=True)
class Joined:
    """Names of the columns with the numbers of each row's key; null for a key without a map.

    What is NaN among them is taken from ``of_all``, if there is such a map. If a feature is still NaN, nothing is known of
    it: ``unknown`` is then the result, as SQL.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    of_all: Joined | None = None
    unknown: str | None = None

    @property
    def present(self) -> str:
        """A condition, as SQL, that there is a map."""
        return f"{next(iter(self.columns.values()))} IS NOT NULL"


def join_maps(frame: Frame, maps: MapTable) -> Joined:
    """Join the numbers of each row's key to the frame."""
    keys, as_of, names = frame.read(list(maps.keys)), maps.as_of, maps.names
    added = frame.add_all([key.sql for key in keys])
    table = _hinted(maps.table, small=maps.small)
    if as_of is None:
        columns = join_columns(frame, table, added, names)
        joined = Joined(dict(zip(names, columns, strict=True)))
        unseen = {name: _list(maps.unseen[name]) for name in names} if maps.unseen else None
    else:
        *added, value = added
        place = _place(frame, value, as_of)
        columns = join_columns(frame, table, added, names, place, as_of.step)
        joined, unseen = Joined(dict(zip(names, columns, strict=True))), None
        if as_of.of_all is not None:
            maps_of_all = _hinted(as_of.of_all, small=as_of.small)
            of_all = dict(zip(names, join_columns(frame, maps_of_all, [], names, place), strict=True))
            unseen = of_all if as_of.unseen else None
            joined = replace(joined, of_all=Joined(of_all))
        joined = replace(joined, unknown=_refusal(keys, as_of, "double") if maps.refuse else NULL)
    if maps.refuse:
        unseen = dict.fromkeys(names, _refusal(keys, as_of, "array<double>"))
    if unseen is None:
        return joined
    columns = frame.add_all([f"coalesce({joined.columns[n]}, {unseen[n]})" for n in names])
    return replace(joined, columns=dict(zip(names, columns, strict=True)))


def _hinted(table: DataFrame, *, small: bool) -> DataFrame:
    """Tell Spark how to join a table: it underestimates lists, and might broadcast more than the driver can hold."""
    return F.broadcast(table) if small else table.hint("merge")


def join_columns(
    frame: Frame, table: DataFrame, keys: Sequence[str], names: Sequence[str], place: str | None = None, step: int = 1
) -> list[str]:
    """Join columns of a table by its key ``b``, for a place if there is one, and return their temporary names.

    Parameters
    ----------
    frame : Frame
        The frame.
    table : pyspark.sql.DataFrame
        Key ``b``, and columns of these names; for places also ``span``, ``first`` and ``last``.
    keys : sequence of str
        The columns of the frame that make up a key.
    names : sequence of str
        The columns to join.
    place : str, optional
        A column of the frame, which chooses among the rows of a key.
    step : int
        The number of places in a span.
    """
    columns = {f"k{i}": F.col("b")[f"k{i}"] for i in range(len(keys))}
    columns |= {name: F.col(name) for name in (*names, *(("span", "first", "last") if place else ()))}
    hidden = {name: temp_column_name() for name in columns}
    table = table.select(*(column.alias(hidden[name]) for name, column in columns.items()))
    null_safe = {key: hidden[f"k{i}"] for i, key in enumerate(keys)}
    if place is None:
        frame.join(table, null_safe=null_safe)
    else:
        span = {frame.add(f"int({place} div {step})"): hidden["span"]}
        frame.join(table, equal=span, null_safe=null_safe, within=(place, hidden["first"], hidden["last"]))
    return [hidden[name] for name in names]


def _place(frame: Frame, value: str, as_of: AsOf) -> str:
    """Add the number of values that are less than the row's, by a binary search.

    Each step is a column of its own, which Spark computes once. Steps that divide by 16 give a method that is too long for
    the JVM to compile: transform of 4 million rows by 365 values took 37 s instead of 2.7.
    """
    values, place = frame.add_all([as_of.values, f"CASE WHEN {value} IS NOT NULL THEN 0 END"])
    distance = 1 << as_of.count.bit_length()
    while distance := distance // 2:
        less = f"get({values}, {place} + {distance - 1}) < {value}"
        place = frame.add(f"CASE WHEN {less} THEN {place} + {distance} ELSE {place} END")
    return place


def _list(values: Array) -> str:
    return array_literal(values) if len(values) else "cast(array() AS array<double>)"


def _refusal(keys: Sequence[KeyColumn], as_of: AsOf | None, sql_type: str) -> str:
    columns = ", ".join(f"'{k.name}'" for k in keys)
    if as_of is None:
        reason, remedy = "was not seen in fit", "Fit on it, or set handleUnseen."
    else:
        reason, remedy = "has no value in fit that came before", "Fit on earlier rows, or set handleUnseen."
    return failure(
        GroupError,
        "Group ",
        f"string({key_struct(keys)})",
        f" of {columns} {reason}, which handleUnseen='error' refuses. {remedy}",
        sql_type,
    )
