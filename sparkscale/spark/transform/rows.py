"""Each row by itself: normalizations and clipping of arrays as SQL text, and how columns come to it.

A row, or each group of its places, is divided by one number of its own, for some after its mean was taken off. That
number comes from a sum over all values, which tells as well whether one of them is invalid, overflows or vanishes:
only then is it computed again from the valid values, and only if that does not do from these divided by the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from pyspark.ml.feature import Normalizer

from sparkscale.arrays import namespace
from sparkscale.errors import SizeMismatchError
from sparkscale.kernels import clip_by_value
from sparkscale.kernels.clipping import TORCH_SLACK
from sparkscale.spark.columns import FeatureColumn, temp_column_name
from sparkscale.spark.expression import (
    FINITE,
    clipped,
    elementwise,
    failure,
    let,
    literal,
    parameter,
    rare,
)
from sparkscale.spark.frame import Frame
from sparkscale.spark.gpu import Kernel
from sparkscale.spark.transform.column_map import Array, ColumnMap, Entries, Staged
from sparkscale.spark.transform.vectors import CheckedVector

__all__ = ["Clip", "Grouping", "MaskedKernel", "Norm", "Normalization", "UnitNorm", "shortened", "standardized", "unit"]

LARGEST = literal(np.inf)
SMALL = 1e-290  # a sum of squares above it has lost no digits to values whose squares vanish
TINY = 1e-300  # the least that values are divided by, so that its reciprocal is finite


@dataclass(frozen=True)
class Norm:
    """What a group of places is divided by.

    Parameters
    ----------
    step : str
        SQL of what follows on the sum ``s`` with one more value ``{x}``.
    divisor : function of str, str and str
        SQL of the divisor from that of the sum, of the number of values and of what all values were divided by.
    centred : bool
        Whether the mean is taken off first.
    floor : float
        The least that the values of a row that overflows or vanishes are divided by.
    """

    step: str
    divisor: Callable[[str, str, str], str]
    centred: bool = False
    floor: float = TINY

    def trusted(self, values: str) -> str:
        """Whether the sum ``q`` is of valid values only, and of none that overflows or vanishes."""
        if self.floor != TINY:
            return f"q < {LARGEST}"
        ends = f"array_max({values}) = array_min({values})"
        zero = ends if self.centred else f"{ends} AND array_max({values}) = 0D"
        return f"q < {LARGEST} AND (q > {literal(SMALL)} OR q = 0D AND {zero})"


def standardized(epsilon: float, *, centred: bool) -> Norm:
    """Divide by ``sqrt(mean(x^2) + epsilon)``; a row of zeros without epsilon stays."""

    def divisor(total: str, count: str, by: str) -> str:
        root = f"sqrt({total} / {count}{f' + {literal(epsilon)} / {by} / {by}' if epsilon else ''})"
        # Beside a value so large that epsilon vanishes, nothing may be left to divide by.
        return f"greatest({root}, {literal(TINY)})" if epsilon else _nonzero(total, root)

    return Norm("s + {x} * {x}", divisor, centred, 1.0 if epsilon else TINY)


def unit(p: float) -> Norm:
    """Divide by the p-norm; a row of zeros stays."""
    if p == np.inf:
        return Norm("greatest(s, abs({x}))", lambda total, count, by: _nonzero(total, total))
    power = literal(p)
    steps = {1.0: ("s + abs({x})", "{q}"), 2.0: ("s + {x} * {x}", "sqrt({q})")}
    step, root = steps.get(p, (f"s + power(abs({{x}}), {power})", f"power({{q}}, 1D / {power})"))
    return Norm(step, lambda total, count, by: _nonzero(total, root.format(q=total)))


def shortened(clip_norm: float, formula: str) -> Norm:
    """Divide by what brings the 2-norm down to ``clip_norm``, or by 1."""
    slack = literal(TORCH_SLACK if formula == "torch" else 0.0)
    return Norm(
        "s + {x} * {x}",
        lambda total, count, by: f"greatest(1D / {by}, (sqrt({total}) + {slack} / {by}) / {literal(clip_norm)})",
    )


def _nonzero(total: str, divisor: str) -> str:
    return f"CASE WHEN {total} = 0D THEN 1D ELSE {divisor} END"


@dataclass(frozen=True)
class Grouping:
    """A row as an array of three axes, the outer and inner of which each group goes over.

    Parameters
    ----------
    outer, groups, inner : int or None
        Lengths of the axes; one may be ``None``: as long as the row makes it.
    channel : str
        Which gain a place has, as SQL over its place ``i`` in its group ``{g}``.
    reason : str
        Why a row of another length is refused, as the end of a sentence.
    """

    outer: int = 1
    groups: int | None = 1
    inner: int | None = None
    channel: str = "i"
    reason: str = ""

    @classmethod
    def of_channels(cls, groups: int, channels: int, places: int, *, first: bool, reason: str) -> Grouping:
        """Group the channels of a tensor, which come first or last."""
        each = channels // groups
        if first:
            return cls(1, groups, each * places, f"{{g}} * {each} + i div {places}", reason)
        return cls(places, groups, each, f"{{g}} * {each} + i % {each}", reason)

    @property
    def step(self) -> int:
        """What a row's length is, or is a multiple of."""
        return self.outer * (self.groups or 1) * (self.inner or 1)

    @property
    def fixed(self) -> bool:
        """Whether all rows have one length."""
        return None not in (self.groups, self.inner)

    def check(self, column: FeatureColumn) -> None:
        """Refuse a column whose metadata tells that its rows have another length."""
        if column.size is not None and (column.size != self.step if self.fixed else column.size % self.step):
            raise SizeMismatchError(f"Column '{column.name}' holds vectors of size {column.size}{self.reason}")

    def guarded(self, column: FeatureColumn, source: str, result: str) -> str:
        """Return ``result`` where the row's length is right; otherwise the job fails."""
        if not self.fixed and self.step == 1 and self.groups == 1:
            return result
        size = f"size({source})"
        right = f"{size} = {self.step}" if self.fixed else f"{size} > 0 AND {size} % {self.step} = 0"
        before = f"Column '{column.name}' holds a row of length "
        wrong = failure(SizeMismatchError, before, size, self.reason, column.sql_type)
        return f"CASE WHEN {source} IS NULL THEN NULL WHEN {right} THEN {result} ELSE {rare(wrong)} END"


@dataclass(frozen=True)
class MaskedKernel:
    """A kernel on rows that are flattened tensors, which takes its statistics from their valid values.

    Parameters
    ----------
    function : callable
        The kernel.
    axes : tuple of int
        The shape that it takes a row in; one length may be -1.
    swapped : bool
        Whether two axes are to change places for it.
    """

    function: Callable[..., Any]
    axes: tuple[int, ...] = (-1,)
    swapped: bool = False

    def __call__(self, rows: Any) -> Any:
        """Return what the kernel makes of rows."""
        xp = namespace(rows)
        values = self._swapped(xp, xp.reshape(rows, (rows.shape[0], *self.axes)))
        results = self.function(values, where=xp.isfinite(values))
        return xp.reshape(self._swapped(xp, results), rows.shape)

    def _swapped(self, xp: Any, values: Any) -> Any:
        return xp.permute_dims(values, (0, 2, 1)) if self.swapped else values


@dataclass(frozen=True)
class Normalization(ColumnMap):
    """Each row, or each group of its places, divided by a number of its own.

    Parameters
    ----------
    norm : Norm
        What is divided by.
    by_kernel : callable
        The kernel that does the same.
    grouping : Grouping
        The groups of a row.
    gains : mapping of {"gamma", "beta"} to sequence of float
        Gain and bias of each channel, as far as there are any.
    keeps_zero : bool
        Whether 0 stays 0 whatever the other values, so that sparse vectors stay sparse.
    """

    norm: Norm
    by_kernel: Kernel
    grouping: Grouping = Grouping()
    gains: dict[str, Sequence[float]] = field(default_factory=dict)
    keeps_zero: bool = False

    def sql(self, column: FeatureColumn, source: str) -> str:
        """See `ColumnMap`."""
        one_group = self.grouping.groups == 1
        channel = self.grouping.channel.format(g="0" if one_group else "g")
        gamma, beta = (self.gains.get(name, ()) for name in ("gamma", "beta"))
        row = _row(self.norm, f"{_gain(' * ', gamma, channel)}{_gain(' + ', beta, channel)}")
        values = f"cast({source} AS array<double>)"
        normalized = let("a", values, row) if one_group else _by_group(values, row, self.grouping)
        return f"cast({normalized} AS {column.sql_type})" if column.single else normalized

    def guard(self, column: FeatureColumn, source: str, result: str) -> str:
        """See `ColumnMap`."""
        return self.grouping.guarded(column, source, result)

    def kernel(self) -> Kernel:
        """See `ColumnMap`."""
        return self.by_kernel

    def entries(self) -> Entries | None:
        """See `ColumnMap`."""
        return partial(_stored_row, self.by_kernel) if self.keeps_zero else None


@dataclass(frozen=True)
class UnitNorm(Normalization):
    """Each row divided by its p-norm, vectors by Spark's Normalizer.

    Not those with an invalid value, nor those whose powers overflow or vanish: they become dense vectors.
    """

    p: float = 2.0

    def by_stage(self, frame: Frame, vector: CheckedVector) -> Staged | None:
        """See `ColumnMap`."""
        stage = Normalizer(p=self.p, inputCol=vector.name, outputCol=temp_column_name())
        values, limit = f"{vector.parts}.values", literal(1e300 if self.p == np.inf else 10.0 ** (280.0 / self.p))
        largest = f"greatest(array_max({values}), -array_min({values}))"  # NaN is the largest of all
        suits = f"coalesce({largest} <= {limit} AND ({largest} >= 1D / {limit} OR {largest} = 0D), true)"
        return Staged(frame.add_by(stage.transform, stage.getOutputCol()), suits)


@dataclass(frozen=True)
class Clip(ColumnMap):
    """Values brought between bounds."""

    bounds: tuple[float, float]

    def sql(self, column: FeatureColumn, source: str) -> str:
        """See `ColumnMap`."""
        if column.kind == "scalar":
            values = clipped(f"double({source})", self.bounds)
        else:
            double = f"cast({source} AS array<double>)"
            values = f"transform({double}, x -> {clipped('x', self.bounds)})"
            values = f"CASE WHEN size({source}) = 0 THEN {rare(double)} ELSE {values} END"
        return f"cast({values} AS {column.sql_type})" if column.single else values

    def kernel(self) -> Kernel:
        """See `ColumnMap`."""
        return partial(clip_by_value, low=self.bounds[0], high=self.bounds[1])

    def entries(self) -> Entries | None:
        """See `ColumnMap`."""
        low, high = self.bounds
        return partial(_stored_row, self.kernel()) if low <= 0.0 <= high else None


def _stored_row(kernel: Kernel, indices: Array, values: Array) -> Any:
    """Map the stored entries of a sparse row as a row of their own."""
    return kernel(values[None, :])[0] if len(values) else values


def _gain(operator: str, values: Sequence[float], channel: str) -> str:
    return operator + parameter(np.asarray(values, dtype=np.float64), f"int({channel})") if len(values) else ""


def _by_group(source: str, row: str, grouping: Grouping) -> str:
    """Return what ``row`` makes of each group as one array, in the order of the source."""
    outer, groups, inner = grouping.outer, grouping.groups, grouping.inner
    count = str(groups) if groups else f"int(size(t) div {inner})"
    length = str(outer * inner) if inner else f"int(size(t) div {groups})"
    each = let("a", "slice(t, g * n + 1, n)", row)
    rows = let("n", length, f"flatten(transform(sequence(0, {count} - 1), g -> {each}))")
    if outer == 1 or groups is None or inner is None:
        return let("t", source, rows)
    return _transposed(let("t", _transposed(source, outer, groups, inner), rows), groups, outer, inner)


def _transposed(source: str, rows: int, columns: int, inner: int) -> str:
    """Return an array of axes (rows, columns, inner) as one of (columns, rows, inner)."""
    at = f"int((i div {inner} % {rows} * {columns} + i div {rows * inner}) * {inner} + i % {inner})"
    return let("o", source, f"transform(sequence(0, {rows * columns * inner - 1}), i -> get(o, {at}))")


def _row(norm: Norm, gain: str) -> str:
    """Return the text of the array ``a`` divided, with ``gain`` after each value.

    First as if all were well; else from the valid values ``v``; else from these by way of units of the largest.
    """
    largest = f"greatest({literal(norm.floor)}, array_max(transform(v, x -> abs(x))))"
    rescaled = rare(let("b", largest, _divided(norm, gain, "v", "b")))
    again = let("v", f"filter(a, x -> {FINITE.format(x='x')})", f"coalesce({_divided(norm, gain, 'v')}, {rescaled})")
    return f"coalesce({_divided(norm, gain, 'a')}, {again})"


def _divided(norm: Norm, gain: str, valid: str, by: str = "") -> str:
    """Return the text of ``a`` divided by what ``valid`` gives; without ``by``, null where that is not to be trusted."""
    unit = f" / {by}" if by else ""
    count, first = f"greatest(size({valid}), 1)", f"get({valid}, 0){unit}"
    x = f"(x{unit} - c)" if norm.centred else f"(x{unit})"
    divisor = norm.divisor("q", count, by or "1D")
    quotients = elementwise("a", f"{x} / r{gain}")
    if not by:
        divisor = f"CASE WHEN {norm.trusted(valid)} THEN {divisor} END"
        quotients = f"CASE WHEN r < {LARGEST} THEN {quotients} END"
    divided = let("r", f"aggregate({valid}, 0D, (s, x) -> {norm.step.format(x=x)}, q -> {divisor})", quotients)
    if not norm.centred:
        return divided
    # Deviations from the first value first, so that the mean of large values close together keeps its digits.
    total = f"aggregate({valid}, 0D, (s, x) -> s + (x{unit} - {first}))"
    return let("c", f"coalesce({first} + {total} / {count}, 0D)", divided)
