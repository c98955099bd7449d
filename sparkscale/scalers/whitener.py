"""Whitening: uncorrelated features of unit variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark import keyword_only
from pyspark.ml.linalg import DenseMatrix, DenseVector

from sparkscale.affine import MatrixMap
from sparkscale.errors import RangeOverflowError
from sparkscale.kernels import whitening
from sparkscale.scalers._base import Scaler
from sparkscale.scalers._matrix import MIN_SQUARE_SUM, MatrixModel, roots
from sparkscale.scalers._params import P, param
from sparkscale.scalers._shared_params import HasEpsilon
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import Bounds
from sparkscale.spark.transform.column_map import ColumnMap
from sparkscale.spark.transform.matrix import Matrix

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Whitener", "WhitenerModel"]


class _WhitenerParams(HasEpsilon):
    method = param(
        "method",
        "'pca': onto the principal axes, largest variance first; 'zca': as near to the features as can be.",
        str,
    )
    withMean = param("withMean", "subtract the mean", bool)

    _defaults = {"method": "pca", "epsilon": 0.0, "withMean": True}
    _choices = {"method": ("pca", "zca")}

    def getMethod(self) -> str:
        """Return ``method``."""
        return self.getOrDefault(self.method)

    def getWithMean(self) -> bool:
        """Return ``withMean``."""
        return self.getOrDefault(self.withMean)

    def setMethod(self: P, value: str) -> P:
        """Set ``method``."""
        return self._set(method=value)

    def setWithMean(self: P, value: bool) -> P:
        """Set ``withMean``."""
        return self._set(withMean=value)

    def _output_names(self) -> list[str]:
        if len(self._input_names()) > 1 and not self._assembles:
            raise self._fail(
                "every result depends on all inputs, so that several columns make one vector. Set outputCol instead of "
                "outputCols."
            )
        return super()._output_names()


class WhitenerModel(_WhitenerParams, MatrixModel):
    """Model fitted by `Whitener`."""

    _repr_params = ("method", "epsilon")

    @property
    def mean(self) -> DenseVector:
        """Mean of each feature over the rows without an invalid value."""
        return self._vector("mean")

    @property
    def whiteningMatrix(self) -> DenseMatrix:
        """The matrix W of ``y = (x - mean) W``, features by results."""
        matrix = self.map.matrix
        return DenseMatrix(len(matrix), len(matrix), matrix.ravel(order="F"))

    @property
    def map(self) -> MatrixMap:
        """The fitted map, usable without Spark: ``model.map.apply(rows)``."""
        self._check_params()
        return self._once(
            self._solve, self.statistics.covariance, self.getMethod(), self.getEpsilon(), self.getWithMean()
        )

    @property
    def affine(self) -> MatrixMap:  # type: ignore[override]  # no map of each feature by itself
        """The same as ``map``."""
        return self.map

    def _column_map(self, fitted: MatrixMap, bounds: Bounds = None, fill: Any = None) -> ColumnMap:
        return Matrix(fitted)

    def _column_maps(self, features: Sequence[slice]) -> list[ColumnMap]:
        return [self._column_map(self.map)]

    def _solve(self, covariance: np.ndarray) -> MatrixMap:
        largest = float(np.diagonal(self.statistics.comoments).max(initial=0.0))
        if largest > 0 and max(largest, self.getEpsilon()) < MIN_SQUARE_SUM:
            raise RangeOverflowError(
                f"{type(self).__name__}: the values differ by so little that the squares of the differences are not "
                "representable as doubles. Bring them to another unit first."
            )
        forward, back = whitening(covariance, epsilon=self.getEpsilon(), method=self.getMethod())
        zero = np.zeros(len(covariance))
        return MatrixMap(self.statistics.mean if self.getWithMean() else zero, forward.T, back.T, zero)

    def _map(self) -> Any:
        return self.map

    def _attributes(self, output: FeatureColumn) -> tuple[str, ...] | None:
        return super()._attributes(output) if self.getMethod() == "zca" else None

    def summary(self) -> pd.DataFrame:
        """Return one row per feature: counts, mean, standard deviation and whether the feature is constant."""
        return self._table()

    def _learned_values(self) -> dict[str, Any]:
        statistic = self.statistics
        varies = np.diagonal(statistic.comoments) > 0
        return {"mean": statistic.mean, "std": roots(np.diagonal(statistic.covariance()), varies)}


class Whitener(_WhitenerParams, Scaler[WhitenerModel]):
    r"""Make features uncorrelated and of unit variance.

    .. math:: y = (x - \mu) W, \qquad C = U \Lambda U^T, \qquad
              W = U (\Lambda + \epsilon)^{-1/2} \;\text{(PCA)}, \qquad
              W = U (\Lambda + \epsilon)^{-1/2} U^T \;\text{(ZCA)}

    C is the sample covariance matrix of all features, over the rows without an invalid value. The signs of the principal
    axes are chosen so that the largest component of each is positive.

    Parameters
    ----------
    method : {"pca", "zca"}, default="pca"
        "pca" gives the coordinates along the principal axes, largest variance first. "zca" rotates them back, so that
        each result is as close as possible to its feature.
    epsilon : float, default=0.0
        Added to the variances along the axes, so that small ones are not amplified. At 0, an axis with zero variance maps
        to 0; its inverse is the mean, or 0 if the mean was not subtracted.
    withMean : bool, default=True
        Subtract the mean.
    inputCol, outputCol : str, optional
        One input column, and one output column of the same type. By default, the output is named ``<input>_scaled``.
    inputCols : list of str, optional
        Several input columns. They need ``outputCol``, one vector, since every result depends on all inputs.
    outputCols : list of str, optional
        Only for one input.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Rows with a null, NaN or infinite value are not used to fit. In transform, "keep" returns NaN for all results of
        such a row, or null if the only input column is null. "skip" drops such rows in fit and transform, "error" raises
        an error, and "keepNaN" raises an error for infinite values and otherwise does the same as "keep".
    handleEmpty : {"keep", "error"}, default="keep"
        No effect: if a feature has no valid value, no row is complete, which is an error in both cases.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed. "gpu" uses CuPy in Python workers; "auto" does so if tasks have a GPU.

    Raises
    ------
    ParamError
        If ``epsilon`` is negative, the method is unknown, there are more than 4,096 features, several columns would
        have several outputs.
    EmptyDataError
        If every row holds an invalid value.
    RangeOverflowError
        If a mean or covariance is not representable as a double, or at ``epsilon=0`` all covariances are below 1e-290.

    See Also
    --------
    pyspark.ml.feature.PCA : The principal axes, for vectors.
    sparkscale.kernels.whitening : The whitening matrix, from a covariance matrix.

    Notes
    -----
    The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

    Variances below 2.2e-16 times the largest variance times the number of features are treated as 0. If units differ
    widely, scale the features first, for example by `StandardScaler`.

    ``transform`` multiplies by the matrix in NumPy, on Arrow batches of the inputs. ``toSQL`` is limited to 256 features,
    and its SQL is many times slower than ``transform``.

    References
    ----------
    A. Kessy, A. Lewin, K. Strimmer, "Optimal whitening and decorrelation", The American Statistician 72 (2018).

    Examples
    --------
    >>> from sparkscale import Whitener
    >>> rows = [([7.0, 4.0],), ([7.0, 2.0],), ([3.0, 4.0],), ([3.0, 2.0],), ([5.0, 3.0],)]
    >>> df = spark.createDataFrame(rows, "a array<double>")
    >>> model = Whitener(inputCol="a", method="zca").fit(df)
    >>> model.mean, model.whiteningMatrix.toArray()
    (DenseVector([5.0, 3.0]), array([[0.5, 0. ],
           [0. , 1. ]]))
    >>> [row.a_scaled for row in model.transform(df).collect()]
    [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]]
    """

    _model = WhitenerModel

    @keyword_only
    def __init__(
        self,
        *,
        method: str = "pca",
        epsilon: float = 0.0,
        withMean: bool = True,
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        handleInvalid: str = "keep",
        handleEmpty: str = "keep",
        device: str = "cpu",
    ) -> None:
        super().__init__()
