"""Extrema and the sum of squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparkscale.blocks import Block, DenseBlock, SparseBlock
from sparkscale.statistics._base import Array, total
from sparkscale.statistics.extrema import Extrema

__all__ = ["Squares"]

CHUNK = 1 << 16  # values whose temporaries stay in a core's cache


@dataclass(frozen=True, eq=False)
class Squares(Extrema):
    r"""Extrema and sum of squares of each feature; no square overflows or vanishes, however large or small the values.

    Values are divided by a power of two near the largest of them, which rounds nothing, before they are squared. That
    ``unit`` follows from the extrema, and sums merge after they are brought to the larger one:

    .. math:: S = \sum_k S_k (u_k / u)^2, \qquad u = \max_k u_k .

    Parameters
    ----------
    count, invalid : numpy.ndarray of float64, shape (n_features,)
        Number of valid and of invalid (null, NaN, infinite) values.
    min, max : numpy.ndarray of float64, shape (n_features,)
        The extrema; infinity and -infinity where ``count`` is 0.
    square : numpy.ndarray of float64, shape (n_features,)
        Sum of the squares of the valid values in units of ``unit``.

    References
    ----------
    J. L. Blue, "A portable Fortran program to find the Euclidean norm of a vector", ACM Transactions on Mathematical
    Software 4 (1978), for the scaling.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkscale.blocks import DenseBlock
    >>> from sparkscale.statistics import Squares
    >>> a = Squares.of(DenseBlock(np.array([[3e300], [np.nan]])))
    >>> b = Squares.of(DenseBlock(np.array([[-4e300]])))
    >>> float(a.merge(b).norm[0])
    5e+300
    """

    square: Array

    @property
    def unit(self) -> Array:
        """The largest power of two up to the largest absolute value; 1 where that is 0."""
        return _unit(self)

    @property
    def norm(self) -> Array:
        """The 2-norm of each feature; infinity where it is no double."""
        with np.errstate(over="ignore"):
            return self.unit * np.sqrt(self.square)

    @classmethod
    def of(cls, block: Block) -> Squares:
        """Return the extrema and sums of squares of a block."""
        if isinstance(block, SparseBlock):
            found = Extrema.of(block)
            indices, values, _ = block.valid_entries()
            ratio = values / _unit(found)[indices]
            square = np.bincount(indices, weights=ratio**2, minlength=block.size)
            return cls(**found.arrays(), square=square.astype(np.float64, copy=False))
        step = max(1, CHUNK // max(block.size, 1))
        parts = [cls._of_chunk(block[start : start + step]) for start in range(0, block.rows, step)]
        return parts[0].merge(*parts[1:]) if parts else cls.missing(block.size, 0)

    @classmethod
    def _of_chunk(cls, chunk: DenseBlock) -> Squares:
        found = Extrema.of(chunk)
        ratio = chunk.values / _unit(found)
        if found.invalid.any():
            ratio[~np.isfinite(chunk.values)] = 0.0
        return cls(**found.arrays(), square=np.einsum("ij,ij->j", ratio, ratio))

    @classmethod
    def missing(cls, features: int, rows: float) -> Squares:
        """Return the statistic of rows without a valid value."""
        return cls(**Extrema.missing(features, rows).arrays(), square=np.zeros(features))

    def merge(self, *others: Squares) -> Squares:  # type: ignore[override]  # one kind merges with itself alone
        """Return the statistic of all rows together."""
        parts = (self, *others)
        found = super().merge(*others)
        unit = _unit(found)
        with np.errstate(all="ignore"):
            sums = [np.where(p.square > 0, p.square * (p.unit / unit) ** 2, 0.0) for p in parts]
        return Squares(**found.arrays(), square=total(sums))


def _unit(extrema: Extrema) -> Array:
    largest = np.maximum(np.abs(extrema.min), np.abs(extrema.max))
    usable = (largest > 0) & np.isfinite(largest)
    return np.where(usable, np.ldexp(1.0, np.frexp(largest)[1] - 1), 1.0)
