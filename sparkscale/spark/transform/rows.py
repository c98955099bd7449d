"""Normalization and clipping of each row, as SQL text and kernels.

A row, or each group of its places, is divided by its own divisor, in some normalizations after subtracting its mean.
The divisor is computed from a sum over all values, which also shows whether a value is invalid, overflows or
underflows. Only then is it recomputed from the valid values, and if that fails, too, from the valid values divided by
the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from pyspark.ml.feature import Normalizer

from sparkscale.arrays import namespace
from sparkscale.kernels import clip_by_value
from sparkscale.spark.columns import FeatureColumn, temp_column_name
from sparkscale.spark.expression import (
    FINITE,
    clipped,
    elementwise,
    let,
    literal,
    parameter,
    rare,
)
from sparkscale.spark.frame import Frame
from sparkscale.spark.gpu import Kernel
from sparkscale.spark.transform.column_map import Array, ColumnMap, Entries, Staged
from sparkscale.spark.transform.norms import INFINITY, Grouping, Norm
from sparkscale.spark.transform.vectors import CheckedVector

__all__ = ["Clip", "MaskedKernel", "Normalization", "UnitNorm"]


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
    grouping: Grouping = field(default_factory=Grouping)
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
    """Clipping of values to bounds, the same for all."""

    low: float
    high: float

    def sql(self, column: FeatureColumn, source: str) -> str:
        """See `ColumnMap`."""
        bounds = np.array([self.low]), np.array([self.high])
        if column.kind == "scalar":
            values = clipped(f"double({source})", bounds)
        else:
            double = f"cast({source} AS array<double>)"
            values = elementwise(double, clipped("x", bounds))
            values = f"CASE WHEN size({source}) = 0 THEN {rare(double)} ELSE {values} END"
        return f"cast({values} AS {column.sql_type})" if column.single else values

    def kernel(self) -> Kernel:
        """See `ColumnMap`."""
        return partial(clip_by_value, low=self.low, high=self.high)

    def entries(self) -> Entries | None:
        """See `ColumnMap`."""
        return partial(_stored_row, self.kernel()) if self.low <= 0.0 <= self.high else None


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
    """Return the text of ``a`` divided by the norm of ``valid``, in units of ``by``; without it, null if not exact."""
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
