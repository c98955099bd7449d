"""The statistic of quantiles: exact for few values, within its rank error for many, and the same for the same partitions."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkscale.blocks import DenseBlock, SparseBlock
from sparkscale.statistics import Fold, Moments, Quantiles, _levels
from sparkscale.statistics.quantiles import INTERPOLATIONS

pytestmark = pytest.mark.core

ROWS = 60_000
ERROR = 0.01
COARSE = Quantiles.within(ERROR)  # so that some ten thousand values are many
QS = np.linspace(0.0, 1.0, 101)


def distributions() -> dict[str, np.ndarray]:
    """Return values that are hard for some way to sample them."""
    rng, places = np.random.default_rng(5), np.arange(1.0, ROWS + 1)
    missing = np.where(rng.random(ROWS) < 0.03, rng.normal(size=ROWS), np.nan)
    return {
        "sorted": places,
        "reversed": places[::-1],
        "zigzag": np.where(places % 2 == 0, places, -places),
        "from both ends": np.where(places % 2 == 0, places, ROWS - places),
        "skewed": np.exp(8 * rng.normal(size=ROWS)),
        "normal": rng.normal(size=ROWS),
        "tied": np.minimum(rng.geometric(0.3, size=ROWS), 6.0),
        "two values": np.where(rng.random(ROWS) < 0.9, 1.0, 2.0),
        "mostly missing": missing,
        "mostly zero": np.where(rng.random(ROWS) < 0.9, 0.0, rng.normal(size=ROWS)),
        "beside each other": 1.0 + places * 2.0**-52,  # float32 would make them one
    }


NAMES = [*distributions()]
VALUES = np.column_stack([*distributions().values()])


def blocks(values: np.ndarray, rows: int) -> Iterator[DenseBlock]:
    return (DenseBlock(values[start : start + rows]) for start in range(0, len(values), rows))


def sparse(values: np.ndarray) -> SparseBlock:
    """Return a block that stores what is not 0."""
    row, feature = np.nonzero(values)
    lengths = np.bincount(row, minlength=len(values))
    return SparseBlock(values.shape[1], lengths, feature, values[row, feature])


def scanned(values: np.ndarray, rows: int = 1000, partitions: int = 1) -> Quantiles:
    """Return the statistic of values in blocks, merged by partition and then over all partitions."""
    whole = Fold()
    for partition in np.array_split(values, partitions):
        fold = Fold()
        for block in blocks(partition, rows):
            fold.add(COARSE.of(block))
        whole.add(fold.result())
    return whole.result()


def rank_errors(statistic: Quantiles, values: np.ndarray) -> np.ndarray:
    """Return how far each quantile's rank is off, as a share of the values, by quantile and feature."""
    errors = []
    for q in QS:
        quantile = statistic.quantile(q)
        below, up_to = (np.sum(compare(values, quantile), axis=0) for compare in (np.less, np.less_equal))
        rank = np.ceil(q * statistic.count)
        errors.append(np.maximum(np.maximum(below + 1 - rank, rank - up_to), 0.0) / statistic.count)
    return np.array(errors)


@pytest.mark.parametrize(("rows", "partitions"), [(10_000, 1), (1000, 7), (300, 100), (50, 2)])
def test_ranks_are_within_the_relative_error(rows: int, partitions: int) -> None:
    """For each quantile with a probability of 99 % at least, whatever the data, the blocks and the merges."""
    errors = rank_errors(scanned(VALUES, rows, partitions), VALUES)

    assert (errors > ERROR).mean(axis=0).max() <= 0.01, dict(zip(NAMES, errors.max(axis=0), strict=True))
    assert errors.max() <= 2 * ERROR


def test_coins_are_fair_and_independent_of_each_other() -> None:
    """Half of them each way, whatever the rows: random, consecutive, shifted, or scaled."""
    rng = np.random.default_rng(8)
    rows = {
        "random": rng.normal(size=(4000, 20)),
        "consecutive": np.arange(80_000.0).reshape(4000, 20),
        "shifted": np.arange(20.0) + np.arange(4000.0)[:, None],
        "scaled": np.arange(1.0, 21.0) * np.exp2(np.arange(4000.0) / 8 - 250)[:, None],
    }
    for name, values in rows.items():
        coins = _levels._coins(values, np.full(4000, 20)) * 2.0 - 1.0
        for lag in (0, 1, 2, 3):
            products = coins[: 4000 - lag] * coins[lag:] if lag else coins
            assert abs(products.sum()) <= 4 * np.sqrt(len(products)), (name, lag)


def test_padding_does_not_change_coins() -> None:
    """So that a feature has the same coins whatever the others' lengths."""
    values = np.random.default_rng(9).normal(size=(500, 10))
    padded = np.concatenate([values, np.full((500, 6), np.inf)], axis=1)

    np.testing.assert_array_equal(_levels._coins(values, np.full(500, 10)), _levels._coins(padded, np.full(500, 10)))


def test_rank_errors_have_no_bias() -> None:
    """Over many fits they cancel: halving takes the first or the second of each pair equally often."""
    rough, errors = Quantiles.within(0.3), []
    for seed in range(400):
        values = np.random.default_rng(seed).normal(size=(2000, 1))
        statistic, ordered = Fold(), np.sort(values[:, 0])
        for block in blocks(values, 100):
            statistic.add(rough.of(block))
        place = np.searchsorted(ordered, 0.0)
        errors.append((statistic.result().below(np.array([0.0]))[0] - place) / 2000)

    assert abs(np.mean(errors)) <= 4 * np.std(errors) / np.sqrt(len(errors))
    assert 0 < np.std(errors) <= 0.3 / 2.8  # the bound is 2.8 standard deviations wide


def test_counts_of_what_lies_outside_are_within_the_relative_error() -> None:
    """Below and above a bound, from the same levels."""
    statistic = scanned(VALUES, partitions=3)
    bounds = statistic.quantile(0.2)
    below, above = np.sum(bounds > VALUES, axis=0), np.sum(bounds < VALUES, axis=0)

    assert np.abs(statistic.below(bounds) - below).max() <= ERROR * ROWS
    assert np.abs(statistic.above(bounds) - above).max() <= ERROR * ROWS


def test_counts_and_extrema_are_exact() -> None:
    """Levels stand for all values that are not 0, and the ends are kept."""
    statistic = scanned(VALUES, partitions=5)
    valid = np.isfinite(VALUES)

    assert statistic.is_complete(len(NAMES))
    np.testing.assert_array_equal(statistic.count, valid.sum(axis=0))
    np.testing.assert_array_equal(statistic.invalid, (~valid).sum(axis=0))
    np.testing.assert_array_equal(statistic.zeros, (VALUES == 0).sum(axis=0))
    np.testing.assert_array_equal(statistic.quantile(0.0), np.nanmin(VALUES, axis=0))
    np.testing.assert_array_equal(statistic.quantile(1.0), np.nanmax(VALUES, axis=0))


def test_memory_grows_with_the_logarithm() -> None:
    """Each level holds fewer values than the capacity, and each is halved into the next."""
    statistic = scanned(VALUES)

    assert statistic.sizes.max() < COARSE.capacity()
    assert statistic.sizes.shape[1] <= 2 + np.log2(ROWS / COARSE.capacity())


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@given(
    values=st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=40
    ),
    q=st.floats(0.0, 1.0),
    cut=st.integers(0, 40),
)
def test_few_values_give_exact_quantiles(interpolation: str, values: list[float], q: float, cut: int) -> None:
    """Those of NumPy; a quantile without interpolation is the smallest value whose rank reaches q n, as Spark's."""
    column = np.array(values)[:, None]
    statistic = Quantiles.of(DenseBlock(column[:cut])).merge(Quantiles.of(DenseBlock(column[cut:])))

    if interpolation == "none":
        expected = np.sort(values)[max(int(np.ceil(q * len(values))) - 1, 0)]
        assert statistic.quantile(q) == [expected]
    else:
        with np.errstate(all="ignore"):
            expected = np.quantile(values, q)
        actual = statistic.quantile(q, interpolation)[0]
        assert actual == pytest.approx(expected, rel=1e-15, abs=1e-323) or not np.isfinite(expected)
        assert np.isfinite(actual)


def test_exact_up_to_the_capacity() -> None:
    """As long as a feature has fewer values that are not 0; zeros do not count."""
    most = int(Quantiles.capacity()) - 1
    values = np.append(np.arange(1.0, most + 1), np.zeros(5000))[:, None]

    assert most == 4603
    assert Quantiles.of(DenseBlock(values)).sizes.tolist() == [[most]]
    assert Quantiles.of(DenseBlock(np.append(values, [[0.5]], axis=0))).sizes.shape[1] == 2


def test_the_usual_numbers_are_those_of_a_full_level() -> None:
    """By which partial statistics are sent to the driver or merged on executors; other statistics have a fixed size."""
    assert Quantiles.usual_numbers(10) == 10 * 4604
    assert Quantiles.within(0.0).usual_numbers(10) == 1_000_000
    assert Moments.usual_numbers(10) == Moments.numbers(10) == 80


def test_no_relative_error_keeps_every_value() -> None:
    statistic = Quantiles.within(0.0).of(DenseBlock(VALUES[:20_000]))
    expected = np.nanquantile(VALUES[:20_000], 0.37, axis=0)

    np.testing.assert_allclose(statistic.quantile(0.37, "linear"), expected, rtol=1e-15)


def test_a_relative_error_below_the_normal_doubles_keeps_every_value() -> None:
    assert Quantiles.within(1e-310).capacity() == np.inf


def test_classes_of_a_relative_error_are_the_same_however_many_there_are() -> None:
    """Since only models of one class merge."""
    first = Quantiles.within(0.0123)

    assert len({Quantiles.within(k / 1000) for k in range(2, 300)}) == 298
    assert Quantiles.within(0.0123) is first


def test_values_that_float32_would_merge_stay_apart() -> None:
    statistic = Quantiles.of(DenseBlock(np.array([[1.0], [1.0 + 2**-40], [1.0 + 2**-39]])))

    assert statistic.quantile(0.5).tolist() == [1.0 + 2**-40]


def test_a_feature_without_values_has_no_quantiles() -> None:
    statistic = Quantiles.of(DenseBlock(np.array([[np.nan, 1.0], [np.inf, 0.0]])))

    for interpolation in INTERPOLATIONS:
        np.testing.assert_array_equal(np.isnan(statistic.quantile(0.5, interpolation)), [True, False])


def test_sparse_blocks_give_the_same_statistic_as_dense_ones() -> None:
    """Zeros are counted, stored or not; all other values meet the same coins."""
    for dense, of_sparse in zip(
        blocks(VALUES, 20_000), (sparse(b.values) for b in blocks(VALUES, 20_000)), strict=True
    ):
        for name, array in COARSE.of(dense).arrays().items():
            np.testing.assert_array_equal(getattr(COARSE.of(of_sparse), name), array, err_msg=name)


def test_features_do_not_depend_on_their_neighbours() -> None:
    """A feature by itself has the same statistic as among others with more values."""
    together = scanned(VALUES)

    for feature, one in enumerate(together.split([1] * len(NAMES))):
        alone = scanned(VALUES[:, [feature]])
        for name in ("zeros", "values"):
            np.testing.assert_array_equal(getattr(one, name), getattr(alone, name), err_msg=NAMES[feature])


def test_the_same_partitions_give_the_same_bits() -> None:
    first, second = (scanned(VALUES, 700, 9).arrays() for _ in range(2))

    assert {n: a.tobytes() for n, a in first.items()} == {n: a.tobytes() for n, a in second.items()}


def test_identical_partitions_are_as_exact_as_one() -> None:
    """Their coins fall alike, but their errors do not add up to more."""
    part = VALUES[:, [5]][:6000]

    assert rank_errors(scanned(np.tile(part, (20, 1)), 6000, 20), np.tile(part, (20, 1))).max() <= ERROR


def test_runs_have_the_statistics_of_their_rows() -> None:
    """For a block with runs, of any length, dense or sparse; those of a key are merged, taken and scattered."""
    lengths = [1, 2500, 3, 700, 1]
    rows = VALUES[: sum(lengths)]
    runs = np.repeat([2, 3, 7, 8, 9], lengths)
    ends = np.cumsum(lengths)
    alone = [COARSE.of(DenseBlock(rows[end - n : end])) for n, end in zip(lengths, ends, strict=True)]
    of_sparse = sparse(rows)
    by_run = [
        COARSE.of(DenseBlock(rows, runs=runs)),
        COARSE.of(SparseBlock(of_sparse.size, of_sparse.lengths, of_sparse.indices, of_sparse.values, runs=runs)),
    ]

    for statistics in by_run:
        for k, one in enumerate(alone):
            assert_same_row(one, statistics.take(np.array([k])))
            assert_same_row(one, statistics.take(np.array([k, 0])).scatter(np.array([3, 1]), 5).take(np.array([3])))
        merged = statistics.merge_rows(np.array([4, 4, 4, 6, 6]))
        assert_same_row(alone[0].merge(alone[1], alone[2]), merged.take(np.array([0])))
        assert_same_row(alone[3].merge(alone[4]), merged.take(np.array([1])))


def assert_same_row(expected: Quantiles, row: Quantiles) -> None:
    """A statistic is the only one of an array of rows, but for levels without values."""
    for name, array in expected.arrays().items():
        actual = getattr(row, name)
        if name == "sizes":
            assert not actual[..., array.shape[-1] :].any()
            actual = actual[..., : array.shape[-1]]
        np.testing.assert_array_equal(actual.reshape(array.shape), array, err_msg=name)


def test_a_statistic_is_pickled_with_its_relative_error() -> None:
    statistic = scanned(VALUES[:3000])
    copy = pickle.loads(pickle.dumps(statistic))  # noqa: S301

    assert type(copy) is COARSE is Quantiles.within(ERROR)
    np.testing.assert_array_equal(copy.values, statistic.values)


@pytest.mark.parametrize(
    "arrays",
    [
        {"sizes": [[2.0]], "values": [1.0]},
        {"sizes": [[1.0]], "values": [1.0], "count": [2.0]},
        {"sizes": [[0.5]], "values": [1.0]},
        {"sizes": [[-1.0]], "values": []},
        {"zeros": [0.0, 1.0]},
        {"zeros": [-1.0], "count": [0.0]},
        {"values": [np.inf]},
    ],
    ids=str,
)
def test_arrays_that_contradict_each_other_are_incomplete(arrays: dict[str, list[float]]) -> None:
    whole = {name: array.tolist() for name, array in Quantiles.of(DenseBlock(np.array([[3.0]]))).arrays().items()}

    assert Quantiles.from_arrays(whole).is_complete(1)
    assert not Quantiles.from_arrays({**whole, **arrays}).is_complete(1)
