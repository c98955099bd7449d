"""Group normalization."""

from __future__ import annotations

from functools import partial

from pyspark import keyword_only

from sparkscale import kernels
from sparkscale.scalers._params import param
from sparkscale.scalers._rows import RowNorm
from sparkscale.scalers._shared_params import HasBias, HasEpsilon, HasShape
from sparkscale.spark.transform.rows import Grouping, MaskedKernel, Normalization, standardized

__all__ = ["GroupNorm"]


class GroupNorm(HasEpsilon, HasShape, HasBias, RowNorm):
    r"""Normalize each group of channels of a row by its own mean and variance.

    .. math:: y = \frac{x - \mu_g}{\sqrt{\sigma_g^2 + \epsilon}} \gamma_c + \beta_c

    One group is layer norm with a gain for each channel; as many groups as channels are instance norm.

    Parameters
    ----------
    numGroups : int
        Number of groups; it divides the channels.
    inputCol, outputCol : str, optional
        One column of arrays or vectors in, one out of the same kind.
    inputCols, outputCols : list of str, optional
        Many in, as many out. Outputs are named ``<input>_scaled`` if left out.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinities never enter mean and variance. "keep" passes them on, "skip" drops rows that hold one,
        "error" fails, and "keepNaN" fails at infinities alone and else is "keep".
    epsilon : float, default=1e-5
        Added to the biased variance.
    gamma, beta : list of float, optional
        Gain and bias, one for each channel; 1 and 0 if left out.
    shape : list of int, optional
        Shape of the tensor that a row holds flattened. If left out, a row is its channels, with one place each.
    dataFormat : {"channelsFirst", "channelsLast"}, default="channelsFirst"
        Whether the channels are the first axis of the shape or the last.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed: "gpu" is CuPy in Python workers, "auto" that where tasks have a GPU.

    Raises
    ------
    ParamError
        If Params contradict each other, or ``numGroups`` is not set or does not divide the channels.
    ColumnNotFoundError, ColumnTypeError, OutputColumnError
        If a column is missing, holds no arrays or vectors, or an output exists that is not its own input.
    SizeMismatchError
        If the length of a row is not that of the shape, of gamma and beta, or a multiple of ``numGroups``.
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
