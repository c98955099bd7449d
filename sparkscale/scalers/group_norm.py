"""Group normalization."""

from __future__ import annotations

from functools import partial

from pyspark import keyword_only

from sparkscale import kernels
from sparkscale.scalers._params import param
from sparkscale.scalers._rows import RowNorm
from sparkscale.scalers._shared_params import HasBias, HasEpsilon, HasShape
from sparkscale.spark.transform.norms import Grouping, standardized
from sparkscale.spark.transform.rows import MaskedKernel, Normalization

__all__ = ["GroupNorm"]


class GroupNorm(HasEpsilon, HasShape, HasBias, RowNorm):
    r"""Normalize each group of channels of a row by its own mean and variance.

    .. math:: y = \frac{x - \mu_g}{\sqrt{\sigma_g^2 + \epsilon}} \gamma_c + \beta_c

    With one group, this is layer normalization with one gain per channel. With one group per channel, it is instance
    normalization.

    Parameters
    ----------
    numGroups : int
        Number of groups. It must divide the number of channels.
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
        Dimensions of the tensor that a row holds, flattened in C order. By default, each element of a row is a channel.
    dataFormat : {"channelsFirst", "channelsLast"}, default="channelsFirst"
        Whether the channels are the first dimension of the shape or the last.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed. "gpu" uses CuPy in Python workers; "auto" does so if tasks have a GPU.

    Raises
    ------
    ParamError
        If ``numGroups`` is not set or does not divide the channels.
    SizeMismatchError
        If the length of a row does not match ``shape``, ``gamma`` and ``beta``, or is not a multiple of ``numGroups``.

    Notes
    -----
    Sparse vectors become dense. The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

    References
    ----------
    Y. Wu, K. He, "Group normalization", arXiv:1803.08494. ``torch.nn.GroupNorm``.

    Examples
    --------
    >>> from sparkscale import GroupNorm
    >>> df = spark.createDataFrame([([1.0, 3.0, 2.0, 6.0],)], "a array<double>")
    >>> GroupNorm(inputCol="a", numGroups=2, epsilon=0.0).transform(df).show()
    +--------------------+--------------------+
    |                   a|            a_scaled|
    +--------------------+--------------------+
    |[1.0, 3.0, 2.0, 6.0]|[-1.0, 1.0, -1.0,...|
    +--------------------+--------------------+
    <BLANKLINE>
    """

    numGroups = param("numGroups", "number of groups of channels", int)

    @keyword_only
    def __init__(
        self,
        *,
        numGroups: int | None = None,
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

    def getNumGroups(self) -> int:
        """Return ``numGroups``."""
        return self.getOrDefault(self.numGroups)

    def setNumGroups(self, value: int) -> GroupNorm:
        """Set ``numGroups``."""
        return self._set(numGroups=value)

    def _check_params(self) -> None:
        super()._check_params()
        if not self.isSet("numGroups") or self.getNumGroups() < 1:
            raise self._fail("numGroups must be set, and at least 1.")
        if self._length and self._length % self.getNumGroups():
            raise self._fail(f"numGroups={self.getNumGroups()} does not divide {self._length} channels. Set a divisor.")

    def _column_map(self) -> Normalization:
        groups, epsilon = self.getNumGroups(), self.getEpsilon()
        kernel = partial(kernels.group_norm, groups=groups, epsilon=epsilon, **self._gains())
        masked = MaskedKernel(kernel, self._axes, swapped=not self._first)
        return Normalization(standardized(epsilon, centred=True), masked, self._grouping(), self._gains())

    def _grouping(self) -> Grouping:
        groups, channels = self.getNumGroups(), self._length
        if channels is None:
            return Grouping(1, groups, None, reason=f", which numGroups={groups} does not divide. Set a divisor.")
        return Grouping.of_channels(groups, channels, self._places, first=self._first, reason=self._reason())
