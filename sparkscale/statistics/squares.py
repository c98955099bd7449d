"""Extrema and the sum of squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparkscale.arrays import double, namespace, rows_at_once
from sparkscale.blocks import Block, DenseBlock, SparseBlock
from sparkscale.statistics._base import Array, total
from sparkscale.statistics.extrema import Extrema

__all__ = ["Squares"]


@dataclass(frozen=True, eq=False)
class Squares(Extrema):
    r"""Extrema and sum of squares of each feature; no square overflows or vanishes, however large or small the values.

    Values are divided by the largest of them before they are squared. That ``unit`` follows from the extrema, and sums
    merge after they are brought to the larger one:

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
        """The largest absolute value; 1 where that is 0."""
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
            return cls._of_sparse(block)
        step = rows_at_once(block.values)
        parts = [cls._of_chunk(block[start : start + step]) for start in range(0, block.rows, step)]
        return parts[0].merge(*parts[1:]) if parts else cls.missing(block.size, 0)

    @classmethod
    def _of_chunk(cls, chunk: DenseBlock) -> Squares:
        xp, values, _ = double(chunk.values)
        found = Extrema.of(chunk)
        ratio = values / _unit(found)
        ratio = xp.where(xp.isfinite(values), ratio, 0.0) if xp.any(found.invalid > 0) else ratio
        return cls(**found.arrays(), square=xp.sum(ratio * ratio, axis=0))

    @classmethod
    def _of_sparse(cls, block: SparseBlock) -> Squares:
        found = Extrema.of(block)
        indices, values, _ = block.valid_entries()
        ratio = values / _unit(found)[indices]
        square = np.bincount(indices, weights=ratio**2, minlength=block.size)
        return cls(**found.arrays(), square=square.astype(np.float64, copy=False))

    @classmethod
    def missing(cls, features: int, rows: float) -> Squares:
        """Return the statistic of rows without a valid value."""
        return cls(**Extrema.missing(features, rows).arrays(), square=np.zeros(features))

    def merge(self, *others: Squares) -> Squares:  # type: ignore[override]  # one kind merges with itself alone
        """Return the statistic of all rows together."""
        parts, xp = (self, *others), namespace(self.square)
        found = super().merge(*others)
        unit = _unit(found)
        with np.errstate(all="ignore"):
            sums = [xp.where(p.square > 0, p.square * (p.unit / unit) ** 2, 0.0) for p in parts]
        return Squares(**found.arrays(), square=total(sums))


def _unit(extrema: Extrema) -> Array:
    xp = namespace(extrema.min)
    largest = xp.maximum(xp.abs(extrema.min), xp.abs(extrema.max))
    return xp.where((largest > 0) & xp.isfinite(largest), largest, 1.0)  # type: ignore[no-any-return]
