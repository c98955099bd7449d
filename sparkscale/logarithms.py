"""Logarithms of ratios, which keep their digits where values are close together."""

from __future__ import annotations

from typing import Any

__all__ = ["log_ratio"]

CLOSE = 0.5


def log_ratio(xp: Any, a: Any, b: Any, shift: float) -> Any:
    """Return ``log((a + shift) / (b + shift))`` for arrays that are not negative, and a ``shift`` of 0 or 1.

    The difference of the logarithms has the rounding error of the larger one. Where the ratio is close to 1, it is
    computed from the difference of the numbers instead, which is exact there.
    """
    ratio = (a - b) / (b + shift)
    close = xp.abs(ratio) < CLOSE
    if xp.all(close):
        return xp.log1p(ratio)
    log = xp.log if shift == 0 else xp.log1p
    distance = log(a) - log(b)
    return xp.where(close, xp.log1p(xp.where(close, ratio, 0.0)), distance) if xp.any(close) else distance
