"""What the laws are tried on: hypothesis strategies for numbers, blocks and rows, and exact arithmetic on them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from sparkscale.blocks import Block, DenseBlock, SparseBlock
from sparkscale.statistics import CoMoments

FEATURES = 3
EPS = float(np.finfo(np.float64).eps)
SUBNORMAL = 5e-324
LARGEST = Fraction(float(np.finfo(np.float64).max))

Row = list[float | None] | None

# --- numbers ---------------------------------------------------------------------------------------------------

INVALID = st.sampled_from([np.nan, np.inf, -np.inf])
ORDINARY = st.floats(-1e6, 1e6, allow_subnormal=False)
SMALL = st.sampled_from([0.0, -0.0, SUBNORMAL, -SUBNORMAL, 1e-310, -3e-310, 1.0, -2.5])
LARGE_MEAN = st.integers(-5000, 5000).map(lambda k: 1e9 + k * 1e-3)
HUGE = st.sampled_from([1e300, -1e300, 1e308, -1.7e308, 0.0])
INTEGERS = st.integers(-3, 3).map(float)


def mostly(values: st.SearchStrategy[float], missing: st.SearchStrategy[Any] = INVALID) -> st.SearchStrategy[Any]:
    """Values of which about one in five is invalid."""
    return st.integers(0, 4).flatmap(lambda n: missing if n == 0 else values)


FINITE_COLUMNS = (ORDINARY, INTEGERS, SMALL, LARGE_MEAN)
COLUMNS = (*FINITE_COLUMNS, *(mostly(c) for c in FINITE_COLUMNS), INVALID, mostly(HUGE))
TAME_COLUMNS = COLUMNS[:-1]


@st.composite
def matrices(
    draw: st.DrawFn, rows: int | None = None, features: int = FEATURES, columns: Sequence[Any] = COLUMNS
) -> np.ndarray:
    """Values by row and feature; each feature has its own nature."""
    rows = draw(st.integers(0, 12)) if rows is None else rows
    drawn = [draw(st.lists(draw(st.sampled_from(columns)), min_size=rows, max_size=rows)) for _ in range(features)]
    return np.array(drawn, dtype=np.float64).reshape(features, rows).T.copy()


def weights(rows: int) -> st.SearchStrategy[np.ndarray]:
    """Return positive row weights."""
    return st.lists(st.floats(1e-3, 1e3), min_size=rows, max_size=rows).map(lambda w: np.array(w, dtype=np.float64))


# --- blocks ----------------------------------------------------------------------------------------------------


def dense(values: Any, row_weights: Any = None) -> DenseBlock:
    """Return a block that cannot be written to."""
    block = DenseBlock(
        np.array(values, dtype=np.float64), None if row_weights is None else np.array(row_weights, dtype=np.float64)
    )
    for array in (block.values, block.weights):
        if array is not None:
            array.flags.writeable = False
    return block


def sparse(values: Any, row_weights: Any = None, explicit_zeros: bool = False) -> SparseBlock:
    """Return the same data as a sparse block that cannot be written to."""
    matrix = np.array(values, dtype=np.float64)
    stored = np.ones(matrix.shape, dtype=bool) if explicit_zeros else matrix != 0
    block = SparseBlock(
        matrix.shape[1],
        stored.sum(axis=1).astype(np.int64),
        np.nonzero(stored)[1].astype(np.int32),
        matrix[stored],
        None if row_weights is None else np.array(row_weights, dtype=np.float64),
    )
    for array in (block.lengths, block.indices, block.values, block.weights):
        if array is not None:
            array.flags.writeable = False
    return block


@st.composite
def blocks(draw: st.DrawFn, weighted: bool = False, columns: Sequence[Any] = COLUMNS) -> Block:
    """Dense or sparse blocks."""
    values = draw(matrices(columns=columns))
    row_weights = draw(weights(len(values))) if weighted else None
    return draw(st.sampled_from([dense, sparse]))(values, row_weights)


# --- exact arithmetic ------------------------------------------------------------------------------------------


def exact_moments(
    values: Sequence[float], row_weights: Sequence[float] | None = None
) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """Return weight, weight_square, mean and m2 of the finite values, without rounding."""
    row_weights = [1.0] * len(values) if row_weights is None else row_weights
    pairs = [
        (Fraction(float(v)), Fraction(float(w))) for v, w in zip(values, row_weights, strict=True) if np.isfinite(v)
    ]
    weight = sum((w for _, w in pairs), Fraction(0))
    mean = sum((v * w for v, w in pairs), Fraction(0)) / (weight or 1)
    m2 = sum((w * (v - mean) ** 2 for v, w in pairs), Fraction(0))
    return weight, sum((w * w for _, w in pairs), Fraction(0)), mean, m2


def rounded(exact: Fraction) -> float:
    """Return the nearest double; what is none overflows to infinity."""
    return float(exact) if abs(exact) <= LARGEST else np.inf if exact > 0 else -np.inf


def condition(values: Sequence[float]) -> float:
    """Return how much larger a feature's values are than their spread: the digits that rounding may take."""
    valid = [float(v) for v in values if np.isfinite(v)]
    m2 = exact_moments(valid)[3]
    if not valid or not m2:
        return 1.0
    largest = max(abs(Fraction(v)) for v in valid)
    return float(min(largest**2 / (m2 / len(valid)), Fraction(10) ** 300)) ** 0.5


def assert_same_co_moments(expected: CoMoments, actual: CoMoments, values: np.ndarray) -> None:
    """Counts are equal, and each pair of features agrees as far as the conditions of both leave digits."""
    for name in ("count", "invalid", "rows"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), err_msg=name)
    if not np.isfinite(expected.comoments).all():
        assert not np.isfinite(actual.comoments).all()
        return
    values = values[np.isfinite(values).all(axis=1)]
    largest = np.minimum(np.abs(values).max(axis=0, initial=0.0), 1e150)  # whose product is a double
    underflow = 64 * SUBNORMAL * (1 + len(values)) * (1 + np.add.outer(largest, largest))
    assert np.all(np.abs(actual.mean - expected.mean) <= 8 * EPS * largest + underflow[0, 0])
    digits = np.sqrt([max(1e-12, 128 * EPS * condition(column)) for column in values.T])
    spread = np.sqrt(np.diagonal(expected.comoments))
    tiny = (largest > 0) & (largest < 1e-100)  # whose squares vanish, and not their products with others
    unit = largest[tiny]
    spread[tiny] = unit * np.sqrt((((values[:, tiny] - expected.mean[tiny]) / unit) ** 2).sum(axis=0))
    scale = digits * spread + np.sqrt(len(values)) * 8 * EPS * largest
    assert np.all(np.abs(actual.comoments - expected.comoments) <= np.outer(scale, scale) + underflow)


# --- rows -----------------------------------------------------------------------------------------------------


@st.composite
def tables(
    draw: st.DrawFn,
    min_rows: int = 1,
    max_rows: int = 9,
    features: int = FEATURES,
    columns: Sequence[Any] = COLUMNS,
    nulls: bool = True,
) -> list[Row]:
    """Rows of features with nulls, NaN and infinities; a row may be null altogether, except for the first."""
    matrix = draw(matrices(draw(st.integers(min_rows, max_rows)), features, columns))
    rows: list[Row] = [[None if nulls and np.isnan(v) and draw(st.booleans()) else float(v) for v in r] for r in matrix]
    if nulls:
        rows[1:] = [None if draw(st.integers(0, 7)) == 0 else r for r in rows[1:]]
    return rows


@st.composite
def cuts(draw: st.DrawFn, rows: Sequence[Any]) -> list[Sequence[Any]]:
    """Rows torn into partitions: of one row, of all, of none."""
    places = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=6)))
    return [rows[start:end] for start, end in zip([0, *places], [*places, len(rows)], strict=True)]


def matrix_of(rows: Sequence[Row], features: int = FEATURES) -> np.ndarray:
    """Return rows as numbers; null is NaN."""
    values = [[np.nan] * features if r is None else [np.nan if v is None else v for v in r] for r in rows]
    return np.array(values, dtype=np.float64).reshape(len(values), features)
