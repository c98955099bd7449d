"""Layer normalization."""

from __future__ import annotations

from functools import partial
from math import prod

from pyspark import keyword_only

from sparkscale import kernels
from sparkscale.scalers._params import param
from sparkscale.scalers._rows import RowNorm
from sparkscale.scalers._shared_params import HasBias, HasEpsilon
from sparkscale.spark.transform.rows import Grouping, MaskedKernel, Normalization, standardized

__all__ = ["LayerNorm"]


class LayerNorm(HasEpsilon, HasBias, RowNorm):
    r"""Normalize each row by its own mean and variance.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \gamma + \beta, \qquad
              \mu = \frac1n \sum_i x_i, \quad \sigma^2 = \frac1n \sum_i (x_i - \mu)^2

    Parameters
    ----------
    inputCol, outputCol : str, optional
        One column of arrays or vectors in, one out of the same kind.
    inputCols, outputCols : list of str, optional
        Many in, as many out. Outputs are named ``<input>_scaled`` if left out.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinities never enter mean and variance. "keep" passes them on, "skip" drops rows that hold one,
        "error" fails, and "keepNaN" fails at infinities alone and else is "keep".
    epsilon : float, default=1e-5
        Added to the variance.
    gamma, beta : list of float, optional
        Gain and bias, one for each place of a row or of ``normalizedShape``; 1 and 0 if left out.
    normalizedShape : list of int, optional
        The last axes of the tensor that a row holds flattened, as in PyTorch: each run of as many places is
        normalized by itself. The whole row if left out.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed: "gpu" is CuPy in Python workers, "auto" that where tasks have a GPU.

    Raises
    ------
    ParamError
        If Params contradict each other.
    ColumnNotFoundError, ColumnTypeError, OutputColumnError
        If a column is missing, holds no arrays or vectors, or an output exists that is not its own input.
    SizeMismatchError
        If ``gamma``, ``beta`` or ``normalizedShape`` does not fit the rows.
    InvalidValueError
        For an invalid value that ``handleInvalid`` refuses.
    DeviceError
        Under ``device="gpu"``, if a task finds no GPU or cannot compute on it.

    Notes
    -----
    What is wrong in the data alone shows while a job runs, in Spark's exception, whose message has the error as
    ``[sparkscale.<its name>] ... [end]``. Sparse vectors become dense.

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
        self._check_axes("normalizedShape")
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
