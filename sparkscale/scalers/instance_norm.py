"""Instance normalization."""

from __future__ import annotations

from functools import partial

from pyspark import keyword_only

from sparkscale import kernels
from sparkscale.scalers._rows import RowNorm
from sparkscale.scalers._shared_params import HasBias, HasEpsilon, HasShape
from sparkscale.spark.transform.norms import Grouping, standardized
from sparkscale.spark.transform.rows import MaskedKernel, Normalization

__all__ = ["InstanceNorm"]


class InstanceNorm(HasEpsilon, HasShape, HasBias, RowNorm):
    r"""Normalize each channel of a row by its own mean and variance.

    .. math:: y = \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} \gamma_c + \beta_c

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
        Added to the biased variance.
    gamma, beta : list of float, optional
        Gain and bias, one value per channel. The defaults are 1 and 0.
    shape : list of int, optional
        Dimensions of the tensor that a row holds, flattened in C order. Required.
    dataFormat : {"channelsFirst", "channelsLast"}, default="channelsFirst"
        Whether the channels are the first dimension of the shape or the last.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed. "gpu" uses CuPy in Python workers; "auto" does so if tasks have a GPU.

    Raises
    ------
    ParamError
        If ``shape`` is not set or has only one element per channel.
    SizeMismatchError
        If the length of a row does not match ``shape``.

    Notes
    -----
    Sparse vectors become dense. The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

    References
    ----------
    D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance normalization: the missing ingredient for fast stylization",
    arXiv:1607.08022. ``torch.nn.InstanceNorm2d``.

    Examples
    --------
    >>> from sparkscale import InstanceNorm
    >>> df = spark.createDataFrame([([1.0, 3.0, 2.0, 6.0],)], "a array<double>")
    >>> InstanceNorm(inputCol="a", shape=[2, 2], epsilon=0.0).transform(df).show()
    +--------------------+--------------------+
    |                   a|            a_scaled|
    +--------------------+--------------------+
    |[1.0, 3.0, 2.0, 6.0]|[-1.0, 1.0, -1.0,...|
    +--------------------+--------------------+
    <BLANKLINE>
    """

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
        shape: list[int] | None = None,
        dataFormat: str = "channelsFirst",
        device: str = "cpu",
    ) -> None:
        super().__init__()

    def _check_params(self) -> None:
        super()._check_params()
        if not self.isSet("shape") or self._places == 1:
            raise self._fail(
                "every channel needs several places to be normalized over. Set shape to channels and places, such as "
                "[3, 32, 32]."
            )

    def _column_map(self) -> Normalization:
        channels, epsilon = self._channels, self.getEpsilon()
        kernel = partial(kernels.instance_norm, epsilon=epsilon, **self._gains())
        masked = MaskedKernel(kernel, self._axes, swapped=not self._first)
        grouping = Grouping.of_channels(channels, channels, self._places, first=self._first, reason=self._reason())
        return Normalization(standardized(epsilon, centred=True), masked, grouping, self._gains())
