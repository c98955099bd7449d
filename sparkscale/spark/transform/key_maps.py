"""Maps with the numbers of each row's key."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

import numpy as np

from sparkscale.affine import AffineMap
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import (
    Bounds,
    clipped,
    elementwise,
    feature_index,
    filled,
    masked,
    with_places,
    without_nan,
)
from sparkscale.spark.transform.by_key import NULL, Joined
from sparkscale.spark.transform.column_map import Array, Entries, FittedMap

__all__ = ["AffineByKey", "ByKey"]


@dataclass(frozen=True, eq=False)
class ByKey(FittedMap):
    """A map with the numbers of the row's key, then clipped to bounds if there are any.

    Parameters
    ----------
    inverts : bool
        Whether this is the inverse.
    joined : Joined
        The columns with the numbers.
    entry : str
        The entry of feature ``{0}`` of the column, as SQL.
    bounds : pair of numpy.ndarray, optional
        The lowest and the highest result, the same for all features.
    fills : bool
        Whether null and NaN become a number.
    """

    inverts: bool
    joined: Joined = field(default_factory=Joined)
    entry: str = "{0}"
    bounds: Bounds = None
    fills: bool = False

    def sql(self, column: FeatureColumn, source: str) -> str:
        """See `ColumnMap`."""
        scalar = column.kind == "scalar"
        x, feature = (source, "0") if scalar else ("x", feature_index(column))
        fill = self._number("fill", feature) if self.fills else None
        mapped = self._mapped(without_nan(column, x, fill), feature)
        if scalar:
            mapped = self._known(column, filled(clipped(mapped, self.bounds), fill), feature)
            mapped = masked(column, x, mapped)
        else:
            row, bounds = source, self.bounds
            if bounds and column.mask_value is None:  # mentions the mapped value several times
                source, mapped, bounds = elementwise(source, mapped), clipped("x", bounds), None
            mapped = self._known(column, filled(clipped(mapped, bounds), fill), feature)
            mapped = with_places(column, row, elementwise(source, masked(column, x, mapped)))
        known = f"CASE WHEN {self.joined.present} THEN {mapped} END"
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
        return f"CASE WHEN isnan({self._number(next(iter(self.joined.columns)), feature)}) THEN {unknown} ELSE {mapped} END"

    @abstractmethod
    def _mapped(self, x: str, feature: str) -> str:
        """Return the result for ``x`` as SQL, given its feature."""

    def _place(self, feature: str) -> str:
        """Return the entry of a feature."""
        return self.entry.format(feature)

    def _number(self, name: str, feature: str) -> str:
        """Return a number of the entry of a feature."""
        place = self._place(feature)
        own, of_all = f"get({self.joined.columns[name]}, {place})", self.joined.of_all
        return own if of_all is None else f"nanvl({own}, get({of_all.columns[name]}, {place}))"


@dataclass(frozen=True, eq=False)
class AffineByKey(ByKey):
    """``(x - center) / scale + offset``, or as the inverse ``(x - center) * scale + offset``."""

    def _mapped(self, x: str, feature: str) -> str:
        center, scale, offset = (self._number(name, feature) for name in ("center", "scale", "offset"))
        return f"(double({x}) - {center}) {'*' if self.inverts else '/'} {scale} + {offset}"

    def entries(self) -> Entries | None:
        """See `ColumnMap`."""
        low, high = (-np.inf, np.inf) if self.bounds is None else (float(bound[0]) for bound in self.bounds)
        return _Entries(not self.inverts, low, high) if low <= 0 <= high else None

    @property
    def sparse_condition(self) -> str:
        """See `ColumnMap`."""
        return f"coalesce(get({self.joined.columns['zero']}, 0), 0) = 1"

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
