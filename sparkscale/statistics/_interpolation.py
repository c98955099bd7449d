"""Interpolation of smooth functions between the exponents of a grid."""

from __future__ import annotations

from functools import cache

import numpy as np

from sparkscale.statistics._base import Array
from sparkscale.statistics.powers import EXPONENTS

__all__ = ["interpolated", "pieces"]

WIDTH = 7  # exponents from which the derivatives at one of them are computed


def pieces(values: Array) -> Array:
    """Return values at the exponents, the last axis, and two derivatives there, along a new first axis."""
    first, second = _derivatives()
    return np.stack([values, values @ first.T, values @ second.T])


def interpolated(function: Array, exponents: Array) -> tuple[Array, Array]:
    """Return the values and the derivatives of a function, given its `pieces`, at other exponents.

    Between two exponents of the grid, it is the polynomial of degree 5 with the values and both derivatives there.
    """
    after = np.clip(np.searchsorted(EXPONENTS, exponents), 1, len(EXPONENTS) - 1)
    left, right = EXPONENTS[after - 1], EXPONENTS[after]
    step = right - left
    s = (exponents - left) / step
    a, b = ([np.take_along_axis(f, at, axis=-1) for f in function] for at in (after - 1, after))
    a0, a1, a2, b0, b1, b2 = a[0], a[1] * step, a[2] * step**2, b[0], b[1] * step, b[2] * step**2
    rise = b0 - a0
    c3 = 10.0 * rise - 6.0 * a1 - 4.0 * b1 - 1.5 * a2 + 0.5 * b2
    c4 = -15.0 * rise + 8.0 * a1 + 7.0 * b1 + 1.5 * a2 - b2
    c5 = 6.0 * rise - 3.0 * (a1 + b1) - 0.5 * (a2 - b2)
    value = a0 + s * (a1 + s * (0.5 * a2 + s * (c3 + s * (c4 + s * c5))))
    return value, (a1 + s * (a2 + s * (3.0 * c3 + s * (4.0 * c4 + s * 5.0 * c5)))) / step


@cache
def _derivatives() -> tuple[Array, Array]:
    """Return the matrices from the values at the exponents to two derivatives there."""
    size = len(EXPONENTS)
    first = np.clip(np.arange(size) - WIDTH // 2, 0, size - WIDTH)
    places = first[:, None] + np.arange(WIDTH)
    distance = EXPONENTS[places] - EXPONENTS[:, None]
    unit = np.max(np.abs(distance), axis=1)
    powers = (distance / unit[:, None])[..., None] ** np.arange(WIDTH)
    coefficients = np.linalg.inv(powers)  # of the polynomial through the values
    matrices = np.zeros((2, size, size))
    for order in (1, 2):
        np.put_along_axis(matrices[order - 1], places, order * coefficients[:, order] / unit[:, None] ** order, axis=1)
    return matrices[0], matrices[1]
