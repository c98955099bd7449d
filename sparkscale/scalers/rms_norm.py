"""Root mean square normalization."""

from __future__ import annotations

from functools import partial

from pyspark import keyword_only

from sparkscale import kernels
from sparkscale.scalers._rows import RowNorm
from sparkscale.scalers._shared_params import HasEpsilon, HasShape
from sparkscale.spark.transform.rows import Grouping, MaskedKernel, Normalization, standardized

__all__ = ["RMSNorm"]


class RMSNorm(HasEpsilon, HasShape, RowNorm):
    r"""Divide each row by its root mean square; with a shape, each place by that of its channels (pixel norm).

    .. math:: y = \frac{x}{\sqrt{\frac1n \sum_i x_i^2 + \epsilon}} \gamma

    Parameters
    ----------
    inputCol, outputCol : str, optional
        One column of arrays or vectors in, one out of the same kind.
    inputCols, outputCols : list of str, optional
        Many in, as many out. Outputs are named ``<input>_scaled`` if left out.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinities never enter mean squares. "keep" passes them on, "skip" drops rows that hold one,
        "error" fails, and "keepNaN" fails at infinities alone and else is "keep".
    epsilon : float, default=1e-6
        Added to the mean square.
    gamma : list of float, optional
        Gain, one for each place of a row, or for each channel of the shape; 1 if left out.
    shape : list of int, optional
        Shape of the tensor that a row holds flattened. If left out, all of a row is normalized together.
    dataFormat : {"channelsFirst", "channelsLast"}, default="channelsFirst"
        Whether the channels are the first axis of the shape or the last.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed: "gpu" is CuPy in Python workers, "auto" that where tasks have a GPU.

    Raises
    ------
    ParamError
        If Params contradict each other.
    ColumnNotFoundError, ColumnTypeError, OutputColumnError
        If a column is missing, holds no arrays or vectors, or an output exists that is not its own input.
    SizeMismatchError
        If the length of a row is not that of the shape, or of gamma.
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
    B. Zhang, R. Sennrich, "Root mean square layer normalization", arXiv:1910.07467. T. Karras et al., "Progressive
    growing of GANs", arXiv:1710.10196, section 4.2 (pixel norm). ``torch.nn.RMSNorm``.

    Examples
    --------
    >>> from sparkscale import RMSNorm
    >>> df = spark.createDataFrame([([3.0, 4.0, 0.0, 0.0],)], "a array<double>")
    >>> RMSNorm(inputCol="a", epsilon=0.0).transform(df).show()
    +--------------------+--------------------+
    |                   a|            a_scaled|
    +--------------------+--------------------+
    |[3.0, 4.0, 0.0, 0.0]|[1.2, 1.6, 0.0, 0.0]|
    +--------------------+--------------------+
    <BLANKLINE>
    """

    _defaults = {"epsilon": 1e-6}

    @keyword_only
    def __init__(
        self,
        *,
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        handleInvalid: str = "keep",
        epsilon: float = 1e-6,
        gamma: list[float] | None = None,
        shape: list[int] | None = None,
        dataFormat: str = "channelsFirst",
        device: str = "cpu",
    ) -> None:
        super().__init__()

    def _column_map(self) -> Normalization:
        kernel = partial(kernels.rms_norm, epsilon=self.getEpsilon(), **self._gains())
        masked = MaskedKernel(kernel, self._axes, swapped=self._first) if self.isSet("shape") else MaskedKernel(kernel)
        norm = standardized(self.getEpsilon(), centred=False)
        return Normalization(norm, masked, self._grouping(), self._gains())

    def _grouping(self) -> Grouping:
        if not self.isSet("shape"):
            return Grouping(1, 1, self._length, reason=self._reason())
        if self._first:
            return Grouping(self._channels, self._places, 1, reason=self._reason())
        return Grouping(1, self._places, self._channels, reason=self._reason())
