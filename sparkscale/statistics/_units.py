"""Arithmetic of weighted second moments that may underflow: deviations are divided by a unit before they are squared."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sparkscale.arrays import namespace
from sparkscale.statistics._reductions import Entries, Reductions

__all__ = [
    "MIN_SQUARE_SUM",
    "NORMAL",
    "SMALLEST",
    "Mask",
    "may_have_underflowed",
    "nonzero",
    "product",
    "second_moment_in_units",
    "varies",
    "without_unit",
]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MIN_SQUARE_SUM = 1e-290  # smaller sums of squares may have lost digits, or be 0 by underflow
NORMAL = float(np.finfo(np.float64).tiny)  # the least double of full precision
SMALLEST = 5e-324  # the least double


def may_have_underflowed(m2: Array, weight: Array) -> Mask:
    """Return the features whose squares, or products of squares and weights, may have lost digits by underflow."""
    return m2 < MIN_SQUARE_SUM * namespace(m2).clip(weight, 1.0)  # type: ignore[no-any-return]


def varies(deviation: Array, rows: Reductions) -> Mask:
    """Return the columns that are not constant."""
    return rows.largest(deviation) > rows.least(deviation)  # type: ignore[no-any-return]


def nonzero(divisor: Array) -> Array:
    """Return a divisor with 1 in place of 0."""
    return namespace(divisor).where(divisor == 0, 1.0, divisor)  # type: ignore[no-any-return]


def product(weight: Array, values: Array) -> Array:
    """Return weight times values; 0 where the weight is 0, even if the value is NaN or infinite."""
    return namespace(weight).where(weight > 0, weight * values, 0.0)  # type: ignore[no-any-return]


def without_unit(m2: Array, unit: Array) -> tuple[Array, Array]:
    """Return second moments and their units; 1 where no unit is needed."""
    xp = namespace(m2)
    unscaled = m2 * unit * unit
    exact = (unscaled >= MIN_SQUARE_SUM) | (m2 == 0)
    return xp.where(exact, unscaled, m2), xp.where(exact, 1.0, unit)


def second_moment_in_units(weight: Array, deviation: Array, table: Reductions | Entries) -> tuple[Array, Array, Array]:
    """Return the mean and second moment of deviations, and the unit of the second moment.

    Weights and deviations are divided by the largest of each feature. The products of deviations and square roots of
    weights are scaled once more before they are squared.
    """
    xp, largest, each = namespace(deviation), table.largest, table.each
    heaviest, farthest = nonzero(largest(weight)), nonzero(largest(xp.abs(deviation)))
    weight, deviation = weight / each(heaviest), deviation / each(farthest)
    mean = table.sum(weight * deviation) / nonzero(table.sum(weight))
    size = xp.sqrt(weight) * xp.abs(deviation - each(mean))
    length = nonzero(largest(size))
    m2, scale = table.sum((size / each(length)) ** 2), length * xp.sqrt(heaviest)
    unit = xp.clip(farthest * scale, NORMAL)  # a subnormal unit would lose digits
    m2 = xp.where(m2 == 0, 0.0, xp.clip(m2 * (farthest / unit * scale) ** 2, SMALLEST))
    return (mean * farthest, *without_unit(m2, unit))
