"""Clipping of values."""

from __future__ import annotations

import numpy as np
from pyspark import keyword_only

from sparkscale.scalers._params import param
from sparkscale.scalers._rows import RowTransformer
from sparkscale.spark.transform.rows import Clip

__all__ = ["ClipByValue"]


class ClipByValue(RowTransformer):
    r"""Bring values into ``[low, high]``; sparse vectors stay sparse if that holds 0.

    .. math:: y = \min(\max(x, low), high)

    Parameters
    ----------
    low, high : float, optional
        The bounds; no bound where left out, but one has to be set.
    inputCol, outputCol : str, optional
        One column in, one out of the same kind.
    inputCols, outputCols : list of str, optional
        Many in, as many out. Outputs are named ``<input>_scaled`` if left out.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        "keep" passes null and NaN on and clips infinities like any value, "skip" drops rows that hold null, NaN or an
        infinity, "error" fails, and "keepNaN" fails at infinities alone and else is "keep".
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed: "gpu" is CuPy in Python workers, "auto" that where tasks have a GPU.

    Raises
    ------
    ParamError
        If Params contradict each other, neither bound is set, or ``low > high``.
    ColumnNotFoundError, ColumnTypeError, OutputColumnError
        If a column is missing, cannot be clipped, or an output exists that is not its own input.
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
    ``tf.clip_by_value``, ``torch.nn.utils.clip_grad_value_``.

    Examples
    --------
    >>> from sparkscale import ClipByValue
    >>> df = spark.createDataFrame([(-2.0, [0.5, 7.0]), (None, [-9.0, float("nan")])], "x double, a array<double>")
    >>> ClipByValue(inputCols=["x", "a"], low=-1.0, high=1.0).transform(df).show()
    +----+-----------+--------+-----------+
    |   x|          a|x_scaled|   a_scaled|
    +----+-----------+--------+-----------+
    |-2.0| [0.5, 7.0]|    -1.0| [0.5, 1.0]|
    |NULL|[-9.0, NaN]|    NULL|[-1.0, NaN]|
    +----+-----------+--------+-----------+
    <BLANKLINE>
    """

    low = param("low", "lower bound. Default: none.", float)
    high = param("high", "upper bound. Default: none.", float)

    @keyword_only
    def __init__(
        self,
        *,
        low: float | None = None,
        high: float | None = None,
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        handleInvalid: str = "keep",
        device: str = "cpu",
    ) -> None:
        super().__init__()

    def getLow(self) -> float:
        """Return ``low``."""
        return self.getOrDefault(self.low)

    def getHigh(self) -> float:
        """Return ``high``."""
        return self.getOrDefault(self.high)

    def setLow(self, value: float) -> ClipByValue:
        """Set ``low``."""
        return self._set(low=value)

    def setHigh(self, value: float) -> ClipByValue:
        """Set ``high``."""
        return self._set(high=value)

    @property
    def _bounds(self) -> tuple[float, float]:
        return (self.getLow() if self.isSet("low") else -np.inf, self.getHigh() if self.isSet("high") else np.inf)

    def _check_params(self) -> None:
        super()._check_params()
        if not (self.isSet("low") or self.isSet("high")):
            raise self._fail("neither low nor high is set. Set one of them or both.")
        if not self._bounds[0] <= self._bounds[1]:
            raise self._fail(
                f"low must not be above high, nor either NaN. Got low={self._bounds[0]}, high={self._bounds[1]}."
            )

    def _column_map(self) -> Clip:
        return Clip(self._bounds)
