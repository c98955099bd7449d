"""The affine map of each row's key, whose numbers are joined to the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkscale.affine import AffineMap
from sparkscale.errors import GroupError
from sparkscale.spark import expression
from sparkscale.spark.columns import FeatureColumn, temp_column_name
from sparkscale.spark.expression import Bounds, array_literal, clipped, elementwise, failure, filled, without_nan
from sparkscale.spark.frame import Frame
from sparkscale.spark.keys import KeyColumn, key_struct
from sparkscale.spark.transform.column_map import Array, Entries, FittedMap

__all__ = ["NUMBERS", "AsOf", "ByKey", "Joined", "MapTable", "join_columns", "join_maps"]

NULL = "cast(NULL AS double)"
NUMBERS = ("center", "scale", "offset", "fill", "zero")


@dataclass(frozen=True, eq=False)
class MapTable:
    """The maps of all keys.

    Parameters
    ----------
    table : pyspark.sql.DataFrame
        Key ``b``, and lists of numbers: ``center``, ``scale`` and ``offset`` of each entry; ``fill``, the result for null
        and NaN, of each entry or empty; and ``zero``, 1 if all entries map 0 to 0.
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

    center: str
    scale: str
    offset: str
    fill: str
    zero: str
    of_all: Joined | None = None
    unknown: str | None = None

    @classmethod
    def of(cls, names: Sequence[str]) -> Joined:
        """Return the columns that have these names, in the order of ``NUMBERS``."""
        center, scale, offset, fill, zero = names
        return cls(center, scale, offset, fill, zero)


def join_maps(frame: Frame, maps: MapTable) -> Joined:
    """Join the numbers of each row's key to the frame."""
    keys, as_of = frame.read(list(maps.keys)), maps.as_of
    added = frame.add_all([key.sql for key in keys])
    table = _hinted(maps.table, small=maps.small)
    if as_of is None:
        joined = Joined.of(join_columns(frame, table, added, NUMBERS))
        unseen = {name: _list(maps.unseen[name]) for name in NUMBERS} if maps.unseen else None
    else:
        *added, value = added
        place = _place(frame, value, as_of)
        joined = Joined.of(join_columns(frame, table, added, NUMBERS, place, as_of.step))
        unseen = None
        if as_of.of_all is not None:
            maps_of_all = _hinted(as_of.of_all, small=as_of.small)
            of_all = Joined.of(join_columns(frame, maps_of_all, [], NUMBERS, place))
            unseen = vars(of_all) if as_of.unseen else None
            joined = replace(joined, of_all=of_all)
        joined = replace(joined, unknown=_refusal(keys, as_of, "double") if maps.refuse else NULL)
    if maps.refuse:
        unseen = dict.fromkeys(NUMBERS, _refusal(keys, as_of, "array<double>"))
    if unseen is None:
        return joined
    names = frame.add_all([f"coalesce({getattr(joined, n)}, {unseen[n]})" for n in NUMBERS])
    return replace(Joined.of(names), of_all=joined.of_all, unknown=joined.unknown)


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


@dataclass(frozen=True, eq=False)
class ByKey(FittedMap):
    """``(x - center) / scale + offset`` with the numbers of the row's key, then clipped to bounds if there are any.

    Parameters
    ----------
    joined : Joined
        The columns with the numbers.
    divides : bool
        Whether to divide by the scale, or to multiply.
    entry : str
        The entry of feature ``{0}`` of the column, as SQL.
    bounds : pair of numpy.ndarray, optional
        The lowest and the highest result, the same for all features.
    fills : bool
        Whether null and NaN become a number.
    """

    joined: Joined
    divides: bool = True
    entry: str = "{0}"
    bounds: Bounds = None
    fills: bool = False

    def sql(self, column: FeatureColumn, source: str) -> str:
        """See `ColumnMap`."""
        scalar = column.kind == "scalar"
        x, feature = (source, "0") if scalar else ("x", expression.feature_index(column))
        fill = self._number("fill", feature) if self.fills else None
        mapped = self._mapped(without_nan(column, x, fill), feature)
        if scalar:
            mapped = self._known(column, filled(clipped(mapped, self.bounds), fill), feature)
            mapped = expression.masked(column, x, mapped)
        else:
            row, bounds = source, self.bounds
            if bounds and column.mask_value is None:  # mentions the mapped value several times
                source, mapped, bounds = elementwise(source, mapped), clipped("x", bounds), None
            mapped = self._known(column, filled(clipped(mapped, bounds), fill), feature)
            mapped = expression.with_places(column, row, elementwise(source, expression.masked(column, x, mapped)))
        known = f"CASE WHEN {self.joined.center} IS NOT NULL THEN {mapped} END"
        return f"cast({known} AS {column.sql_type})" if column.single else known

    @property
    def keeps_null(self) -> bool:
        """See `ColumnMap`."""
        return not self.fills

    def _known(self, column: FeatureColumn, mapped: str, feature: str) -> str:
        """Return the result, unless nothing is known of the feature; a vector has no null, and keeps NaN."""
        unknown = self.joined.unknown
        if unknown is None or (unknown == NULL and column.kind == "vector"):
            return mapped
        return f"CASE WHEN isnan({self._number('center', feature)}) THEN {unknown} ELSE {mapped} END"

    def _mapped(self, x: str, feature: str) -> str:
        center, scale, offset = (self._number(name, feature) for name in ("center", "scale", "offset"))
        return f"(double({x}) - {center}) {'/' if self.divides else '*'} {scale} + {offset}"

    def _number(self, name: str, feature: str) -> str:
        place = self.entry.format(feature)
        own, of_all = f"get({getattr(self.joined, name)}, {place})", self.joined.of_all
        return own if of_all is None else f"nanvl({own}, get({getattr(of_all, name)}, {place}))"

    def entries(self) -> Entries | None:
        """See `ColumnMap`."""
        low, high = (-np.inf, np.inf) if self.bounds is None else (float(bound[0]) for bound in self.bounds)
        return _Entries(self.divides, low, high) if low <= 0 <= high else None

    @property
    def sparse_condition(self) -> str:
        """See `ColumnMap`."""
        return f"coalesce(get({self.joined.zero}, 0), 0) = 1"

    def entry_parameters(self, indices: str) -> list[str]:
        """See `ColumnMap`."""
        numbers = (self._number(name, "i") for name in ("center", "scale", "offset", *(["fill"] if self.fills else [])))
        return [f"transform({indices}, i -> {number})" for number in numbers]


@dataclass(frozen=True)
class _Entries:
    """Maps the stored entries of a sparse row by the numbers of their features."""

    divides: bool
    low: float
    high: float

    def __call__(self, indices: Array, values: Array, *numbers: Array) -> Array:
        center, scale, offset, *fill = (np.array(n, dtype=np.float64) for n in numbers)
        mapped = np.clip(AffineMap(center, scale, offset, self.divides).apply(values), self.low, self.high)
        return np.where(np.isnan(values), fill[0], mapped) if fill else mapped
