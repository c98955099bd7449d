"""Extrema and the sum of squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sparkscale.arrays import double, namespace
from sparkscale.blocks import DenseBlock, SparseBlock
from sparkscale.statistics._base import Array
from sparkscale.statistics._reductions import Entries, Reductions, reductions_of
from sparkscale.statistics.extrema import Extrema

__all__ = ["Squares"]


@dataclass(frozen=True, eq=False)
class Squares(Extrema):
    r"""Extrema and sum of squares of each feature, computed so that no square overflows or underflows.

    Values are divided by the largest absolute value before they are squared. This ``unit`` follows from the extrema;
    sums are converted to the larger unit before they are merged:

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

    aggregates: ClassVar[tuple[str, ...]] = ()
    in_metadata = False
    in_chunks = True

    square: Array

    @property
    def unit(self) -> Array:
        """The largest absolute value; 1 where it is 0."""
        return _unit(self)

    @property
    def norm(self) -> Array:
        """The 2-norm of each feature; inf if it overflows float64."""
        with np.errstate(over="ignore"):
            return self.unit * np.sqrt(self.square)

    @classmethod
    def _of_chunk(cls, chunk: DenseBlock) -> Squares:
        xp, values, _ = double(chunk.values)
        extrema, rows = Extrema._of_chunk(chunk), reductions_of(chunk)
        ratio = values / rows.each(_unit(extrema))
        ratio = xp.where(xp.isfinite(values), ratio, 0.0) if xp.any(extrema.invalid > 0) else ratio
        return cls(**extrema.arrays(), square=rows.sum(ratio * ratio))

    @classmethod
    def _of_sparse(cls, block: SparseBlock) -> Squares:
        extrema = Extrema._of_sparse(block)
        indices, values, _ = block.valid_entries()
        ratio = values / _unit(extrema)[indices]
        return cls(**extrema.arrays(), square=Entries(indices, block.size).sum(ratio**2))

    @classmethod
    def missing(cls, features: int, rows: float) -> Squares:
        """Return the statistic of rows without a valid value."""
        return cls(**Extrema.missing(features, rows).arrays(), square=np.zeros(features))

    @classmethod
    def _combined(  # type: ignore[override]  # takes one more array
        cls, rows: Reductions, count: Array, invalid: Array, min: Array, max: Array, square: Array
    ) -> Squares:
        xp, units = namespace(square), _unit(Extrema(count, invalid, min, max))
        extrema = Extrema._combined(rows, count, invalid, min, max)
        ratio = units / rows.each(_unit(extrema))
        return cls(**extrema.arrays(), square=rows.sum(xp.where(square > 0, square * ratio**2, 0.0)))


def _unit(extrema: Extrema) -> Array:
    xp = namespace(extrema.min)
    largest = xp.maximum(xp.abs(extrema.min), xp.abs(extrema.max))
    return xp.where((largest > 0) & xp.isfinite(largest), largest, 1.0)  # type: ignore[no-any-return]
