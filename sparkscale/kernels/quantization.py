"""Quantization to integers of eight bits, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparkscale.arrays import as_array_like, double, namespace
from sparkscale.errors import InvalidValueError, ParamError, RangeOverflowError, SizeMismatchError

__all__ = ["DTYPES", "SCHEMES", "codes_of", "dequantize", "numbers_of", "quantize", "rounded"]

DTYPES = {"int8": (-128.0, 127.0), "uint8": (0.0, 255.0)}
SCHEMES = ("affine", "symmetric")
SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)


def quantize(x: Any, ranges: Any, *, dtype: str = "int8", scheme: str = "affine") -> Any:
    r"""Map values to integers of eight bits, which divide the range of each feature into equal steps.

    .. math:: q = \min(\max(\mathrm{round}((x - low) / s + q_{min}), q_{min}), q_{max}), \qquad s = (high - low) / 255

    with -128 and 127, or 0 and 255, for :math:`q_{min}` and :math:`q_{max}`. "symmetric" maps 0 to 0:
    :math:`q = \mathrm{round}(x / s)` from -127 to 127, with :math:`s = \max(|low|, |high|) / 127`.

    Halves are rounded to even. Values out of range are clipped. A feature whose range is a single value gets one code.

    Parameters
    ----------
    x : array_like, shape (..., n_features)
        Values; infinite ones are clipped.
    ranges : array_like, shape (2, n_features)
        The lowest and the highest value of each feature. A range of a single feature is that of all features.
    dtype : {"int8", "uint8"}, default="int8"
        The type of the results.
    scheme : {"affine", "symmetric"}, default="affine"
        How ranges are divided.

    Returns
    -------
    array of int8 or uint8
        Of the shape, library and device of ``x``.

    Raises
    ------
    InvalidValueError
        If a value is NaN, for which there is no integer.
    ParamError
        If a range is not finite, or ``low > high``; or for an unknown ``dtype`` or ``scheme``, or uint8 and "symmetric".
    RangeOverflowError
        If a range, or its 255th part, is not representable as a double.
    SizeMismatchError
        If the last axis of ``x`` has another length than the ranges.

    Notes
    -----
    ``quantize_embeddings`` of sentence-transformers takes the same ranges. It truncates towards 0 instead of rounding, so
    that its codes may differ by one, and does not clip: values out of range wrap around.

    Examples
    --------
    >>> from sparkscale.kernels import quantize
    >>> quantize([[0.0, 5.0], [1.0, 6.0], [0.5, 100.0]], [[0.0, 5.0], [1.0, 7.0]])
    array([[-128, -128],
           [ 127,    0],
           [   0,  127]], dtype=int8)
    >>> quantize([-1.0, 0.0, 2.0], [[-1.0], [2.0]], scheme="symmetric")
    array([-64,   0, 127], dtype=int8)
    """
    xp, values, _ = double(x)
    center, scale, offset = _checked(xp, values, ranges, dtype, scheme)
    if xp.any(xp.isnan(values)):
        raise InvalidValueError("x holds NaN, for which there is no integer. Replace it, or leave these rows out.")
    with np.errstate(all="ignore"):
        mapped = (values - center) / scale + offset
    return xp.astype(rounded(mapped, *codes_of(dtype, scheme)), getattr(xp, dtype))


def dequantize(q: Any, ranges: Any, *, dtype: str = "int8", scheme: str = "affine") -> Any:
    r"""Map integers of `quantize` back to the values that they stand for.

    .. math:: x = (q - q_{min}) s + low

    or :math:`x = q s` of "symmetric". A value within the range comes back within half a step.

    Parameters
    ----------
    q : array_like, shape (..., n_features)
        Integers.
    ranges : array_like, shape (2, n_features)
        As of `quantize`.
    dtype : {"int8", "uint8"}, default="int8"
        As of `quantize`.
    scheme : {"affine", "symmetric"}, default="affine"
        As of `quantize`.

    Returns
    -------
    array of float64
        Of the shape, library and device of ``q``.

    Raises
    ------
    ParamError
        If a range is not finite, or ``low > high``; or for an unknown ``dtype`` or ``scheme``, or uint8 and "symmetric".
    RangeOverflowError
        If a range, or its 255th part, is not representable as a double.
    SizeMismatchError
        If the last axis of ``q`` has another length than the ranges.

    Examples
    --------
    >>> from sparkscale.kernels import dequantize
    >>> dequantize([[-128, -128], [127, 127]], [[0.0, 5.0], [1.0, 7.0]])
    array([[0., 5.],
           [1., 7.]])
    """
    xp, values, _ = double(q)
    center, scale, offset = _checked(xp, values, ranges, dtype, scheme)
    return (values - offset) * xp.where(xp.isinf(scale), 0.0, scale) + center


def codes_of(dtype: str, scheme: str) -> tuple[float, float]:
    """Return the lowest and the highest code."""
    lowest, highest = DTYPES[dtype]
    return (-highest, highest) if scheme == "symmetric" else (lowest, highest)


def numbers_of(low: Any, high: Any, dtype: str, scheme: str) -> tuple[Any, Any, Any]:
    """Return center, scale and offset of the map of each range, given as arrays.

    A scale is infinite for a range of a single value, and NaN if it cannot be represented.
    """
    xp, (lowest, highest) = namespace(low), codes_of(dtype, scheme)
    with np.errstate(all="ignore"):
        if scheme == "symmetric":
            center, offset = xp.zeros_like(low), xp.zeros_like(low)
            spread = xp.where(xp.abs(low) > xp.abs(high), xp.abs(low), xp.abs(high))
            scale = spread / highest
        else:
            center, offset = low, xp.full_like(low, lowest)
            spread = high - low
            scale = spread / (highest - lowest)
    representable = xp.isfinite(spread) & (scale >= SMALLEST_NORMAL)
    return center, xp.where(spread == 0, xp.inf, xp.where(representable, scale, xp.nan)), offset


def rounded(mapped: Any, lowest: Any, highest: Any) -> Any:
    """Return mapped values as whole numbers, clipped to codes; NaN, as of infinity minus infinity, is the highest."""
    xp = namespace(mapped)
    lowest, highest = (as_array_like(mapped, code) for code in (lowest, highest))
    mapped = xp.where(mapped < highest, mapped, highest)
    return xp.round(xp.where(mapped > lowest, mapped, lowest))


def _checked(xp: Any, values: Any, ranges: Any, dtype: str, scheme: str) -> tuple[Any, Any, Any]:
    """Return center, scale and offset of ranges that can be used."""
    for name, value, choices in (("dtype", dtype, DTYPES), ("scheme", scheme, SCHEMES)):
        if value not in choices:
            raise ParamError(f"{name} must be one of {', '.join(map(repr, choices))}. Got {value!r}.")
    if scheme == "symmetric" and dtype != "int8":
        raise ParamError("scheme='symmetric' needs integers of both signs: dtype='int8'.")
    low_and_high = as_array_like(values, ranges)
    if low_and_high.ndim != 2 or low_and_high.shape[0] != 2:  # noqa: PLR2004  # low and high
        raise ParamError(f"ranges must be of shape (2, n), low and high. Got shape {tuple(low_and_high.shape)}.")
    low, high = low_and_high[0, :], low_and_high[1, :]
    if not (xp.all(xp.isfinite(low_and_high)) and xp.all(low <= high)):
        raise ParamError("ranges must be finite, and low must not be above high.")
    features = int(low.shape[0])
    if features != 1 and values.shape[-1:] != (features,):
        raise SizeMismatchError(
            f"There are ranges of {features} features, and an array of shape {tuple(values.shape)}. Its last axis must be as "
            "long."
        )
    numbers = numbers_of(low, high, dtype, scheme)
    if xp.any(xp.isnan(numbers[1])):
        raise RangeOverflowError("A range, or its 255th part, is not representable as a double. Use another unit.")
    return numbers
