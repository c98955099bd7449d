"""Clipping by the norm of all values."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark import keyword_only

from sparkscale.affine import AffineMap
from sparkscale.errors import RangeOverflowError
from sparkscale.kernels import global_norm
from sparkscale.kernels.clipping import shortening
from sparkscale.scalers._base import Scaler
from sparkscale.scalers._model import ExtremaModel
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
        """The 2-norm of all valid values of all features; infinity where it is no double."""
        with np.errstate(all="ignore"):
            return float(global_norm([self.statistics.norm]))

    def _map(self) -> AffineMap:
        norm, clip = self.globalNorm, self.getClipNorm()
        scale = float(np.float64(1.0) / shortening(np, np.asarray(norm), clip, self.getFormula()))
        if not (np.isfinite(norm) and np.isfinite(scale)):
            raise RangeOverflowError(
                f"{type(self).__name__}: the global norm, or its ratio to clipNorm={clip}, is not representable as a "
                "double. Bring the values to another unit first."
            )
        zero = np.zeros(self.numFeatures)
        return AffineMap(zero, np.full(self.numFeatures, scale), zero)

    def _learned_values(self) -> dict[str, Any]:
        return {"norm": self.statistics.norm}


class ClipByGlobalNorm(_ClipParams, Scaler[ClipByGlobalNormModel]):
    r"""Shorten all values by one factor, so that the norm of all of them together is at most ``clipNorm``.

    .. math:: y = x \frac{c}{\max(g, c)} \;\text{(TensorFlow)}, \qquad
              y = x \min\left(1, \frac{c}{g + 10^{-6}}\right) \;\text{(PyTorch)}, \qquad
              g = \sqrt{\sum_{ij} x_{ij}^2}

    The sum is over all rows and all columns. Sparse vectors stay sparse, and values whose squares are no doubles, such
    as 1e300, are summed as well as any.

    Parameters
    ----------
    clipNorm : float, default=1.0
        The largest norm, positive.
    formula : {"tensorflow", "torch"}, default="tensorflow"
        Whose formula.
    inputCol, outputCol : str, optional
        One column in, one out of the same kind.
    inputCols, outputCols : list of str, optional
        Many in, as many out; with ``outputCol``, one vector out. Outputs are named ``<input>_scaled`` if left out.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinities never enter the statistic. "keep" passes null and NaN on, "skip" drops rows that hold
        one, in fit and transform, "error" fails, and "keepNaN" fails at infinities alone and else is "keep".
    handleEmpty : {"keep", "error"}, default="keep"
        A feature without any valid value: "keep" maps it to NaN, with a warning, and "error" fails.
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed: "gpu" is CuPy in Python workers, "auto" that where tasks have a GPU.

    Raises
    ------
    ParamError
        If ``clipNorm`` is not positive and finite, the formula is unknown, or Params contradict each other.
    ColumnNotFoundError, ColumnTypeError, OutputColumnError
        If a column is missing, cannot be scaled, or an output exists that is not its own input.
    InvalidValueError
        For an invalid value that ``handleInvalid`` refuses.
    SizeMismatchError
        If the arrays or vectors of a column differ in length.
    RangeOverflowError
        If the norm is not representable as a double.
    DeviceError
        Under ``device="gpu"``, if a task finds no GPU or cannot compute on it.

    See Also
    --------
    sparkscale.kernels.clip_by_global_norm : The same for arrays.

    Notes
    -----
    What is wrong in the data alone shows while a job runs. ``fit`` and ``update`` then raise the errors above. What
    ``transform`` returns is lazy: the action on it fails with Spark's exception, whose message has the error as
    ``[sparkscale.<its name>] ... [end]``.

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
