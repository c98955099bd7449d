"""SQL text that transform runs and toSQL returns, and the checks around it.

Text, because each Column object costs milliseconds on the driver.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from sparkscale.affine import AffineMap
from sparkscale.errors import InvalidValueError, ScalingError, SizeMismatchError, escaped, tag_error
from sparkscale.layout import PLACES
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.sql import string

__all__ = [
    "REFUSING",
    "affine_text",
    "array_literal",
    "array_map",
    "clipped",
    "elementwise",
    "failure",
    "feature_index",
    "filled",
    "guarded",
    "indices_checked",
    "is_missing",
    "is_valid",
    "length_checked",
    "let",
    "literal",
    "masked",
    "parameter",
    "rare",
    "refusal",
    "rendered",
    "scalar_map",
    "unrounded",
    "with_places",
    "without_nan",
]

Array = npt.NDArray[np.float64]
Bounds = tuple[Array, Array] | None  # the lowest and the highest value of each feature

# Marks a branch that is rarely taken. Unrendered, these are plain parentheses; see `rendered`.
RARE, RARE_END = "(/* rare */ ", " /* end */)"
INDEX = re.compile(r"\bi\b")
FINITE = "abs({x}) < double('Infinity')"  # false for NaN, which Spark sorts above infinity; null for null
INFINITE = "abs({x}) = double('Infinity')"
REFUSING = ("error", "keepNaN")  # values of handleInvalid with which a job may fail


def literal(value: float) -> str:
    """Return a double as exact SQL text; a negative one in parentheses, since ``x--1`` is a comment."""
    if np.isfinite(value):
        return f"({float(value)!r}D)" if np.signbit(value) else f"{float(value)!r}D"
    return "double('NaN')" if np.isnan(value) else f"double('{'-' if value < 0 else ''}Infinity')"


def failure(error: type[ScalingError], before: str, value: str, after: str, sql_type: str | None = None) -> str:
    """Return SQL text that makes the job fail with a message that contains the SQL ``value``.

    It is cast to ``sql_type``, the type of the other branches. If Spark added the cast, accelerators would see an array
    of void, and would not run the expression.
    """
    start, end = tag_error(error, "\0").split("\0")
    value_text = f"coalesce(string({value}), 'null')"
    fails = f"raise_error(concat({string(start + escaped(before))}, {value_text}, {string(escaped(after) + end)}))"
    return f"cast({fails} AS {sql_type})" if sql_type else fails


def rare(text: str) -> str:
    """Mark a branch that is rarely taken; see `rendered`."""
    return f"{RARE}{text}{RARE_END}"


def rendered(text: str, *, interpreted: bool) -> str:
    """Return the text with its rare branches ``interpreted``, that is without generated code, or as plain SQL.

    Spark generates code for the other functions used here (from 4.3 on), but not for zip_with. If a select or filter
    contains an expression without generated code, Spark generates one method per few columns instead of one for all.
    The JVM does not compile methods above 8,000 bytes: in one method, ten array columns take 12 times as long as in
    several, and forty scalars with "error" 5 times. The RAPIDS Accelerator has no zip_with, and uses no Java methods.
    """
    if interpreted:
        return text.replace(RARE, "get(zip_with(array(").replace(RARE_END, "), array(0), (y, i) -> y), 0)")
    return text.replace(RARE, "(").replace(RARE_END, ")")


def let(name: str, value: str, body: str) -> str:
    """Return ``body``, in which a name refers to a value that is computed once.

    SQL has no local variables inside of an expression, but aggregate over an empty array passes its start value on.
    """
    return f"aggregate(cast(array() AS array<int>), {value}, (s, x) -> s, {name} -> {body})"


def is_valid(column: FeatureColumn, source: str) -> str:
    """Return a condition, never null, that no value of the column is null, NaN or infinite."""
    if column.kind == "scalar":
        return f"coalesce({FINITE.format(x=f'double({source})')}, false)"
    return f"({source} IS NOT NULL AND NOT exists({source}, x -> NOT coalesce({FINITE.format(x='double(x)')}, false)))"


def guarded(column: FeatureColumn, source: str, result: str, handle_invalid: str, *, compiled: bool = False) -> str:
    """Return ``result`` if ``handle_invalid`` allows the column's values; otherwise the job fails and names one.

    The failure is `rare` unless it is ``compiled`` with the rest: with functions on vectors and in aggregates, one
    method takes 0.75 times as long as several.
    """
    if handle_invalid not in REFUSING:
        return result
    each = "double(x)" if column.kind != "scalar" else f"double({source})"
    if handle_invalid == "error":
        allowed, refused = is_valid(column, source), f"NOT coalesce({FINITE.format(x=each)}, false)"
    else:
        refused = INFINITE.format(x=each)
        any_refused = refused if column.kind == "scalar" else f"exists({source}, x -> {refused})"
        allowed = f"NOT coalesce({any_refused}, false)"
    first = source if column.kind == "scalar" else f"get(filter({source}, x -> {refused}), 0)"
    before, after = refusal(column, handle_invalid)
    fails = failure(InvalidValueError, before, first, after, None if compiled else column.sql_type)
    return f"CASE WHEN {allowed} THEN {result} ELSE {fails if compiled else rare(fails)} END"


def refusal(column: FeatureColumn, handle_invalid: str) -> tuple[str, str]:
    """Return the message before and after a value that ``handle_invalid`` refuses."""
    remedy = "Clean the column, or set handleInvalid to 'keep' or 'skip'."
    return f"Column '{column.name}' holds ", f", which handleInvalid='{handle_invalid}' refuses. {remedy}"


def length_checked(column: FeatureColumn, source: str, size: int, result: str) -> str:
    """Return ``result`` if the array has ``size`` elements, null if it is null; otherwise the job fails.

    Rows of any length are only to have the same number of elements for each channel.
    """
    if column.layout is not None:
        channels = column.layout.channels
        if channels == 1:
            return result
        wrong = failure(
            SizeMismatchError,
            f"Column '{column.name}' holds a row of length ",
            f"size({source})",
            column.layout.remainder,
            column.sql_type,
        )
        fits = f"size({source}) % {channels} = 0"
        return f"CASE WHEN {source} IS NULL THEN NULL WHEN {fits} THEN {result} ELSE {rare(wrong)} END"
    wrong = failure(
        SizeMismatchError,
        f"Column '{column.name}' holds a row of length ",
        f"size({source})",
        f", but the model was fitted on length {size}. Give every row the same length as in fit, or fit again.",
        column.sql_type,
    )
    fits = f"size({source}) = {size}"
    return f"CASE WHEN {source} IS NULL THEN NULL WHEN {fits} THEN {result} ELSE {rare(wrong)} END"


def indices_checked(column: FeatureColumn, source: str, result: str) -> str:
    """Return ``result`` if the unwrapped vector is dense or has one value per index; otherwise the job fails."""
    indices, values = f"size({source}.indices)", f"size({source}.values)"
    wrong = failure(
        SizeMismatchError,
        f"Column '{column.name}' holds a sparse vector with ",
        f"concat({indices}, ' indices and ', {values}, ' values')",
        ": it must have one value for each index. Correct the rows.",
    )
    return f"CASE WHEN {source}.indices IS NOT NULL AND {indices} <> {values} THEN {wrong} ELSE {result} END"


def is_missing(column: FeatureColumn, x: str) -> str:
    """Return a condition, never null, that a number of the column is null, NaN or the mask."""
    masks = "" if column.mask_value is None else f" OR {x} = {literal(column.mask_value)}"
    return f"({x} IS NULL{'' if column.integral else f' OR isnan(double({x}))'}{masks})"


def masked(column: FeatureColumn, x: str, mapped: str) -> str:
    """Return what a number of the column is mapped to: the mask, if it has one and this is it, to itself."""
    if column.mask_value is None:
        return mapped
    mask = literal(column.mask_value)
    return f"CASE WHEN {x} = {mask} THEN {mask} ELSE {mapped} END"


def unrounded(column: FeatureColumn, x: str) -> str:
    """Return a number of the column as a double, and the mask, which may have been rounded, as it was."""
    if column.mask is None or column.mask == column.mask_value or column.mask_value is None:
        return f"double({x})"
    return f"CASE WHEN {x} = {literal(column.mask_value)} THEN {literal(column.mask)} ELSE double({x}) END"


def scalar_map(column: FeatureColumn, source: str, affine: AffineMap, bounds: Bounds, fill: Array | None) -> str:
    """Return the mapped scalar as SQL text."""
    filling = None if fill is None else parameter(fill, "")
    mapped = affine_text(without_nan(column, source, filling), affine, "")
    mapped = masked(column, source, filled(clipped(mapped, bounds), filling))
    return f"float({mapped})" if column.single else mapped


def array_map(column: FeatureColumn, source: str, affine: AffineMap, bounds: Bounds, fill: Array | None) -> str:
    """Return the mapped array as SQL text; its length has been checked."""
    row, index = source, feature_index(column)
    filling = None if fill is None else parameter(fill, index)
    mapped = affine_text(without_nan(column, "x", filling), affine, index)
    if bounds and column.mask_value is None:  # mentions the mapped value several times
        source, mapped, bounds = elementwise(source, mapped), clipped("x", bounds, index), None
    mapped = masked(column, "x", filled(clipped(mapped, bounds, index), filling))
    mapped = with_places(column, row, elementwise(source, mapped))
    return f"cast({mapped} AS array<float>)" if column.single else mapped


def feature_index(column: FeatureColumn) -> str:
    """Return the feature of element ``i`` of an array as SQL; see `with_places`."""
    return "i" if column.layout is None else column.layout.index_sql("i")


def with_places(column: FeatureColumn, source: str, text: str) -> str:
    """Return SQL text that may mention the number of places of a row of any length, which is computed once for each row."""
    if column.layout is None or PLACES not in text:
        return text
    return let(PLACES, f"int(size({source}) div {column.layout.channels})", text)


def without_nan(column: FeatureColumn, x: str, fill: str | None) -> str:
    """Return a number that is to be filled with null in place of NaN, so that its result is null only if it is missing."""
    return x if fill is None or column.integral else f"nanvl(double({x}), double(NULL))"


def filled(x: str, fill: str | None) -> str:
    """Return ``x`` with null filled."""
    return x if fill is None else f"coalesce({x}, {fill})"


def elementwise(source: str, body: str) -> str:
    """Return the array of ``body`` evaluated for each element ``x`` at index ``i``; ``i`` is omitted if unused.

    Spark sets each variable for every element: RMSNorm on arrays of 64, reading included, takes 0.92 times as long
    without ``i``.
    """
    return f"transform({source}, {'(x, i)' if INDEX.search(body) else 'x'} -> {body})"


def clipped(x: str, bounds: Bounds, index: str = "") -> str:
    """Return ``x`` clipped to bounds; least and greatest would ignore null and NaN."""
    if not bounds:
        return x
    low, high = (parameter(b, index) for b in bounds)
    return f"CASE WHEN {x} < {low} THEN {low} WHEN {x} > {high} AND NOT isnan({x}) THEN {high} ELSE {x} END"


def affine_text(x: str, affine: AffineMap, index: str) -> str:
    """Return the map of ``x``, a name or a call. Arithmetic with doubles gives a double.

    An explicit cast makes planning slower: 0.57 s instead of 0.46 s for 1,000 columns.
    """
    source = x
    if np.any(affine.center != 0):
        x = f"({x} - {parameter(affine.center, index)})"
    if np.any(affine.scale != 1):
        x = f"({x} {'/' if affine.divides else '*'} {parameter(affine.scale, index)})"
    # Collapsed negative values are -0.0; adding 0.0 makes them 0.0.
    if np.any(affine.offset != 0) or not np.all(np.isfinite(affine.scale) & (affine.scale != 0)):
        x = f"({x} + {parameter(affine.offset, index)})"
    return x if x != source else f"double({x})"


def parameter(values: Array, index: str) -> str:
    """Return one literal if all features have the same value, otherwise an element of a constant array."""
    if np.all(values == values[0]) or np.all(np.isnan(values)):
        return literal(values[0])
    return f"get({array_literal(values)}, {index})"


def array_literal(values: Iterable[float]) -> str:
    """Return a constant array of doubles as SQL text: one string, which Spark parses once.

    One expression per element takes 12 s for 30,000 elements; this takes 0.5 s for 100,000.
    """
    return f"cast(split('{','.join(repr(float(v)) for v in values)}', ',') AS array<double>)"
