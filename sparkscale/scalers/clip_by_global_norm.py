"""Clipping by the norm of all values."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark import keyword_only

from sparkscale.affine import AffineMap
from sparkscale.errors import RangeOverflowError
from sparkscale.kernels import global_norm
from sparkscale.kernels.clipping import clip_factor
from sparkscale.scalers._base import Scaler
from sparkscale.scalers._extrema import ExtremaModel
from sparkscale.scalers._shared_params import HasClipNorm
from sparkscale.statistics import Squares

__all__ = ["ClipByGlobalNorm", "ClipByGlobalNormModel"]


class _ClipParams(HasClipNorm):
    _defaults = {"clipNorm": 1.0}


class ClipByGlobalNormModel(_ClipParams, ExtremaModel[Squares]):
    """Model fitted by `ClipByGlobalNorm`."""

    _statistic_class = Squares
    _repr_params = ("clipNorm", "formula")

    @property
    def globalNorm(self) -> float:
        """The 2-norm of all valid values of all features; infinity if it overflows a double."""
        with np.errstate(all="ignore"):
            return float(global_norm([self.statistics.norm]))

    def _map(self) -> AffineMap:
        norm, clip = self.globalNorm, self.getClipNorm()
        scale = float(np.float64(1.0) / clip_factor(np, np.asarray(norm), clip, self.getFormula()))
        if not (np.isfinite(norm) and np.isfinite(scale)):
            raise RangeOverflowError(
                f"{type(self).__name__}: the global norm, or its ratio to clipNorm={clip}, is not representable as a "
                "double. Convert the values to another unit first."
            )
        zero = np.zeros(self.numFeatures)
        return AffineMap(zero, np.full(self.numFeatures, scale), zero)

    def _learned_values(self) -> dict[str, Any]:
        return {"norm": self.statistics.norm}


class ClipByGlobalNorm(_ClipParams, Scaler[ClipByGlobalNormModel]):
    r"""Multiply all values by one factor, so that the norm of the whole matrix is at most ``clipNorm``.

    .. math:: y = x \frac{c}{\max(g, c)} \;\text{(TensorFlow)}, \qquad
              y = x \min\left(1, \frac{c}{g + 10^{-6}}\right) \;\text{(PyTorch)}, \qquad
              g = \sqrt{\sum_{ij} x_{ij}^2}

    The sum is over all rows and all columns. Sparse vectors stay sparse. Values whose squares overflow a double, such as
    1e300, are summed correctly.

    Parameters
    ----------
    clipNorm : float, default=1.0
        The largest norm that is allowed; positive.
    formula : {"tensorflow", "torch"}, default="tensorflow"
        Which of the two formulas to use.
    inputCol, outputCol : str, optional
        One input column, and one output column of the same type.
    inputCols, outputCols : list of str, optional
        Several input columns, and one output column for each; with ``outputCol``, one output vector. By default, outputs
        are named ``<input>_scaled``.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinite values are never used to fit. "keep" leaves null and NaN as they are, "skip" drops rows
        with an invalid value in fit and transform, "error" raises an error, and "keepNaN" raises an error for infinite
        values and otherwise does the same as "keep".
    handleEmpty : {"keep", "error"}, default="keep"
        A feature without any valid value: "keep" maps it to NaN and logs a warning, "error" raises an error.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed. "gpu" uses CuPy in Python workers; "auto" does so if tasks have a GPU.

    Raises
    ------
    ParamError
        If ``clipNorm`` is not positive and finite, the formula is unknown.
    RangeOverflowError
        If the norm is not representable as a double.

    See Also
    --------
    sparkscale.kernels.clip_by_global_norm : The same for arrays.

    Notes
    -----
    The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

    References
    ----------
    R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", arXiv:1211.5063;
    ``tf.clip_by_global_norm``; ``torch.nn.utils.clip_grad_norm_``.

    Examples
    --------
    >>> from sparkscale import ClipByGlobalNorm
    >>> df = spark.createDataFrame([(3.0, 4.0), (0.0, 12.0)], "x double, y double")
    >>> model = ClipByGlobalNorm(inputCols=["x", "y"], clipNorm=6.5).fit(df)
    >>> model.globalNorm
    13.0
    >>> model.transform(df).show()
    +---+----+--------+--------+
    |  x|   y|x_scaled|y_scaled|
    +---+----+--------+--------+
    |3.0| 4.0|     1.5|     2.0|
    |0.0|12.0|     0.0|     6.0|
    +---+----+--------+--------+
    <BLANKLINE>
    """

    _model = ClipByGlobalNormModel

    @keyword_only
    def __init__(
        self,
        *,
        clipNorm: float = 1.0,
        formula: str = "tensorflow",
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        handleInvalid: str = "keep",
        handleEmpty: str = "keep",
        device: str = "cpu",
    ) -> None:
        super().__init__()
