"""Clipping to quantiles."""

from __future__ import annotations

from typing import Any

from pyspark import keyword_only
from pyspark.ml.linalg import DenseVector

from sparkscale.affine import AffineMap
from sparkscale.scalers._quantiles import HasQuantiles, QuantileModel, QuantileScaler
from sparkscale.spark.expression import Bounds

__all__ = ["Winsorizer", "WinsorizerModel"]


class _WinsorizerParams(HasQuantiles):
    _defaults = {"lower": 0.01, "upper": 0.99}


class WinsorizerModel(_WinsorizerParams, QuantileModel):
    """Model fitted by `Winsorizer`."""

    _repr_params = ("lower", "upper")

    @property
    def lowerBound(self) -> DenseVector:
        """Quantile ``lower`` of each feature, to which smaller values are clipped; NaN if it had no valid value."""
        return self._vector("lower")

    @property
    def upperBound(self) -> DenseVector:
        """Quantile ``upper`` of each feature, to which larger values are clipped; NaN if it had no valid value."""
        return self._vector("upper")

    @property
    def clippedCounts(self) -> list[int]:
        """Number of values of each feature in fit that are clipped, within ``relativeError`` of the rows at either end."""
        statistic = self.statistics
        clipped = statistic.below(self._shown("lower")) + statistic.above(self._shown("upper"))
        return [int(number) for number in clipped]

    def _map(self) -> AffineMap:
        return AffineMap.identity(self.numFeatures)

    def _bounds(self) -> Bounds:
        return self._shown("lower"), self._shown("upper")

    def _learned_values(self) -> dict[str, Any]:
        return {"lower": self._shown("lower"), "upper": self._shown("upper"), "clipped": self.clippedCounts}


class Winsorizer(_WinsorizerParams, QuantileScaler[WinsorizerModel]):
    r"""Clip each feature to two of its quantiles, so that outliers count no more than these.

    .. math:: y = \min(\max(x, Q_{lower}), Q_{upper})

    The summary of the model tells how many values of fit are clipped. The inverse is the identity: it leaves values as
    they are, since the clipped ones are lost.

    Parameters
    ----------
    lower, upper : float, default=0.01, 0.99
        The quantiles, from 0 to 1.
    relativeError : float, default=0.001
        Error of the ranks of quantiles as a share of the rows, from 0 to 1; see `RobustScaler`. 0 keeps every value, and
        needs memory for all data.
    interpolation : {"none", "linear"}, default="none"
        A quantile is "none" one of the values, the smallest whose rank is at least ``q n``, as in Spark; or "linear"
        interpolated between the two values next to place ``q (n - 1)``, as in SciPy.
    inputCol, outputCol : str, optional
        One input column, and one output column of the same type.
    inputCols, outputCols : list of str, optional
        Several input columns, and one output column for each; with ``outputCol``, one output vector. By default, outputs
        are named ``<input>_scaled``.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinite values are never used to fit. "keep" leaves null and NaN as they are, "skip" drops rows
        with an invalid value in fit and transform, "error" raises an error, and "keepNaN" raises an error for infinite
        values and otherwise does the same as "keep". Kept infinities are clipped.
    handleEmpty : {"keep", "error"}, default="keep"
        A feature without any valid value: "keep" maps it to NaN and logs a warning, "error" raises an error.
    fillInvalid : float or "center", optional
        What ``transform`` gives for null and NaN, in units of the input: a number, or "center" for the median. The default
        leaves null and NaN. Infinite values are not filled, nor arrays and vectors that are null. It needs
        ``handleInvalid="keep"``.
    addIndicator : bool, default=False
        Add a column ``<input>_missing`` for each input: 1 where a value is null or NaN, else 0; for an array or vector, an
        array with a number for each feature.
    maskValue : float, optional
        A value that counts as missing, such as that of padding: fit does not use it, and ``transform`` and the inverse keep
        it, under any ``handleInvalid``. ``addIndicator`` marks it, and ``fillInvalid`` does not fill it. In a column of single
        precision it is rounded to that. A result that happens to be equal to it comes back from the inverse as the mask. With
        0, vectors are refused.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where outputs are computed. "gpu" uses CuPy in Python workers; "auto" does so if tasks have a GPU. The quantiles
        are always computed on the CPU.

    Raises
    ------
    ParamError
        If ``lower >= upper``.

    See Also
    --------
    ClipByValue : Clips to given bounds, without a fit.

    Notes
    -----
    The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

    Examples
    --------
    >>> from sparkscale import Winsorizer
    >>> df = spark.createDataFrame([(1.0,), (2.0,), (3.0,), (4.0,), (1000.0,)], "x double")
    >>> model = Winsorizer(inputCol="x", lower=0.0, upper=0.8).fit(df)
    >>> model.transform(df).show()
    +------+--------+
    |     x|x_scaled|
    +------+--------+
    |   1.0|     1.0|
    |   2.0|     2.0|
    |   3.0|     3.0|
    |   4.0|     4.0|
    |1000.0|     4.0|
    +------+--------+
    <BLANKLINE>
    >>> model.upperBound, model.clippedCounts
    (DenseVector([4.0]), [1])
    """

    _model = WinsorizerModel

    @keyword_only
    def __init__(
        self,
        *,
        lower: float = 0.01,
        upper: float = 0.99,
        relativeError: float = 0.001,
        interpolation: str = "none",
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        handleInvalid: str = "keep",
        handleEmpty: str = "keep",
        fillInvalid: float | str | None = None,
        addIndicator: bool = False,
        maskValue: float | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__()
