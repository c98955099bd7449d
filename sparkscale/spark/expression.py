"""SQL text: what transform runs, what toSQL hands out, and the guards around both.

Text, because building Column objects costs milliseconds each on the driver.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from sparkscale.affine import AffineMap
from sparkscale.errors import InvalidValueError, ScalingError, SizeMismatchError, escaped, marked
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.sql import string

__all__ = [
    "REFUSING",
    "array_literal",
    "array_map",
    "clipped",
    "elementwise",
    "failure",
    "for_plugin",
    "guarded",
    "interpreted",
    "is_valid",
    "literal",
    "paired",
    "parameter",
    "refusal",
    "scalar_map",
    "sized",
    "split_up",
]

Array = npt.NDArray[np.float64]
Bounds = tuple[float, float] | None

# Expressions that may be too much for one method: 20 clipped scalars are not, 40 are. Ten, in one, take 0.6 times what
# they take in several. Of MANY or more each MANY-th is written twice: any MANY in a row, if not all are selected, hold one.
# Scattered ones may hold none; each eighth would reach most, and made transform of 1,000 columns 1.07 times as long.
MANY = 24
RARE, END = "get(zip_with(array(/* rare */ ", " /* end */), array(0), (y, i) -> y), 0)"
INDEX = re.compile(r"\bi\b")
FINITE = "abs({x}) < double('Infinity')"  # false for NaN, which Spark orders above infinity; null for null
INFINITE = "abs({x}) = double('Infinity')"
REFUSING = ("error", "keepNaN")  # policies for invalid values under which a job may fail


def literal(value: float) -> str:
    """Return a double as SQL text of the same bits; if negative, in parentheses, since ``x--1`` is a comment."""
    if np.isfinite(value):
        return f"({float(value)!r}D)" if np.signbit(value) else f"{float(value)!r}D"
    return "double('NaN')" if np.isnan(value) else f"double('{'-' if value < 0 else ''}Infinity')"


def failure(kind: type[ScalingError], before: str, value: str, after: str) -> str:
    """Return text that makes the job fail with a message around the SQL ``value``."""
    start, end = marked(kind, "\0").split("\0")
    shown = f"coalesce(string({value}), 'null')"
    return f"raise_error(concat({string(start + escaped(before))}, {shown}, {string(escaped(after) + end)}))"


def interpreted(text: str) -> str:
    """Return what evaluates to the same, and has no generated code: for a branch that is rarely taken.

    Spark generates code for the other functions used here (from 4.3 on), but none for zip_with, and where a select or
    filter holds an expression without, it generates a method for each few columns rather than one for all. Java does
    not compile a method above 8,000 bytes: in one method ten columns of arrays took 12 times, and forty scalars under
    "error" 5 times what they take in several.
    """
    return f"{RARE}{text}{END}"


def for_plugin(text: str) -> str:
    """Return the text with nothing ``interpreted``: the RAPIDS Accelerator has no zip_with, and needs no Java method."""
    return text.replace(RARE, "(").replace(END, ")")


def split_up(texts: Sequence[str], again: str) -> list[str]:
    """Return the expressions of one select or filter; if there are many, so that they are not put into one method.

    Parameters
    ----------
    texts : sequence of str
        SQL.
    again : str
        What leaves the value of ``{0}`` as it is, and asks ``{1}`` for the same in a case that is rare.
    """
    if len(texts) < MANY or any("zip_with(" in text for text in texts):
        return list(texts)
    return [t if k % MANY else again.format(t, interpreted(t)) for k, t in enumerate(texts)]


def is_valid(column: FeatureColumn, source: str) -> str:
    """Return a condition, never null: every value of the column is neither null nor NaN nor infinite."""
    if column.kind == "scalar":
        return f"coalesce({FINITE.format(x=f'double({source})')}, false)"
    return f"({source} IS NOT NULL AND NOT exists({source}, x -> NOT coalesce({FINITE.format(x='double(x)')}, false)))"


def guarded(column: FeatureColumn, source: str, result: str, handle_invalid: str, *, compiled: bool = False) -> str:
    """Return ``result`` where ``handle_invalid`` takes the column's values; otherwise the job fails naming one.

    The failure is ``interpreted`` unless it is to be ``compiled`` with the rest: around functions on vectors and in
    aggregates one method for all takes 0.75 times what several do.
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
    fails = failure(InvalidValueError, before, first, after)
    return f"CASE WHEN {taken} THEN {result} ELSE {fails if compiled else interpreted(fails)} END"


def refusal(column: FeatureColumn, handle_invalid: str) -> tuple[str, str]:
    """Return what is said before and after a value that ``handle_invalid`` does not take."""
    remedy = "Clean the column, or set handleInvalid to 'keep' or 'skip'."
    return f"Column '{column.name}' holds ", f", which handleInvalid='{handle_invalid}' refuses. {remedy}"


def sized(column: FeatureColumn, source: str, size: int, result: str) -> str:
    """Return ``result`` where the array has ``size`` elements, null where it is null; otherwise the job fails."""
    wrong = failure(
        SizeMismatchError,
        f"Column '{column.name}' holds a row of length ",
        f"size({source})",
        f", but the model was fitted on length {size}. Give every row the length that fit saw, or fit again.",
    )
    fits = f"size({source}) = {size}"
    return f"CASE WHEN {source} IS NULL THEN NULL WHEN {fits} THEN {result} ELSE {interpreted(wrong)} END"


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
