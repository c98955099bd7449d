"""The affine map of each row's key, whose numbers are joined to the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkscale.affine import AffineMap
from sparkscale.errors import GroupError
from sparkscale.spark.columns import FeatureColumn, temp_column_name
from sparkscale.spark.expression import Bounds, array_literal, clipped, elementwise, failure, filled, without_nan
from sparkscale.spark.frame import Frame
from sparkscale.spark.keys import KeyColumn, key_struct
from sparkscale.spark.transform.column_map import Array, Entries, FittedMap

__all__ = ["NUMBERS", "ByKey", "Joined", "MapTable", "join_maps"]

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
    """

    table: DataFrame
    small: bool
    keys: Sequence[KeyColumn]
    unseen: dict[str, Array] | None
    refuse: bool


@dataclass(frozen=True)
class Joined:
    """Names of the columns with the numbers of each row's key; null for a key without a map."""

    center: str
    scale: str
    offset: str
    fill: str
    zero: str


def join_maps(frame: Frame, maps: MapTable) -> Joined:
    """Join the numbers of each row's key to the frame."""
    keys = frame.read(list(maps.keys))
    added = frame.add_all([key.sql for key in keys])
    names = {name: temp_column_name() for name in (*NUMBERS, *(f"k{i}" for i in range(len(keys))))}
    columns = [F.col("b")[f"k{i}"].alias(names[f"k{i}"]) for i in range(len(keys))]
    table = maps.table.select(*columns, *(F.col(name).alias(names[name]) for name in NUMBERS))
    # Spark underestimates lists, and might broadcast more than the driver can hold.
    table = F.broadcast(table) if maps.small else table.hint("merge")
    frame.join_all(table, {key: names[f"k{i}"] for i, key in enumerate(added)})
    if not (maps.unseen or maps.refuse):
        return Joined(*(names[n] for n in NUMBERS))
    unseen = {name: _list(maps.unseen[name]) if maps.unseen else _refusal(keys) for name in NUMBERS}
    return Joined(*frame.add_all([f"coalesce({names[n]}, {unseen[n]})" for n in NUMBERS]))


def _list(values: Array) -> str:
    return array_literal(values) if len(values) else "cast(array() AS array<double>)"


def _refusal(keys: Sequence[KeyColumn]) -> str:
    columns = ", ".join(f"'{k.name}'" for k in keys)
    return failure(
        GroupError,
        "Group ",
        f"string({key_struct(keys)})",
        f" of {columns} was not seen in fit, which handleUnseen='error' refuses. Fit on it, or set handleUnseen.",
        "array<double>",
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
    start : int
        The entry of the first feature of the column.
    entry : str
        The entry of feature ``{0}``, counted from those of the first one, as SQL.
    bounds : pair of numpy.ndarray, optional
        The lowest and the highest result, the same for all features.
    fills : bool
        Whether null and NaN become a number.
    """

    joined: Joined
    divides: bool = True
    start: int = 0
    entry: str = "{0}"
    bounds: Bounds = None
    fills: bool = False

    def sql(self, column: FeatureColumn, source: str) -> str:
        """See `ColumnMap`."""
        scalar = column.kind == "scalar"
        x, feature = (source, "0") if scalar else ("x", "i")
        fill = self._number("fill", feature) if self.fills else None
        mapped = self._mapped(without_nan(column, x, fill), feature)
        if scalar:
            mapped = filled(clipped(mapped, self.bounds), fill)
        else:
            if self.bounds:  # mentions the mapped value several times
                source, mapped = elementwise(source, mapped), clipped("x", self.bounds)
            mapped = elementwise(source, filled(mapped, fill))
        known = f"CASE WHEN {self.joined.center} IS NOT NULL THEN {mapped} END"
        return f"cast({known} AS {column.sql_type})" if column.single else known

    @property
    def keeps_null(self) -> bool:
        """See `ColumnMap`."""
        return not self.fills

    def _mapped(self, x: str, feature: str) -> str:
        center, scale, offset = (self._number(name, feature) for name in ("center", "scale", "offset"))
        return f"(double({x}) - {center}) {'/' if self.divides else '*'} {scale} + {offset}"

    def _number(self, name: str, feature: str) -> str:
        entry = self.entry.format(feature)
        place = entry if self.start == 0 else f"{self.start}" if entry == "0" else f"{self.start} + {entry}"
        return f"get({getattr(self.joined, name)}, {place})"

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
