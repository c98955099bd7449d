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
from sparkscale.scalers._matrix import TINY, MatrixModel, roots
from sparkscale.scalers._params import P, param
from sparkscale.scalers._shared_params import HasEpsilon
from sparkscale.spark.columns import FeatureColumn
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
        return self._vector(self.statistics.mean)

    @property
    def whiteningMatrix(self) -> DenseMatrix:
        """The matrix W of ``y = (x - mean) W``, features by results."""
        matrix = self.affine.matrix
        return DenseMatrix(len(matrix), len(matrix), matrix.ravel(order="F"))

    @property
    def affine(self) -> MatrixMap:  # type: ignore[override]  # no map of each feature by itself
        """The fitted map, usable without Spark: ``model.affine.apply(rows)``."""
        self._check_params()
        return self._once(
            self._solve, self.statistics.covariance, self.getMethod(), self.getEpsilon(), self.getWithMean()
        )

    def _column_maps(self, features: Sequence[slice]) -> list[ColumnMap]:
        return [Matrix(self.affine)]

    def _solve(self, covariance: np.ndarray) -> MatrixMap:
        largest = float(np.diagonal(self.statistics.comoments).max(initial=0.0))
        if largest > 0 and max(largest, self.getEpsilon()) < TINY:
            raise RangeOverflowError(
                f"{type(self).__name__}: the values differ by so little that the squares of the differences are not "
                "representable as doubles. Bring them to another unit first."
            )
        forward, back = whitening(covariance, epsilon=self.getEpsilon(), method=self.getMethod())
        zero = np.zeros(len(covariance))
        return MatrixMap(self.statistics.mean if self.getWithMean() else zero, forward.T, back.T, zero)

    def _map(self) -> Any:
        return self.affine

    def _attributes(self, output: FeatureColumn) -> tuple[str, ...] | None:
        return super()._attributes(output) if self.getMethod() == "zca" else None

    def summary(self) -> pd.DataFrame:
        """Return one row a feature: counts, mean, standard deviation and whether the feature is constant."""
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

    C is the sample's covariance matrix of all features together, over the rows that hold no invalid value. The signs of
    the principal axes are such that the largest component of each is positive.

    Parameters
    ----------
    method : {"pca", "zca"}, default="pca"
        "pca" gives the coordinates along the principal axes, largest variance first. "zca" turns them back, so that
        each result is as near to its feature as can be.
    epsilon : float, default=0.0
        Added to the variances along the axes, so that small ones are not blown up. At 0, an axis along which the data
        do not vary maps to 0, and comes back as the mean, or as 0 if that was not subtracted.
    withMean : bool, default=True
        Subtract the mean.
    inputCol, outputCol : str, optional
        One column in, one out of the same kind; the output is named ``<input>_scaled`` if left out.
    inputCols : list of str, optional
        Many in; with ``outputCol``, one vector out, since every result depends on all inputs.
    outputCols : list of str, optional
        Only for one input.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Rows that hold a null, NaN or infinity never enter the statistic. "keep" makes NaN of all results of such a row,
        and null of a column that is null and the only input; "skip" drops such rows, in fit and transform; "error"
        fails, and "keepNaN" fails at infinities alone and else is "keep".
    handleEmpty : {"keep", "error"}, default="keep"
        Without effect here: beside a feature without any valid value no row is complete, which is an error either way.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed: "gpu" is CuPy in Python workers, "auto" that where tasks have a GPU.

    Raises
    ------
    ParamError
        If ``epsilon`` is negative, the method is unknown, there are more than 4,096 features, several columns would
        have several outputs, or Params contradict each other.
    ColumnNotFoundError, ColumnTypeError, OutputColumnError
        If a column is missing, cannot be scaled, or an output exists that is not its own input.
    EmptyDataError
        If every row holds an invalid value.
    InvalidValueError
        For an invalid value that ``handleInvalid`` refuses.
    SizeMismatchError
        If the arrays or vectors of a column differ in length.
    RangeOverflowError
        If a mean or covariance is not representable as a double, or at ``epsilon=0`` all covariances are below 1e-290.
    DeviceError
        Under ``device="gpu"``, if a task finds no GPU or cannot compute on it.

    See Also
    --------
    pyspark.ml.feature.PCA : The axes alone, for vectors.
    sparkscale.kernels.whitening : The matrix alone, from a covariance matrix.

    Notes
    -----
    What is wrong in the data alone shows while a job runs. ``fit`` and ``update`` then raise the errors above. What
    ``transform`` returns is lazy: the action on it fails with Spark's exception, whose message has the error as
    ``[sparkscale.<its name>] ... [end]``.

    Variances below the largest times the number of features and 2.2e-16 count as none: bring features of very different
    units to one scale first, by `StandardScaler` for instance.

    ``transform`` multiplies by the matrix in NumPy, on Arrow batches of the inputs alone. ``toSQL`` is for use elsewhere,
    of 256 features at most: as plain SQL the same takes many times as long.

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
