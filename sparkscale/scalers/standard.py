"""Standardization: zero mean, unit variance."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark import keyword_only
from pyspark.ml.linalg import DenseVector

from sparkscale.affine import AffineMap
from sparkscale.scalers._base import Scaler
from sparkscale.scalers._missing import HasMissing
from sparkscale.scalers._model import Array, ScalerModel
from sparkscale.scalers._params import P, param
from sparkscale.scalers._shared_params import HasClipRange, HasConstant, HasWeight
from sparkscale.spark.expression import Bounds
from sparkscale.statistics import Moments

__all__ = ["StandardScaler", "StandardScalerModel"]


class _StandardParams(HasWeight, HasConstant, HasClipRange, HasMissing):
    withMean = param("withMean", "subtract the mean", bool)
    withStd = param("withStd", "divide by the standard deviation", bool)
    ddof = param("ddof", "delta degrees of freedom: 1 for the sample's standard deviation, 0 for the population's", int)

    _defaults = {"withMean": False, "withStd": True, "ddof": 1}

    def getWithMean(self) -> bool:
        """Return ``withMean``."""
        return self.getOrDefault(self.withMean)

    def getWithStd(self) -> bool:
        """Return ``withStd``."""
        return self.getOrDefault(self.withStd)

    def getDdof(self) -> int:
        """Return ``ddof``."""
        return self.getOrDefault(self.ddof)

    def setWithMean(self: P, value: bool) -> P:
        """Set ``withMean``."""
        return self._set(withMean=value)

    def setWithStd(self: P, value: bool) -> P:
        """Set ``withStd``."""
        return self._set(withStd=value)

    def setDdof(self: P, value: int) -> P:
        """Set ``ddof``."""
        return self._set(ddof=value)

    def _check_params(self) -> None:
        super()._check_params()
        if self.getDdof() not in (0, 1):
            raise self._fail(f"ddof must be 0 or 1. Got {self.getDdof()}.")


class StandardScalerModel(_StandardParams, ScalerModel[Moments]):
    """Model fitted by `StandardScaler`."""

    _statistic_class = Moments
    _repr_params = ("withMean", "withStd")

    @property
    def mean(self) -> DenseVector:
        """Mean of each feature; NaN if it had no valid value."""
        return self._vector(self.statistics.mean)

    @property
    def std(self) -> DenseVector:
        """Standard deviation of each feature; 0 for a single row, NaN if the feature had no valid value."""
        return self._vector(self._spread())

    def _spread(self) -> Array:
        return self.statistics.std(self.getDdof())

    def _map(self) -> AffineMap:
        mean, zero, one = self.statistics.mean, np.zeros(self.numFeatures), np.ones(self.numFeatures)
        center = mean if self.getWithMean() else zero
        if not self.getWithStd():
            return AffineMap(center, one, zero)
        std = self._spread()
        constant = std == 0
        if self.getHandleConstant() == "unit":
            return AffineMap(center, np.where(constant, 1.0, std), zero)
        # What collapses to 0 keeps its constant as center, so that the inverse gives it back.
        return AffineMap(np.where(constant, mean, center), np.where(constant, np.inf, std), zero)

    def _center(self) -> Array:
        return self.statistics.mean

    def _bounds(self) -> Bounds:
        clip = self.getClip()
        return self._same_bounds(*clip) if clip else None

    def _learned_values(self) -> dict[str, Any]:
        return {"mean": self.mean.toArray(), "std": self.std.toArray()}


class StandardScaler(_StandardParams, Scaler[StandardScalerModel]):
    r"""Standardize each feature: subtract its mean and divide by its standard deviation.

    .. math:: y = (x - \mu) / \sigma, \qquad
              \sigma^2 = \frac{\sum_i w_i (x_i - \mu)^2}{W - ddof \sum_i w_i^2 / W}, \quad W = \sum_i w_i

    As in Spark, the mean is not subtracted by default, and the sample standard deviation is used.

    Parameters
    ----------
    withMean : bool, default=False
        Subtract the mean. Sparse vectors become dense.
    withStd : bool, default=True
        Divide by the standard deviation.
    inputCol, outputCol : str, optional
        One input column, and one output column of the same type.
    inputCols, outputCols : list of str, optional
        Several input columns, and one output column for each; with ``outputCol``, one output vector. By default, outputs
        are named ``<input>_scaled``.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinite values are never used to fit. "keep" leaves null and NaN as they are, "skip" drops rows
        with an invalid value in fit and transform, "error" raises an error, and "keepNaN" raises an error for infinite
        values and otherwise does the same as "keep".
    handleEmpty : {"keep", "error"}, default="keep"
        A feature without any valid value: "keep" maps it to NaN and logs a warning, "error" raises an error.
    handleConstant : {"collapse", "unit"}, default="collapse"
        How to scale a constant feature: "collapse" maps every value to 0, as in Spark; "unit" divides by 1, as in
        scikit-learn.
    ddof : {1, 0}, default=1
        1 for the sample variance, as in Spark; 0 for the population variance, as in scikit-learn.
    clip : list of two floats, optional
        Clip results to this range, ``[low, high]`` in scaled units; either may be infinite.
    weightCol : str, optional
        Column of row weights, finite and not negative. Rows with weight 0 are ignored.
    fillInvalid : float or "center", optional
        What ``transform`` gives for null and NaN, in scaled units: a number, or "center" for the mean as it is mapped. The
        default leaves null and NaN. Infinite values are not filled, nor arrays and vectors that are null. It needs
        ``handleInvalid="keep"``.
    addIndicator : bool, default=False
        Add a column ``<input>_missing`` for each input: 1 where a value is null or NaN, else 0; for an array or vector, an
        array with a number for each feature.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed. "gpu" uses CuPy in Python workers; "auto" does so if tasks have a GPU.

    Raises
    ------
    ParamError
        If ``ddof`` is neither 0 nor 1, ``clip`` is not two numbers, the lower first, ``fillInvalid`` is neither a finite
        number nor "center", or it is set and ``handleInvalid`` is not "keep".
    RangeOverflowError
        If a mean or standard deviation is not representable as a double, for example because squares overflow.

    See Also
    --------
    pyspark.ml.feature.StandardScaler : Spark's own class, for vectors only.

    Notes
    -----
    The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

    ``fit`` scans the data once. On a ``local`` master, a few scalar columns are aggregated in SQL. These aggregates lose
    digits if a mean is more than 10,000 times its standard deviation, or if sums or squares overflow or underflow. The
    data are then scanned a second time, in Python.

    References
    ----------
    The weighted variance is that of Spark's ``Summarizer`` ("reliability weights").

    Examples
    --------
    >>> from sparkscale import StandardScaler
    >>> df = spark.createDataFrame([(1.0,), (2.0,), (None,), (3.0,)], "x double")
    >>> model = StandardScaler(inputCol="x", withMean=True).fit(df)
    >>> scaled = model.transform(df)
    >>> scaled.show()
    +----+--------+
    |   x|x_scaled|
    +----+--------+
    | 1.0|    -1.0|
    | 2.0|     0.0|
    |NULL|    NULL|
    | 3.0|     1.0|
    +----+--------+
    <BLANKLINE>
    >>> model.mean, model.std, model.invalidCounts
    (DenseVector([2.0]), DenseVector([1.0]), [1])
    >>> model.inverseTransform(scaled.select("x_scaled")).collect()[3]
    Row(x_scaled=1.0, x=3.0)
    """

    _model = StandardScalerModel

    @keyword_only
    def __init__(
        self,
        *,
        withMean: bool = False,
        withStd: bool = True,
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        handleInvalid: str = "keep",
        handleEmpty: str = "keep",
        handleConstant: str = "collapse",
        ddof: int = 1,
        clip: list[float] | None = None,
        weightCol: str | None = None,
        fillInvalid: float | str | None = None,
        addIndicator: bool = False,
        device: str = "cpu",
    ) -> None:
        super().__init__()
