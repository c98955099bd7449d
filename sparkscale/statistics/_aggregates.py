"""Moments from SQL aggregates, as exact as those computed from the rows, or ``None`` where they are not."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

__all__ = ["AGGREGATES", "mean_and_variance"]

Array = npt.NDArray[np.float64]

# A double is split into its float part and the remainder. The sums of both are exact, or nearly so: the mean is almost
# exact, and exact for a constant. Outside the range of float the sum is infinite; such columns are scanned through
# Arrow. A guard against that in SQL makes a fit of 1,000 rows of 10 columns take 1.2 times as long: short texts matter.
HIGH = "double(float({x}))"
# Values whose squares underflow contribute their absolute value: if the variance and this sum are 0, all values are 0.
LOW = f"CASE WHEN abs({{x}}) < 1e-150D THEN abs({{x}}) ELSE {{x}} - {HIGH} END"
AGGREGATES = ("count({x})", "var_pop({x})", f"sum({HIGH})", f"sum({LOW})")

MAX_MEAN_TO_STD = 1e4  # up to this ratio Spark's running variance keeps 13 digits; at 1e6 it keeps 10
LEAST_VARIANCE = 1e-270  # above it, variance and mean have all their digits, absolute values in LOW included
DISTINCT_MEAN = 1e-130  # above this |mean|, a variance of 0 proves that all values are equal


def mean_and_variance(count: Array, variance: Array, high: Array, low: Array) -> tuple[Array, Array, Array] | None:
    """Return the mean as origin and shift, and the variance; ``None`` if one of them may have lost digits.

    Parameters
    ----------
    count, variance, high, low : numpy.ndarray of float64, shape (n_features,)
        The ``AGGREGATES``; NaN for null.
    """
    variance, high, low = (np.where(count > 0, v, 0.0) for v in (variance, high, low))
    origin, shift = np.array([_mean(*cell) for cell in zip(high, low, count, strict=True)]).T
    mean = origin + shift
    with np.errstate(all="ignore"):
        doubtful = (variance > 0) & (np.abs(mean) > MAX_MEAN_TO_STD * np.sqrt(variance))
    doubtful |= (variance == 0) & (shift != 0)  # a constant whose sum was rounded
    doubtful |= (
        (variance < LEAST_VARIANCE) & (np.abs(mean) < DISTINCT_MEAN) & ((variance > 0) | (high != 0) | (low != 0))
    )
    if np.any(doubtful) or not np.all(np.isfinite(variance) & np.isfinite(mean)):
        return None
    return origin, shift, variance


def _mean(high: float, low: float, count: float) -> tuple[float, float]:
    """Divide the total of both sums; return the quotient as a double, and the remainder."""
    if not (np.isfinite(high) and np.isfinite(low)):
        return np.inf, 0.0
    mean = (Fraction(high) + Fraction(low)) / max(int(count), 1)
    return float(mean), float(mean - Fraction(float(mean)))
