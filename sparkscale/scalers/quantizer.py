"""Quantization to integers of eight bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark import keyword_only
from pyspark.ml.linalg import DenseVector, Vectors
from pyspark.sql import DataFrame

from sparkscale.affine import AffineMap
from sparkscale.display.html import Extent
from sparkscale.kernels.quantization import DTYPES, SCHEMES, codes_of, numbers_of
from sparkscale.scalers._given import Argument
from sparkscale.scalers._model import Array
from sparkscale.scalers._params import P, param
from sparkscale.scalers._quantiles import HasQuantiles, OfQuantiles, QuantileScaler
from sparkscale.spark.expression import Bounds
from sparkscale.spark.transform.column_map import ColumnMap
from sparkscale.spark.transform.quantized import Quantized
from sparkscale.statistics import Extrema, Mergeable, Quantiles

__all__ = ["Quantizer", "QuantizerModel"]

SQL_TYPES = {"int8": "tinyint", "uint8": "smallint"}  # Spark has no unsigned types


class _QuantizerParams(HasQuantiles):
    dtype = param("dtype", "type of the codes: 'int8', from -128 to 127; 'uint8', from 0 to 255", str)
    scheme = param(
        "scheme", "'affine': the codes divide the range; 'symmetric': 0 is 0, and codes are from -127 to 127", str
    )

    _defaults = {"lower": 0.0, "upper": 1.0, "dtype": "int8", "scheme": "affine"}
    _choices = {"dtype": tuple(DTYPES), "scheme": SCHEMES}

    def getDtype(self) -> str:
        """Return ``dtype``."""
        return self.getOrDefault(self.dtype)

    def getScheme(self) -> str:
        """Return ``scheme``."""
        return self.getOrDefault(self.scheme)

    def setDtype(self: P, value: str) -> P:
        """Set ``dtype``."""
        return self._set(dtype=value)

    def setScheme(self: P, value: str) -> P:
        """Set ``scheme``."""
        return self._set(scheme=value)

    @property
    def _of_extrema(self) -> bool:
        return self.getLower() == 0 and self.getUpper() == 1

    @property
    def _statistic_class(self) -> type[Extrema]:  # type: ignore[override]  # of which Quantiles are one kind
        return Extrema if self._of_extrema else Quantiles.within(self.getRelativeError())

    def _check_params(self) -> None:
        super()._check_params()
        if self.getScheme() == "symmetric" and self.getDtype() != "int8":
            raise self._fail("scheme='symmetric' needs integers of both signs. Set dtype to 'int8'.")
        if self.getMaskValue() is not None:
            raise self._fail("maskValue is not available: there is no code to keep it. Replace it by null.")
        fill = self.getFillInvalid()
        low, high = codes_of(self.getDtype(), self.getScheme())
        if isinstance(fill, float) and not (low <= fill <= high and fill.is_integer()):
            raise self._fail(
                f"fillInvalid must be 'center', None or an integer from {low:.0f} to {high:.0f}. Got {fill}."
            )


class QuantizerModel(_QuantizerParams, OfQuantiles):
    """Model fitted by `Quantizer`, or made from given ranges by `of`."""

    _statistic_class: type[Extrema] = Extrema  # type: ignore[assignment]  # or Quantiles
    _takes = {"low": Argument(), "high": Argument("low")}
    _without_spread = "feature(s) with a range of a single value"
    _repr_params = ("dtype", "scheme")

    @classmethod
    def of(cls, *, ranges: Any, dataset: DataFrame | None = None, **params: Any) -> QuantizerModel:
        """Return the model of given ranges, without a fit.

        Parameters
        ----------
        ranges : array_like, shape (2, n_features)
            The lowest and the highest value of each feature: the ``ranges`` of a model, or of sentence-transformers. With
            ``inputCols``, each of the two has one entry per column: a number for a scalar, a list for an array or vector.
        dataset : pyspark.sql.DataFrame, optional
            A DataFrame with the input columns. Only its schema is read, for the types of the columns and their metadata.
            Without it, a column of one number is a scalar, and a column of several is an array.
        **params
            Any other Params of the model, such as ``dtype``. One of ``inputCol`` and ``inputCols`` is required.

        Returns
        -------
        QuantizerModel
            A model without ``statistics``: ``merge`` and ``update`` raise ``ParamError``, and ``count`` is 0.

        Raises
        ------
        ParamError
            If numbers are not finite, or do not match the columns, or a lowest value is larger than the highest.
        ParamTypeError
            If numbers are of the wrong type, or a keyword is not a Param.

        Examples
        --------
        >>> from sparkscale import QuantizerModel
        >>> model = QuantizerModel.of(inputCol="embedding", ranges=[[-1.0, 0.0], [1.0, 5.1]])
        >>> model.ranges
        array([[-1. ,  0. ],
               [ 1. ,  5.1]])
        >>> model.errorBound
        DenseVector([0.0039, 0.01])
        """
        try:
            low, high = ranges
        except (TypeError, ValueError) as failure:
            raise cls()._fail("ranges must be of shape (2, n): all lowest values, then all highest.") from failure
        return cls._given(dataset, params, low=low, high=high)

    @property
    def ranges(self) -> npt.NDArray[np.float64]:
        """Lowest and highest value of each feature, of shape (2, n_features); NaN if it had no valid value.

        ``quantize_embeddings`` of sentence-transformers takes them.
        """
        return np.stack([self._shown("low"), self._shown("high")])

    @property
    def errorBound(self) -> DenseVector:
        """How far a value in the range can be from what the inverse restores: half a step, and ``2 ** -49`` of an end."""
        scale = self.affine.scale
        return Vectors.dense(np.where(np.isinf(scale), 0.0, 0.5 * scale + 2.0**-49 * self._largest))

    def _numbers_of(self, statistic: Extrema) -> Mapping[str, Array]:
        if self._of_extrema:
            return {"low": statistic.min, "high": statistic.max}
        if not isinstance(statistic, Quantiles):
            raise self._fail("fit with lower=0 and upper=1 kept extrema only. Set them back, or fit again.")
        quantiles = (statistic.quantile(q, self.getInterpolation()) for q in (self.getLower(), self.getUpper()))
        return dict(zip(("low", "high"), quantiles, strict=True))

    def _spread(self) -> Array:
        with np.errstate(all="ignore"):  # of features without a valid value
            return self._shown("high") - self._shown("low")

    def _center(self) -> Array:
        return 0.5 * self._shown("low") + 0.5 * self._shown("high")

    def _extent(self) -> Extent:
        return Extent(self._shown("low"), self._shown("high"))

    def _map(self) -> AffineMap:
        return AffineMap(*numbers_of(self._needed("low"), self._needed("high"), self.getDtype(), self.getScheme()))

    def _collapses(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self._largest == 0) if self.getScheme() == "symmetric" else super()._collapses()

    @property
    def _largest(self) -> Array:
        return np.maximum(np.abs(self._shown("low")), np.abs(self._shown("high")))

    def _bounds(self) -> Bounds:
        return self._same_bounds(codes_of(self.getDtype(), self.getScheme()))

    def _fill(self, ignored: npt.NDArray[np.bool_] | None = None) -> Array | None:
        fill = super()._fill(ignored)
        return None if fill is None else np.rint(fill)

    def _column_map(self, fitted: AffineMap, bounds: Bounds = None, fill: Array | None = None) -> ColumnMap:
        if bounds is None:  # of the inverse
            return super()._column_map(fitted)
        return Quantized(fitted, bounds, fill, SQL_TYPES[self.getDtype()])

    def _learned_values(self) -> dict[str, Any]:
        return {"low": self._shown("low"), "high": self._shown("high")}

    @classmethod
    def _saved_class(cls, extra: Mapping[str, Any]) -> type[Mergeable] | None:
        return super()._saved_class(extra) if "given" in extra or "relativeError" in extra else Extrema


class Quantizer(_QuantizerParams, QuantileScaler[QuantizerModel]):
    r"""Map each feature to integers of eight bits, which divide its range into equal steps.

    .. math:: q = \min(\max(\mathrm{round}((x - low) / s + q_{min}), q_{min}), q_{max}), \qquad s = (high - low) / 255

    with -128 and 127, or 0 and 255, for :math:`q_{min}` and :math:`q_{max}`. "symmetric" maps 0 to 0:
    :math:`q = \mathrm{round}(x / s)` from -127 to 127, with :math:`s = \max(|low|, |high|) / 127`.

    Halves are rounded to even. Values out of range, infinite ones too, are clipped. The inverse
    :math:`x' = (q - q_{min}) s + low` restores values within the range up to ``errorBound``,

    .. math:: |x - x'| \le s / 2 + 2^{-49} \max(|low|, |high|),

    and exactly a feature whose range is a single value, which has one code; in the "symmetric" scheme up to rounding.

    Parameters
    ----------
    dtype : {"int8", "uint8"}, default="int8"
        The type of the codes: scalars become ``tinyint``, and arrays and vectors ``array<tinyint>``. Spark has no unsigned
        types, so that "uint8" becomes ``smallint``.
    scheme : {"affine", "symmetric"}, default="affine"
        How the range is divided. "symmetric" needs "int8".
    lower, upper : float, default=0.0, 1.0
        The quantiles that are the ends of the range, from 0 to 1. By default, these are the smallest and the largest value.
    relativeError : float, default=0.001
        Error of the ranks of quantiles as a share of the rows; see `RobustScaler`. Extrema are exact.
    interpolation : {"none", "linear"}, default="none"
        A quantile is "none" one of the values, the smallest whose rank is at least ``q n``, as in Spark; or "linear"
        interpolated between the two values next to place ``q (n - 1)``, as in NumPy.
    inputCol, outputCol : str, optional
        One input column, and one output column.
    inputCols, outputCols : list of str, optional
        Several input columns, and one output column for each; with ``outputCol``, one array. Default: ``<input>_scaled``.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinite values are never used to fit. "keep" makes null of NaN, "skip" drops rows with an invalid
        value in fit and transform, "error" raises an error, and "keepNaN" is "keep" with an error for infinite values.
    handleEmpty : {"keep", "error"}, default="keep"
        A feature without any valid value: "keep" maps it to null and logs a warning, "error" raises an error.
    fillInvalid : float or "center", optional
        What ``transform`` gives for null and NaN, by default null: a code, or "center" for that of the middle of the range.
        Arrays and vectors that are null are not filled. It needs ``handleInvalid="keep"``.
    addIndicator : bool, default=False
        Add a column ``<input>_missing`` for each input: 1 where a value is null or NaN, else 0; an array for an array or vector.
    maskValue : float, optional
        Not available, a ParamError: there is no code to keep it. Replace it by null.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where extrema and outputs are computed; quantiles always on the CPU. "auto" is "gpu" if tasks have a GPU.

    Raises
    ------
    ParamError
        If ``lower >= upper``, ``scheme`` is "symmetric" and ``dtype`` "uint8", or ``fillInvalid`` is neither a code nor "center".
    RangeOverflowError
        If a range, or its 255th part, is not representable as a double.

    Notes
    -----
    The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

    ``quantize_embeddings`` of sentence-transformers truncates where this rounds, so that its codes may differ by one, and
    it does not clip. `sparkscale.kernels.quantize` is the same map on arrays.

    References
    ----------
    B. Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference", 2018.

    Examples
    --------
    >>> from sparkscale import Quantizer
    >>> df = spark.createDataFrame([([0.0, -1.0],), ([0.5, 0.2],), ([2.55, 1.0],)], "v array<double>")
    >>> model = Quantizer(inputCol="v", outputCol="q").fit(df)
    >>> model.transform(df).show()
    +-----------+------------+
    |          v|           q|
    +-----------+------------+
    |[0.0, -1.0]|[-128, -128]|
    | [0.5, 0.2]|   [-78, 25]|
    |[2.55, 1.0]|  [127, 127]|
    +-----------+------------+
    <BLANKLINE>
    >>> model.errorBound
    DenseVector([0.005, 0.0039])
    """

    _model = QuantizerModel

    @keyword_only
    def __init__(
        self,
        *,
        dtype: str = "int8",
        scheme: str = "affine",
        lower: float = 0.0,
        upper: float = 1.0,
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
