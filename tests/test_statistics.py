"""Laws and values of the statistics, without a Spark session."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from inspect import isabstract
from itertools import permutations
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import sparkscale.statistics
from sparkscale.blocks import Block, DenseBlock
from sparkscale.spark import arrow
from sparkscale.spark.fit import partials
from sparkscale.statistics import (
    BatchAverage,
    CoMoments,
    Counts,
    Extrema,
    Fold,
    Moments,
    MovingAverage,
    PerFeature,
    PowerMoments,
    Squares,
    Statistic,
    StatisticSet,
    co_moments,
)
from sparkscale.statistics._aggregates import mean_and_variance
from sparkscale.statistics._leveled import Leveled
from strategies import (
    EPS,
    FEATURES,
    FINITE_COLUMNS,
    LARGEST,
    SUBNORMAL,
    TAME_COLUMNS,
    assert_same_co_moments,
    blocks,
    condition,
    dense,
    exact_moments,
    matrices,
    rounded,
    sparse,
    weights,
)

pytestmark = pytest.mark.core

STATISTICS = sorted(
    (
        c
        for _, c in inspect.getmembers(sparkscale.statistics, inspect.isclass)
        if issubclass(c, Statistic) and c is not StatisticSet  # see test_statistic_sets.py
    ),
    key=lambda c: c.__name__,
)
KINDS = [c for c in STATISTICS if not isabstract(c)]
every_statistic = pytest.mark.parametrize("kind", KINDS)
each_by_feature = pytest.mark.parametrize("kind", [c for c in KINDS if not c.joint])


def assert_same(expected: Statistic, actual: Statistic) -> None:
    """Every number is equal; NaN equals NaN."""
    assert type(expected) is type(actual)
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(actual.arrays()[name], array, err_msg=name)


def assert_equivalent(expected: Statistic, actual: Statistic, values: np.ndarray) -> None:
    """Counts and extrema are equal; moments differ by no more than rounding at the data's condition explains."""
    if isinstance(expected, Squares):
        assert_same(Extrema(*list(expected.arrays().values())[:4]), Extrema(*list(actual.arrays().values())[:4]))
        np.testing.assert_allclose(actual.square, expected.square, rtol=1e-14)
        return
    if isinstance(expected, CoMoments):
        assert_same_co_moments(expected, actual, values)
        return
    if isinstance(expected, PowerMoments):
        for name in ("count", "invalid", "min", "number", "low", "high"):
            np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), err_msg=name)
        size = np.maximum(expected.span, 1e-300)[..., None]
        np.testing.assert_allclose(actual.mean, expected.mean, rtol=1e-12, atol=1e-14 * size.max())
        representable = expected.span >= 1e-290  # the rest is a few of the smallest doubles
        m2, other = expected.m2[representable], actual.m2[representable]
        np.testing.assert_allclose(other, m2, rtol=1e-9, atol=1e-12 * size.max() ** 2)
        return
    if not isinstance(expected, Moments):
        assert_same(expected, actual)
        return
    for name in ("count", "invalid"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), err_msg=name)
    for name in ("weight", "weight_square"):
        np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), rtol=1e-13, err_msg=name)
    for j, column in enumerate(values.T):
        m2, other = (float(s.m2[j] * s.unit[j] ** 2) for s in (expected, actual))
        if not np.isfinite(m2):
            assert not np.isfinite(other)
            continue
        largest = np.abs(column[np.isfinite(column)]).max(initial=0.0)
        underflow = SUBNORMAL * (1 + 8 * len(values) / max(min(1.0, expected.weight[j]), SUBNORMAL))
        assert abs(actual.mean[j] - expected.mean[j]) <= 8 * EPS * largest + underflow
        allowed = 128 * EPS * condition(column) * m2 + 64 * max(1.0, expected.weight[j]) * SUBNORMAL
        assert abs(other - m2) <= allowed + expected.weight[j] * min(8 * EPS * largest, 1e150) ** 2


def stacked(dense_blocks: Sequence[Block]) -> np.ndarray:
    """Return the values of dense blocks under each other."""
    return np.concatenate([part.values for part in dense_blocks])


@st.composite
def block_lists(draw: st.DrawFn, least: int = 2, most: int = 4) -> list[DenseBlock]:
    """Blocks of the same features, all weighted or none."""
    weighted = draw(st.booleans())
    drawn = [draw(matrices()) for _ in range(draw(st.integers(least, most)))]
    return [dense(p, draw(weights(len(p))) if weighted else None) for p in drawn]


def test_every_statistic_is_tested() -> None:
    """The laws run on every statistic class."""
    assert {Extrema, Moments} <= set(KINDS)


# --- laws ------------------------------------------------------------------------------------------------------


@every_statistic
@given(values=matrices())
@example(values=np.full((3, FEATURES), np.nan))
@example(values=np.full((3, FEATURES), 7.0))
@example(values=np.array([[0.0, -0.0, 0.0]]))
@example(values=np.zeros((0, FEATURES)))
def test_a_statistic_travels_unchanged(kind: type[Statistic], values: np.ndarray) -> None:
    """Bit for bit, as one row or in chunks, also where a number is the same for all features, which is sent once."""
    whole, group = kind.of(dense(values)), partials.JOINT if kind.joint else 1
    part = partials.Partial(4, group, 0, FEATURES, 2.0, whole)
    for features in [None, 1, 2]:
        names = dict.fromkeys((PerFeature, Leveled, PowerMoments), "chunk_features") | {co_moments: "TILE_FEATURES"}
        with ExitStack() as stack:
            for module, name in names.items():
                stack.enter_context(patch.object(module, name, features))
            batches = [*partials.to_batches(part, kind, in_chunks=features is not None)]
        rows = [partials.of_row(row, kind) for batch in batches for row in arrow.iter_rows(batch)]
        received = kind.of_chunks([row.start for row in rows], [row.statistic for row in rows], FEATURES)

        assert len(rows) == {None: 1, 1: 6 if kind.joint else 3, 2: 3 if kind.joint else 2}[features]
        assert {n: a.tobytes() for n, a in received.arrays().items()} == {
            n: a.tobytes() for n, a in whole.arrays().items()
        }
        assert [(row.partition, row.group, row.size) for row in rows] == [(4, group, FEATURES)] * len(rows)
        assert sum(row.nulls for row in rows) == 2.0


@pytest.mark.parametrize("features", [1, 2, 33])
def test_a_matrix_travels_unchanged_in_tiles(features: int) -> None:
    """Of 33 features the last tile has as many numbers as it has features, all of them 0."""
    whole = CoMoments.of(dense(np.ones((2, features))))
    part = partials.Partial(0, partials.JOINT, 0, features, 0.0, whole)
    batches = partials.to_batches(part, CoMoments, in_chunks=True)
    rows = [partials.of_row(row, CoMoments) for batch in batches for row in arrow.iter_rows(batch)]

    assert_same(whole, CoMoments.of_chunks([row.start for row in rows], [row.statistic for row in rows], features))


def test_values_equal_for_all_features_are_sent_once() -> None:
    """Of a thousand features the counts and the sums of weights; by the count the others find their length again."""
    moments = Moments.of(dense(np.arange(3000.0).reshape(3, 1000)))
    (row,) = arrow.iter_rows(partials.to_batch(partials.Partial(0, 0, 0, 1000, 0.0, moments), Moments))

    lengths = dict(zip(Moments.names(), row["numbers"][2:].astype(int), strict=False))

    assert lengths == {
        "count": 1000, "invalid": -1, "weight": -1, "weight_square": -1, "origin": 1000, "shift": -1, "m2": -1,
        "unit": -1,
    }  # fmt: skip
    assert len(row["numbers"]) == 2 + len(lengths) + sum(map(abs, lengths.values()))


@every_statistic
@given(dense_blocks=block_lists())
def test_merge_is_the_statistic_of_all_rows(kind: type[Statistic], dense_blocks: list[DenseBlock]) -> None:
    """of(A) merged with of(B), ... is of(A and B and ...)."""
    values = stacked(dense_blocks)
    row_weights = None if dense_blocks[0].weights is None else np.concatenate([p.weights for p in dense_blocks])
    expected = kind.of(dense(values, row_weights))

    first, *others = (kind.of(p) for p in dense_blocks)

    assert_equivalent(expected, first.merge(*others), values)


@every_statistic
@given(dense_blocks=block_lists(3, 3))
def test_merge_is_associative(kind: type[Statistic], dense_blocks: list[DenseBlock]) -> None:
    """(a + b) + c = a + (b + c) = a + b + c."""
    a, b, c = (kind.of(p) for p in dense_blocks)
    values = stacked(dense_blocks)

    assert_equivalent(a.merge(b).merge(c), a.merge(b.merge(c)), values)
    assert_equivalent(a.merge(b).merge(c), a.merge(b, c), values)


@every_statistic
@given(dense_blocks=block_lists(3, 3))
@example(
    dense_blocks=[DenseBlock(np.array([row])) for row in ([0.0, 0.0], [0.0, 0.0], [1.0, 5.572113370001e-295])]
)  # a square vanishes
def test_merge_is_commutative(kind: type[Statistic], dense_blocks: list[DenseBlock]) -> None:
    """The order of the operands does not matter."""
    statistics = [kind.of(p) for p in dense_blocks]
    values = stacked(dense_blocks)
    expected = statistics[0].merge(*statistics[1:])

    for first, *others in permutations(statistics):
        assert_equivalent(expected, first.merge(*others), values)


@every_statistic
@given(dense_blocks=block_lists())
def test_merge_does_not_change_its_operands(kind: type[Statistic], dense_blocks: list[DenseBlock]) -> None:
    """Operands are as they were, and the result shares no memory that a later write could reach."""
    statistics = [kind.of(p) for p in dense_blocks]
    before = [{n: a.copy() for n, a in s.arrays().items()} for s in statistics]

    statistics[0].merge(*statistics[1:])

    for statistic, arrays in zip(statistics, before, strict=True):
        assert_same(kind.from_arrays(arrays), statistic)


@every_statistic
@given(block=blocks())
def test_of_does_not_change_its_block(kind: type[Statistic], block: Block) -> None:
    """The arrays of a block, which are read-only here, are read and never written."""
    before = block.values.copy()

    kind.of(block)

    np.testing.assert_array_equal(block.values, before)


@every_statistic
@given(block=blocks(columns=TAME_COLUMNS))
def test_missing_rows_are_neutral(kind: type[Statistic], block: Block) -> None:
    """Nothing changes when the statistic of no row is merged, from either side."""
    statistic = kind.of(block)
    nothing = kind.missing(FEATURES, 0)

    assert_same(statistic, statistic.merge(nothing))
    assert_same(statistic, nothing.merge(statistic))


@every_statistic
@given(block=blocks(columns=TAME_COLUMNS), rows=st.integers(1, 1000))
def test_missing_rows_count_as_invalid_and_nothing_else(kind: type[Statistic], block: Block, rows: int) -> None:
    """Rows without a valid value add to ``invalid`` alone."""
    statistic = kind.of(block)

    merged = statistic.merge(kind.missing(FEATURES, rows))

    np.testing.assert_array_equal(merged.invalid, statistic.invalid + rows)
    assert_same(statistic, kind.from_arrays({**merged.arrays(), "invalid": statistic.invalid}))


@every_statistic
@given(block=blocks())
def test_arrays_round_trip(kind: type[Statistic], block: Block) -> None:
    """from_arrays is the inverse of arrays."""
    statistic = kind.of(block)

    assert tuple(statistic.arrays()) == kind.names()
    assert_same(statistic, kind.from_arrays(statistic.arrays()))
    assert_same(statistic, kind.from_arrays({n: a.tolist() for n, a in statistic.arrays().items()}))


@each_by_feature
@given(block=blocks(), sizes=st.sampled_from([[3], [1, 2], [2, 1], [1, 1, 1], [0, 3], [1, 0, 2]]))
def test_split_undoes_concat(kind: type[Statistic], block: Block, sizes: list[int]) -> None:
    """``split`` undoes ``concat``, and ``concat`` undoes ``split``."""
    whole = kind.of(block)
    statistics = whole.split(sizes)

    assert sizes == [len(part) for part in statistics]
    assert_same(whole, kind.concat(statistics))
    for part, again in zip(statistics, kind.concat(statistics).split(sizes), strict=True):
        assert_same(part, again)


@each_by_feature
@given(block=blocks())
def test_features_are_independent(kind: type[Statistic], block: Block) -> None:
    """A feature's numbers do not depend on its neighbours, other than by rounding."""
    if not isinstance(block, DenseBlock):
        return
    whole = kind.of(block)
    alone = [kind.of(dense(block.values[:, [j]])) for j in range(FEATURES)]

    assert_equivalent(whole, kind.concat(alone), block.values)


@every_statistic
@given(values=matrices(), data=st.data(), explicit_zeros=st.booleans(), weighted=st.booleans())
def test_sparse_is_dense_of_the_same_data(
    kind: type[Statistic], values: np.ndarray, data: st.DataObject, explicit_zeros: bool, weighted: bool
) -> None:
    """What is not stored is 0; a zero that is stored is the same zero."""
    row_weights = data.draw(weights(len(values))) if weighted else None
    expected = kind.of(dense(values, row_weights))

    actual = kind.of(sparse(values, row_weights, explicit_zeros))

    assert_equivalent(expected, actual, values)


@every_statistic
@given(rows=st.lists(matrices(columns=TAME_COLUMNS), min_size=1, max_size=6), times=st.sampled_from([1, 7, 40]))
def test_fold_is_one_merge(kind: type[Statistic], rows: list[np.ndarray], times: int) -> None:
    """A fold over parts as they come gives what one merge of all of them gives."""
    statistics = [kind.of(dense(p)) for p in rows] * times
    fold = Fold()
    for statistic in statistics:
        fold.add(statistic)

    actual = fold.result()

    assert_equivalent(statistics[0].merge(*statistics[1:]), actual, np.concatenate(rows * times))


def test_fold_of_nothing_is_none() -> None:
    """Without a part there is no statistic."""
    assert Fold().result() is None


@every_statistic
def test_fold_goes_on_after_its_result_was_read(kind: type[Statistic]) -> None:
    """Reading a result takes nothing away."""
    a, b = kind.of(dense([[1.0], [4.0]])), kind.of(dense([[7.0]]))
    fold = Fold()
    fold.add(a)

    assert_same(a, fold.result())
    fold.add(b)
    assert_same(a.merge(b), fold.result())


# --- values ----------------------------------------------------------------------------------------------------


@every_statistic
@pytest.mark.parametrize("block", [dense(np.empty((0, 3))), sparse(np.empty((0, 3)))], ids=["dense", "sparse"])
def test_no_row(kind: type[Statistic], block: Block) -> None:
    """The statistic of no row is the missing one."""
    assert_same(kind.missing(3, 0), kind.of(block))


@every_statistic
def test_no_valid_value(kind: type[Statistic]) -> None:
    """Rows of nothing but NaN and infinities have the statistic of missing rows."""
    values = [[np.nan, np.inf, -np.inf], [np.nan, np.nan, np.inf]]

    assert_same(kind.missing(3, 2), kind.of(dense(values)))
    assert_same(kind.missing(3, 2), kind.of(sparse(values)))


@every_statistic
@given(values=matrices())
def test_counts(kind: type[Statistic], values: np.ndarray) -> None:
    """``count`` is the number of finite values and ``invalid`` that of all others."""
    statistic = kind.of(dense(values))

    np.testing.assert_array_equal(statistic.count, np.isfinite(values).sum(axis=0))
    np.testing.assert_array_equal(statistic.invalid, (~np.isfinite(values)).sum(axis=0))


@given(values=matrices())
def test_extrema_are_those_of_the_finite_values(values: np.ndarray) -> None:
    """NaN and infinities never are extrema; a feature without a value has none."""
    statistic = Extrema.of(dense(values))

    for j, column in enumerate(values.T):
        finite = column[np.isfinite(column)].tolist()
        assert min(finite, default=np.inf) == statistic.min[j]
        assert max(finite, default=-np.inf) == statistic.max[j]


@given(values=matrices(columns=TAME_COLUMNS), data=st.data(), weighted=st.booleans())
def test_moments_are_the_exact_ones_rounded(values: np.ndarray, data: st.DataObject, weighted: bool) -> None:
    """Mean and second moment agree with rational arithmetic as far as the data's condition lets them."""
    row_weights = data.draw(weights(len(values))) if weighted else None
    exact = [exact_moments(column, row_weights) for column in values.T]
    weight, weight_square, mean, m2 = (np.array([float(e[k]) for e in exact]) for k in range(4))
    count = np.isfinite(values).sum(axis=0).astype(np.float64)
    expected = Moments(count, len(values) - count, weight, weight_square, mean, np.zeros_like(mean), m2)

    assert_equivalent(expected, Moments.of(dense(values, row_weights)), values)


@given(value=st.floats(-1.7e308, 1.7e308), rows=st.integers(1, 40), data=st.data(), weighted=st.booleans())
def test_a_constant_has_no_spread(value: float, rows: int, data: st.DataObject, weighted: bool) -> None:
    """The second moment of a constant feature is exactly 0 and its mean exactly the constant, whatever the split."""
    row_weights = data.draw(weights(rows)) if weighted else None
    make = data.draw(st.sampled_from([dense, sparse]))
    cuts = sorted(data.draw(st.lists(st.integers(0, rows), max_size=4)))
    whole = np.full((rows, 1), value)
    statistics = [
        Moments.of(make(whole[a:b], None if row_weights is None else row_weights[a:b]))
        for a, b in zip([0, *cuts], [*cuts, rows], strict=True)
    ]

    merged = statistics[0].merge(*statistics[1:])

    assert 0.0 == merged.m2[0]
    assert value == merged.mean[0]


@given(values=matrices(columns=FINITE_COLUMNS), data=st.data())
def test_an_integer_weight_is_a_repeated_row(values: np.ndarray, data: st.DataObject) -> None:
    """A row of weight k counts as k rows, in everything but ``count``."""
    times = data.draw(st.lists(st.integers(1, 5), min_size=len(values), max_size=len(values)))
    repeated = np.repeat(values, times, axis=0)
    expected = Moments.of(dense(repeated))

    actual = Moments.of(dense(values, times))

    np.testing.assert_array_equal(actual.count, np.full(FEATURES, float(len(values))))
    np.testing.assert_array_equal(actual.weight, expected.weight)
    alike = replace(actual, count=expected.count, invalid=expected.invalid, weight_square=actual.weight)
    assert_equivalent(expected, alike, repeated)


@pytest.mark.parametrize("make", [dense, sparse])
def test_light_row_among_heavy_rows_is_kept(make: type[Block]) -> None:
    """The spread that a row of little weight makes is kept, be it stored or not."""
    values, row_weights = [[10.0], [0.0]], [1e5, 1e-1]
    expected = float(exact_moments([10.0, 0.0], row_weights)[3])

    actual = Moments.of(make(values, row_weights)).m2[0]

    assert actual == pytest.approx(expected, rel=1e-8)


@given(values=matrices(columns=TAME_COLUMNS), data=st.data(), ddof=st.sampled_from([0, 1]))
def test_variance_has_reliability_weights(values: np.ndarray, data: st.DataObject, ddof: int) -> None:
    """The variance is m2 / (W - ddof * sum(w^2) / W), and 0 where no degree of freedom is left."""
    row_weights = data.draw(weights(len(values)))
    moments = Moments.of(dense(values, row_weights))

    actual = moments.variance(ddof)

    for j in range(FEATURES):
        weight, square = Fraction(moments.weight[j]), Fraction(moments.weight_square[j])
        freedom = weight - ddof * square / (weight or 1)
        if moments.count[j] <= ddof:
            assert actual[j] <= 4 * EPS * abs(moments.m2[j]) / max(float(freedom), SUBNORMAL)
        else:
            m2 = Fraction(moments.m2[j]) * Fraction(moments.unit[j]) ** 2
            assert actual[j] == pytest.approx(float(m2 / freedom), rel=1e-9, abs=SUBNORMAL)


@pytest.mark.parametrize("value", [0.0, -2.5, 1e300, SUBNORMAL, 1e9 + 0.001])
@pytest.mark.parametrize("make", [dense, sparse])
def test_one_row(make: type[Block], value: float) -> None:
    """One row is its own mean, minimum and maximum, and has no variance with either degree of freedom."""
    moments, extrema = Moments.of(make([[value]])), Extrema.of(make([[value]]))

    assert (value, 0.0) == (moments.mean[0], moments.m2[0])
    assert [0.0, 0.0] == [moments.variance(ddof)[0] for ddof in (0, 1)]
    assert (value, value) == (extrema.min[0], extrema.max[0])


def test_one_weighted_row_has_no_variance() -> None:
    """W - sum(w^2) / W is 0 for one row, and so is the variance."""
    moments = Moments.of(dense([[7.0]], [0.3]))

    assert 0.0 == moments.variance(1)[0]


@pytest.mark.parametrize("make", [dense, sparse])
def test_infinities_are_not_values(make: type[Block]) -> None:
    """Infinities of both signs neither cancel nor poison."""
    values = [[np.inf], [1.0], [-np.inf], [3.0], [np.nan]]
    moments, extrema = Moments.of(make(values)), Extrema.of(make(values))

    assert (2.0, 2.0, 2.0, 3.0) == (moments.mean[0], moments.m2[0], moments.count[0], moments.invalid[0])
    assert (1.0, 3.0) == (extrema.min[0], extrema.max[0])


@pytest.mark.parametrize("make", [dense, sparse])
def test_subnormals_are_values(make: type[Block]) -> None:
    """The smallest numbers are not flushed to 0."""
    values = [[SUBNORMAL], [-3 * SUBNORMAL], [SUBNORMAL * 8]]
    moments, extrema = Moments.of(make(values)), Extrema.of(make(values))

    assert (-3 * SUBNORMAL, 8 * SUBNORMAL) == (extrema.min[0], extrema.max[0])
    assert 2 * SUBNORMAL == moments.mean[0]


@pytest.mark.parametrize("make", [dense, sparse])
def test_overflow_shows(make: type[Block]) -> None:
    """Extrema of huge values are right; a second moment that is no double is not a number that looks like one."""
    values = [[1e300], [-1e300], [5e299]]
    moments, extrema = Moments.of(make(values)), Extrema.of(make(values))

    assert (-1e300, 1e300) == (extrema.min[0], extrema.max[0])
    assert exact_moments([1e300, -1e300, 5e299])[3] > LARGEST
    assert not np.isfinite(moments.m2[0])


@pytest.mark.parametrize("rows", [10, 1000, 100_000])
def test_a_small_spread_on_a_large_mean(rows: int) -> None:
    """At mean 1e9 and standard deviation 1e-3 one block loses none of the digits that the data have."""
    values = 1e9 + np.random.default_rng(rows).normal(size=rows) * 1e-3
    _, _, mean, m2 = exact_moments(values)

    moments = Moments.of(dense(values[:, None]))

    assert moments.mean[0] == pytest.approx(float(mean), rel=4 * EPS)
    assert moments.m2[0] == pytest.approx(float(m2), rel=1e-12 if rows < 1 << 16 else 1e-4)


def test_single_precision_accumulates_in_double() -> None:
    """A block of floats has the moments of the same numbers as doubles, to the last bit."""
    values = (1e6 + np.random.default_rng(0).integers(0, 64, size=(100_000, 2)) / 16).astype(np.float32)

    moments, extrema = Moments.of(DenseBlock(values)), Extrema.of(DenseBlock(values))

    assert_same(Moments.of(DenseBlock(values.astype(np.float64))), moments)
    assert_same(Extrema.of(DenseBlock(values.astype(np.float64))), extrema)
    assert {np.dtype(np.float64)} == {a.dtype for s in (moments, extrema) for a in s.arrays().values()}
    np.testing.assert_allclose(moments.mean, values.mean(axis=0, dtype=np.longdouble).astype(float), rtol=2 * EPS)


# Powers of two that bring ordinary values down to where squares lose digits, vanish, and where doubles end.
EXPONENTS = [0, -480, -530, -600, -1000, -1018]
ORDINARY = np.random.default_rng(5).normal(3.0, 1.0, 60)
WEIGHTS = np.random.default_rng(6).random(60) + 0.1


def tiny(values: np.ndarray = ORDINARY) -> np.ndarray:
    """Return the same values in each of these units: a feature for each."""
    return np.ldexp(values[:, None], EXPONENTS)


def of_partitions(
    make: type[Block], values: np.ndarray, row_weights: np.ndarray | None, cuts: Sequence[int]
) -> Moments:
    """Return the moments of a table, merged from those of its parts."""
    weights_of = [None] * (len(cuts) + 1) if row_weights is None else np.split(row_weights, cuts)
    first, *others = (
        Moments.of(make(part, some)) for part, some in zip(np.split(values, cuts), weights_of, strict=True)
    )
    return first.merge(*others)


def assert_exact(
    moments: Moments, values: np.ndarray, row_weights: np.ndarray | None, ddof: int, unit: Sequence[int] = EXPONENTS
) -> None:
    """Mean and standard deviation are those of rational arithmetic in units of these powers of two."""
    weight, square, mean, m2 = exact_moments(values, row_weights)
    std = float(m2 / (weight - ddof * square / weight)) ** 0.5

    np.testing.assert_allclose(moments.std(ddof), np.ldexp(std, unit), rtol=1e-13)
    np.testing.assert_allclose(moments.mean, np.ldexp(float(mean), unit), rtol=1e-13)


@pytest.mark.parametrize("make", [dense, sparse])
@pytest.mark.parametrize("cuts", [[], [20, 21, 40]], ids=["whole", "merged"])
@pytest.mark.parametrize("row_weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("zeros", [0, 15, 50])
def test_tiny_values_lose_no_digit(
    make: type[Block], cuts: list[int], row_weights: np.ndarray | None, zeros: int
) -> None:
    """Down to the least doubles of full precision mean and deviation are right, many zeros among the values or few."""
    values = ORDINARY.copy()
    values[np.random.default_rng(zeros).permutation(60)[:zeros]] = 0.0
    values[[3, 30]] = np.nan

    moments = of_partitions(make, tiny(values), row_weights, cuts)

    for ddof in (0, 1):
        assert_exact(moments, values, row_weights, ddof)
    assert moments.unit[0] == 1.0


@pytest.mark.parametrize("make", [dense, sparse])
@pytest.mark.parametrize("cuts", [[], [20, 21, 40]], ids=["whole", "merged"])
@pytest.mark.parametrize("exponent", [-300, -600, -1000, 75, 150])
def test_the_unit_of_the_weights_costs_no_digit(make: type[Block], cuts: list[int], exponent: int) -> None:
    """Mean and population variance do not depend on the unit of the weights, tiny as the values may be besides."""
    row_weights, values = np.ldexp(WEIGHTS, exponent), ORDINARY.copy()
    values[::4] = 0.0

    moments = of_partitions(make, tiny(values)[:, :5], row_weights, cuts)

    assert_exact(moments, values, row_weights, 0, EXPONENTS[:5])


@pytest.mark.parametrize("make", [dense, sparse])
def test_smallest_weights_count(make: type[Block]) -> None:
    """Of two values of the least weight that there is, mean and deviation are exact."""
    for values, mean, std in (([1.0, 1.5], 1.25, 0.25), ([0.0, 1.0], 0.5, 0.5), ([3.0, 3.0], 3.0, 0.0)):
        moments = Moments.of(make(np.reshape(values, (2, 1)), [SUBNORMAL] * 2))

        assert (moments.mean[0], moments.std(0)[0], moments.variance(0)[0]) == (mean, std, std**2)


@pytest.mark.parametrize("make", [dense, sparse])
def test_a_tiny_weight_beside_an_ordinary_one(make: type[Block]) -> None:
    """The spread that it makes is small and right; of the sample variance too few digits are left to show it."""
    row_weights = [1.0, SUBNORMAL, SUBNORMAL]
    moments = Moments.of(make([[7.0], [1.0], [1.5]], row_weights))
    m2 = exact_moments([7.0, 1.0, 1.5], row_weights)[3]

    assert moments.std(0)[0] == pytest.approx(float(m2 * 2**1000) ** 0.5 * 2.0**-500, rel=1e-13)
    assert np.isnan([moments.std(1)[0], moments.variance(1)[0]]).all()


@pytest.mark.parametrize("make", [dense, sparse])
def test_merge_with_a_statistic_of_tiny_values(make: type[Block]) -> None:
    """Merging in either order equals the statistic of all rows."""
    small, large = np.ldexp(ORDINARY[:30, None], [-600, -1000]), np.tile(ORDINARY[30:, None], 2)
    values = np.concatenate([np.zeros(30), ORDINARY[30:]])
    one, other = Moments.of(make(small)), Moments.of(make(large))

    for merged in (one.merge(other), other.merge(one), Moments.of(make(np.concatenate([small, large])))):
        assert_exact(merged, values, None, 1, [0, 0])
        assert [1.0, 1.0] == merged.unit.tolist()


def test_merge_of_different_tiny_constants() -> None:
    """What vanishes is the square of the means' difference alone; one of three parts has a spread as well."""
    constants = [Moments.of(dense(np.full((4, 1), value))) for value in (1e-170, 3e-170)]
    spread = Moments.of(dense([[2e-200], [1e-200]]))

    both, with_spread = constants[0].merge(constants[1]), constants[0].merge(spread)

    assert both.std(0)[0] == pytest.approx(1e-170, rel=1e-13)
    assert with_spread.std(0)[0] == pytest.approx(1e-170 * (2 / 9) ** 0.5, rel=1e-13)
    assert [1.0, 0.0] == [s.merge(*[s] * 3).arrays()[n][0] for s, n in ((constants[0], "unit"), (constants[1], "m2"))]


@pytest.mark.parametrize("make", [dense, sparse])
def test_varying_feature_is_not_constant(make: type[Block]) -> None:
    """Not even where no double holds the deviation, or where so little is left of it that no digit is right."""
    least = Moments.of(make([[0.0], [SUBNORMAL]]))
    lost = Moments.of(make([[0.0], [SUBNORMAL]], [SUBNORMAL] * 2))

    assert (least.std(0)[0], least.std(1)[0], least.variance(0)[0]) == (SUBNORMAL, SUBNORMAL, 0.0)
    assert np.isnan(lost.std(0)[0])
    assert lost.merge(Moments.of(make([[1.0], [3.0]]))).std(0)[0] == 1.0


def test_weights_whose_squares_lose_digits_have_no_sample_variance() -> None:
    """Nor have those of which one outweighs the others by more than a double holds."""
    for row_weights in ([1e-152] * 3, [1e-160] * 3, [1.0, 1e-20, 1e-20]):
        moments = Moments.of(dense([[1.0], [2.0], [3.0]], row_weights))

        assert np.isnan([moments.std(1)[0], moments.variance(1)[0]]).all()
        assert moments.std(0)[0] > 0


def test_pooling_of_tiny_values() -> None:
    """The places of a channel may each have a unit of its own."""
    places = np.ldexp(ORDINARY.reshape(20, 3), [-600, -610, -1000])
    values = np.ldexp(places, 600).ravel()

    assert_exact(Moments.of(dense(places)).pooled(np.arange(3)[:, None]), values, None, 1, [-600])


def test_moments_without_units_are_in_units_of_1() -> None:
    """As those are that earlier versions saved."""
    whole = Moments.of(dense(ORDINARY[:, None]))
    arrays = {name: array for name, array in whole.arrays().items() if name != "unit"}

    assert_same(whole, Moments.from_arrays(arrays))
    assert_same(whole, Moments(**arrays))


def test_co_moments_of_what_varies_are_not_those_of_a_constant() -> None:
    """On the diagonal, within a part, and where only the parts' means differ."""
    values = np.array([[1e-170, 7.0, 0.0], [3e-170, 7.0, 2.0]])
    whole = CoMoments.of(dense(values))
    first, second = (CoMoments.of(dense(row[None, :])) for row in values)

    for statistic in (whole, first.merge(second), whole.merge(whole)):
        assert [True, False, True] == (np.diagonal(statistic.comoments) > 0).tolist()
    assert np.diagonal(first.comoments).tolist() == [0.0] * 3


def test_batch_averages_of_tiny_values_are_not_those_of_a_constant() -> None:
    """Though only one of the batches has a variance, too small for a double."""
    batches = [np.array([[1e-170], [3e-170]]), np.zeros((2, 1)), np.zeros((2, 1))]
    first, *others = (BatchAverage.of_batch(Moments.of(dense(batch))) for batch in batches)

    average = first.merge(*others)

    assert 0 < average.variance[0] < 1e-300
    assert 0 < average.unbiased[0] < 1e-300


@every_statistic
def test_a_statistic_is_frozen(kind: type[Statistic]) -> None:
    """Attributes cannot be set."""
    statistic = kind.missing(1, 0)

    with pytest.raises(AttributeError):
        statistic.count = np.ones(1)  # type: ignore[misc]


@given(values=matrices(columns=TAME_COLUMNS, rows=8))
def test_pooling_equals_the_moments_of_all_values(values: np.ndarray) -> None:
    """The moments of a channel are those of all its places' values."""
    pooled = Moments.of(dense(values)).pooled(np.arange(FEATURES)[:, None])

    weight, _, mean, m2 = exact_moments(values.ravel())
    assert pooled.count[0] == float(weight)
    if weight:
        size = np.abs(values[np.isfinite(values)]).max()
        assert pooled.mean[0] == pytest.approx(rounded(mean), rel=1e-12, abs=8 * EPS * size)
        allowed = 1e-12 * condition(values.ravel()) * float(m2) + values.size * (8 * EPS * size) ** 2
        assert abs(pooled.m2[0] * pooled.unit[0] ** 2 - rounded(m2)) <= allowed + SUBNORMAL


def test_batch_averages_have_the_mean_of_each_batches_moments() -> None:
    """Mean and biased variance, every batch counting alike, however many rows it has."""
    batches = [np.array([[1.0], [3.0]]), np.array([[5.0], [6.0], [7.0]])]

    first, second = (BatchAverage.of_batch(Moments.of(dense(batch))) for batch in batches)
    both = first.merge(second)

    assert both.mean.tolist() == [np.mean([b.mean() for b in batches])]
    assert both.variance == pytest.approx([np.mean([b.var() for b in batches])], rel=1e-15)
    assert both.unbiased == pytest.approx([np.mean([b.var(ddof=1) for b in batches])], rel=1e-15)


# --- SQL aggregates --------------------------------------------------------------------------------------------


def aggregates_of(values: np.ndarray) -> list[np.ndarray]:
    """Return the aggregates that Spark gives of the valid values of each column for `Moments`; NaN for null."""
    columns = [column[np.isfinite(column)] for column in values.T]
    with np.errstate(all="ignore"):
        halves = [(np.float32(c).astype(float), c - np.float32(c).astype(float)) for c in columns]
        cells = [
            (len(c), np.var(c), high.sum(), low.sum()) if len(c) else (0, np.nan, np.nan, np.nan)
            for c, (high, low) in zip(columns, halves, strict=True)
        ]
    return list(np.array(cells, dtype=float).T)


def test_aggregates_give_the_moments_of_the_rows() -> None:
    """Of a column without a valid value, too."""
    values = np.array([[1.0, 7.0, np.nan], [2.5, 7.0, np.nan], [np.nan, 7.0, np.inf]])
    moments, expected = Moments.of_aggregates(3.0, *aggregates_of(values)), Moments.of(dense(values))

    assert Moments.exact_aggregates(*aggregates_of(values)).all()
    for name in ("count", "invalid", "mean", "m2"):
        np.testing.assert_allclose(getattr(moments, name), getattr(expected, name), rtol=1e-14, err_msg=name)


@pytest.mark.parametrize("column", [[1e9, 1e9 + 1.0], [1e300, 2e300], [1e-170, 3e-170]], ids=["near", "large", "tiny"])
def test_aggregates_tell_where_they_lose_digits(column: list[float]) -> None:
    """Then the rows are read: of a table of keys, those of this key only."""
    table = np.array([column, [1.0, 2.0]]).T

    assert Moments.exact_aggregates(*aggregates_of(table)).tolist() == [False, True]


@given(st.lists(st.floats(-1e38, 1e38), min_size=1, max_size=50))
def test_the_mean_of_aggregates_is_that_of_rationals(values: list[float]) -> None:
    """Origin and shift together, to 100 bits; the shift of an exact mean is 0."""
    count, _, high, low = (float(cells[0]) for cells in aggregates_of(np.array(values)[:, None]))
    origin, shift, _ = mean_and_variance(*np.array([[count], [0.0], [high], [low]]))
    exact = (Fraction(high) + Fraction(low)) / int(count)
    error = abs(Fraction(float(origin[0])) + Fraction(float(shift[0])) - exact)

    assert error <= Fraction(2) ** -100 * (abs(Fraction(high)) + abs(Fraction(low))) + Fraction(2) ** -1070
    assert float(origin[0]) == float(exact)
    assert shift[0] == 0 or exact != Fraction(float(origin[0]))


def test_aggregates_give_the_extrema_of_the_rows() -> None:
    """Infinities stand for the extrema of no value."""
    extrema = Extrema.of_aggregates(3.0, np.array([2.0, 0.0]), np.array([-1.0, np.nan]), np.array([4.0, np.nan]))

    assert_same(Extrema(*map(np.array, ([2.0, 0.0], [1.0, 3.0], [-1.0, np.inf], [4.0, -np.inf]))), extrema)


def test_a_statistic_without_aggregates_is_not_computed_from_them() -> None:
    assert Counts.aggregates == Squares.aggregates == ()
    with pytest.raises(TypeError, match="Counts has no aggregates"):
        Counts.of_aggregates(1.0)


def test_one_batch_is_a_moving_average() -> None:
    """Of the start values and that batch."""
    batch = Moments.of(dense(np.array([[1.0], [3.0]])))

    assert MovingAverage.of_batch(batch, 0.5).mean.tolist() == [1.0]
