"""Transform to a uniform or normal distribution by ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark import keyword_only

from sparkscale.curves import QuantileCurve
from sparkscale.display.html import Extent
from sparkscale.scalers._curve import CurveModel
from sparkscale.scalers._group_model import GroupModel
from sparkscale.scalers._groups import HasGroups
from sparkscale.scalers._model import Array
from sparkscale.scalers._params import P, param
from sparkscale.scalers._quantiles import HasSketch, OfQuantiles, QuantileScaler
from sparkscale.spark.expression import Bounds
from sparkscale.spark.transform.column_map import ColumnMap
from sparkscale.spark.transform.key_maps import ByKey
from sparkscale.spark.transform.quantile import Quantile, QuantileByKey
from sparkscale.statistics import Quantiles

__all__ = ["QuantileTransformer", "QuantileTransformerModel"]


class _QuantileTransformerParams(HasSketch, HasGroups):
    nQuantiles = param("nQuantiles", "number of quantiles, between which ranks are interpolated; at least 2", int)
    outputDistribution = param(
        "outputDistribution",
        "distribution of the results. 'uniform': ranks from 0 to 1; 'normal': the normal values of these ranks.",
        str,
    )

    _defaults = {"nQuantiles": 1000, "outputDistribution": "uniform"}
    _choices = {"outputDistribution": ("uniform", "normal")}

    def getNQuantiles(self) -> int:
        """Return ``nQuantiles``."""
        return self.getOrDefault(self.nQuantiles)

    def getOutputDistribution(self) -> str:
        """Return ``outputDistribution``."""
        return self.getOrDefault(self.outputDistribution)

    def setNQuantiles(self: P, value: int) -> P:
        """Set ``nQuantiles``."""
        return self._set(nQuantiles=value)

    def setOutputDistribution(self: P, value: str) -> P:
        """Set ``outputDistribution``."""
        return self._set(outputDistribution=value)

    def _check_params(self) -> None:
        super()._check_params()
        if self.getNQuantiles() < 2:  # noqa: PLR2004
            raise self._fail(f"nQuantiles must be at least 2. Got {self.getNQuantiles()}.")


class QuantileTransformerModel(_QuantileTransformerParams, CurveModel[Quantiles], GroupModel[Quantiles], OfQuantiles):
    """Model fitted by `QuantileTransformer`."""

    _repr_params = ("outputDistribution",)

    @property
    def quantiles(self) -> npt.NDArray[np.float64]:
        """The quantiles of each feature, of shape (n_quantiles, n_features), for the ranks in ``references``."""
        numbers = self._numbers
        return np.ascontiguousarray(numbers["quantiles"].T[: len(self.references)])

    @property
    def references(self) -> npt.NDArray[np.float64]:
        """The ranks of the quantiles, evenly spaced from 0 to 1: ``nQuantiles``, or as many as there are values if fewer."""
        return np.linspace(0.0, 1.0, int(self._numbers["last"].max(initial=0)) + 1)

    def _numbers_of(self, statistic: Quantiles) -> Mapping[str, Array]:
        number = self.getNQuantiles()
        most = statistic.count.reshape(self._of_keys, -1).max(axis=1, initial=0)
        last = np.maximum(np.minimum(most, number) - 1, 0).repeat(len(statistic) // self._of_keys)
        ranks = np.minimum(np.arange(number) / np.maximum(last, 1)[:, None], 1.0)
        return {
            "quantiles": statistic.quantile(ranks, "linear"),
            "last": last,
            "median": statistic.quantile(0.5, "linear"),
            "min": statistic.min,
            "max": statistic.max,
        }

    def _map(self) -> Any:
        numbers = self._numbers
        return QuantileCurve(False, self.getOutputDistribution() == "normal", numbers["quantiles"], numbers["last"])

    def _column_map(self, fitted: Any, bounds: Bounds = None, fill: Array | None = None) -> ColumnMap:
        return Quantile(fitted, fill)

    def _key_map(self, inverts: bool) -> ByKey:
        return QuantileByKey(inverts, number=self.getNQuantiles(), is_normal=self.getOutputDistribution() == "normal")

    def _center(self) -> Array:
        return self._needed("median")

    def _spread(self) -> Array:
        statistic = self.statistics
        with np.errstate(all="ignore"):
            return statistic.max - statistic.min

    def _extent(self) -> Extent:
        return Extent(self._shown("min"), self._shown("max"), self._shown("median"))

    def _learned_values(self) -> dict[str, Any]:
        return {name: self._shown(name) for name in ("min", "median", "max")}


class QuantileTransformer(_QuantileTransformerParams, QuantileScaler[QuantileTransformerModel]):
    r"""Map each feature to its ranks, which are uniform from 0 to 1, or to the normal values of these ranks.

    .. math:: p = \frac{1}{m} \left(i + \frac{x - q_i}{q_{i+1} - q_i}\right), \quad q_i < x < q_{i+1}, \qquad
              y = p \;\text{(uniform)}, \qquad y = \Phi^{-1}(p) \;\text{(normal)}

    with the quantiles :math:`q_0 \le \dots \le q_m` of the feature for the ranks 0, 1/m, ..., 1. A value that is equal to
    several quantiles has the mean of their ranks. Values up to the least one of fit map to 0, those from the largest one on
    to 1; normal values are within 5.2 of 0, those of the probabilities 1e-7 and 1 - 1e-7. A constant feature maps to 0, or to
    the lowest normal value.

    The map keeps the order of values, and outliers lose their distance. The inverse maps ranks back to values.

    Quantiles are those of scikit-learn for a feature with fewer than :math:`c = \lceil 4.604 / relativeError \rceil` values
    other than 0. For more, each rank is off by more than ``relativeError`` with a probability of at most 1 %; the results
    differ from the exact ones by that much.

    Parameters
    ----------
    outputDistribution : {"uniform", "normal"}, default="uniform"
        The distribution of the results.
    nQuantiles : int, default=1000
        Number of quantiles, at least 2. If there are fewer values, so many.
    relativeError : float, default=0.001
        Error of the ranks of quantiles as a share of the rows, from 0 to 1; see `RobustScaler`. 0 keeps every value, and
        needs memory for all data.
    inputCol, outputCol : str, optional
        One input column, and one output column of the same type.
    inputCols, outputCols : list of str, optional
        Several input columns, and one output column for each; with ``outputCol``, one output vector. By default, outputs
        are named ``<input>_scaled``.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinite values are never used to fit. "keep" leaves null and NaN as they are, "skip" drops rows
        with an invalid value in fit and transform, "error" raises an error, and "keepNaN" raises an error for infinite
        values and otherwise does the same as "keep". Kept infinities map to the ends.
    handleEmpty : {"keep", "error"}, default="keep"
        A feature without any valid value: "keep" maps it to NaN and logs a warning, "error" raises an error.
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
    groupCols : list of str, optional
        Columns whose values are keys: each key has a map of its own, fitted on its rows. Null and NaN are keys, too. Each key
        holds ``nQuantiles`` numbers of each feature: choose fewer for many keys.
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
        If ``nQuantiles`` is less than 2, or ``fillInvalid`` is neither a finite number nor "center".

    See Also
    --------
    sparkscale.kernels.quantile_transform : The map, on arrays.
    PowerTransformer : A smooth map to a normal distribution, of one parameter a feature.

    Notes
    -----
    The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

    References
    ----------
    ``sklearn/preprocessing/_data.py``; P. K. Agarwal, G. Cormode, Z. Huang, J. M. Phillips, Z. Wei, K. Yi, "Mergeable
    summaries", PODS (2012).

    Examples
    --------
    >>> from sparkscale import QuantileTransformer
    >>> df = spark.createDataFrame([(1.0,), (2.0,), (4.0,), (8.0,), (1000.0,)], "x double")
    >>> model = QuantileTransformer(inputCol="x").fit(df)
    >>> model.transform(df).show()
    +------+--------+
    |     x|x_scaled|
    +------+--------+
    |   1.0|     0.0|
    |   2.0|    0.25|
    |   4.0|     0.5|
    |   8.0|    0.75|
    |1000.0|     1.0|
    +------+--------+
    <BLANKLINE>
    >>> model.map.apply([[3.0]])
    array([[0.375]])
    """

    _model = QuantileTransformerModel

    @keyword_only
    def __init__(
        self,
        *,
        outputDistribution: str = "uniform",
        nQuantiles: int = 1000,
        relativeError: float = 0.001,
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        handleInvalid: str = "keep",
        handleEmpty: str = "keep",
        fillInvalid: float | str | None = None,
        addIndicator: bool = False,
        maskValue: float | None = None,
        groupCols: list[str] | None = None,
        handleUnseen: str = "global",
        minGroupCount: int = 1,
        asOf: str | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__()
