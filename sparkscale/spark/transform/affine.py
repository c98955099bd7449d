"""The affine map of a column's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from pyspark.ml.feature import ElementwiseProduct
from pyspark.ml.linalg import Vectors

from sparkscale.affine import AffineMap
from sparkscale.arrays import as_array_like, namespace
from sparkscale.kernels import clip_by_value
from sparkscale.spark import jvm
from sparkscale.spark.columns import FeatureColumn, temp_column_name
from sparkscale.spark.expression import Bounds, array_map, scalar_map
from sparkscale.spark.frame import Frame
from sparkscale.spark.gpu import Kernel
from sparkscale.spark.transform.column_map import Array, Entries, FittedMap, Staged
from sparkscale.spark.transform.vectors import CheckedVector

__all__ = ["Affine"]


@dataclass(frozen=True, eq=False)
class Affine(FittedMap):
    """``(x - center) / scale + offset``, then clipped to bounds if there are any.

    Parameters
    ----------
    affine : AffineMap
        The map.
    bounds : pair of numpy.ndarray, optional
        The lowest and the highest result of each feature; NaN does not clip.
    fill : numpy.ndarray, optional
        The result of each feature for null and NaN. Without it, these stay.
    """

    affine: AffineMap
    bounds: Bounds = None
    fill: Array | None = None

    def __post_init__(self) -> None:
        if self.bounds is not None:
            low, high = self.bounds
            unbounded = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
            object.__setattr__(self, "bounds", unbounded)

    def sql(self, column: FeatureColumn, source: str) -> str:
        """See `ColumnMap`."""
        to_sql = scalar_map if column.kind == "scalar" else array_map
        return to_sql(column, source, self.affine, self.bounds, self.fill)

    @property
    def keeps_null(self) -> bool:
        """See `ColumnMap`."""
        return self.fill is None

    def kernel(self) -> Kernel:
        """See `ColumnMap`."""
        return partial(_mapped, self)

    def joint_kernel(self, maps: Sequence[Affine]) -> Kernel:
        """See `ColumnMap`."""
        bounds, fills = [m.bounds for m in maps if m.bounds], [m.fill for m in maps if m.fill is not None]
        low_and_high = (
            (np.concatenate([b[0] for b in bounds]), np.concatenate([b[1] for b in bounds])) if bounds else None
        )
        affine = AffineMap.concat([m.affine for m in maps])
        return replace(self, affine=affine, bounds=low_and_high, fill=np.concatenate(fills) if fills else None).kernel()

    def entries(self) -> Entries | None:
        """See `ColumnMap`."""
        keeps_zero = self.affine.keeps_zero
        if self.bounds is not None:
            low, high = self.bounds
            keeps_zero &= bool(np.all((low <= 0.0) & (high >= 0.0)))
        return partial(_entries, self) if keeps_zero else None

    def by_stage(self, frame: Frame, vector: CheckedVector) -> Staged | None:
        """Map by ElementwiseProduct, or by Spark's StandardScalerModel; adding an offset takes a second one."""
        factor = _factor(self.affine)
        if self.bounds is not None or self.fill is not None or factor is None:
            return None
        if self.affine.keeps_zero:
            output = temp_column_name()
            product = ElementwiseProduct(inputCol=vector.name, outputCol=output, scalingVec=Vectors.dense(factor))
            return Staged(frame.add_by(product.transform, output))
        if not self.affine.divides:
            return None
        steps = [(self.affine.center, self.affine.scale)]
        if np.any(self.affine.offset != 0):
            steps.append((-self.affine.offset, np.ones(len(self.affine))))
        name = vector.name
        for center, divisor in steps:
            output = temp_column_name()
            transform = jvm.standard_scaler(frame.df, name, output, center, divisor)
            if transform is None:
                return None
            name = frame.add_by(transform, output)
        return Staged(name)

    def part(self, features: slice | Array) -> Affine:
        """See `ColumnMap`."""
        bounds = None if self.bounds is None else (self.bounds[0][features], self.bounds[1][features])
        fill = None if self.fill is None else self.fill[features]
        return replace(self, affine=self.affine[features], bounds=bounds, fill=fill)


def _factor(affine: AffineMap) -> Any | None:
    """Return the factor by feature, or ``None`` if a reciprocal would lose digits."""
    if not affine.divides:
        return affine.scale
    with np.errstate(all="ignore"):
        factor = 1.0 / affine.scale
    tiny = np.finfo(np.float64).tiny
    exact = np.isinf(affine.scale) | np.isnan(affine.scale) | (np.isfinite(factor) & (np.abs(factor) >= tiny))
    return factor if exact.all() else None


def _mapped(column_map: Affine, rows: Any) -> Any:
    mapped: Any = column_map.affine.apply(rows)
    if column_map.bounds is not None:
        mapped = clip_by_value(mapped, *column_map.bounds)
    if column_map.fill is not None:
        xp = namespace(rows)
        mapped = xp.where(xp.isnan(rows), as_array_like(mapped, column_map.fill), mapped)
    return mapped


def _entries(column_map: Affine, indices: Array, values: Array) -> Any:
    return _mapped(column_map.part(indices), values)
