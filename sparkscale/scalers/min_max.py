"""Min-max scaling."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark import keyword_only
from pyspark.ml.linalg import DenseVector
from pyspark.sql import DataFrame

from sparkscale.affine import AffineMap
from sparkscale.scalers._base import Scaler
from sparkscale.scalers._extrema import ExtremaModel
from sparkscale.scalers._given import Argument, Numbers
from sparkscale.scalers._group_model import GroupModel
from sparkscale.scalers._groups import HasGroups
from sparkscale.scalers._missing import HasMissing
from sparkscale.scalers._model import Array
from sparkscale.scalers._params import P, param
from sparkscale.scalers._shared_params import HasClip, HasConstant, HasLayout
from sparkscale.spark.expression import Bounds
from sparkscale.statistics import Extrema

__all__ = ["MinMaxScaler", "MinMaxScalerModel"]


class _MinMaxParams(HasLayout, HasClip, HasConstant, HasMissing, HasGroups):
    min = param("min", "lower bound of the target range", float)
    max = param("max", "upper bound of the target range", float)

    _defaults = {"min": 0.0, "max": 1.0}

    def getMin(self) -> float:
        """Return ``min``."""
        return self.getOrDefault(self.min)

    def getMax(self) -> float:
        """Return ``max``."""
        return self.getOrDefault(self.max)

    def setMin(self: P, value: float) -> P:
        """Set ``min``."""
        return self._set(min=value)

    def setMax(self: P, value: float) -> P:
        """Set ``max``."""
        return self._set(max=value)

    def _check_params(self) -> None:
        super()._check_params()
        if not (self.getMin() < self.getMax() and np.isfinite(self.getMax() - self.getMin())):
            raise self._fail(
                f"min must be less than max, and both and their difference finite. Got min={self.getMin()}, max={self.getMax()}."
            )


class MinMaxScalerModel(_MinMaxParams, GroupModel[Extrema], ExtremaModel[Extrema]):
    """Model fitted by `MinMaxScaler`, or made from given numbers by `of`."""

    _takes = {"originalMin": Argument(), "originalMax": Argument("originalMin")}
    _repr_params = ("min", "max")

    @classmethod
    def of(
        cls, *, originalMin: Numbers, originalMax: Numbers, dataset: DataFrame | None = None, **params: Any
    ) -> MinMaxScalerModel:
        """Return the model of a given smallest and largest value, without a fit.

        Parameters
        ----------
        originalMin, originalMax : float or array_like
            One number per feature: a list, array or vector, or a single number. With ``inputCols``, one entry per
            column: a number for a scalar, a list for an array or vector.
            A feature is constant if both are equal.
        dataset : pyspark.sql.DataFrame, optional
            A DataFrame with the input columns. Only its schema is read, for the types of the columns and their metadata.
            Without it, a column of one number is a scalar, and a column of several is an array.
        **params
            Any other Params of the model, such as ``clip``. One of ``inputCol`` and ``inputCols`` is required.

        Returns
        -------
        MinMaxScalerModel
            A model that maps like a fitted one, but has no ``statistics``: ``merge`` and ``update`` raise ``ParamError``, and
            ``count`` is 0.

        Raises
        ------
        ParamError
            If numbers are not finite, or do not match the columns, or ``originalMin`` is larger than ``originalMax``.
        ParamTypeError
            If numbers are of the wrong type, or a keyword is not a Param.

        Examples
        --------
        >>> from sparkscale import MinMaxScalerModel
        >>> pixels = MinMaxScalerModel.of(inputCol="pixel", originalMin=0, originalMax=255)
        >>> pixels.toSQL()
        {'pixel_scaled': '(`pixel` / 255.0D)'}
        """
        return cls._given(dataset, params, originalMin=originalMin, originalMax=originalMax)

    @property
    def originalMin(self) -> DenseVector:
        """Smallest value of each feature; NaN if it had no valid value."""
        return self._vector("originalMin")

    @property
    def originalMax(self) -> DenseVector:
        """Largest value of each feature; NaN if it had no valid value."""
        return self._vector("originalMax")

    def _map(self) -> AffineMap:
        low, high = self.getMin(), self.getMax()
        spread, width = self._spread(), high - low
        scale = spread / width
        for near in (np.nextafter(scale, 0.0), np.nextafter(scale, np.inf)):  # so that the top comes out exactly
            scale = np.where((spread / scale + low != high) & (spread / near + low == high), near, scale)
        # A range too small or too large to be divided by the width without losing digits is not representable.
        scale = np.where(np.abs(scale * width - spread) <= 1e-12 * spread, scale, np.nan)
        offset = np.full(len(scale), low)
        constant = spread == 0
        if self.getHandleConstant() == "collapse":
            offset[constant] = 0.5 * (low + high)
            scale[constant] = np.inf
        else:
            scale[constant] = 1.0 / width
        return AffineMap(self._numbers["originalMin"], scale, offset)

    def _center(self) -> Array:
        with np.errstate(all="ignore"):  # of features without a valid value
            return self._numbers["originalMin"] + 0.5 * self._spread()

    def _bounds(self) -> Bounds:
        return self._same_bounds((self.getMin(), self.getMax()) if self.getClip() else None)

    def _learned_values(self) -> dict[str, Any]:
        return {"min": self._shown("originalMin"), "max": self._shown("originalMax")}


class MinMaxScaler(_MinMaxParams, Scaler[MinMaxScalerModel]):
    r"""Rescale each feature to a target range.

    .. math:: y = \frac{x - E_{min}}{E_{max} - E_{min}} (max - min) + min

    Values outside the fitted range are mapped outside [min, max], unless ``clip`` is set. The end points of the range are
    exact in scalar and array columns, and within one unit in the last place in vectors.

    Parameters
    ----------
    min, max : float, default=0.0, 1.0
        The target range.
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
        How to scale a constant feature: "collapse" maps every value to the middle of the target range, as in Spark;
        "unit" maps it to ``(x - E_min) (max - min) + min``, as in scikit-learn.
    clip : bool, default=False
        Clip results to the target range.
    fillInvalid : float or "center", optional
        What ``transform`` gives for null and NaN, in scaled units: a number, or "center" for the middle of the range as it is mapped. The
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
        If ``min >= max``, ``fillInvalid`` is neither a finite number nor "center", or it is set and ``handleInvalid`` is not
        "keep".
    RangeOverflowError
        If a range is not representable as a double.

    See Also
    --------
    pyspark.ml.feature.MinMaxScaler : Spark's own class, for vectors only.

    Notes
    -----
    The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

    Examples
    --------
    >>> from sparkscale import MinMaxScaler
    >>> df = spark.createDataFrame([(1.0, 10.0), (2.0, None), (5.0, 30.0)], "x double, y double")
    >>> model = MinMaxScaler(inputCols=["x", "y"]).fit(df)
    >>> model.transform(df).show()
    +---+----+--------+--------+
    |  x|   y|x_scaled|y_scaled|
    +---+----+--------+--------+
    |1.0|10.0|     0.0|     0.0|
    |2.0|NULL|    0.25|    NULL|
    |5.0|30.0|     1.0|     1.0|
    +---+----+--------+--------+
    <BLANKLINE>
    >>> model.originalMax
    DenseVector([5.0, 30.0])
    """

    _model = MinMaxScalerModel

    @keyword_only
    def __init__(
        self,
        *,
        min: float = 0.0,
        max: float = 1.0,
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        handleInvalid: str = "keep",
        handleEmpty: str = "keep",
        handleConstant: str = "collapse",
        clip: bool = False,
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
