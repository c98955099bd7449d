"""Statistics of many keys at once: of runs of rows, and of keys whose rows lie anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkscale.blocks import Block, DenseBlock, SparseBlock
from sparkscale.errors import SizeMismatchError
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import batching, key_runs, keyed
from sparkscale.spark.fit.blocks import Pool
from sparkscale.spark.fit.selection import column_groups
from sparkscale.statistics import CoMoments, Counts, Extrema, Moments, PerFeature, Quantiles, Squares, StatisticSet
from strategies import dense, matrices, sparse

SET = StatisticSet.of_classes({"moments": Moments, "quantiles": Quantiles.within(0.1)})
CLASSES = [Counts, Extrema, Moments, Quantiles, Squares, SET]
each_statistic = pytest.mark.parametrize("statistic_class", CLASSES)
FEATURES = [FeatureColumn("x", "scalar", size=1), FeatureColumn("a", "array", size=2)]
GROUPS = column_groups(FEATURES)


def block(values: npt.NDArray[Any], weights: Any, runs: Any, is_sparse: bool) -> Block:
    return replace((sparse if is_sparse else dense)(values, weights), runs=runs)


def described(statistic: Any) -> dict[str, Any]:
    """Return what a statistic says of its rows, however it holds it."""
    if isinstance(statistic, CoMoments):
        names = ("count", "invalid", "rows", "mean", "comoments")
        return {name: getattr(statistic, name) for name in names}
    if isinstance(statistic, StatisticSet):
        return {f"{n}.{a}": v for n in statistic.classes for a, v in described(statistic[n]).items()}
    if isinstance(statistic, Moments):
        names = ("count", "invalid", "weight", "weight_square", "mean")
        return {**{name: getattr(statistic, name) for name in names}, "std": statistic.std(0)}
    return statistic.arrays()


def assert_close(actual: Any, expected: Any) -> None:
    """To rounding, where nothing overflows; of a feature whose variance does, nor any product with it."""
    for name, values in described(expected).items():
        overflows = False
        finite = np.isfinite(values) & np.isfinite(described(actual)[name])
        if name == "comoments":
            variances = np.einsum("...ii->...i", finite)
            overflows = ~(variances[..., None] & variances[..., None, :])
            assert not (np.abs(np.einsum("...ii->...i", values)[~variances]) < 1e150).any()
        assert (finite | overflows)[np.abs(values) < 1e150].all(), name
        shown = finite & np.logical_not(overflows)
        np.testing.assert_allclose(described(actual)[name][shown], values[shown], rtol=1e-11, atol=1e-300, err_msg=name)


@pytest.mark.parametrize("statistic_class", [*CLASSES, CoMoments])
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@given(values=matrices(), data=st.data())
def test_the_statistics_of_runs_are_those_of_each_by_itself(
    statistic_class: type[PerFeature], is_sparse: bool, values: npt.NDArray[Any], data: st.DataObject
) -> None:
    """A row of the arrays for each run, in their order, weighted or not; consecutive rows of a number merge."""
    rows = len(values)
    runs = np.sort(np.array(data.draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows)), dtype=np.intp))
    weights = np.linspace(0.5, 2.0, rows) if data.draw(st.booleans()) else None
    if not rows:
        return
    with np.errstate(all="ignore"):
        joint = statistic_class.of(block(values, weights, runs, is_sparse))
        halves = [
            statistic_class.of(block(values[half], None if weights is None else weights[half], runs[half], is_sparse))
            for half in (slice(0, rows // 2), slice(rows // 2, None))
            if len(runs[half])
        ]
        numbers = np.concatenate([np.unique(runs[half]) for half in (slice(0, rows // 2), slice(rows // 2, None))])
        merged = statistic_class.concat(halves).merge_rows(numbers)
        for row, run in enumerate(np.unique(runs)):
            of_run = runs == run
            alone = statistic_class.of(
                block(values[of_run], None if weights is None else weights[of_run], None, is_sparse)
            )

            assert_close(joint.take(row), alone)
            assert_close(merged.take(row), alone)


def scanned(batches: list[pa.RecordBatch], partitions: int, statistic_class: type[PerFeature]) -> Any:
    """Return the statistics by key of batches that are dealt out to partitions, by group of columns."""
    scan = keyed.KeyedScan(GROUPS, statistic_class, False, "cpu", Pool())
    rows = sorted_by_key(row for k in range(partitions) for row in scan(iter(batches[k::partitions])))
    merged = sorted_by_key(keyed.MergeByKey(GROUPS, statistic_class)(rows))
    return [*keyed.iter_parts(merged, GROUPS, statistic_class)]


def sorted_by_key(rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    order = [(name, "ascending") for name in ("b", "group", "partition", "start")]
    return iter(pa.Table.from_batches([*rows]).sort_by(order).to_batches(max_chunksize=1000))


def batches_of(keys: npt.NDArray[Any], x: npt.NDArray[Any], a: npt.NDArray[Any], rows: int) -> list[pa.RecordBatch]:
    """Return Arrow batches as ``select`` makes them."""
    return [
        pa.record_batch(
            {
                "a0": pa.array(x[i : i + rows, None].tolist()),
                "a1": pa.array(a[i : i + rows].tolist()),
                "b": keys[i : i + rows],
            }
        )
        for i in range(0, len(keys), rows)
    ]


@each_statistic
@pytest.mark.parametrize("held", [1, 50, 1 << 22])
def test_the_statistics_of_keys_are_those_of_their_rows(
    statistic_class: type[PerFeature], held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever these lie, and however little a task may hold; invalid values count."""
    monkeypatch.setattr(key_runs, "MOST_NUMBERS", held)
    monkeypatch.setattr(keyed, "MERGED_NUMBERS", min(held, 100))
    rng = np.random.default_rng(5)
    keys, x, a = rng.integers(0, 20, 300), rng.normal(size=300), rng.normal(size=(300, 2)) + 1e6
    x[rng.random(300) < 0.2] = np.nan
    values = {0: x[:, None], 1: a}
    keys_by_group = {0: set(), 1: set()}
    for k, part in scanned(batches_of(keys, x, a, 23), 3, statistic_class):
        for place, key in zip(part.places, part.keys.take(pa.array(part.places)).to_pylist(), strict=True):
            keys_by_group[k].add(key)
            row = int(np.flatnonzero(part.places == place)[0])

            assert_close(part.statistic.take(row), statistic_class.of(DenseBlock(values[k][keys == key])))
    assert keys_by_group == {0: set(keys), 1: set(keys)}


def test_quantiles_of_keys_are_those_of_their_rows_also_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of very different numbers of rows, more than a level holds among them; a task passes on what is too much."""
    monkeypatch.setattr(key_runs, "MOST_NUMBERS", 5000)
    keys = np.repeat(np.arange(40), [20_000, 3000, 1000, *[7] * 37])
    rng = np.random.default_rng(4)
    rng.shuffle(keys)
    x, a = rng.normal(size=len(keys)), rng.integers(0, 3, (len(keys), 2)).astype(float)
    coarse = Quantiles.within(0.01)
    seen = {0: [], 1: []}
    for k, part in scanned(batches_of(keys, x, a, 4000), 2, coarse):
        for row, key in enumerate(part.keys.to_pylist()):
            seen[k].append(key)
            rows, one = (x[:, None], a)[k][keys == key], part.statistic.take(row)
            assert one.is_complete(k + 1)
            assert one.count.tolist() == [len(rows)] * (k + 1)
            errors = (rows <= one.quantile(0.3)).mean(axis=0), (rows < one.quantile(0.3)).mean(axis=0)
            assert (errors[0] >= 0.29).all() and (errors[1] <= 0.31).all()

    assert [sorted(keys) for keys in seen.values()] == [[*range(40)]] * 2


def test_null_rows_of_a_key_are_counted() -> None:
    """Also of one that has no other."""
    columns = {"a0": [[1.0], [2.0], [3.0]], "a1": [[1.0, 2.0], [None], [None]], "b": [1, 1, 2]}
    parts = [part for k, part in scanned([pa.record_batch(columns)], 1, Moments) if k == 1]

    assert [key for part in parts for key in part.keys.to_pylist()] == [1, 2]
    assert [n for part in parts for n in part.nulls] == [1.0, 1.0]
    assert [part.keys[int(place)].as_py() for part in parts for place in part.places] == [1]


@pytest.mark.parametrize("lengths", [(2, 3), (2, 3, 2)])
def test_rows_of_different_lengths_are_refused(lengths: tuple[int, ...]) -> None:
    """Whichever keys and partitions they are of."""
    batches = [pa.record_batch({"a0": [[1.0]], "a1": [[1.0] * n], "b": [k]}) for k, n in enumerate(lengths)]

    with pytest.raises(SizeMismatchError, match="'a' holds arrays of length 2 and 3"):
        scanned(batches, len(batches), Moments)


def test_many_rows_of_one_key_are_merged_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with rows in many partitions; what is read at once is cut, too."""
    monkeypatch.setattr(key_runs, "MOST_NUMBERS", 100)
    rng = np.random.default_rng(1)
    keys, x, a = np.repeat([3, 5, 7], [100, 300, 1]), rng.normal(size=401), rng.normal(size=(401, 2))
    for k, part in scanned(batches_of(keys, x, a, 1), 401, Moments):
        for row, key in enumerate(part.keys.to_pylist()):
            assert_close(part.statistic.take(row), Moments.of(DenseBlock((x[:, None], a)[k][keys == key])))


def test_the_weights_of_one_key_do_not_matter_to_another() -> None:
    """However heavy they are, what is not stored of a sparse row has its own weight."""
    lengths, indices, values = np.array([1, 0, 1]), np.array([0, 0]), np.array([3.0, 1.0])
    weights, runs = np.array([1.0, 1e-12, 1e20]), np.array([0, 0, 1])
    both = Moments.of(SparseBlock(1, lengths, indices, values, weights, runs))
    alone = Moments.of(SparseBlock(1, lengths[:2], indices[:1], values[:1], weights[:2]))

    np.testing.assert_allclose(both.take(0).std(0), alone.std(0), rtol=1e-13)


def test_a_hundred_thousand_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of each are in every partition; a task holds about as many numbers as it may, and then passes them on."""
    monkeypatch.setattr(key_runs, "MOST_NUMBERS", 1 << 17)
    monkeypatch.setattr(batching, "KEYED_ROWS", 10_000)
    held, add = [], keyed.KeyedState.add
    monkeypatch.setattr(keyed.KeyedState, "add", lambda self, *more: add(self, *more) or held.append(self.numbers))
    count, rng = 100_000, np.random.default_rng(0)
    keys = np.tile(np.arange(count), 3)
    rng.shuffle(keys)
    x, a = rng.normal(size=len(keys)), rng.normal(size=(len(keys), 2))
    sums, means = np.bincount(keys, weights=x), {}
    for k, part in scanned(batches_of(keys, x, a, 10_000), 2, Moments):
        if k == 0:
            assert part.statistic.count.tolist() == [[3.0]] * len(part.keys)
            means |= zip(part.keys.to_pylist(), part.statistic.mean[:, 0].tolist(), strict=True)

    assert len(means) == count
    np.testing.assert_allclose([means[key] for key in range(count)], sums / 3.0, rtol=1e-12, atol=1e-14)
    assert (1 << 17) < max(held) < (1 << 19)


def test_one_of_many_short_runs_may_be_long() -> None:
    """Of wide rows, which are reduced as a whole."""
    values = np.random.default_rng(3).normal(size=(60, 20))
    runs = np.repeat(np.arange(41, dtype=np.intp), [1] * 40 + [20])
    of_runs = Moments.of(DenseBlock(values, None, runs))

    assert_close(of_runs.take(np.array([40])).of_row(0), Moments.of(DenseBlock(values[40:])))
    np.testing.assert_array_equal(of_runs.mean[:40], values[:40])


def test_weights_of_a_key_are_multiplied_later() -> None:
    """As if its rows had had them, for moments and co-moments."""
    values = np.random.default_rng(4).normal(size=(6, 2))
    both = StatisticSet.of_classes({"moments": Moments, "coMoments": CoMoments})
    rows = both.of(DenseBlock(values, None, np.repeat(np.arange(2, dtype=np.intp), 3)))
    weighted = rows.weighted(np.array([0.5, 1.0])).merge_rows(np.zeros(2, np.intp)).of_row(0)
    right = Moments.of(DenseBlock(values, np.repeat([0.5, 1.0], 3)))

    np.testing.assert_allclose(weighted["moments"].mean, right.mean, rtol=1e-14)
    np.testing.assert_allclose(weighted["moments"].std(1), right.std(1), rtol=1e-13)
    np.testing.assert_allclose(np.diag(weighted["coMoments"].comoments), right.m2, rtol=1e-13)
    assert weighted["moments"].count.tolist() == [6.0, 6.0]


@each_statistic
def test_runs_go_on_from_one_chunk_to_the_next(statistic_class: type[PerFeature]) -> None:
    """Of a block that is computed in several."""
    values = np.random.default_rng(2).normal(size=(50, 3000))
    runs = np.repeat(np.arange(3, dtype=np.intp), [5, 40, 5])
    of_runs = statistic_class.of(DenseBlock(values, None, runs))

    for run in range(3):
        assert_close(of_runs.take(run), statistic_class.of(DenseBlock(values[runs == run])))


def test_statistics_of_no_row_stand_where_there_are_none() -> None:
    """At all places but those given, of which there may be none."""
    nothing = Moments.missing(2, 0).scatter(np.array([], dtype=np.intp), 3)

    assert nothing.count.tolist() == [[0.0, 0.0]] * 3
