"""Fitted models of the whole feature matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sparkscale.display.html import Extent
from sparkscale.errors import EmptyDataError, RangeOverflowError
from sparkscale.scalers._model import Array, ScalerModel
from sparkscale.statistics import CoMoments
from sparkscale.statistics._units import MIN_SQUARE_SUM

__all__ = ["MIN_SQUARE_SUM", "MatrixModel", "roots"]

T = TypeVar("T")


def roots(squares: Array, nonzero: npt.NDArray[np.bool_]) -> Array:
    """Return the roots of sums of squares; NaN where these are so small that digits of them are lost."""
    return np.where((squares < MIN_SQUARE_SUM) & nonzero, np.nan, np.sqrt(squares))


class MatrixModel(ScalerModel[CoMoments]):
    """Base of the models of the Gram or covariance matrix, which is decomposed once and then remembered."""

    _statistic_class = CoMoments

    def __init__(self) -> None:
        super().__init__()
        self._known: tuple[tuple[Any, ...], Any] | None = None

    @property
    def count(self) -> int:
        """Number of rows used in fit: those without an invalid value."""
        return int(self.statistics.rows.max(initial=0))

    def _numbers_of(self, statistic: CoMoments) -> Mapping[str, Array]:
        return {"mean": statistic.mean}

    def _spread(self) -> Array:
        return np.sqrt(np.diagonal(self.statistics.comoments))

    def _extent(self) -> Extent:
        statistic = self.statistics
        mean, std = np.where(statistic.rows > 0, statistic.mean, np.nan), np.sqrt(np.diagonal(statistic.covariance()))
        return Extent(mean - std, mean + std, mean)

    def _once(self, compute: Callable[[Array], T], matrix: Callable[[], Array], *params: Any) -> T:
        """Compute from a matrix of the statistic, unless that was done for the same statistic and Params."""
        key = (self.statistics, *params)
        if self._known is None or self._known[0] != key:
            self._known = key, compute(self._checked(matrix()))
        result: T = self._known[1]
        return result

    def _checked(self, matrix: Array) -> Array:
        """Refuse a matrix of no row, or one that overflowed."""
        statistic = self.statistics
        if not statistic.rows.any():
            invalid = [self.featureNames[i] for i in np.argsort(-statistic.invalid, kind="stable")[:5]]
            raise EmptyDataError(
                f"{type(self).__name__}: every row holds an invalid value, and only rows without one make the matrix. "
                f"Fill in the invalid values, or leave columns out; most are in {', '.join(map(repr, invalid))}."
            )
        broken = np.asarray(~np.isfinite(np.diagonal(matrix)) | ~np.isfinite(statistic.mean))
        if broken.any():
            raise RangeOverflowError(
                f"{type(self).__name__}: squares of {', '.join(map(repr, self._names(broken, 5)))} are not representable "
                "as doubles. Convert the values to another unit first, or drop the column."
            )
        return matrix
