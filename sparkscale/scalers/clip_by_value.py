"""Clipping of values."""

from __future__ import annotations

import numpy as np
from pyspark import keyword_only

from sparkscale.scalers._params import param
from sparkscale.scalers._rows import RowTransformer
from sparkscale.spark.transform.rows import Clip

__all__ = ["ClipByValue"]


class ClipByValue(RowTransformer):
    r"""Clip values to ``[low, high]``; sparse vectors stay sparse if this range contains 0.

    .. math:: y = \min(\max(x, low), high)

    Parameters
    ----------
    low, high : float, optional
        The bounds. At least one is required; a bound that is not set does not clip.
    inputCol, outputCol : str, optional
        One input column, and one output column of the same type.
    inputCols, outputCols : list of str, optional
        Several input columns, and one output column for each. By default, outputs are named ``<input>_scaled``.
    handleInvalid : {"keep", "skip", "error", "keepNaN"}, default="keep"
        "keep" leaves null and NaN as they are and clips infinite values, "skip" drops rows with null, NaN or an infinite
        value, "error" raises an error, and "keepNaN" raises an error for infinite values and otherwise does the same as
        "keep".
    device : {"cpu", "gpu", "auto"}, default="cpu"
        Where statistics and outputs are computed. "gpu" uses CuPy in Python workers; "auto" does so if tasks have a GPU.

    Raises
    ------
    ParamError
        If Params contradict each other, neither bound is set, or ``low > high``.

    Notes
    -----
    The errors common to all stages, and when they show, are listed in :doc:`/reference/errors`.

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
        return Clip(*self._bounds)
