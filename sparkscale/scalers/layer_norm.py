"""Layer normalization."""

from __future__ import annotations

from functools import partial
from math import prod

from pyspark import keyword_only

from sparkscale import kernels
from sparkscale.scalers._params import param
from sparkscale.scalers._rows import RowNorm
from sparkscale.scalers._shared_params import HasBias, HasEpsilon, check_axes
from sparkscale.spark.transform.norms import Grouping, standardized
from sparkscale.spark.transform.rows import MaskedKernel, Normalization

__all__ = ["LayerNorm"]


class LayerNorm(HasEpsilon, HasBias, RowNorm):
    r"""Normalize each row by its own mean and variance.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \gamma + \beta, \qquad
              \mu = \frac1n \sum_i x_i, \quad \sigma^2 = \frac1n \sum_i (x_i - \mu)^2

    Parameters
    ----------
    inputCol, outputCol : str, optional
        One input column of arrays or vectors, and one output column of the same type.
    inputCols, outputCols : list of str, optional
        Several input columns, and one output column for each. By default, outputs are named ``<input>_scaled``.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinite values are left out of mean and variance. "keep" leaves them as they are, "skip" drops rows
        with one, "error" raises an error, and "keepNaN" raises an error for infinite values and otherwise does the
        same as "keep".
    epsilon : float, default=1e-5
        Added to the variance.
    gamma, beta : list of float, optional
        Gain and bias, one value per element of a row or of ``normalizedShape``. The defaults are 1 and 0.
    normalizedShape : list of int, optional
        The last dimensions of the tensor that a row holds, as in PyTorch. They are normalized together. By default, the
        whole row.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed. "gpu" uses CuPy in Python workers; "auto" does so if tasks have a GPU.

    Raises
    ------
    SizeMismatchError
        If ``gamma``, ``beta`` or ``normalizedShape`` does not match the length of a row.

    Notes
    -----
    Sparse vectors become dense. The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

    References
    ----------
    J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", arXiv:1607.06450. ``torch.nn.LayerNorm``.

    Examples
    --------
    >>> from sparkscale import LayerNorm
    >>> df = spark.createDataFrame([([1.0, 3.0],), ([2.0, 2.0],)], "a array<double>")
    >>> LayerNorm(inputCol="a", epsilon=0.0).transform(df).show()
    +----------+-----------+
    |         a|   a_scaled|
    +----------+-----------+
    |[1.0, 3.0]|[-1.0, 1.0]|
    |[2.0, 2.0]| [0.0, 0.0]|
    +----------+-----------+
    <BLANKLINE>
    """

    normalizedShape = param(
        "normalizedShape",
        "the last axes of the tensor that a row holds flattened, which are normalized over. Default: all of the row.",
        list[int],
    )

    @keyword_only
    def __init__(
        self,
        *,
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        handleInvalid: str = "keep",
        epsilon: float = 1e-5,
        gamma: list[float] | None = None,
        beta: list[float] | None = None,
        normalizedShape: list[int] | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__()

    def getNormalizedShape(self) -> list[int]:
        """Return ``normalizedShape``."""
        return self.getOrDefault(self.normalizedShape)

    def setNormalizedShape(self, value: list[int]) -> LayerNorm:
        """Set ``normalizedShape``."""
        return self._set(normalizedShape=value)

    @property
    def _length(self) -> int | None:
        return prod(self.getNormalizedShape()) if self.isSet("normalizedShape") else super()._length

    def _check_params(self) -> None:
        check_axes(self, "normalizedShape")
        super()._check_params()

    def _column_map(self) -> Normalization:
        kernel = partial(kernels.layer_norm, epsilon=self.getEpsilon(), **self._gains())
        axes = (-1, prod(self.getNormalizedShape())) if self.isSet("normalizedShape") else (-1,)
        norm = standardized(self.getEpsilon(), centred=True)
        return Normalization(norm, MaskedKernel(kernel, axes), self._grouping(), self._gains())

    def _grouping(self) -> Grouping:
        if self.isSet("normalizedShape"):
            why = f", which the {self._length} places of normalizedShape {self.getNormalizedShape()} do not divide."
            return Grouping(1, None, self._length, reason=f"{why} Correct it, or the rows.")
        return Grouping(1, 1, self._length, reason=self._reason())
