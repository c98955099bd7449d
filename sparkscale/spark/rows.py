"""Each row by itself: normalizations and clipping of arrays as SQL text, and how columns come to it.

A row, or each group of its places, is divided by one number of its own, for some after its mean was taken off. That
number comes from a sum over all values, which tells as well whether one of them is invalid, overflows or vanishes:
only then is it computed again from the valid values, and only if that does not do from these divided by the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame

from sparkscale.errors import SizeMismatchError
from sparkscale.kernels.clipping import TORCH_SLACK
from sparkscale.spark.columns import FeatureColumn, readable
from sparkscale.spark.expression import (
    FINITE,
    Bounds,
    clipped,
    elementwise,
    failure,
    guarded,
    interpreted,
    literal,
    parameter,
)
from sparkscale.spark.gpu import Kernel
from sparkscale.spark.transform import Paths, complete, finished
from sparkscale.spark.udf import with_mapped

__all__ = ["Grouping", "Norm", "clip", "normalize", "shortened", "standardized", "to_sql", "transform", "unit"]

LARGEST = literal(np.inf)
SMALL = 1e-290  # a sum of squares above it has lost no digits to values whose squares vanish
TINY = 1e-300  # the least that values are divided by, so that its reciprocal is finite

Text = Callable[[FeatureColumn, str], str]
Vectors = Callable[[DataFrame, FeatureColumn], tuple[DataFrame, str, list[str]]]


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
        wrong = failure(SizeMismatchError, f"Column '{column.name}' holds a row of length ", size, self.reason)
        return f"CASE WHEN {source} IS NULL THEN NULL WHEN {right} THEN {result} ELSE {interpreted(wrong)} END"


def normalize(
    column: FeatureColumn,
    source: str,
    norm: Norm,
    grouping: Grouping,
    gamma: Sequence[float] = (),
    beta: Sequence[float] = (),
) -> str:
    """Return the normalized array as SQL text; an array of a wrong length makes the job fail."""
    one = grouping.groups == 1
    channel = grouping.channel.format(g="0" if one else "g")
    row = _row(norm, f"{_gain(' * ', gamma, channel)}{_gain(' + ', beta, channel)}")
    made = f"cast({source} AS array<double>)"
    made = _let("a", made, row) if one else _by_group(made, row, grouping)
    if column.single:
        made = f"cast({made} AS array<float>)"
    return grouping.guarded(column, source, made)


def _gain(operator: str, values: Sequence[float], channel: str) -> str:
    return operator + parameter(np.asarray(values, dtype=np.float64), f"int({channel})") if len(values) else ""


def _by_group(source: str, row: str, grouping: Grouping) -> str:
    """Return what ``row`` makes of each group as one array, in the order of the source."""
    outer, groups, inner = grouping.outer, grouping.groups, grouping.inner
    count = str(groups) if groups else f"int(size(t) div {inner})"
    length = str(outer * inner) if inner else f"int(size(t) div {groups})"
    each = _let("a", "slice(t, g * n + 1, n)", row)
    made = _let("n", length, f"flatten(transform(sequence(0, {count} - 1), g -> {each}))")
    if outer == 1 or groups is None or inner is None:
        return _let("t", source, made)
    return _transposed(_let("t", _transposed(source, outer, groups, inner), made), groups, outer, inner)


def _transposed(source: str, rows: int, columns: int, inner: int) -> str:
    """Return an array of axes (rows, columns, inner) as one of (columns, rows, inner)."""
    at = f"int((i div {inner} % {rows} * {columns} + i div {rows * inner}) * {inner} + i % {inner})"
    return _let("o", source, f"transform(sequence(0, {rows * columns * inner - 1}), i -> get(o, {at}))")


def _let(name: str, value: str, body: str) -> str:
    """Bind a name: what an aggregate over nothing starts with is what it ends with."""
    return f"aggregate(cast(array() AS array<int>), {value}, (s, x) -> s, {name} -> {body})"


def _row(norm: Norm, gain: str) -> str:
    """Return the text of the array ``a`` divided, with ``gain`` after each value.

    First as if all were well; else from the valid values ``v``; else from these by way of units of the largest.
    """
    units = f"array(greatest({literal(norm.floor)}, array_max(transform(v, x -> abs(x)))))"
    # By zip_with, as in interpreted, so that the code of the others stays short.
    rescaled = f"get(zip_with(array(a), {units}, (a, b) -> {_divided(norm, gain, 'v', 'b')}), 0)"
    again = _let("v", f"filter(a, x -> {FINITE.format(x='x')})", f"coalesce({_divided(norm, gain, 'v')}, {rescaled})")
    return f"coalesce({_divided(norm, gain, 'a')}, {again})"


def _divided(norm: Norm, gain: str, valid: str, by: str = "") -> str:
    """Return the text of ``a`` divided by what ``valid`` gives; without ``by``, null where that is not to be trusted."""
    unit = f" / {by}" if by else ""
    count, first = f"greatest(size({valid}), 1)", f"get({valid}, 0){unit}"
    x = f"(x{unit} - c)" if norm.centred else f"(x{unit})"
    divisor = norm.divisor("q", count, by or "1D")
    made = elementwise("a", f"{x} / r{gain}")
    if not by:
        divisor = f"CASE WHEN {norm.trusted(valid)} THEN {divisor} END"
        made = f"CASE WHEN r < {LARGEST} THEN {made} END"
    made = _let("r", f"aggregate({valid}, 0D, (s, x) -> {norm.step.format(x=x)}, q -> {divisor})", made)
    if not norm.centred:
        return made
    # Deviations from the first value first, so that the mean of large values close together keeps its digits.
    total = f"aggregate({valid}, 0D, (s, x) -> s + (x{unit} - {first}))"
    return _let("c", f"coalesce({first} + {total} / {count}, 0D)", made)


def clip(column: FeatureColumn, source: str, bounds: Bounds) -> str:
    """Return values brought between bounds as SQL text."""
    if column.kind == "scalar":
        made = clipped(f"double({source})", bounds)
        return f"float({made})" if column.single else made
    double = f"cast({source} AS array<double>)"
    made = f"transform({double}, x -> {clipped('x', bounds)})"
    made = f"CASE WHEN size({source}) = 0 THEN {interpreted(double)} ELSE {made} END"
    return f"cast({made} AS array<float>)" if column.single else made


def transform(
    df: DataFrame,
    inputs: Sequence[FeatureColumn],
    outputs: Sequence[FeatureColumn],
    handle_invalid: str,
    text: Text,
    vectors: Vectors,
    *,
    kernel: Kernel,
    checked: Text,
    device: str,
    replaced: Paths,
) -> DataFrame:
    """Add the outputs to a DataFrame; everything else stays as it was but for what is replaced.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data.
    inputs, outputs : sequence of FeatureColumn
        Columns that are read and made, in pairs.
    handle_invalid : {"keep", "skip", "error", "keepNaN"}
        What happens to invalid values.
    text : function
        SQL of what a scalar or an array becomes, given as SQL.
    vectors : function
        Adds to a DataFrame what a vector becomes; returns SQL text of it, and what columns it added.
    kernel, checked : function
        In place of ``text`` on a GPU: what maps rows, and SQL of what it is given.
    device : {"cpu", "auto", "gpu"}
        Where tasks compute, as `gpu.asked` tells.
    replaced : mapping from str to tuple of str
        The outputs that replace a column, or a field of a struct, and its path.
    """
    df, inputs, temporary = readable(df, inputs)
    if handle_invalid == "skip":
        df = complete(df, inputs)
    made: dict[str, str] = {}
    if device != "cpu":
        flat = [(c, out) for c, out in zip(inputs, outputs, strict=True) if c.kind != "vector"]
        columns, sources = [c for c, _ in flat], [to_sql(c, handle_invalid, checked) for c, _ in flat]
        df, texts, names = with_mapped(df, columns, sources, [kernel] * len(flat), kernel, device)
        temporary.extend(names)
        made = {out.name: t for (_, out), t in zip(flat, texts, strict=True)}
    for column, out in zip(inputs, outputs, strict=True):
        if column.kind == "vector":
            df, made[out.name], names = vectors(df, column)
            temporary.extend(names)
        elif out.name not in made:
            made[out.name] = to_sql(column, handle_invalid, text)
    return finished(df, outputs, made, temporary, replaced)


def to_sql(column: FeatureColumn, handle_invalid: str, text: Text) -> str:
    """Return as SQL text what a column becomes; vectors are read and written as arrays of double."""
    return guarded(column, column.sql, text(column, column.sql), handle_invalid)
