"""Scaling by quantiles, which outliers hardly move."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
from pyspark import keyword_only
from pyspark.ml.linalg import DenseVector
from pyspark.sql import DataFrame

from sparkscale.affine import AffineMap
from sparkscale.scalers._given import Argument, Numbers
from sparkscale.scalers._group_model import GroupModel
from sparkscale.scalers._model import Array
from sparkscale.scalers._quantiles import QuantileModel, QuantileScaler
from sparkscale.scalers._robust_params import RobustParams
from sparkscale.spark.expression import Bounds
from sparkscale.statistics import Quantiles

__all__ = ["RobustScaler", "RobustScalerModel"]


class RobustScalerModel(RobustParams, GroupModel[Quantiles], QuantileModel):
    """Model fitted by `RobustScaler`, or made from given numbers by `of`."""

    _takes = {"median": Argument(optional=True), "range": Argument(0, optional=True)}
    _repr_params = ("withCentering", "withScaling")

    @classmethod
    def of(
        cls,
        *,
        median: Numbers | None = None,
        range: Numbers | None = None,
        dataset: DataFrame | None = None,
        **params: Any,
    ) -> RobustScalerModel:
        """Return the model of a given median and range, without a fit.

        Parameters
        ----------
        median : float or array_like, optional
            One number per feature: a list, array or vector, or a single number. With ``inputCols``, one entry per
            column: a number for a scalar, a list for an array or vector.
            It may be left out unless the map needs it: with ``withCentering=True``, or for a feature with ``range`` 0.
        range : float or array_like, optional
            Likewise, at least 0. It may be left out with ``withScaling=False``. ``lower`` and ``upper`` do not change it, but
            ``unitVariance`` depends on them.
        dataset : pyspark.sql.DataFrame, optional
            A DataFrame with the input columns. Only its schema is read, for the types of the columns and their metadata.
            Without it, a column of one number is a scalar, and a column of several is an array.
        **params
            Any other Params of the model, such as ``withCentering``. One of ``inputCol`` and ``inputCols`` is required.

        Returns
        -------
        RobustScalerModel
            A model that maps like a fitted one, but has no ``statistics``: ``merge`` and ``update`` raise ``ParamError``, and
            ``count`` is 0.

        Raises
        ------
        ParamError
            If numbers are missing, are not finite, or do not match the columns, or ``range`` is negative.
        ParamTypeError
            If numbers are of the wrong type, or a keyword is not a Param.

        Examples
        --------
        >>> from sparkscale import RobustScalerModel
        >>> model = RobustScalerModel.of(inputCol="x", median=3.0, range=2.0, withCentering=True)
        >>> model.toSQL()
        {'x_scaled': '((`x` - 3.0D) / 2.0D)'}
        """
        return cls._given(dataset, params, median=median, range=range)

    @property
    def median(self) -> DenseVector:
        """Median of each feature; NaN if it had no valid value, or was not given."""
        return self._vector("median")

    @property
    def range(self) -> DenseVector:
        """Difference between the quantiles ``upper`` and ``lower`` of each feature; NaN likewise."""
        return self._vector("range")

    def _numbers_given(self, given: Mapping[str, Array]) -> Mapping[str, Array]:
        if len(given) < len(self._takes):
            return given
        median, half = given["median"], 0.5 * given["range"]
        return {**given, "lower": median - half, "upper": median + half}  # to be drawn only

    def _map(self) -> AffineMap:
        zero = np.zeros(len(self._source))
        center = self._needed("median") if self.getWithCentering() else zero
        if not self.getWithScaling():
            return AffineMap(center, zero + 1.0, zero)
        scale, unit = self._needed("range"), self.getHandleConstant() == "unit"
        constant = scale == 0
        scale = np.where(constant, 1.0 if unit else np.inf, scale)
        if self.getUnitVariance():
            normal = NormalDist()
            scale = scale / (normal.inv_cdf(self.getUpper()) - normal.inv_cdf(self.getLower()))
        if constant.any() and not unit:  # what collapses to 0 comes back as its median
            center = np.where(constant, self._needed("median"), center)
            with np.errstate(all="ignore"):  # values whose distance overflows would not collapse, but become NaN
                distance = self._numbers.get("max", zero) - self._numbers.get("min", zero)
            scale = np.where(constant & ~np.isfinite(distance), np.nan, scale)
        return AffineMap(center, scale, zero)

    def _bounds(self) -> Bounds:
        return self._same_bounds(self.getClip())

    def _learned_values(self) -> dict[str, Any]:
        return {"median": self._shown("median"), "range": self._shown("range")}


class RobustScaler(RobustParams, QuantileScaler[RobustScalerModel]):
    r"""Divide each feature by the range between two quantiles, which outliers hardly change; optionally subtract the median.

    .. math:: y = (x - m) / (Q_{upper} - Q_{lower})

    with the median :math:`m`, which is subtracted only ``withCentering``. By default, :math:`Q` are the quartiles.

    Quantiles are exact for a feature with fewer than :math:`c = \lceil 4.604 / relativeError \rceil` values other than
    0, which are 4,604 by default. For more values, the rank of each quantile among n values is off by more than
    ``relativeError * n`` with a probability of at most 1 %. The same partitions always give the same result.

    Parameters
    ----------
    lower, upper : float, default=0.25, 0.75
        The quantiles, from 0 to 1.
    withCentering : bool, default=False
        Subtract the median. Sparse vectors become dense.
    withScaling : bool, default=True
        Divide by the range between the quantiles.
    unitVariance : bool, default=False
        Divide by ``range / (z_upper - z_lower)`` instead, with the quantiles z of the standard normal distribution:
        normal data then have a variance of 1.
    relativeError : float, default=0.001
        Error of the ranks as a share of the rows, from 0 to 1. A task keeps about :math:`c` to :math:`2 c` numbers of each
        feature. 0 keeps every value, and needs memory for all data.
    interpolation : {"none", "linear"}, default="none"
        A quantile is "none" one of the values, the smallest whose rank is at least ``q n``, as in Spark; or "linear"
        interpolated between the two values next to place ``q (n - 1)``, as in scikit-learn.
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
        How to scale a feature whose range is 0: "collapse" maps every value to 0, as in Spark; "unit" takes 1 for the
        range, as in scikit-learn.
    clip : list of two floats, optional
        Clip results to this range, ``[low, high]`` in scaled units; either may be infinite.
    fillInvalid : float or "center", optional
        What ``transform`` gives for null and NaN, in scaled units: a number, or "center" for the median as it is mapped. The default
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
    shape : list of int, optional
        The shape of the tensor that each row of an array or vector holds, in C order, and whose channels have one statistic
        each. Without it, each feature has one. With ``[-1]``, a whole array has one, and a scalar column is one feature;
        with ``[channels, -1]``, or ``[-1, channels]`` and "channelsLast", each channel has one, at any number of places. The
        arrays of a column may then differ in length; its vectors have one size. A null array of such a shape counts as one
        invalid value of each channel, an empty one as none.
    dataFormat : {"channelsFirst", "channelsLast"}, default="channelsFirst"
        Whether the channels are the first dimension of ``shape`` or the last.
    groupCols : list of str, optional
        Columns whose values are keys: each key has a map of its own, fitted on its rows. Null and NaN are keys, too.
    handleUnseen : {"global", "null", "error"}, default="global"
        A row whose key was not seen in fit: "global" applies the map of all rows, "null" gives null, and "error" raises an
        error.
    minGroupCount : int, default=1
        A feature with fewer valid values in a group gets the map of all rows.
    asOf : str, optional
        Not available, a ParamError: the quantiles of the rows before each value may not fit in memory.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where outputs are computed. "gpu" uses CuPy in Python workers; "auto" does so if tasks have a GPU. The quantiles
        are always computed on the CPU.

    Raises
    ------
    ParamError
        If ``lower >= upper``, ``clip`` is not two numbers, the lower first, or ``fillInvalid`` is neither a finite number
        nor "center".
    RangeOverflowError
        If a range is not representable as a double.

    See Also
    --------
    pyspark.ml.feature.RobustScaler : Spark's own class, for vectors only.

    Notes
    -----
    The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

    References
    ----------
    P. K. Agarwal, G. Cormode, Z. Huang, J. M. Phillips, Z. Wei, K. Yi, "Mergeable summaries", PODS (2012).

    Examples
    --------
    >>> from sparkscale import RobustScaler
    >>> df = spark.createDataFrame([(1.0,), (2.0,), (3.0,), (4.0,), (1000.0,)], "x double")
    >>> model = RobustScaler(inputCol="x", withCentering=True).fit(df)
    >>> model.transform(df).show()
    +------+--------+
    |     x|x_scaled|
    +------+--------+
    |   1.0|    -1.0|
    |   2.0|    -0.5|
    |   3.0|     0.0|
    |   4.0|     0.5|
    |1000.0|   498.5|
    +------+--------+
    <BLANKLINE>
    >>> model.median, model.range
    (DenseVector([3.0]), DenseVector([2.0]))
    """

    _model = RobustScalerModel

    @keyword_only
    def __init__(
        self,
        *,
        lower: float = 0.25,
        upper: float = 0.75,
        withCentering: bool = False,
        withScaling: bool = True,
        unitVariance: bool = False,
        relativeError: float = 0.001,
        interpolation: str = "none",
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        handleInvalid: str = "keep",
        handleEmpty: str = "keep",
        handleConstant: str = "collapse",
        clip: list[float] | None = None,
        fillInvalid: float | str | None = None,
        addIndicator: bool = False,
        maskValue: float | None = None,
        shape: list[int] | None = None,
        dataFormat: str = "channelsFirst",
        groupCols: list[str] | None = None,
        handleUnseen: str = "global",
        minGroupCount: int = 1,
        asOf: str | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__()
