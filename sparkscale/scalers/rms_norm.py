"""Root mean square normalization."""

from __future__ import annotations

from functools import partial

from pyspark import keyword_only

from sparkscale import kernels
from sparkscale.scalers._rows import RowNorm
from sparkscale.scalers._shared_params import HasEpsilon, HasShape
from sparkscale.spark.transform.norms import Grouping, standardized
from sparkscale.spark.transform.rows import MaskedKernel, Normalization

__all__ = ["RMSNorm"]


class RMSNorm(HasEpsilon, HasShape, RowNorm):
    r"""Divide each row by its root mean square; with ``shape``, each position by that of its channels (pixel norm).

    .. math:: y = \frac{x}{\sqrt{\frac1n \sum_i x_i^2 + \epsilon}} \gamma

    Parameters
    ----------
    inputCol, outputCol : str, optional
        One input column of arrays or vectors, and one output column of the same type.
    inputCols, outputCols : list of str, optional
        Several input columns, and one output column for each. By default, outputs are named ``<input>_scaled``.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinite values are left out of mean squares. "keep" leaves them as they are, "skip" drops rows
        with one, "error" raises an error, and "keepNaN" raises an error for infinite values and otherwise does the
        same as "keep".
    epsilon : float, default=1e-6
        Added to the mean square.
    gamma : list of float, optional
        Gain, one value per element of a row, or per channel of ``shape``. The default is 1.
    shape : list of int, optional
        Dimensions of the tensor that a row holds, flattened in C order. By default, the whole row is normalized together.
    dataFormat : {"channelsFirst", "channelsLast"}, default="channelsFirst"
        Whether the channels are the first dimension of the shape or the last.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed. "gpu" uses CuPy in Python workers; "auto" does so if tasks have a GPU.

    Raises
    ------
    SizeMismatchError
        If the length of a row does not match ``shape`` or ``gamma``.

    Notes
    -----
    Sparse vectors become dense. The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

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
