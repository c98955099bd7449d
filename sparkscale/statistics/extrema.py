"""Minimum and maximum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

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
        rows, features = block.values.shape
        if not rows:
            return cls.missing(features, 0)
        low, high = block.values.min(axis=0), block.values.max(axis=0)
        # NaN and infinities show in the extrema: only then are they masked, value by value.
        if np.isfinite(low).all() and np.isfinite(high).all():
            return cls.from_arrays(
                {"count": np.full(features, float(rows)), "invalid": np.zeros(features), "min": low, "max": high}
            )
        valid = np.isfinite(block.values)
        count = valid.sum(axis=0, dtype=np.float64)
        low = np.where(valid, block.values, np.inf).min(axis=0)
        high = np.where(valid, block.values, -np.inf).max(axis=0)
        return cls.from_arrays({"count": count, "invalid": rows - count, "min": low, "max": high})

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
        parts = (self, *others)
        return Extrema(
            total([p.count for p in parts]),
            total([p.invalid for p in parts]),
            reduce(np.minimum, [p.min for p in parts]),
            reduce(np.maximum, [p.max for p in parts]),
        )
