"""Standardization: zero mean, unit variance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pyspark import keyword_only
from pyspark.ml.linalg import DenseVector
from pyspark.sql import DataFrame

from sparkscale.affine import AffineMap
from sparkscale.scalers._base import Scaler
from sparkscale.scalers._given import Argument, Numbers
from sparkscale.scalers._group_model import GroupModel
from sparkscale.scalers._model import Array
from sparkscale.scalers._standard_params import StandardParams
from sparkscale.spark.expression import Bounds
from sparkscale.statistics import Moments

__all__ = ["StandardScaler", "StandardScalerModel"]


class StandardScalerModel(StandardParams, GroupModel[Moments]):
    """Model fitted by `StandardScaler`, or made from given numbers by `of`."""

    _statistic_class = Moments
    _takes = {"mean": Argument(optional=True), "std": Argument(0, optional=True)}
    _repr_params = ("withMean", "withStd")

    @classmethod
    def of(
        cls,
        *,
        mean: Numbers | None = None,
        std: Numbers | None = None,
        dataset: DataFrame | None = None,
        **params: Any,
    ) -> StandardScalerModel:
        """Return the model of a given mean and standard deviation, without a fit.

        Parameters
        ----------
        mean : float or array_like, optional
            One number per feature: a list, array or vector, or a single number. With ``inputCols``, one entry per
            column: a number for a scalar, a list for an array or vector.
            It may be left out unless the map needs it: with ``withMean=True``, or for a feature with ``std`` 0.
        std : float or array_like, optional
            Likewise, at least 0; 0 marks a constant feature. It may be left out with ``withStd=False``. ``ddof`` does not
            change it.
        dataset : pyspark.sql.DataFrame, optional
            A DataFrame with the input columns. Only its schema is read, for the types of the columns and their metadata.
            Without it, a column of one number is a scalar, and a column of several is an array.
        **params
            Any other Params of the model, such as ``withMean``. One of ``inputCol`` and ``inputCols`` is required.

        Returns
        -------
        StandardScalerModel
            A model that maps like a fitted one, but has no ``statistics``: ``merge`` and ``update`` raise ``ParamError``, and
            ``count`` is 0.

        Raises
        ------
        ParamError
            If numbers are missing, are not finite, or do not match the columns, or ``std`` is negative.
        ParamTypeError
            If numbers are of the wrong type, or a keyword is not a Param.

        Examples
        --------
        >>> from sparkscale import StandardScalerModel
        >>> model = StandardScalerModel.of(inputCols=["x", "y"], mean=[1.0, 20.0], std=[2.0, 10.0], withMean=True)
        >>> model.toSQL()
        {'x_scaled': '((`x` - 1.0D) / 2.0D)', 'y_scaled': '((`y` - 20.0D) / 10.0D)'}
        """
        return cls._given(dataset, params, mean=mean, std=std)

    @property
    def mean(self) -> DenseVector:
        """Mean of each feature; NaN if it had no valid value, or was not given."""
        return self._vector("mean")

    @property
    def std(self) -> DenseVector:
        """Standard deviation of each feature; 0 for a single row, NaN if there is no valid value, or it was not given."""
        return self._vector("std")

    def _numbers_of(self, statistic: Moments) -> Mapping[str, Array]:
        return {"mean": statistic.mean, "std": statistic.std(self.getDdof())}

    def _spread(self) -> Array:
        return self._shown("std")

    def _map(self) -> AffineMap:
        zero, one = np.zeros(len(self._source)), np.ones(len(self._source))
        center = self._needed("mean") if self.getWithMean() else zero
        if not self.getWithStd():
            return AffineMap(center, one, zero)
        std = self._needed("std")
        constant = std == 0
        if self.getHandleConstant() == "unit":
            return AffineMap(center, np.where(constant, 1.0, std), zero)
        if constant.any():  # what collapses to 0 keeps its constant as center, so that the inverse gives it back
            center = np.where(constant, self._needed("mean"), center)
        return AffineMap(center, np.where(constant, np.inf, std), zero)

    def _bounds(self) -> Bounds:
        return self._same_bounds(self.getClip())

    def _learned_values(self) -> dict[str, Any]:
        return {"mean": self._shown("mean"), "std": self._shown("std")}


class StandardScaler(StandardParams, Scaler[StandardScalerModel]):
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
        Column of dates, timestamps or numbers, such as the day of a row: a row is scaled by the rows before it alone, whose
        value there is smaller; with ``groupCols`` by those of its group. "All rows" above are then those of all groups
        before it. Where there are none, results are null, or under ``handleUnseen="error"`` an error.
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
