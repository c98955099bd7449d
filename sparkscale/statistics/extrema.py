"""Minimum and maximum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sparkscale.arrays import double, namespace
from sparkscale.blocks import DenseBlock, SparseBlock
from sparkscale.statistics._base import Array
from sparkscale.statistics._per_feature import PerFeature
from sparkscale.statistics._reductions import Reductions, reductions_of

__all__ = ["Extrema"]


@dataclass(frozen=True, eq=False)
class Extrema(PerFeature):
    """Smallest and largest valid value of each feature. Exact: the merge is associative and commutative.

    Parameters
    ----------
    count, invalid : numpy.ndarray of float64, shape (n_features,)
        Number of valid and of invalid (null, NaN, infinite) values.
    min, max : numpy.ndarray of float64, shape (n_features,)
        The extrema; infinity and -infinity where ``count`` is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkscale.blocks import DenseBlock
    >>> from sparkscale.statistics import Extrema
    >>> a = Extrema.of(DenseBlock(np.array([[1.0], [np.nan], [3.0]])))
    >>> b = Extrema.of(DenseBlock(np.array([[-2.0]])))
    >>> m = a.merge(b)
    >>> m.min, m.max, m.count, m.invalid
    (array([-2.]), array([3.]), array([3.]), array([1.]))
    """

    aggregates: ClassVar[tuple[str, ...]] = ("count({x})", "min({x})", "max({x})")
    any_order = True
    in_chunks = False
    in_metadata = True

    min: Array
    max: Array

    @classmethod
    def of_aggregates(cls, rows: Any, *arrays: Array) -> Extrema:
        """See `Statistic`."""
        count, least, largest = arrays
        empty = count == 0
        return cls(count, rows - count, np.where(empty, np.inf, least), np.where(empty, -np.inf, largest))

    @classmethod
    def _of_chunk(cls, chunk: DenseBlock) -> Extrema:
        values, xp, rows = chunk.values, namespace(chunk.values), reductions_of(chunk)
        low, high = (double(ends)[1] for ends in (rows.least(values), rows.largest(values)))
        number = rows.count(values)
        # Mask single values only if a NaN or an infinity shows in the extrema.
        if xp.all(xp.isfinite(low) & xp.isfinite(high)):
            return cls(xp.ones_like(low) * number, xp.zeros_like(low), low, high)
        valid = xp.isfinite(values)
        count = rows.sum(xp.astype(valid, xp.float64))
        low = double(rows.least(xp.where(valid, values, xp.inf)))[1]
        high = double(rows.largest(xp.where(valid, values, -xp.inf)))[1]
        # Some versions of CuPy return the largest double as the minimum of infinities (cupy/cupy#8180).
        low, high = (xp.where(count > 0, ends, end) for ends, end in ((low, xp.inf), (high, -xp.inf)))
        return cls(count, number - count, low, high)

    @classmethod
    def _of_sparse(cls, block: SparseBlock) -> Extrema:
        indices, values, _ = block.valid_entries()
        invalid = block.invalid()
        stored = np.bincount(indices, minlength=block.size)
        implicit_zeros = stored < block.row_counts - invalid
        low = np.where(implicit_zeros, 0.0, np.inf)
        high = np.where(implicit_zeros, 0.0, -np.inf)
        np.minimum.at(low, indices, values)
        np.maximum.at(high, indices, values)
        return cls(block.row_counts - invalid, invalid, low, high)

    @classmethod
    def missing(cls, features: int, rows: float) -> Extrema:
        """Return the extrema of rows without a valid value."""
        return cls(
            np.zeros(features), np.full(features, float(rows)), np.full(features, np.inf), np.full(features, -np.inf)
        )

    @classmethod
    def _combined(cls, rows: Reductions, count: Array, invalid: Array, min: Array, max: Array) -> Extrema:
        return cls(rows.sum(count), rows.sum(invalid), rows.least(min), rows.largest(max))
