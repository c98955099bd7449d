"""Counts of valid and invalid values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparkscale.arrays import namespace
from sparkscale.blocks import DenseBlock, SparseBlock
from sparkscale.statistics._base import Array
from sparkscale.statistics._per_feature import PerFeature
from sparkscale.statistics._reductions import Reductions, reductions_of

__all__ = ["Counts"]


@dataclass(frozen=True, eq=False)
class Counts(PerFeature):
    """Number of valid and of invalid (null, NaN, infinite) values of each feature.

    It complements a joint statistic, which covers only the rows without an invalid value.

    Parameters
    ----------
    count, invalid : numpy.ndarray of float64, shape (n_features,)
        The counts.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkscale.blocks import DenseBlock
    >>> from sparkscale.statistics import Counts
    >>> Counts.of(DenseBlock(np.array([[1.0, np.nan], [3.0, np.inf]])))
    Counts(count=array([2., 0.]), invalid=array([0., 2.]))
    """

    @classmethod
    def _of_chunk(cls, chunk: DenseBlock) -> Counts:
        xp, rows = namespace(chunk.values), reductions_of(chunk)
        valid = xp.astype(xp.isfinite(chunk.values), xp.float64)
        count = rows.sum(valid)
        return cls(count, rows.sum(1.0 - valid))

    @classmethod
    def _of_sparse(cls, block: SparseBlock) -> Counts:
        invalid = block.invalid()
        return cls(block.row_counts - invalid, invalid)

    @classmethod
    def missing(cls, features: int, rows: float) -> Counts:
        """Return the counts of rows without a valid value."""
        return cls(np.zeros(features), np.full(features, float(rows)))

    @classmethod
    def _combined(cls, rows: Reductions, count: Array, invalid: Array) -> Counts:
        return cls(rows.sum(count), rows.sum(invalid))
