"""Monotone maps of each feature by itself that are not affine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from sparkscale.arrays import as_array_like, namespace
from sparkscale.curves import Curve
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import elementwise, feature_index, filled, masked, parameter, with_places, without_nan
from sparkscale.spark.gpu import Kernel
from sparkscale.spark.transform.column_map import Array, Entries, FittedMap

__all__ = ["Curved"]


@dataclass(frozen=True, eq=False)
class Curved(FittedMap):
    """A curve of each feature.

    Parameters
    ----------
    curve : Curve
        The curves.
    fill : numpy.ndarray, optional
        The result of each feature for null and NaN. Without it, these stay.
    """

    curve: Any
    fill: Array | None = None

    @abstractmethod
    def text(self, x: str, index: str) -> str:
        """Return the result for a double ``x`` as SQL, given the index of its feature; null and NaN stay."""

    def sql(self, column: FeatureColumn, source: str) -> str:
        """See `ColumnMap`."""
        x, index = (source, "0") if column.kind == "scalar" else ("x", feature_index(column))
        filling = None if self.fill is None else parameter(self.fill, index)
        mapped = filled(self.text(f"double({without_nan(column, x, filling)})", index), filling)
        mapped = masked(column, x, mapped)
        mapped = mapped if column.kind == "scalar" else with_places(column, source, elementwise(source, mapped))
        return f"cast({mapped} AS {column.sql_type})" if column.single else mapped

    @property
    def keeps_null(self) -> bool:
        """See `ColumnMap`."""
        return self.fill is None

    def kernel(self) -> Kernel:
        """See `ColumnMap`."""
        return partial(_mapped, self.curve, self.fill)

    def joint_kernel(self, maps: Sequence[Curved]) -> Kernel:
        """See `ColumnMap`."""
        fills = [m.fill for m in maps if m.fill is not None]
        return partial(_mapped, Curve.concat([m.curve for m in maps]), np.concatenate(fills) if fills else None)

    def entries(self) -> Entries | None:
        """See `ColumnMap`."""
        return partial(_entries, self) if self.curve.keeps_zero else None

    def part(self, features: slice | Array) -> Curved:
        """See `ColumnMap`."""
        return replace(self, curve=self.curve[features], fill=None if self.fill is None else self.fill[features])


def _mapped(curve: Curve, fill: Array | None, rows: Any) -> Any:
    mapped = curve.apply(rows)
    if fill is not None:
        xp = namespace(rows)
        mapped = xp.where(xp.isnan(rows), as_array_like(mapped, fill), mapped)
    return mapped


def _entries(curved: Curved, indices: Array, values: Array) -> Any:
    part = curved.part(indices)
    return _mapped(part.curve, part.fill, values)
