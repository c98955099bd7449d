"""The tasks that make, merge and read tables of statistics by key, without Spark; hypothesis makes the keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyed_frames import canonical
from sparkscale.blocks import DenseBlock
from sparkscale.spark.arrow import numbered
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import by_key, key_runs, keyed, table_rows
from sparkscale.spark.fit.blocks import Pool
from sparkscale.spark.fit.selection import column_groups
from sparkscale.statistics import CoMoments, Extrema, Moments, Quantiles, StatisticSet

COLUMNS = [FeatureColumn("a", "array", size=2), FeatureColumn("x", "scalar", size=1)]
GROUPS = column_groups(COLUMNS)
SET = StatisticSet.of_classes(
    {"moments": Moments, "extrema": Extrema, "coMoments": CoMoments, "quantiles": Quantiles.within(0.2)}
)
TYPE = pa.struct([("k0", pa.string()), ("k1", pa.float64()), ("k2", pa.date32())])
KEYS = st.tuples(
    st.sampled_from(["a", "b", "", None]),
    st.sampled_from([0.0, 1.5, float("nan"), None]),
    st.sampled_from([date(2024, 2, 29), None]),
)


def struct(keys: Iterable[Any]) -> pa.Array:
    return pa.array([dict(zip(("k0", "k1", "k2"), key, strict=True)) for key in keys], TYPE)


def batches_of(keys: list[Any], matrix: np.ndarray, rows: int) -> list[pa.RecordBatch]:
    """Return Arrow batches as ``select`` makes them; a row whose array is NaN throughout is null."""
    arrays = [[None] if np.isnan(row).all() else row.tolist() for row in matrix[:, :2]]
    return [
        pa.record_batch(
            {
                "a0": matrix[i : i + rows, 2:].tolist(),
                "a1": pa.array(arrays[i : i + rows], pa.list_(pa.float64())),
                "b": struct(keys[i : i + rows]),
            }
        )
        for i in range(0, len(keys), rows)
    ]


def sorted_by_key(rows: Iterable[pa.RecordBatch], *names: str) -> Iterator[pa.RecordBatch]:
    """Return rows in the order of their keys, then of other columns, as Spark sorts them."""
    table = pa.Table.from_batches([*rows])
    order = [numbered(table.column("b").combine_chunks())[0], *(table.column(n).to_numpy() for n in names)]
    return iter(table.take(pa.array(np.lexsort(order[::-1]))).combine_chunks().to_batches(max_chunksize=7))


def scanned(keys: list[Any], matrix: np.ndarray, partitions: int) -> list[pa.RecordBatch]:
    """Return the table of rows that are dealt out to partitions."""
    batches = batches_of(keys, matrix, 3)
    scan = keyed.KeyedScan(GROUPS, SET, False, "cpu", Pool())
    rows = [row for k in range(partitions) for row in scan(iter(batches[k::partitions]))]
    return [*by_key._Assembled(GROUPS, SET, Pool())(sorted_by_key(rows, "group", "partition", "start"))]


def of_keys(table: Iterable[pa.RecordBatch]) -> dict[Any, Any]:
    """Return the statistics of each key of a table."""
    statistics = {}
    for batch in table:
        rows = table_rows.decoded(batch, SET)
        for row, key in enumerate(batch.column("b").to_pylist()):
            values = tuple(canonical(k) for k in key.values())
            assert values not in statistics
            statistics[values] = rows.of_row(row)
    return statistics


def assert_same(actual: StatisticSet, matrix: np.ndarray) -> None:
    """The statistics of these rows, whose features are 1, 2, 0 of the columns."""
    block = DenseBlock(matrix)
    np.testing.assert_array_equal(actual.count, np.isfinite(matrix).sum(axis=0))
    np.testing.assert_array_equal(actual.invalid, (~np.isfinite(matrix)).sum(axis=0))
    for name in ("min", "max"):
        np.testing.assert_array_equal(getattr(actual["extrema"], name), getattr(Extrema.of(block), name))
    moments, joint = Moments.of(block), CoMoments.of(block)
    np.testing.assert_allclose(actual["moments"].mean, moments.mean, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(actual["moments"].std(0), moments.std(0), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(actual["coMoments"].rows, joint.rows)
    np.testing.assert_allclose(actual["coMoments"].comoments, joint.comoments, rtol=1e-9, atol=1e-10)
    assert actual["quantiles"].is_complete(3)


@pytest.mark.parametrize("held", [1, 1 << 22])
@given(keys=st.lists(KEYS, min_size=1, max_size=40), seed=st.integers(0, 99), partitions=st.integers(1, 4))
def test_a_table_holds_the_statistics_of_each_key(held: int, keys: list[Any], seed: int, partitions: int) -> None:
    """Wherever its rows are; merged with another table, of both; rolled up, of all that agree; in total, of all rows."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(len(keys), 3)).round(1)
    matrix[rng.random(matrix.shape) < 0.2] = np.nan
    before, key_runs.MOST_NUMBERS = key_runs.MOST_NUMBERS, held
    try:
        table = scanned(keys, matrix, partitions)
        twice = [*table_rows.MergedRows(SET)(sorted_by_key([*table, *table]))]
        (total,) = table_rows.Total(SET)(iter(table))
    finally:
        key_runs.MOST_NUMBERS = before
    rows_by_key: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        rows_by_key.setdefault(tuple(canonical(k) for k in key), []).append(i)
    once, both = of_keys(table), of_keys(twice)

    assert once.keys() == both.keys() == rows_by_key.keys()
    for key, rows in rows_by_key.items():
        assert_same(once[key], matrix[rows])
        assert_same(both[key], matrix[rows + rows])
    assert_same(table_rows.decoded(total, SET).of_row(0), matrix)


@given(keys=st.lists(KEYS, max_size=30))
def test_equal_keys_have_one_number(keys: list[Any]) -> None:
    """Whatever they consist of, however many there are."""
    numbers, distinct = numbered(struct(keys))
    named = [tuple(canonical(k) for k in key) for key in keys]
    shown = [tuple(canonical(k) for k in key.values()) for key in distinct.to_pylist()]

    assert [shown[n] for n in numbers] == named
    assert len(shown) == len(set(named))


def test_numbers_do_not_overflow() -> None:
    """Of many columns, each with many values."""
    rng = np.random.default_rng(0)
    columns = [pa.array(rng.integers(0, 1 << 40, 500)) for _ in range(9)]
    numbers, distinct = numbered(pa.StructArray.from_arrays(columns, [f"k{i}" for i in range(9)]))

    assert sorted(numbers) == [*range(500)]
    assert len(distinct) == 500
