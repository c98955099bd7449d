"""Power transforms of Box and Cox, and of Yeo and Johnson."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkscale.arrays import as_array_like, cast, double
from sparkscale.errors import ParamError
from sparkscale.logarithms import log_ratio

__all__ = ["METHODS", "Side", "backward", "forward", "inverse_power_transform", "plain_sides", "power_transform"]

Array = npt.NDArray[np.float64]
METHODS = ("yeo-johnson", "box-cox")
TINY = 1e-20  # stands for the exponent 0: results are the same to the last digit


def power_transform(x: Any, lambdas: Any, *, method: str = "yeo-johnson") -> Any:
    r"""Apply a power transform to each feature.

    .. math:: y = \frac{u^e - 1}{e}, \qquad y = \log u \;\text{for}\; e = 0

    with :math:`u = x`, :math:`e = \lambda` for Box-Cox transforms of positive values. Yeo-Johnson transforms have
    :math:`u = 1 + x`, :math:`e = \lambda` for :math:`x \ge 0`, and give :math:`-y` of
    :math:`u = 1 - x`, :math:`e = 2 - \lambda` for :math:`x < 0`. Results are accurate also for exponents near 0.

    Parameters
    ----------
    x : array_like, shape (..., n_features)
        Values; NaN stays NaN.
    lambdas : array_like, shape (n_features,)
        The finite :math:`\lambda` of each feature.
    method : {"yeo-johnson", "box-cox"}, default="yeo-johnson"
        The transform. Values that are not positive have no Box-Cox transform, and give NaN.

    Returns
    -------
    array
        Of the shape of ``x``; infinite where a result is not representable.

    Raises
    ------
    ParamError
        If there is not one finite lambda for each feature, or the method is unknown.

    References
    ----------
    G. E. P. Box, D. R. Cox, "An analysis of transformations", Journal of the Royal Statistical Society B 26 (1964);
    I.-K. Yeo, R. A. Johnson, "A new family of power transformations to improve normality or symmetry", Biometrika 87
    (2000).

    Examples
    --------
    >>> from sparkscale.kernels import power_transform
    >>> power_transform([[3.0, -1.0], [0.0, 3.0]], [0.5, 2.0])
    array([[ 2.        , -0.69314718],
           [ 0.        ,  7.5       ]])
    >>> power_transform([[4.0], [1.0]], [0.5], method="box-cox")
    array([[2.],
           [0.]])
    """
    xp, values, dtype = double(x)
    sides = _plain(values, lambdas, method)
    with np.errstate(all="ignore"):
        return cast(xp, forward(xp, values, sides), dtype)


def inverse_power_transform(y: Any, lambdas: Any, *, method: str = "yeo-johnson") -> Any:
    r"""Undo a power transform of each feature: the inverse of `power_transform`.

    .. math:: u = (1 + e y)^{1 / e}, \qquad u = \exp y \;\text{for}\; e = 0

    Parameters
    ----------
    y : array_like, shape (..., n_features)
        Transformed values; NaN stays NaN.
    lambdas : array_like, shape (n_features,)
        The :math:`\lambda` of each feature.
    method : {"yeo-johnson", "box-cox"}, default="yeo-johnson"
        The transform.

    Returns
    -------
    array
        Of the shape of ``y``. NaN where no value has this transform: with :math:`e y < -1`.

    Raises
    ------
    ParamError
        If there is not one finite lambda for each feature, or the method is unknown.

    Examples
    --------
    >>> from sparkscale.kernels import inverse_power_transform
    >>> inverse_power_transform([[2.0, 7.5], [0.0, 4.0]], [0.5, 2.0])
    array([[3., 3.],
           [0., 2.]])
    """
    xp, values, dtype = double(y)
    sides = _plain(values, lambdas, method)
    with np.errstate(all="ignore"):
        return cast(xp, backward(xp, values, sides), dtype)


@dataclass(frozen=True, eq=False)
class Side:
    r"""The transform of the values of one sign, in a form that need not overflow, and loses no digits.

    .. math:: y = a \,\frac{(u / u_0)^e - 1}{e} + b

    Parameters
    ----------
    shift : float
        What is added to the absolute value of x to give u: 0 for Box-Cox, 1 for Yeo-Johnson transforms.
    exponent : numpy.ndarray of float64, shape (n_features,)
        The exponents e.
    origin : numpy.ndarray of float64, shape (n_features,)
        The absolute value of x that gives :math:`u_0`.
    factor, offset : numpy.ndarray of float64, shape (n_features,)
        The numbers a and b.
    """

    shift: float
    exponent: Array
    origin: Array
    factor: Array
    offset: Array

    def apply(self, xp: Any, magnitude: Any) -> Any:
        """Return the transform of absolute values."""
        e, origin, factor, offset = self._like(xp, magnitude)
        return factor * (xp.expm1(e * log_ratio(xp, magnitude, origin, self.shift)) / e) + offset

    def undo(self, xp: Any, y: Any) -> Any:
        """Return the absolute values that have these transforms."""
        e, origin, factor, offset = self._like(xp, y)
        growth = e * ((y - offset) / factor)
        logarithm = xp.where(growth > -1.0, xp.log1p(growth), xp.nan) / e
        if self.shift == 0:
            return origin * xp.exp(logarithm)
        return origin + (1.0 + origin) * xp.expm1(logarithm)

    def _like(self, xp: Any, x: Any) -> tuple[Any, ...]:
        e, *others = (as_array_like(x, a) for a in (self.exponent, self.origin, self.factor, self.offset))
        return xp.where(xp.abs(e) < TINY, TINY, e), *others


def forward(xp: Any, values: Any, sides: tuple[Side, ...]) -> Any:
    """Transform values: by a single side the positive ones, else by the first those that are not negative."""
    if len(sides) == 1:
        return sides[0].apply(xp, xp.where(values > 0.0, values, xp.nan))
    positive, negative = (side.apply(xp, xp.abs(values)) for side in sides)
    return xp.where(values < 0.0, negative, positive)


def backward(xp: Any, values: Any, sides: tuple[Side, ...]) -> Any:
    """Undo `forward`."""
    if len(sides) == 1:
        return sides[0].undo(xp, values)
    positive, negative = (side.undo(xp, values) for side in sides)
    return xp.where(values < sides[0].apply(xp, values * 0.0), -negative, positive)


def plain_sides(lambdas: Array, method: str) -> tuple[Side, ...]:
    """Return the sides of a transform by its definition."""
    one, zero = np.ones_like(lambdas), np.zeros_like(lambdas)
    if method == "box-cox":
        return (Side(0.0, lambdas, one, one, zero),)
    return Side(1.0, lambdas, zero, one, zero), Side(1.0, 2.0 - lambdas, zero, -one, zero)


def _plain(values: Any, lambdas: Any, method: str) -> tuple[Side, ...]:
    """Return the sides of a transform by its definition, if that is possible."""
    if method not in METHODS:
        raise ParamError(f"method must be one of {', '.join(map(repr, METHODS))}. Got {method!r}.")
    exponent = np.asarray(lambdas, dtype=np.float64)
    if exponent.ndim != 1 or values.shape[-1:] != exponent.shape or not np.all(np.isfinite(exponent)):
        raise ParamError(
            f"lambdas must be finite numbers, here for {values.shape[-1:]} features. Got {exponent.tolist()}."
        )
    return plain_sides(exponent, method)
