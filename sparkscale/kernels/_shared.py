"""Functions shared by the kernels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from sparkscale.arrays import as_array_like
from sparkscale.errors import ParamError

Axes = int | Sequence[int]
MAX_SQUARABLE = 1e100  # squares of smaller values, and sums of them, do not overflow


def as_tuple(axes: Axes) -> tuple[int, ...]:
    return (axes,) if isinstance(axes, int) else tuple(axes)


def count(x: Any, axes: Iterable[int]) -> int:
    return prod(int(x.shape[a]) for a in axes)


def broadcast_channels(xp: Any, parameter: Any, x: Any, axis: int) -> Any:
    """Reshape a parameter with one entry per channel so that it broadcasts over ``x``."""
    values = as_array_like(x, parameter)
    return xp.reshape(values, tuple(-1 if a == axis % x.ndim else 1 for a in range(x.ndim)))


def affine(xp: Any, y: Any, gamma: Any, beta: Any, axis: int) -> Any:
    y = y if gamma is None else y * broadcast_channels(xp, gamma, y, axis)
    return y if beta is None else y + broadcast_channels(xp, beta, y, axis)


def check_epsilon(epsilon: float) -> None:
    if not epsilon >= 0:
        raise ParamError(f"epsilon must be at least 0. Got {epsilon}.")


def masked(xp: Any, x: Any, where: Any) -> Any:
    """Return the values where the mask is true, and 0 elsewhere."""
    return x if where is None else xp.where(where, x, 0.0)


def mean(xp: Any, x: Any, axes: tuple[int, ...], where: Any) -> Any:
    """Return the mean of the values where the mask is true, with reduced axes kept; 0 if there is none."""
    if where is None:
        return xp.mean(x, axis=axes, keepdims=True)
    number = xp.sum(xp.astype(where, xp.float64), axis=axes, keepdims=True)
    return xp.sum(masked(xp, x, where), axis=axes, keepdims=True) / xp.where(number > 0, number, 1.0)


def in_units(xp: Any, x: Any, epsilon: float, axes: tuple[int, ...], where: Any) -> tuple[Any, Any, Any]:
    """Divide by the largest absolute value where squares would overflow or underflow.

    Returns the values, ``epsilon`` in squared units, and the unit, which is 1 where no scaling is needed.
    """
    check_epsilon(epsilon)
    largest = xp.max(xp.abs(masked(xp, x, where)), axis=axes, keepdims=True)
    outside = (largest > MAX_SQUARABLE) & xp.isfinite(largest)
    if epsilon == 0:
        outside = outside | ((largest < 1.0 / MAX_SQUARABLE) & (largest > 0))
    unit = xp.where(outside, largest, xp.ones_like(largest))
    return x / unit, epsilon / unit / unit, unit


def nonzero(xp: Any, divisor: Any) -> Any:
    """Return a divisor with 1 in place of 0."""
    return xp.where(divisor == 0, xp.ones_like(divisor), divisor)


def inverse_root(xp: Any, variance: Any, epsilon: Any) -> Any:
    """Return ``1 / sqrt(variance + epsilon)``, or 0 where that is infinite, as PyTorch does."""
    root = xp.sqrt(variance + epsilon)
    return xp.where(root == 0, xp.zeros_like(root), 1.0 / nonzero(xp, root))


def p_norm(xp: Any, x: Any, p: float, axes: tuple[int, ...], where: Any = None) -> Any:
    """Return the p-norm, with reduced axes kept; scaled by the largest value, so that no power overflows."""
    size = xp.abs(masked(xp, x, where))
    if 0 in x.shape:
        return xp.sum(size, axis=axes, keepdims=True)
    largest = xp.max(size, axis=axes, keepdims=True)
    if p == np.inf:
        return largest
    usable = (largest > 0) & xp.isfinite(largest)
    unit = xp.where(usable, largest, xp.ones_like(largest))
    total = xp.sum((size / unit) ** p, axis=axes, keepdims=True)
    return unit * total ** (1.0 / p)
