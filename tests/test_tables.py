"""The tasks that make, merge and read tables of statistics by key, without Spark; hypothesis makes the keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyed_frames import canonical
from sparkscale.blocks import DenseBlock
from sparkscale.scalers._group_maps import KeyMaps
from sparkscale.scalers._group_model import GroupModel
from sparkscale.spark.arrow import numbered
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import by_key, key_runs, keyed, local_rows, table_rows
from sparkscale.spark.fit.blocks import Pool
from sparkscale.spark.fit.selection import column_groups
from sparkscale.statistics import CoMoments, Extrema, Moments, Quantiles, StatisticSet
from table import EVERY_CHOICE, Entry, choice_id

COLUMNS = [FeatureColumn("a", "array", size=2), FeatureColumn("x", "scalar", size=1)]
GROUPS = column_groups(COLUMNS)
SET = StatisticSet.of_classes(
    {"moments": Moments, "extrema": Extrema, "coMoments": CoMoments, "quantiles": Quantiles.within(0.2)}
)
GROUPED = [(entry, choice) for entry, choice in EVERY_CHOICE if issubclass(entry.model, GroupModel)]
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


def scanned(
    keys: list[Any], matrix: np.ndarray, partitions: int, statistic_class: type[StatisticSet] = SET
) -> list[pa.RecordBatch]:
    """Return the table of rows that are dealt out to partitions."""
    batches = batches_of(keys, matrix, 3)
    scan = keyed.KeyedScan(GROUPS, statistic_class, False, "cpu", Pool())
    rows = [row for k in range(partitions) for row in scan(iter(batches[k::partitions]))]
    return [*by_key._Assembled(GROUPS, statistic_class, Pool())(sorted_by_key(rows, "group", "partition", "start"))]


def rows_by_key(keys: list[Any]) -> dict[Any, list[int]]:
    """Return the rows of each key."""
    rows: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        rows.setdefault(tuple(canonical(k) for k in key), []).append(i)
    return rows


def matrix_of(keys: list[Any], seed: int) -> np.ndarray:
    """Return three features of each row, some of them invalid."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(len(keys), 3)).round(1)
    matrix[rng.random(matrix.shape) < 0.2] = np.nan
    return matrix


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
    matrix = matrix_of(keys, seed)
    before, key_runs.MOST_NUMBERS = key_runs.MOST_NUMBERS, held
    try:
        table = scanned(keys, matrix, partitions)
        twice = [*table_rows.MergedRows(SET)(sorted_by_key([*table, *table]))]
        (total,) = table_rows.Total(SET)(iter(table))
    finally:
        key_runs.MOST_NUMBERS = before
    once, both = of_keys(table), of_keys(twice)

    assert once.keys() == both.keys() == rows_by_key(keys).keys()
    for key, rows in rows_by_key(keys).items():
        assert_same(once[key], matrix[rows])
        assert_same(both[key], matrix[rows + rows])
    assert_same(table_rows.decoded(total, SET).of_row(0), matrix)


@pytest.mark.parametrize(
    ("entry", "choice"), GROUPED, ids=[f"{entry.name}-{choice_id(choice)}" for entry, choice in GROUPED]
)
@given(keys=st.lists(KEYS, min_size=1, max_size=30), seed=st.integers(0, 99), least=st.integers(1, 3))
@settings(max_examples=20)
def test_the_map_of_a_key_is_that_of_a_fit_on_its_rows(
    entry: Entry, choice: dict[str, Any], keys: list[Any], seed: int, least: int
) -> None:
    """Of a feature with too few values, that of a fit on all rows; whatever the keys are."""
    scaler = entry.scaler(inputCols=["a", "x"], minGroupCount=least, **choice)
    one_class = scaler._statistic_class
    statistic_class = StatisticSet.of_classes({"statistic": one_class})
    matrix = matrix_of(keys, seed)
    rows = rows_by_key(keys)

    def fitted(rows: np.ndarray) -> Any:
        model = scaler._model()
        model._learn(COLUMNS, one_class.of(DenseBlock(rows)), skips=False)
        return scaler._copyValues(model)

    of_all = fitted(matrix)
    maps = KeyMaps(of_all, inverse=False)
    mapped = {}
    for batch in scanned(keys, matrix, 2, statistic_class):
        numbers = maps(batch.column("b"), table_rows.decoded(batch, statistic_class))
        for row, key in enumerate(batch.column("b").to_pylist()):
            mapped[tuple(canonical(k) for k in key.values())] = {name: values[row] for name, values in numbers.items()}

    assert mapped.keys() == rows.keys()
    for key, numbers in mapped.items():
        few = np.isfinite(matrix[rows[key]]).sum(axis=0) < least
        own, other = (model._entry_map() for model in (fitted(matrix[rows[key]]), of_all))
        for name in ("center", "scale", "offset"):
            right = np.where(few, getattr(other, name), getattr(own, name))
            np.testing.assert_allclose(numbers[name], right, rtol=1e-10, atol=1e-12, err_msg=name)


@given(keys=st.lists(KEYS, min_size=1, max_size=30), seed=st.integers(0, 99), kept=st.sampled_from([[0], [2, 0], [1]]))
def test_a_roll_up_is_the_table_without_the_other_keys(keys: list[Any], seed: int, kept: list[int]) -> None:
    """Also of a table of the driver, which merges its own rows."""
    matrix = matrix_of(keys, seed)
    table = pa.Table.from_batches(scanned(keys, matrix, 2))
    rolled_up = local_rows.merged_rows(local_rows.projected_rows(table, kept), SET)
    again = local_rows.merged_rows(pa.concat_tables([table, table]), SET)
    statistics, rows = of_keys(rolled_up.to_batches()), rows_by_key([[key[k] for k in kept] for key in keys])

    assert statistics.keys() == rows.keys()
    for key, of_key in rows.items():
        assert_same(statistics[key], matrix[of_key])
    for key, of_key in rows_by_key(keys).items():
        assert_same(of_keys(again.to_batches())[key], matrix[of_key + of_key])


@given(keys=st.lists(KEYS, min_size=2, max_size=30), seed=st.integers(0, 99))
def test_new_rows_replace_those_of_the_same_key(keys: list[Any], seed: int) -> None:
    """And no others."""
    matrix, half = matrix_of(keys, seed), len(keys) // 2
    old, new = (pa.Table.from_batches(scanned(keys[s], matrix[s], 1)) for s in (slice(half), slice(half, None)))
    statistics = of_keys(local_rows.replaced_rows(old, new).to_batches())

    for key, rows in rows_by_key(keys[:half]).items():
        if key not in rows_by_key(keys[half:]):
            assert_same(statistics[key], matrix[rows])
    for key, rows in rows_by_key(keys[half:]).items():
        assert_same(statistics[key], matrix[half:][rows])
    assert statistics.keys() == rows_by_key(keys).keys()


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
