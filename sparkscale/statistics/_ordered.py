"""Values in order, with the number of values that each stands for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkscale.statistics._levels import Segments, widths

__all__ = ["OrderedValues"]

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class OrderedValues:
    """Values of each feature in order, and the number of values up to each.

    Parameters
    ----------
    features : int
        Number of features.
    groups : list
        For features with similar numbers of values: which, their values as rows of a matrix that end in infinity, and the
        numbers of values up to each.
    """

    features: int
    groups: list[tuple[Places, Array, Array]]

    @classmethod
    def of(cls, sizes: Array, zeros: Array, values: Array) -> OrderedValues:
        """Return the values of all levels, and zeros, in order."""
        lengths = sizes.astype(np.intp)
        weights = np.repeat(np.tile(np.exp2(np.arange(lengths.shape[1])), len(lengths)), lengths.ravel())
        kept, with_zero = lengths.sum(axis=1), np.flatnonzero(zeros)
        zero = np.bincount(with_zero, minlength=len(kept))
        of_values = Segments(values, kept).appended(Segments(np.zeros(len(with_zero)), zero))
        of_weights = Segments(weights, kept).appended(Segments(zeros[with_zero], zero))
        groups = []
        for which in widths(of_values.lengths):
            rows, row_weights = of_values.take(which).rows(np.inf), of_weights.take(which).rows(0.0)
            order = np.argsort(rows, axis=1)
            rows, row_weights = (np.take_along_axis(array, order, axis=1) for array in (rows, row_weights))
            groups.append((which, rows, np.cumsum(row_weights, axis=1)))
        return cls(len(kept), groups)

    def at(self, ranks: Array) -> Array:
        """Return the values of each feature at its ranks, a row for each feature; NaN where there are no values."""
        values = np.full(ranks.shape, np.nan)
        for which, rows, numbers in self.groups:
            if ranks.shape[1] == 1:
                place = (numbers >= ranks[which]).argmax(axis=1)[:, None]
            else:
                pairs = zip(numbers, ranks[which], strict=True)
                place = np.stack([np.searchsorted(of_feature, rank) for of_feature, rank in pairs])
            values[which] = np.take_along_axis(rows, np.minimum(place, rows.shape[1] - 1), axis=1)
        return values

    def up_to(self, bounds: Array, compare: np.ufunc) -> Array:
        """Return the number of values of each feature that compare with its bound, such as by ``numpy.less``."""
        count = np.zeros(self.features)
        for which, rows, numbers in self.groups:
            place = compare(rows, bounds[which, None]).sum(axis=1)
            count[which] = np.where(place > 0, numbers[np.arange(len(which)), place - 1], 0.0)
        return count
