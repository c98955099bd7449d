"""Unit norm."""

from __future__ import annotations

from functools import partial

from pyspark import keyword_only

from sparkscale import kernels
from sparkscale.scalers._params import param
from sparkscale.scalers._rows import RowNorm
from sparkscale.spark.transform.norms import unit
from sparkscale.spark.transform.rows import MaskedKernel, UnitNorm

__all__ = ["Normalizer"]


class Normalizer(RowNorm):
    r"""Divide each row by its p-norm. Rows of zeros are unchanged, and sparse vectors stay sparse.

    .. math:: y = x / \lVert x \rVert_p, \qquad \lVert x \rVert_p = \Bigl(\sum_i |x_i|^p\Bigr)^{1/p}

    Parameters
    ----------
    p : float, default=2.0
        Order of the norm, at least 1. ``float("inf")`` selects the largest absolute value.
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
        If ``p < 1``.

    See Also
    --------
    pyspark.ml.feature.Normalizer : Spark's own class, for vectors only.

    Notes
    -----
    If powers of the values overflow or underflow, or a value is invalid, Spark's class returns zeros, NaN or the original
    row. This class normalizes such a row by its valid values; a sparse vector becomes dense. The errors common to all
    stages, and when they show, are listed in :doc:`/reference/errors`.

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
