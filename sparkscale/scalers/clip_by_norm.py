"""Clipping of lengths."""

from __future__ import annotations

from functools import partial

from pyspark import keyword_only

from sparkscale import kernels
from sparkscale.scalers._rows import RowNorm
from sparkscale.scalers._shared_params import HasClipNorm
from sparkscale.spark.transform.norms import shortened
from sparkscale.spark.transform.rows import MaskedKernel, Normalization

__all__ = ["ClipByNorm"]


class ClipByNorm(HasClipNorm, RowNorm):
    r"""Scale down each row whose 2-norm exceeds ``clipNorm``; sparse vectors stay sparse.

    .. math:: y = x \frac{c}{\max(\lVert x \rVert_2, c)} \;\text{(TensorFlow)}, \qquad
              y = x \min\left(1, \frac{c}{\lVert x \rVert_2 + 10^{-6}}\right) \;\text{(PyTorch)}

    Parameters
    ----------
    clipNorm : float
        The largest norm that is allowed; positive.
    formula : {"tensorflow", "torch"}, default="tensorflow"
        Which of the two formulas to use.
    inputCol, outputCol : str, optional
        One input column of arrays or vectors, and one output column of the same type.
    inputCols, outputCols : list of str, optional
        Several input columns, and one output column for each. By default, outputs are named ``<input>_scaled``.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinite values are left out of the norm. "keep" leaves them as they are, "skip" drops rows
        with one, "error" raises an error, and "keepNaN" raises an error for infinite values and otherwise does the
        same as "keep".
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed. "gpu" uses CuPy in Python workers; "auto" does so if tasks have a GPU.

    Raises
    ------
    ParamError
        If ``clipNorm`` is not set or not positive.

    Notes
    -----
    The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

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
