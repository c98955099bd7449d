"""Clipping of lengths."""

from __future__ import annotations

from functools import partial

from pyspark import keyword_only

from sparkscale import kernels
from sparkscale.scalers._rows import RowNorm
from sparkscale.scalers._shared_params import HasClipNorm
from sparkscale.spark.transform.rows import MaskedKernel, Normalization, shortened

__all__ = ["ClipByNorm"]


class ClipByNorm(HasClipNorm, RowNorm):
    r"""Shorten each row whose 2-norm is above ``clipNorm``; sparse vectors stay sparse.

    .. math:: y = x \frac{c}{\max(\lVert x \rVert_2, c)} \;\text{(TensorFlow)}, \qquad
              y = x \min\left(1, \frac{c}{\lVert x \rVert_2 + 10^{-6}}\right) \;\text{(PyTorch)}

    Parameters
    ----------
    clipNorm : float
        The largest length, positive.
    formula : {"tensorflow", "torch"}, default="tensorflow"
        Whose formula.
    inputCol, outputCol : str, optional
        One column of arrays or vectors in, one out of the same kind.
    inputCols, outputCols : list of str, optional
        Many in, as many out. Outputs are named ``<input>_scaled`` if left out.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinities never enter the norm. "keep" passes them on, "skip" drops rows that hold one, "error"
        fails, and "keepNaN" fails at infinities alone and else is "keep".
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed: "gpu" is CuPy in Python workers, "auto" that where tasks have a GPU.

    Raises
    ------
    ParamError
        If Params contradict each other, or ``clipNorm`` is not set or not positive.
    ColumnNotFoundError, ColumnTypeError, OutputColumnError
        If a column is missing, holds no arrays or vectors, or an output exists that is not its own input.
    InvalidValueError
        For an invalid value that ``handleInvalid`` refuses.
    DeviceError
        Under ``device="gpu"``, if a task finds no GPU or cannot compute on it.

    Notes
    -----
    What is wrong in the data alone shows while a job runs, in Spark's exception, whose message has the error as
    ``[sparkscale.<its name>] ... [end]``.

    References
    ----------
    ``tf.clip_by_norm``, ``torch.nn.utils.clip_grad_norm_``.

    Examples
    --------
    >>> from sparkscale import ClipByNorm
    >>> df = spark.createDataFrame([([3.0, 4.0],), ([0.3, 0.4],)], "a array<double>")
    >>> ClipByNorm(inputCol="a", clipNorm=2.5).transform(df).show()
    +----------+----------+
    |         a|  a_scaled|
    +----------+----------+
    |[3.0, 4.0]|[1.5, 2.0]|
    |[0.3, 0.4]|[0.3, 0.4]|
    +----------+----------+
    <BLANKLINE>
    """

    @keyword_only
    def __init__(
        self,
        *,
        clipNorm: float | None = None,
        formula: str = "tensorflow",
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        handleInvalid: str = "keep",
        device: str = "cpu",
    ) -> None:
        super().__init__()

    def _column_map(self) -> Normalization:
        norm, formula = self.getClipNorm(), self.getFormula()
        kernel = MaskedKernel(partial(kernels.clip_by_norm, clip_norm=norm, formula=formula, axes=-1))
        return Normalization(shortened(norm, formula), kernel, keeps_zero=True)
