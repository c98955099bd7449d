"""What a row is divided by, and the groups of its places, as SQL text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sparkscale.errors import SizeMismatchError
from sparkscale.kernels.clipping import TORCH_SLACK
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import failure, literal, rare

__all__ = ["INFINITY", "Grouping", "Norm", "shortened", "standardized", "unit"]

INFINITY = literal(np.inf)
MIN_SQUARE_SUM = 1e-290  # larger sums of squares have lost no digits by underflow
MIN_UNIT = 1e-300  # least unit that values are divided by; its reciprocal is finite


@dataclass(frozen=True)
class Norm:
    """The divisor of a group of places.

    Parameters
    ----------
    step : str
        SQL that adds a value ``{x}`` to the sum ``s``.
    divisor : function of str, str and str
        Returns SQL of the divisor, given SQL of the sum, of the number of values and of the unit of all values.
    centred : bool
        Whether the mean is subtracted first.
    floor : float
        The least unit of a row whose squares overflow or underflow.
    """

    step: str
    divisor: Callable[[str, str, str], str]
    centred: bool = False
    floor: float = MIN_UNIT

    def is_exact(self, values: str) -> str:
        """Return the condition that the sum ``q`` is exact: all values are valid, and no square overflows or underflows."""
        if self.floor != MIN_UNIT:
            return f"q < {INFINITY}"
        ends = f"array_max({values}) = array_min({values})"
        zero = ends if self.centred else f"{ends} AND array_max({values}) = 0D"
        return f"q < {INFINITY} AND (q > {literal(MIN_SQUARE_SUM)} OR q = 0D AND {zero})"


def standardized(epsilon: float, *, centred: bool) -> Norm:
    """Divide by ``sqrt(mean(x^2) + epsilon)``; without epsilon, a row of zeros is unchanged."""

    def divisor(total: str, count: str, by: str) -> str:
        root = f"sqrt({total} / {count}{f' + {literal(epsilon)} / {by} / {by}' if epsilon else ''})"
        # In units of a very large value, epsilon may underflow, so that the root is 0.
        return f"greatest({root}, {literal(MIN_UNIT)})" if epsilon else _nonzero(total, root)

    return Norm("s + {x} * {x}", divisor, centred, 1.0 if epsilon else MIN_UNIT)


def unit(p: float) -> Norm:
    """Divide by the p-norm; a row of zeros is unchanged."""
    if p == np.inf:
        return Norm("greatest(s, abs({x}))", lambda total, count, by: _nonzero(total, total))
    power = literal(p)
    steps = {1.0: ("s + abs({x})", "{q}"), 2.0: ("s + {x} * {x}", "sqrt({q})")}
    step, root = steps.get(p, (f"s + power(abs({{x}}), {power})", f"power({{q}}, 1D / {power})"))
    return Norm(step, lambda total, count, by: _nonzero(total, root.format(q=total)))


def shortened(clip_norm: float, formula: str) -> Norm:
    """Divide so that the 2-norm is at most ``clip_norm``."""
    slack = literal(TORCH_SLACK if formula == "torch" else 0.0)
    return Norm(
        "s + {x} * {x}",
        lambda total, count, by: f"greatest(1D / {by}, (sqrt({total}) + {slack} / {by}) / {literal(clip_norm)})",
    )


def _nonzero(total: str, divisor: str) -> str:
    return f"CASE WHEN {total} = 0D THEN 1D ELSE {divisor} END"


@dataclass(frozen=True)
class Grouping:
    """A row as an array with axes (outer, groups, inner); each group spans the outer and inner axes.

    Parameters
    ----------
    outer, groups, inner : int or None
        Lengths of the axes; one may be ``None`` and follows from the length of the row.
    channel : str
        SQL of the index of a value's gain, given its index ``i`` in group ``{g}``.
    reason : str
        Why a row of another length is refused: the end of the message.
    """

    outer: int = 1
    groups: int | None = 1
    inner: int | None = None
    channel: str = "i"
    reason: str = ""

    @classmethod
    def of_channels(cls, groups: int, channels: int, places: int, *, first: bool, reason: str) -> Grouping:
        """Group the channels of a tensor, which come first or last."""
        channels_in_group = channels // groups
        if first:
            return cls(1, groups, channels_in_group * places, f"{{g}} * {channels_in_group} + i div {places}", reason)
        return cls(places, groups, channels_in_group, f"{{g}} * {channels_in_group} + i % {channels_in_group}", reason)

    @property
    def step(self) -> int:
        """The length of a row, or a divisor of it if the length is not `fixed`."""
        return self.outer * (self.groups or 1) * (self.inner or 1)

    @property
    def fixed(self) -> bool:
        """Whether all rows have one length."""
        return None not in (self.groups, self.inner)

    def check(self, column: FeatureColumn) -> None:
        """Refuse a column whose rows, according to its metadata, have another length."""
        if column.size is not None and (column.size != self.step if self.fixed else column.size % self.step):
            raise SizeMismatchError(f"Column '{column.name}' holds vectors of size {column.size}{self.reason}")

    def guarded(self, column: FeatureColumn, source: str, result: str) -> str:
        """Return ``result`` if the length of the row is valid; otherwise the job fails."""
        if not self.fixed and self.step == 1 and self.groups == 1:
            return result
        size = f"size({source})"
        valid = f"{size} = {self.step}" if self.fixed else f"{size} > 0 AND {size} % {self.step} = 0"
        before = f"Column '{column.name}' holds a row of length "
        wrong = failure(SizeMismatchError, before, size, self.reason, column.sql_type)
        return f"CASE WHEN {source} IS NULL THEN NULL WHEN {valid} THEN {result} ELSE {rare(wrong)} END"
