"""Scaling by the largest absolute value."""

from __future__ import annotations

from collections.abc import Mapping
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
from sparkscale.scalers._shared_params import HasClip, HasConstant, HasLayout
from sparkscale.spark.expression import Bounds
from sparkscale.statistics import Extrema

__all__ = ["MaxAbsScaler", "MaxAbsScalerModel"]


class MaxAbsScalerModel(HasLayout, HasClip, HasConstant, HasMissing, GroupModel[Extrema], ExtremaModel[Extrema]):
    """Model fitted by `MaxAbsScaler`, or made from given numbers by `of`."""

    _takes = {"maxAbs": Argument(0)}

    @classmethod
    def of(cls, *, maxAbs: Numbers, dataset: DataFrame | None = None, **params: Any) -> MaxAbsScalerModel:
        """Return the model of a given largest absolute value, without a fit.

        Parameters
        ----------
        maxAbs : float or array_like
            One number per feature: a list, array or vector, or a single number. With ``inputCols``, one entry per
            column: a number for a scalar, a list for an array or vector.
            At least 0; 0 marks a feature of zeros, which is constant.
        dataset : pyspark.sql.DataFrame, optional
            A DataFrame with the input columns. Only its schema is read, for the types of the columns and their metadata.
            Without it, a column of one number is a scalar, and a column of several is an array.
        **params
            Any other Params of the model, such as ``clip``. One of ``inputCol`` and ``inputCols`` is required.

        Returns
        -------
        MaxAbsScalerModel
            A model that maps like a fitted one, but has no ``statistics``: ``merge`` and ``update`` raise ``ParamError``, and
            ``count`` is 0.

        Raises
        ------
        ParamError
            If numbers are negative, are not finite, or do not match the columns.
        ParamTypeError
            If numbers are of the wrong type, or a keyword is not a Param.

        Examples
        --------
        >>> from sparkscale import MaxAbsScalerModel
        >>> samples = MaxAbsScalerModel.of(inputCol="samples", maxAbs=[32768, 32768], outputCol="waves")
        >>> samples.affine.apply([16384, -32768])
        array([ 0.5, -1. ])
        """
        return cls._given(dataset, params, maxAbs=maxAbs)

    @property
    def maxAbs(self) -> DenseVector:
        """Largest absolute value of each feature; NaN if it had no valid value."""
        return self._vector("maxAbs")

    def _numbers_of(self, statistic: Extrema) -> Mapping[str, Array]:
        return {**super()._numbers_of(statistic), "maxAbs": np.maximum(np.abs(statistic.min), np.abs(statistic.max))}

    def _numbers_given(self, given: Mapping[str, Array]) -> Mapping[str, Array]:
        return {**given, "originalMin": -given["maxAbs"], "originalMax": given["maxAbs"]}

    def _map(self) -> AffineMap:
        largest = self._numbers["maxAbs"]
        zero = np.zeros(len(largest))
        return AffineMap(zero, np.where(largest == 0, 1.0, largest), zero)

    def _center(self) -> Array:
        return np.zeros(len(self._source))

    def _bounds(self) -> Bounds:
        return self._same_bounds((-1.0, 1.0) if self.getClip() else None)

    def _learned_values(self) -> dict[str, Any]:
        return {"maxAbs": self._shown("maxAbs")}


class MaxAbsScaler(HasLayout, HasClip, HasConstant, HasMissing, HasGroups, Scaler[MaxAbsScalerModel]):
    r"""Divide each feature by its largest absolute value; sparse vectors stay sparse.

    .. math:: y = x / \max |x|

    A feature of zeros is divided by 1.

    Parameters
    ----------
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
        No effect: a feature of zeros is divided by 1 in both cases.
    clip : bool, default=False
        Clip results to [-1, 1].
    fillInvalid : float or "center", optional
        What ``transform`` gives for null and NaN, in scaled units: a number, or "center" for 0. The
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
        If ``fillInvalid`` is neither a finite number nor "center", or it is set and ``handleInvalid`` is not "keep".

    See Also
    --------
    pyspark.ml.feature.MaxAbsScaler : Spark's own class, for vectors only.

    Notes
    -----
    The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

    Examples
    --------
    >>> from sparkscale import MaxAbsScaler
    >>> df = spark.createDataFrame([([1.0, -8.0],), ([2.0, 4.0],)], "a array<double>")
    >>> model = MaxAbsScaler(inputCol="a").fit(df)
    >>> model.transform(df).show()
    +-----------+-----------+
    |          a|   a_scaled|
    +-----------+-----------+
    |[1.0, -8.0]|[0.5, -1.0]|
    | [2.0, 4.0]| [1.0, 0.5]|
    +-----------+-----------+
    <BLANKLINE>
    """

    _model = MaxAbsScalerModel

    @keyword_only
    def __init__(
        self,
        *,
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
