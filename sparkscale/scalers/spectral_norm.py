"""Spectral normalization."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark import keyword_only

from sparkscale.affine import AffineMap
from sparkscale.errors import RangeOverflowError
from sparkscale.kernels import spectral_norm
from sparkscale.scalers._base import Scaler
from sparkscale.scalers._matrix import TINY, MatrixModel, roots
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
        if norm**2 < TINY and (norm > 0 or nonzero):
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
    r"""Divide all values by the largest singular value of the matrix that the rows make; sparse vectors stay sparse.

    .. math:: Y = X / \sigma(X), \qquad \sigma(X) = \sqrt{\lambda_{max}(X^T X)}

    The columns together are the features of one matrix, and all are divided by the same number, so that the largest
    singular value of the result is 1. It is computed exactly, not by power iteration, from the Gram matrix, which takes
    one scan of the data. A matrix of zeros is divided by 1.

    Parameters
    ----------
    inputCol, outputCol : str, optional
        One column in, one out of the same kind.
    inputCols, outputCols : list of str, optional
        Many in, as many out; with ``outputCol``, one vector out. Outputs are named ``<input>_scaled`` if left out.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Rows that hold a null, NaN or infinity never enter the matrix. "keep" passes null and NaN on and scales the
        other values of the row, "skip" drops such rows, in fit and transform, "error" fails, and "keepNaN" fails at
        infinities alone and else is "keep".
    handleEmpty : {"keep", "error"}, default="keep"
        Without effect here: beside a feature without any valid value no row is complete, which is an error either way.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed: "gpu" is CuPy in Python workers, "auto" that where tasks have a GPU.

    Raises
    ------
    ParamError
        If there are more than 4,096 features, or Params contradict each other.
    ColumnNotFoundError, ColumnTypeError, OutputColumnError
        If a column is missing, cannot be scaled, or an output exists that is not its own input.
    EmptyDataError
        If every row holds an invalid value.
    InvalidValueError
        For an invalid value that ``handleInvalid`` refuses.
    SizeMismatchError
        If the arrays or vectors of a column differ in length.
    RangeOverflowError
        If the squares of the values are not representable as doubles.
    DeviceError
        Under ``device="gpu"``, if a task finds no GPU or cannot compute on it.

    See Also
    --------
    sparkscale.kernels.spectral_norm : The same for an array.

    Notes
    -----
    What is wrong in the data alone shows while a job runs. ``fit`` and ``update`` then raise the errors above. What
    ``transform`` returns is lazy: the action on it fails with Spark's exception, whose message has the error as
    ``[sparkscale.<its name>] ... [end]``.

    The statistic is a matrix of features by features. Sparse vectors become dense while it is computed, a few rows at a
    time.

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
