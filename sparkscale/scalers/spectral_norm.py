"""Spectral normalization."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark import keyword_only

from sparkscale.affine import AffineMap
from sparkscale.errors import RangeOverflowError
from sparkscale.kernels import spectral_norm
from sparkscale.scalers._base import Scaler
from sparkscale.scalers._matrix import MIN_SQUARE_SUM, MatrixModel, roots
from sparkscale.scalers._model import Array

__all__ = ["SpectralNorm", "SpectralNormModel"]


class SpectralNormModel(MatrixModel):
    """Model fitted by `SpectralNorm`."""

    @property
    def spectralNorm(self) -> float:
        """Largest singular value of the matrix of all features."""
        return self._once(_spectral_norm, lambda: self.statistics.gram)

    def _map(self) -> AffineMap:
        statistic, norm = self.statistics, self.spectralNorm
        nonzero = bool(np.any(statistic.origin) or np.any(statistic.shift))
        if norm**2 < MIN_SQUARE_SUM and (norm > 0 or nonzero):
            raise RangeOverflowError(
                f"{type(self).__name__}: the values are so small that their squares are not representable as doubles. "
                "Bring them to another unit first."
            )
        zero = np.zeros(len(statistic))
        return AffineMap(zero, np.full(len(statistic), norm or 1.0), zero)

    def _learned_values(self) -> dict[str, Any]:
        statistic = self.statistics
        nonzero = (statistic.origin != 0) | (statistic.shift != 0) | (np.diagonal(statistic.comoments) > 0)
        return {"norm": roots(np.diagonal(statistic.gram), nonzero)}


def _spectral_norm(gram: Array) -> float:
    """Return the norm from a Gram matrix in units of its largest entry, whose eigenvalues do not overflow."""
    unit = float(np.diagonal(gram).max(initial=0.0)) or 1.0
    return float(spectral_norm(gram / unit)) * float(np.sqrt(unit))


class SpectralNorm(Scaler[SpectralNormModel]):
    r"""Divide all values by the largest singular value of the matrix of all rows; sparse vectors stay sparse.

    .. math:: Y = X / \sigma(X), \qquad \sigma(X) = \sqrt{\lambda_{max}(X^T X)}

    All columns form one matrix and are divided by the same number, so that the largest singular value of the result is 1.
    It is computed exactly, not by power iteration, from the Gram matrix, in one scan of the data. A matrix of zeros is
    divided by 1.

    Parameters
    ----------
    inputCol, outputCol : str, optional
        One input column, and one output column of the same type.
    inputCols, outputCols : list of str, optional
        Several input columns, and one output column for each; with ``outputCol``, one output vector. By default, outputs
        are named ``<input>_scaled``.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Rows with a null, NaN or infinite value are not used to fit. In transform, "keep" leaves null and NaN as they are
        and scales the other values of the row. "skip" drops such rows in fit and transform, "error" raises an error, and
        "keepNaN" raises an error for infinite values and otherwise does the same as "keep".
    handleEmpty : {"keep", "error"}, default="keep"
        No effect: if a feature has no valid value, no row is complete, which is an error in both cases.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed. "gpu" uses CuPy in Python workers; "auto" does so if tasks have a GPU.

    Raises
    ------
    ParamError
        If there are more than 4,096 features.
    EmptyDataError
        If every row holds an invalid value.
    RangeOverflowError
        If the squares of the values are not representable as doubles.

    See Also
    --------
    sparkscale.kernels.spectral_norm : The same for an array.

    Notes
    -----
    The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

    The statistic is a matrix of features by features. While it is computed, sparse vectors are converted to dense ones, a
    few rows at a time.

    References
    ----------
    T. Miyato, T. Kataoka, M. Koyama, Y. Yoshida, "Spectral normalization for generative adversarial networks",
    arXiv:1802.05957.

    Examples
    --------
    >>> from sparkscale import SpectralNorm
    >>> df = spark.createDataFrame([(3.0, 0.0), (0.0, -4.0)], "x double, y double")
    >>> model = SpectralNorm(inputCols=["x", "y"]).fit(df)
    >>> model.spectralNorm
    4.0
    >>> model.transform(df).show()
    +---+----+--------+--------+
    |  x|   y|x_scaled|y_scaled|
    +---+----+--------+--------+
    |3.0| 0.0|    0.75|     0.0|
    |0.0|-4.0|     0.0|    -1.0|
    +---+----+--------+--------+
    <BLANKLINE>
    """

    _model = SpectralNormModel

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
        device: str = "cpu",
    ) -> None:
        super().__init__()
