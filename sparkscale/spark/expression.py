"""SQL text: what transform runs, what toSQL hands out, and the guards around both.

Text, because building Column objects costs milliseconds each on the driver.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from sparkscale.affine import AffineMap
from sparkscale.errors import InvalidValueError, ScalingError, SizeMismatchError, escaped, tag_error
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.sql import string

__all__ = [
    "REFUSING",
    "array_literal",
    "array_map",
    "clipped",
    "elementwise",
    "failure",
    "guarded",
    "is_valid",
    "length_checked",
    "let",
    "literal",
    "paired",
    "parameter",
    "rare",
    "refusal",
    "rendered",
    "scalar_map",
]

Array = npt.NDArray[np.float64]
Bounds = tuple[float, float] | None

# Around a branch that is rarely taken. As it stands it is a pair of parentheses; `rendered` makes more of it.
RARE, END = "(/* rare */ ", " /* end */)"
INDEX = re.compile(r"\bi\b")
FINITE = "abs({x}) < double('Infinity')"  # false for NaN, which Spark orders above infinity; null for null
INFINITE = "abs({x}) = double('Infinity')"
REFUSING = ("error", "keepNaN")  # policies for invalid values under which a job may fail


def literal(value: float) -> str:
    """Return a double as SQL text of the same bits; if negative, in parentheses, since ``x--1`` is a comment."""
    if np.isfinite(value):
        return f"({float(value)!r}D)" if np.signbit(value) else f"{float(value)!r}D"
    return "double('NaN')" if np.isnan(value) else f"double('{'-' if value < 0 else ''}Infinity')"


def failure(error: type[ScalingError], before: str, value: str, after: str, sql_type: str | None = None) -> str:
    """Return text that makes the job fail with a message around the SQL ``value``.

    It has the type of what stands beside it, given as ``sql_type``: where Spark gives it one, accelerators see an array
    of nothing first, and leave the whole expression to Spark.
    """
    start, end = tag_error(error, "\0").split("\0")
    shown = f"coalesce(string({value}), 'null')"
    fails = f"raise_error(concat({string(start + escaped(before))}, {shown}, {string(escaped(after) + end)}))"
    return f"cast({fails} AS {sql_type})" if sql_type else fails


def rare(text: str) -> str:
    """Mark a branch that is rarely taken; see `rendered`."""
    return f"{RARE}{text}{END}"


def rendered(text: str, *, interpreted: bool) -> str:
    """Return the text with its rare branches ``interpreted``, that is without generated code, or as plain SQL.

    Spark generates code for the other functions used here (from 4.3 on), but none for zip_with, and where a select or
    filter holds an expression without, it generates a method for each few columns rather than one for all. Java does
    not compile a method above 8,000 bytes: in one method ten columns of arrays took 12 times, and forty scalars under
    "error" 5 times what they take in several. The RAPIDS Accelerator has no zip_with, and needs no Java method.
    """
    if interpreted:
        return text.replace(RARE, "get(zip_with(array(").replace(END, "), array(0), (y, i) -> y), 0)")
    return text.replace(RARE, "(").replace(END, ")")


def let(name: str, value: str, body: str) -> str:
    """Return ``body``, in which a name stands for a value that is computed once.

    SQL has no other way inside of an expression: what an aggregate over nothing starts with is what it ends with.
    """
    return f"aggregate(cast(array() AS array<int>), {value}, (s, x) -> s, {name} -> {body})"


def is_valid(column: FeatureColumn, source: str) -> str:
    """Return a condition, never null: every value of the column is neither null nor NaN nor infinite."""
    if column.kind == "scalar":
        return f"coalesce({FINITE.format(x=f'double({source})')}, false)"
    return f"({source} IS NOT NULL AND NOT exists({source}, x -> NOT coalesce({FINITE.format(x='double(x)')}, false)))"


def guarded(column: FeatureColumn, source: str, result: str, handle_invalid: str, *, compiled: bool = False) -> str:
    """Return ``result`` where ``handle_invalid`` takes the column's values; otherwise the job fails naming one.

    The failure is `rare` unless it is to be ``compiled`` with the rest: around functions on vectors and in aggregates
    one method for all takes 0.75 times what several do.
    """
    if handle_invalid not in REFUSING:
        return result
    each = "double(x)" if column.kind != "scalar" else f"double({source})"
    if handle_invalid == "error":
        taken, refused = is_valid(column, source), f"NOT coalesce({FINITE.format(x=each)}, false)"
    else:
        refused = INFINITE.format(x=each)
        some = refused if column.kind == "scalar" else f"exists({source}, x -> {refused})"
        taken = f"NOT coalesce({some}, false)"
    first = source if column.kind == "scalar" else f"get(filter({source}, x -> {refused}), 0)"
    before, after = refusal(column, handle_invalid)
    fails = failure(InvalidValueError, before, first, after, None if compiled else column.sql_type)
    return f"CASE WHEN {taken} THEN {result} ELSE {fails if compiled else rare(fails)} END"


def refusal(column: FeatureColumn, handle_invalid: str) -> tuple[str, str]:
    """Return what is said before and after a value that ``handle_invalid`` does not take."""
    remedy = "Clean the column, or set handleInvalid to 'keep' or 'skip'."
    return f"Column '{column.name}' holds ", f", which handleInvalid='{handle_invalid}' refuses. {remedy}"


def length_checked(column: FeatureColumn, source: str, size: int, result: str) -> str:
    """Return ``result`` where the array has ``size`` elements, null where it is null; otherwise the job fails."""
    wrong = failure(
        SizeMismatchError,
        f"Column '{column.name}' holds a row of length ",
        f"size({source})",
        f", but the model was fitted on length {size}. Give every row the length that fit saw, or fit again.",
        column.sql_type,
    )
    fits = f"size({source}) = {size}"
    return f"CASE WHEN {source} IS NULL THEN NULL WHEN {fits} THEN {result} ELSE {rare(wrong)} END"


def paired(column: FeatureColumn, source: str, result: str) -> str:
    """Return ``result`` where the unwrapped vector is dense, or has as many indices as values; otherwise the job fails."""
    indices, values = f"size({source}.indices)", f"size({source}.values)"
    wrong = failure(
        SizeMismatchError,
        f"Column '{column.name}' holds a sparse vector with ",
        f"concat({indices}, ' indices and ', {values}, ' values')",
        ": it must have one value for each index. Correct the rows.",
    )
    return f"CASE WHEN {source}.indices IS NOT NULL AND {indices} <> {values} THEN {wrong} ELSE {result} END"


def scalar_map(column: FeatureColumn, source: str, affine: AffineMap, bounds: Bounds) -> str:
    """Return the mapped scalar as SQL text."""
    mapped = clipped(_mapped(source, affine, ""), bounds)
    return f"float({mapped})" if column.single else mapped


def array_map(column: FeatureColumn, source: str, affine: AffineMap, bounds: Bounds) -> str:
    """Return the mapped array as SQL text; its length is right."""
    mapped = elementwise(source, _mapped("x", affine, "i"))
    if bounds:
        mapped = f"transform({mapped}, x -> {clipped('x', bounds)})"
    return f"cast({mapped} AS array<float>)" if column.single else mapped


def elementwise(source: str, body: str) -> str:
    """Return the array of what ``body`` makes of each element ``x`` at ``i``, which is left out where it is unused.

    Spark sets each variable for every element: for RMSNorm on arrays of 64, reading included, it took 0.92 times as long
    without ``i``.
    """
    return f"transform({source}, {'(x, i)' if INDEX.search(body) else 'x'} -> {body})"


def clipped(x: str, bounds: Bounds) -> str:
    """Return ``x`` brought between bounds, by hand: least and greatest would pass over null and NaN."""
    if not bounds:
        return x
    low, high = (literal(b) for b in bounds)
    return f"CASE WHEN {x} < {low} THEN {low} WHEN {x} > {high} AND NOT isnan({x}) THEN {high} ELSE {x} END"


def _mapped(x: str, affine: AffineMap, index: str) -> str:
    """Return the map of ``x``, a name or a call, as a double: arithmetic with doubles makes it one.

    To ask for a double in the text makes Spark plan longer: for 1,000 columns 0.57 s in place of 0.46.
    """
    source = x
    if np.any(affine.center != 0):
        x = f"({x} - {parameter(affine.center, index)})"
    if np.any(affine.scale != 1):
        x = f"({x} {'/' if affine.divides else '*'} {parameter(affine.scale, index)})"
    # A collapsed negative value is -0.0; adding 0.0 makes it 0.0.
    if np.any(affine.offset != 0) or not np.all(np.isfinite(affine.scale) & (affine.scale != 0)):
        x = f"({x} + {parameter(affine.offset, index)})"
    return x if x != source else f"double({x})"


def parameter(values: Array, index: str) -> str:
    """Return one literal where all features share a value, else the element of a constant array."""
    if np.all(values == values[0]) or np.all(np.isnan(values)):
        return literal(values[0])
    return f"get({array_literal(values)}, {index})"


def array_literal(values: Iterable[float]) -> str:
    """Return a constant array of doubles as SQL text: one string, that Spark parses once.

    An expression for each element takes Spark 12 s at 30,000 elements, this 0.5 s at 100,000.
    """
    return f"cast(split('{','.join(repr(float(v)) for v in values)}', ',') AS array<double>)"
