"""Power transforms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparkscale.kernels.power import TINY, Side
from sparkscale.logarithms import CLOSE
from sparkscale.spark.expression import parameter
from sparkscale.spark.transform.curved import Curved

__all__ = ["Power"]


@dataclass(frozen=True, eq=False)
class Power(Curved):
    """The power transform of each feature, or its inverse."""

    def text(self, x: str, index: str) -> str:
        """See `Curved`."""
        sides = self.curve.sides
        if self.curve.inverts:
            first = _undone(sides[0], x, index)
            if len(sides) == 1:
                return first
            with np.errstate(all="ignore"):
                at_zero = sides[0].apply(np, np.zeros(len(self.curve)))
            return f"CASE WHEN {x} < {parameter(at_zero, index)} THEN -({_undone(sides[1], x, index)}) ELSE {first} END"
        if len(sides) == 1:  # the logarithm of what is not positive would be null
            first = _applied(sides[0], x, index)
            return f"CASE WHEN {x} <= 0D THEN double('NaN') ELSE {first} END"
        positive, negative = _applied(sides[0], x, index), _applied(sides[1], f"(-{x})", index)
        return f"CASE WHEN {x} < 0D THEN {negative} ELSE {positive} END"


def _exponent(side: Side, index: str) -> str:
    return parameter(np.where(np.abs(side.exponent) < TINY, TINY, side.exponent), index)


def _applied(side: Side, magnitude: str, index: str) -> str:
    """Return the transform of an absolute value."""
    e, plain = _exponent(side, index), f"{'log1p' if side.shift else 'ln'}({magnitude})"
    logarithm = plain
    if not np.all(side.origin == 1.0 - side.shift):
        origin = parameter(side.origin, index)
        with np.errstate(all="ignore"):
            logarithm_of_origin = parameter(np.log1p(side.origin) if side.shift else np.log(side.origin), index)
        ratio = f"(({magnitude} - {origin}) / ({origin} + {side.shift!r}D))"
        logarithm = f"CASE WHEN abs({ratio}) < {CLOSE}D THEN log1p({ratio}) ELSE {plain} - {logarithm_of_origin} END"
    return _affine(f"expm1({e} * ({logarithm})) / {e}", side, index)


def _affine(power: str, side: Side, index: str) -> str:
    text = power if np.all(side.factor == 1) else f"{parameter(side.factor, index)} * ({power})"
    return text if np.all(side.offset == 0) else f"{text} + {parameter(side.offset, index)}"


def _undone(side: Side, y: str, index: str) -> str:
    """Return the absolute value that has a transform."""
    e = _exponent(side, index)
    power = y if np.all(side.offset == 0) else f"({y} - {parameter(side.offset, index)})"
    power = power if np.all(side.factor == 1) else f"({power} / {parameter(side.factor, index)})"
    growth = f"({e} * {power})"
    logarithm = f"CASE WHEN {growth} <= -1D THEN double('NaN') ELSE log1p({growth}) END / {e}"
    if np.all(side.origin == 1.0 - side.shift):
        return f"{'expm1' if side.shift else 'exp'}({logarithm})"
    origin = parameter(side.origin, index)
    if side.shift == 0:
        return f"{origin} * exp({logarithm})"
    return f"({origin} + (1D + {origin}) * expm1({logarithm}))"
