"""Unit norm."""

from __future__ import annotations

from functools import partial

from pyspark import keyword_only

from sparkscale import kernels
from sparkscale.scalers._params import param
from sparkscale.scalers._rows import RowNorm
from sparkscale.spark.transform.rows import MaskedKernel, UnitNorm, unit

__all__ = ["Normalizer"]


class Normalizer(RowNorm):
    r"""Divide each row by its p-norm; a row of zeros stays, and sparse vectors stay sparse.

    .. math:: y = x / \lVert x \rVert_p, \qquad \lVert x \rVert_p = \Bigl(\sum_i |x_i|^p\Bigr)^{1/p}

    Parameters
    ----------
    p : float, default=2.0
        Order of the norm, at least 1; ``float("inf")`` for the largest absolute value.
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
        If Params contradict each other, or ``p < 1``.
    ColumnNotFoundError, ColumnTypeError, OutputColumnError
        If a column is missing, holds no arrays or vectors, or an output exists that is not its own input.
    InvalidValueError
        For an invalid value that ``handleInvalid`` refuses.
    DeviceError
        Under ``device="gpu"``, if a task finds no GPU or cannot compute on it.

    See Also
    --------
    pyspark.ml.feature.Normalizer : The same for vectors only.

    Notes
    -----
    What is wrong in the data alone shows while a job runs, in Spark's exception, whose message has the error as
    ``[sparkscale.<its name>] ... [end]``. Where powers of the values overflow or
    vanish, or a value is invalid, Spark's class gives zeros, NaN or the row as it was. Here such a row is normalized
    by its valid values; if it is a sparse vector, it comes out dense.

    Examples
    --------
    >>> from sparkscale import Normalizer
    >>> df = spark.createDataFrame([([3.0, 4.0],), ([0.0, 0.0],)], "a array<double>")
    >>> Normalizer(inputCol="a").transform(df).show()
    +----------+----------+
    |         a|  a_scaled|
    +----------+----------+
    |[3.0, 4.0]|[0.6, 0.8]|
    |[0.0, 0.0]|[0.0, 0.0]|
    +----------+----------+
    <BLANKLINE>
    """

    p = param("p", "order of the norm", float)

    _defaults = {"p": 2.0}

    @keyword_only
    def __init__(
        self,
        *,
        p: float = 2.0,
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        handleInvalid: str = "keep",
        device: str = "cpu",
    ) -> None:
        super().__init__()

    def getP(self) -> float:
        """Return ``p``."""
        return self.getOrDefault(self.p)

    def setP(self, value: float) -> Normalizer:
        """Set ``p``."""
        return self._set(p=value)

    def _check_params(self) -> None:
        super()._check_params()
        if not self.getP() >= 1:
            raise self._fail(f"p must be at least 1. Got {self.getP()}.")

    def _column_map(self) -> UnitNorm:
        p = self.getP()
        return UnitNorm(unit(p), MaskedKernel(partial(kernels.normalize, p=p)), keeps_zero=True, p=p)
