"""Moments from SQL aggregates, and where they are as exact as those computed from the rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["AGGREGATES", "are_exact", "mean_and_variance"]

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
SPLIT = 2.0**27 + 1
DISTINCT_MEAN = 1e-130  # above this |mean|, a variance of 0 proves that all values are equal


def mean_and_variance(count: Array, variance: Array, high: Array, low: Array) -> tuple[Array, Array, Array]:
    """Return the mean as origin and shift, and the variance.

    Parameters
    ----------
    count, variance, high, low : numpy.ndarray of float64
        The ``AGGREGATES``, in arrays of one shape; NaN for null.
    """
    variance, high, low = (np.where(count > 0, v, 0.0) for v in (variance, high, low))
    return *_quotient(high, low, np.maximum(count, 1.0)), variance


def are_exact(count: Array, variance: Array, high: Array, low: Array) -> npt.NDArray[np.bool_]:
    """Return where mean and variance have all their digits."""
    origin, shift, variance = mean_and_variance(count, variance, high, low)
    high, low = (np.where(count > 0, v, 0.0) for v in (high, low))
    mean = origin + shift
    with np.errstate(all="ignore"):
        doubtful = (variance > 0) & (np.abs(mean) > MAX_MEAN_TO_STD * np.sqrt(variance))
    doubtful |= (variance == 0) & (shift != 0)  # a constant whose sum was rounded
    doubtful |= (
        (variance < LEAST_VARIANCE) & (np.abs(mean) < DISTINCT_MEAN) & ((variance > 0) | (high != 0) | (low != 0))
    )
    return ~doubtful & np.isfinite(variance) & np.isfinite(mean)


def _quotient(high: Array, low: Array, count: Array) -> tuple[Array, Array]:
    """Divide the total of both sums; return the quotient as a double, and the remainder.

    By the error-free transformations of sums (Knuth) and products (Dekker).
    """
    with np.errstate(all="ignore"):
        total = high + low
        part = total - high
        error = (high - (total - part)) + (low - part)
        origin = total / count
        product = origin * count
        (a, b), (c, d) = _halves(origin), _halves(count)
        rest = ((a * c - product) + a * d + b * c) + b * d
        shift = (((total - product) - rest) + error) / count
        quotient = origin + shift  # the division of a rounded total may be off by one bit
        shift = shift - (quotient - origin)
        finite = np.isfinite(total)
        return np.where(finite, quotient, np.inf), np.where(finite, shift, 0.0)


def _halves(values: Array) -> tuple[Array, Array]:
    """Return the leading 26 bits of doubles, and the remainder."""
    shifted = SPLIT * values
    leading = shifted - (shifted - values)
    return leading, values - leading
