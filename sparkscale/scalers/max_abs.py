"""Scaling by the largest absolute value."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark import keyword_only
from pyspark.ml.linalg import DenseVector

from sparkscale.affine import AffineMap
from sparkscale.scalers._base import Scaler
from sparkscale.scalers._model import ExtremaModel
from sparkscale.scalers._shared_params import HasClip, HasConstant
from sparkscale.spark.expression import Bounds
from sparkscale.statistics import Extrema

__all__ = ["MaxAbsScaler", "MaxAbsScalerModel"]


class MaxAbsScalerModel(HasClip, HasConstant, ExtremaModel[Extrema]):
    """Model fitted by `MaxAbsScaler`."""

    @property
    def maxAbs(self) -> DenseVector:
        """Largest absolute value of each feature; NaN where there was no value."""
        return self._vector(np.maximum(np.abs(self.statistics.min), np.abs(self.statistics.max)))

    def _map(self) -> AffineMap:
        largest = self.maxAbs.toArray()
        zero = np.zeros(len(largest))
        return AffineMap(zero, np.where(largest == 0, 1.0, largest), zero)

    def _bounds(self) -> Bounds:
        return (-1.0, 1.0) if self.getClip() else None

    def _learned_values(self) -> dict[str, Any]:
        return {"maxAbs": self.maxAbs.toArray()}


class MaxAbsScaler(HasClip, HasConstant, Scaler[MaxAbsScalerModel]):
    r"""Divide each feature by its largest absolute value; sparse vectors stay sparse.

    .. math:: y = x / \max |x|

    A feature that is 0 throughout is divided by 1.

    Parameters
    ----------
    inputCol, outputCol : str, optional
        One column in, one out of the same kind.
    inputCols, outputCols : list of str, optional
        Many in, as many out; with ``outputCol``, one vector out. Outputs are named ``<input>_scaled`` if left out.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        Null, NaN and infinities never enter the statistic. "keep" passes null and NaN on, "skip" drops rows that hold
        one, in fit and transform, "error" fails, and "keepNaN" fails at infinities alone and else is "keep".
    handleEmpty : {"keep", "error"}, default="keep"
        A feature without any valid value: "keep" maps it to NaN, with a warning, and "error" fails.
    handleConstant : {"collapse", "unit"}, default="collapse"
        Without effect here: a feature of zeros is divided by 1 either way.
    clip : bool, default=False
        Clip to [-1, 1].
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed: "gpu" is CuPy in Python workers, "auto" that where tasks have a GPU.

    Raises
    ------
    ParamError
        If Params contradict each other.
    ColumnNotFoundError, ColumnTypeError, OutputColumnError
        If a column is missing, cannot be scaled, or an output exists that is not its own input.
    InvalidValueError
        For an invalid value that ``handleInvalid`` refuses.
    SizeMismatchError
        If the arrays or vectors of a column differ in length.
    DeviceError
        Under ``device="gpu"``, if a task finds no GPU or cannot compute on it.

    See Also
    --------
    pyspark.ml.feature.MaxAbsScaler : The same for vectors only.

    Notes
    -----
    What is wrong in the data alone shows while a job runs. ``fit`` and ``update`` then raise the errors above. What
    ``transform`` returns is lazy: the action on it fails with Spark's exception, whose message has the error as
    ``[sparkscale.<its name>] ... [end]``.

    Examples
    --------
    >>> from sparkscale import MaxAbsScaler
    >>> df = spark.createDataFrame([([1.0, -8.0],), ([2.0, 4.0],)], "a array<double>")
    >>> model = MaxAbsScaler(inputCol="a").fit(df)
    >>> model.transform(df).show()
    +-----------+-----------+
    |          a|   a_scaled|
    +-----------+-----------+
    |[1.0, -8.0]|[0.5, -1.0]|
    | [2.0, 4.0]| [1.0, 0.5]|
    +-----------+-----------+
    <BLANKLINE>
    """

    _model = MaxAbsScalerModel

    @keyword_only
    def __init__(
        self,
        *,
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        handleInvalid: str = "keep",
        handleEmpty: str = "keep",
        handleConstant: str = "collapse",
        clip: bool = False,
        device: str = "cpu",
    ) -> None:
        super().__init__()
