"""Normalization and clipping of each row, as SQL text and kernels.

A row, or each group of its places, is divided by its own divisor, in some normalizations after subtracting its mean. The
divisor is computed from a sum over all values, which also shows whether a value is invalid, overflows or underflows.
Only then is it recomputed from the valid values, and if that fails, too, from the valid values divided by the largest.
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


@dataclass(frozen=True)
class MaskedKernel:
    """A kernel on rows of flattened tensors that computes its statistics from the valid values only.

    Parameters
    ----------
    function : callable
        The kernel.
    axes : tuple of int
        The shape of a row for the kernel; one length may be -1.
    swapped : bool
        Whether to swap the two axes for the kernel.
    """

    function: Callable[..., Any]
    axes: tuple[int, ...] = (-1,)
    swapped: bool = False

    def __call__(self, rows: Any) -> Any:
        """Apply the kernel to rows."""
        xp = namespace(rows)
        values = self._swapped(xp, xp.reshape(rows, (rows.shape[0], *self.axes)))
        results = self.function(values, where=xp.isfinite(values))
        return xp.reshape(self._swapped(xp, results), rows.shape)

    def _swapped(self, xp: Any, values: Any) -> Any:
        return xp.permute_dims(values, (0, 2, 1)) if self.swapped else values


@dataclass(frozen=True)
class Normalization(ColumnMap):
    """Division of each row, or each group of its places, by a norm of its own.

    Parameters
    ----------
    norm : Norm
        The divisor.
    by_kernel : callable
        The equivalent kernel.
    grouping : Grouping
        The groups of a row.
    gains : mapping of {"gamma", "beta"} to sequence of float
        Gain and bias of each channel, if any.
    keeps_zero : bool
        Whether 0 is always mapped to 0, so that sparse vectors stay sparse.
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
    """Division of each row by its p-norm; of vectors by Spark's Normalizer.

    Vectors with an invalid value, or whose powers overflow or underflow, are mapped as arrays and become dense.
    """

    p: float = 2.0

    def by_stage(self, frame: Frame, vector: CheckedVector) -> Staged | None:
        """See `ColumnMap`."""
        stage = Normalizer(p=self.p, inputCol=vector.name, outputCol=temp_column_name())
        values, limit = f"{vector.unwrapped}.values", literal(1e300 if self.p == np.inf else 10.0 ** (280.0 / self.p))
        largest = f"greatest(array_max({values}), -array_min({values}))"  # NaN sorts above all numbers
        exact = f"coalesce({largest} <= {limit} AND ({largest} >= 1D / {limit} OR {largest} = 0D), true)"
        return Staged(frame.add_by(stage.transform, stage.getOutputCol()), exact)


@dataclass(frozen=True)
class Clip(ColumnMap):
    """Clipping of values to bounds."""

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
    """Map the stored entries of a sparse row as a dense row."""
    return kernel(values[None, :])[0] if len(values) else values


def _gain(operator: str, values: Sequence[float], channel: str) -> str:
    return operator + parameter(np.asarray(values, dtype=np.float64), f"int({channel})") if len(values) else ""


def _by_group(source: str, row: str, grouping: Grouping) -> str:
    """Return the array of ``row`` evaluated for each group, in the order of the source."""
    outer, groups, inner = grouping.outer, grouping.groups, grouping.inner
    count = str(groups) if groups else f"int(size(t) div {inner})"
    length = str(outer * inner) if inner else f"int(size(t) div {groups})"
    group = let("a", "slice(t, g * n + 1, n)", row)
    rows = let("n", length, f"flatten(transform(sequence(0, {count} - 1), g -> {group}))")
    if outer == 1 or groups is None or inner is None:
        return let("t", source, rows)
    return _transposed(let("t", _transposed(source, outer, groups, inner), rows), groups, outer, inner)


def _transposed(source: str, rows: int, columns: int, inner: int) -> str:
    """Return an array of axes (rows, columns, inner) as one of (columns, rows, inner)."""
    at = f"int((i div {inner} % {rows} * {columns} + i div {rows * inner}) * {inner} + i % {inner})"
    return let("o", source, f"transform(sequence(0, {rows * columns * inner - 1}), i -> get(o, {at}))")


def _row(norm: Norm, gain: str) -> str:
    """Return the text of the array ``a`` divided, with ``gain`` applied to each value.

    The divisor is computed from all values; if that is not exact, from the valid values ``v``; if that is not exact,
    either, from ``v`` in units of the largest.
    """
    largest = f"greatest({literal(norm.floor)}, array_max(transform(v, x -> abs(x))))"
    rescaled = rare(let("b", largest, _divided(norm, gain, "v", "b")))
    from_valid = let(
        "v", f"filter(a, x -> {FINITE.format(x='x')})", f"coalesce({_divided(norm, gain, 'v')}, {rescaled})"
    )
    return f"coalesce({_divided(norm, gain, 'a')}, {from_valid})"


def _divided(norm: Norm, gain: str, valid: str, by: str = "") -> str:
    """Return the text of ``a`` divided by the norm of ``valid``, in units of ``by``; without ``by``, null if not exact."""
    unit = f" / {by}" if by else ""
    count, first = f"greatest(size({valid}), 1)", f"get({valid}, 0){unit}"
    x = f"(x{unit} - c)" if norm.centred else f"(x{unit})"
    divisor = norm.divisor("q", count, by or "1D")
    quotients = elementwise("a", f"{x} / r{gain}")
    if not by:
        divisor = f"CASE WHEN {norm.is_exact(valid)} THEN {divisor} END"
        quotients = f"CASE WHEN r < {INFINITY} THEN {quotients} END"
    divided = let("r", f"aggregate({valid}, 0D, (s, x) -> {norm.step.format(x=x)}, q -> {divisor})", quotients)
    if not norm.centred:
        return divided
    # Sum deviations from the first value, so that the mean of large, similar values keeps its digits.
    total = f"aggregate({valid}, 0D, (s, x) -> s + (x{unit} - {first}))"
    return let("c", f"coalesce({first} + {total} / {count}, 0D)", divided)
