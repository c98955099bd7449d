"""Transform to a normal distribution by powers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pyspark import keyword_only
from pyspark.ml.linalg import DenseVector
from pyspark.sql import DataFrame

from sparkscale.scalers._base import Scaler
from sparkscale.scalers._given import Argument, Numbers
from sparkscale.scalers._model import Array
from sparkscale.scalers._params import P, param
from sparkscale.scalers._power_model import HasPower, PowerModel
from sparkscale.scalers.profile import Profile
from sparkscale.spark.columns import FeatureColumn

__all__ = ["PowerTransformer", "PowerTransformerModel"]


class PowerTransformerModel(PowerModel):
    """Model fitted by `PowerTransformer`, or made from given numbers by `of`."""

    _takes = {"lambdas": Argument(), "mean": Argument(optional=True), "std": Argument(0, optional=True)}
    _repr_params = ("standardize",)

    @classmethod
    def of(
        cls,
        *,
        lambdas: Numbers,
        mean: Numbers | None = None,
        std: Numbers | None = None,
        dataset: DataFrame | None = None,
        **params: Any,
    ) -> PowerTransformerModel:
        """Return the model of given lambdas, without a fit.

        Parameters
        ----------
        lambdas : float or array_like
            One number per feature: a list, array or vector, or a single number. With ``inputCols``, one entry per
            column: a number for a scalar, a list for an array or vector.
        mean, std : float or array_like, optional
            Mean and standard deviation of the transformed values, likewise. They may be left out with
            ``standardize=False``.
        dataset : pyspark.sql.DataFrame, optional
            A DataFrame with the input columns. Only its schema is read, for the types of the columns and their metadata.
            Without it, a column of one number is a scalar, and a column of several is an array.
        **params
            Any other Params of the model, such as ``method``. One of ``inputCol`` and ``inputCols`` is required.

        Returns
        -------
        PowerTransformerModel
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
        >>> from sparkscale import PowerTransformerModel
        >>> model = PowerTransformerModel.of(inputCol="x", lambdas=0.5, method="box-cox", standardize=False)
        >>> model.map.apply([[4.0]])
        array([[2.]])
        """
        return cls._given(dataset, params, lambdas=lambdas, mean=mean, std=std)

    @property
    def lambdas(self) -> DenseVector:
        """Lambda of each feature; 1 for a constant feature, NaN if it had no valid value."""
        return self._vector("lambdas")

    @property
    def mean(self) -> DenseVector:
        """Mean of the transformed values of each feature, which ``standardize`` subtracts; NaN likewise, or if not given."""
        return self._vector("mean")

    @property
    def std(self) -> DenseVector:
        """Population standard deviation of the transformed values of each feature; NaN likewise.

        It is 0 or infinite if it is not representable as a double. The standardized results are computed without it then.
        """
        return self._vector("std")


class PowerTransformer(HasPower, Scaler[PowerTransformerModel]):
    r"""Map each feature by the power transform that makes it most like a normal distribution.

    .. math:: y = \frac{u^e - 1}{e}, \qquad y = \log u \;\text{for}\; e = 0

    with :math:`u = x`, :math:`e = \lambda` for Box-Cox transforms. Yeo-Johnson transforms have :math:`u = 1 + x`,
    :math:`e = \lambda` for :math:`x \ge 0`, and are :math:`-y` of :math:`u = 1 - x`, :math:`e = 2 - \lambda` for :math:`x < 0`.
    The results are then standardized. :math:`\lambda` maximizes the likelihood

    .. math:: \ell(\lambda) = -\frac{n}{2} \log \mathrm{var}\, y + (\lambda - 1) \sum_i \mathrm{sign}(x_i) \log u_i .

    One scan computes moments of the powers of u for a fixed grid of exponents; they merge. If exponents up to 12.7 in absolute
    value contain the optimum, :math:`\lambda` is interpolated, to 5e-3 and mostly to 1e-6; so are mean and variance of the
    results, to 1e-4 standard deviations and mostly to 1e-8. For an optimum that lies beyond, and for values of dozens of orders
    of magnitude, ``fit`` scans the data three times more; ``merge`` and ``update``, which cannot, raise an error for an optimum
    that lies beyond.

    Parameters
    ----------
    method : {"yeo-johnson", "box-cox"}, default="yeo-johnson"
        The transform. Box-Cox transforms are of positive values: fit raises an error for others, and transform gives NaN.
    standardize : bool, default=True
        Standardize the results to mean 0 and population variance 1. Without it, sparse vectors stay sparse under
        Yeo-Johnson transforms.
    lambdas : list of float, optional
        Lambdas to use instead of the best ones: one for each feature, or one for all.
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
    fillInvalid : float or "center", optional
        What ``transform`` gives for null and NaN, in scaled units: a number, or "center" for the mean of the results. The
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
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where outputs are computed. "gpu" uses CuPy in Python workers; "auto" does so if tasks have a GPU. The moments of
        powers are always computed on the CPU.

    Raises
    ------
    InvalidValueError
        If a value is not positive, under ``method="box-cox"``.
    ParamError
        If an optimum is out of reach, as for values that differ very little relative to their size, lambdas are not finite or
        not as many as there are features, or ``fit`` gets a Profile.
    RangeOverflowError
        If results are not representable as doubles, which can happen only without ``standardize``.

    See Also
    --------
    sparkscale.kernels.power_transform : The transform, on arrays.
    QuantileTransformer : The map to a normal distribution by ranks, whatever the distribution of the values.

    Notes
    -----
    The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

    Results are computed from logarithms relative to those of the data, so that neither large nor narrow data overflow or lose
    digits. Where the likelihood does not depend on lambda, as for a constant feature, lambda is 1.

    References
    ----------
    G. E. P. Box, D. R. Cox, "An analysis of transformations", Journal of the Royal Statistical Society B 26 (1964);
    I.-K. Yeo, R. A. Johnson, "A new family of power transformations to improve normality or symmetry", Biometrika 87
    (2000).

    Examples
    --------
    >>> from sparkscale import PowerTransformer
    >>> df = spark.createDataFrame([(1.0,), (2.0,), (4.0,), (8.0,), (16.0,)], "x double")
    >>> model = PowerTransformer(inputCol="x", method="box-cox").fit(df)
    >>> abs(round(float(model.lambdas[0]), 3))
    0.0
    >>> [round(row.x_scaled, 3) for row in model.transform(df).collect()]
    [-1.414, -0.707, 0.0, 0.707, 1.414]
    """

    _model = PowerTransformerModel

    lambdas = param(
        "lambdas", "lambdas to use: one for each feature, or one for all. Default: the best ones", list[float]
    )

    @keyword_only
    def __init__(
        self,
        *,
        method: str = "yeo-johnson",
        standardize: bool = True,
        lambdas: list[float] | None = None,
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

    def getLambdas(self) -> list[float]:
        """Return ``lambdas``."""
        return self.getOrDefault(self.lambdas)

    def setLambdas(self: P, value: list[float]) -> P:
        """Set ``lambdas``."""
        return self._set(lambdas=value)

    def _check_params(self) -> None:
        super()._check_params()
        if self.isSet("lambdas") and not (self.getLambdas() and np.all(np.isfinite(self.getLambdas()))):
            raise self._fail(f"lambdas must be finite numbers. Got {self.getLambdas()}.")

    def _check_columns(self, columns: Sequence[FeatureColumn]) -> None:
        super()._check_columns(columns)
        if all(column.size for column in columns):
            self._lambdas_of(sum(column.size or 0 for column in columns))

    def _lambdas_of(self, features: int) -> Array | None:
        """Return the given lambda of each feature, if they are given."""
        if not self.isSet("lambdas"):
            return None
        given = self.getLambdas()
        if len(given) not in (1, features):
            raise self._fail(
                f"lambdas has {len(given)} numbers, and the columns have {features} features. Give one for each, or one for all."
            )
        return np.broadcast_to(np.array(given, dtype=np.float64), features).copy()

    def _fit(self, dataset: DataFrame | Profile) -> PowerTransformerModel:
        if isinstance(dataset, Profile):
            raise self._fail("a profile has no moments of powers. Fit on a DataFrame.")
        return super()._fit(dataset)

    def _complete(self, model: PowerTransformerModel, dataset: Any) -> None:
        model._complete(dataset, self._lambdas_of(model.numFeatures))
