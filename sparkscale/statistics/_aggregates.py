"""SQL aggregates that give moments as good as those of the rows, or show where they do not."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

__all__ = ["AGGREGATES", "mean_and_variance"]

Array = npt.NDArray[np.float64]

# A double is split into what a float holds of it and the rest. Sums of either are free of rounding, or nearly, so the
# mean is as good as exact, and exact for a constant. Beyond the floats the sum is infinite, and such columns go
# through Arrow. Shorter texts count: to guard against that here made a fit of 1,000 rows of 10 columns 1.2 times as long.
HIGH = "double(float({x}))"
# Of values whose squares vanish the sizes are added, so that where the variance is 0 a sum of 0 is that of zeros.
LOW = f"CASE WHEN abs({{x}}) < 1e-150D THEN abs({{x}}) ELSE {{x}} - {HIGH} END"
AGGREGATES = ("count({x})", "var_pop({x})", f"sum({HIGH})", f"sum({LOW})")

CONDITION = 1e4  # |mean| / std up to which Spark's running variance keeps 13 digits; at 1e6 it keeps 10
LEAST_VARIANCE = 1e-270  # whose digits are all there, and the mean's, too, with those sizes in it
DISTINCT_MEAN = 1e-130  # |mean| of values that are the same if no square of a difference is left


def mean_and_variance(count: Array, variance: Array, high: Array, low: Array) -> tuple[Array, Array, Array] | None:
    """Return the mean in two parts, and the variance; ``None`` if one of them may have lost digits.

    Parameters
    ----------
    count, variance, high, low : numpy.ndarray of float64, shape (n_features,)
        The ``AGGREGATES``; NaN for null.
    """
    variance, high, low = (np.where(count > 0, v, 0.0) for v in (variance, high, low))
    origin, shift = np.array([_mean(*cell) for cell in zip(high, low, count, strict=True)]).T
    mean = origin + shift
    with np.errstate(all="ignore"):
        doubtful = (variance > 0) & (np.abs(mean) > CONDITION * np.sqrt(variance))
    doubtful |= (variance == 0) & (shift != 0)  # a constant of which a sum was rounded
    doubtful |= (
        (variance < LEAST_VARIANCE) & (np.abs(mean) < DISTINCT_MEAN) & ((variance > 0) | (high != 0) | (low != 0))
    )
    if np.any(doubtful) or not np.all(np.isfinite(variance) & np.isfinite(mean)):
        return None
    return origin, shift, variance


def _mean(high: float, low: float, count: float) -> tuple[float, float]:
    """Divide the sum of both parts, and return what a double holds of the quotient and the rest."""
    if not (np.isfinite(high) and np.isfinite(low)):
        return np.inf, 0.0
    mean = (Fraction(high) + Fraction(low)) / max(int(count), 1)
    return float(mean), float(mean - Fraction(float(mean)))
