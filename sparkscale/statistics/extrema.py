"""Minimum and maximum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from sparkscale.arrays import double, namespace
from sparkscale.blocks import Block, DenseBlock, SparseBlock
from sparkscale.statistics._base import Array, Statistic, total

__all__ = ["Extrema"]


@dataclass(frozen=True, eq=False)
class Extrema(Statistic):
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

    min: Array
    max: Array

    @classmethod
    def of(cls, block: Block) -> Extrema:
        """Return the extrema of a block."""
        return cls._of_sparse(block) if isinstance(block, SparseBlock) else cls._of_dense(block)

    @classmethod
    def _of_dense(cls, block: DenseBlock) -> Extrema:
        if not block.rows:
            return cls.missing(block.size, 0)
        values, xp = block.values, namespace(block.values)
        low, high = (double(found)[1] for found in (xp.min(values, axis=0), xp.max(values, axis=0)))
        # NaN and infinities show in the extrema: only then are they masked, value by value.
        if xp.all(xp.isfinite(low) & xp.isfinite(high)):
            return cls(xp.full_like(low, block.rows), xp.zeros_like(low), low, high)
        valid = xp.isfinite(values)
        count = xp.sum(xp.astype(valid, xp.float64), axis=0)
        ends = ((xp.min, xp.inf), (xp.max, -xp.inf))
        low, high = (double(f(xp.where(valid, values, end), axis=0))[1] for f, end in ends)
        # Some versions of CuPy give the largest double as the least of infinities (cupy/cupy#8180).
        low, high = (xp.where(count > 0, found, end) for found, end in ((low, xp.inf), (high, -xp.inf)))
        return cls(count, block.rows - count, low, high)

    @classmethod
    def _of_sparse(cls, block: SparseBlock) -> Extrema:
        indices, values, _ = block.valid_entries()
        invalid = block.invalid()
        stored = np.bincount(indices, minlength=block.size)
        implicit_zeros = stored < block.rows - invalid
        low = np.where(implicit_zeros, 0.0, np.inf)
        high = np.where(implicit_zeros, 0.0, -np.inf)
        np.minimum.at(low, indices, values)
        np.maximum.at(high, indices, values)
        return cls(block.rows - invalid, invalid, low, high)

    @classmethod
    def missing(cls, features: int, rows: float) -> Extrema:
        """Return the extrema of rows without a valid value."""
        return cls(
            np.zeros(features), np.full(features, float(rows)), np.full(features, np.inf), np.full(features, -np.inf)
        )

    def merge(self, *others: Extrema) -> Extrema:
        """Return the extrema of all rows together."""
        parts, xp = (self, *others), namespace(self.count)
        return Extrema(
            total([p.count for p in parts]),
            total([p.invalid for p in parts]),
            reduce(xp.minimum, [p.min for p in parts]),
            reduce(xp.maximum, [p.max for p in parts]),
        )
