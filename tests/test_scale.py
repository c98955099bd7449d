"""Sizes at which a careless implementation breaks: wide sparse vectors, many partitions, many rows."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.ml.linalg import SparseVector, VectorUDT
from pyspark.sql import functions as F

import scans
from sparkscale import MaxAbsScaler, MinMaxScaler, StandardScaler
from sparkscale.blocks import DenseBlock
from sparkscale.spark import arrow
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import aggregates, merging, partials, scan, selection
from sparkscale.statistics import Extrema, Moments

pytestmark = pytest.mark.slow

FEATURES, STORED, ROWS = 1_000_000, 100, 3000


def entries(row):
    """Return which features a row stores, and their values."""
    generator = np.random.default_rng(row)
    at = np.sort(generator.choice(FEATURES // STORED, STORED)) + np.arange(STORED) * (FEATURES // STORED)
    return at, generator.uniform(-1.0, 1.0, STORED)


@pytest.fixture(scope="module")
def wide(spark):
    """Vectors of a million features; as dense vectors they would take 24 GB."""
    features, stored = FEATURES, STORED

    def row(i):
        generator = np.random.default_rng(i)
        at = np.sort(generator.choice(features // stored, stored)) + np.arange(stored) * (features // stored)
        return SparseVector(features, at.tolist(), generator.uniform(-1.0, 1.0, stored).tolist())

    return spark.range(0, ROWS, 1, 4).withColumn("v", F.udf(row, VectorUDT())("id")).cache()


@pytest.fixture(scope="module")
def expected():
    """Sum, sum of squares and largest absolute value of each feature."""
    total, squares, largest = np.zeros(FEATURES), np.zeros(FEATURES), np.zeros(FEATURES)
    for row in range(ROWS):
        at, values = entries(row)
        np.add.at(total, at, values)
        np.add.at(squares, at, values**2)
        np.maximum.at(largest, at, np.abs(values))
    return total, squares, largest


@pytest.mark.classic_only
def test_a_million_sparse_features_are_standardized(wide, expected):
    """Mean and variance count the implicit zeros; scaled vectors keep their entries and no more."""
    total, squares, _ = expected
    model = StandardScaler(inputCol="v", ddof=0).fit(wide)
    mean = total / ROWS

    assert model.numFeatures == FEATURES
    assert model.count == ROWS
    assert np.max(np.abs(model.statistics.mean - mean)) < 1e-16 * ROWS
    assert np.allclose(model.statistics.m2, squares - ROWS * mean**2, rtol=1e-9, atol=1e-15)
    for row in model.transform(wide.limit(3)).collect():
        at, values = entries(row["id"])
        assert isinstance(row["v_scaled"], SparseVector)
        assert row["v_scaled"].indices.tolist() == at.tolist()
        assert row["v_scaled"].values == pytest.approx(values / model.affine.scale[at], rel=1e-14)


@pytest.mark.classic_only
def test_a_million_sparse_features_are_scaled_by_their_largest(wide, expected):
    """Every row is transformed, and stays sparse."""
    model = MaxAbsScaler(inputCol="v").fit(wide)
    largest = expected[2]

    assert np.array_equal(model.statistics.count, np.full(FEATURES, ROWS))
    assert np.array_equal(np.maximum(-model.statistics.min, model.statistics.max), largest)
    scaled = model.transform(wide).select(F.unwrap_udt("v_scaled").alias("u"))
    row = scaled.selectExpr(
        "max(size(u.values))", "max(array_max(transform(u.values, x -> abs(x))))", "count(u.indices)"
    )
    assert list(row.first()) == [STORED, 1.0, ROWS]


def test_a_million_features_of_many_partitions_are_merged_on_executors(spark):
    """12 partial statistics of 32 MB each: no task and no batch holds more than a few at a time."""
    df = spark.range(0, 12, 1, 12).selectExpr(
        "CASE WHEN id % 2 = 0 THEN array(double(id), -1D) ELSE array(double(id), 2D) END AS a"
    )

    def sparse(values):
        return SparseVector(1_000_000, [3, 999_999], values)

    wide = df.select(F.udf(sparse, VectorUDT())("a").alias("v"))
    model = MinMaxScaler(inputCol="v").fit(wide)

    assert 12 * Extrema.numbers(FEATURES) * 8 > scan.DRIVER_BYTES
    assert model.count == 12
    assert model.originalMax.toArray()[[2, 3, 999_999]].tolist() == [0.0, 11.0, 2.0]
    assert model.originalMin.toArray()[[2, 3, 999_999]].tolist() == [0.0, 0.0, -1.0]


@pytest.mark.classic_only
def test_partial_statistics_of_ten_thousand_partitions_are_merged(spark):
    """Each is counted once, in the order of the partitions, whichever task sent it."""
    n, group = 10_000, selection.Group(FeatureColumn("a", "array", size=3), (0,))

    def of_partition(batches):
        for batch in batches:
            ids = batch.column("id").to_pylist()
            statistics = (Moments.of(DenseBlock(np.array([[float(i), 1.0 / (i + 1.0), 7.0]]))) for i in ids)
            for i, each in zip(ids, statistics, strict=True):
                yield partials.to_batch(partials.Partial(i, 0, 0, 3, 0.0, each), Moments)

    ids = spark.range(0, n, 1, 4).selectExpr(f"id * 7919 % {n} AS id")  # each once, in another order
    sent = ids.mapInArrow(of_partition, partials.schema())
    merged = merging.collect_partials(merging.merge_on_executors(sent, [group], Moments), Moments)
    moments = merging.merge(merged, [group], Moments)[0].statistic

    assert moments.count.tolist() == [n, n, n]
    assert moments.mean == pytest.approx([(n - 1) / 2, np.mean(1 / np.arange(1.0, n + 1)), 7.0], rel=1e-14)
    assert moments.variance(0) == pytest.approx(
        [(n**2 - 1) / 12, np.var(1 / np.arange(1.0, n + 1)), 0.0], rel=1e-13, abs=0
    )


@pytest.fixture
def collected(monkeypatch):
    """Record what the driver collects of partial statistics, on the way through Arrow."""
    monkeypatch.setattr(aggregates, "suits", lambda *args: False)
    rows, original = [], arrow.collect

    def collect(df):
        rows.append(original(df))
        return rows[-1]

    monkeypatch.setattr(arrow, "collect", collect)
    return rows


def assert_counted_once(model, n):
    """Every row was counted once, each of a partition of its own."""
    assert model.count == n
    assert model.mean.toArray() == pytest.approx([(n - 1) / 2, 7.0], rel=1e-14)
    assert model.std.toArray() ** 2 == pytest.approx([(n**2 - 1) / 12, 0.0], rel=1e-13, abs=0)


def test_three_hundred_partitions():
    """Every row is counted once where the driver merges all partial statistics."""
    partitions = scans.Partitions([[[float(i), 7.0]] for i in range(300)], features=2)

    assert_counted_once(scans.fit(StandardScaler(inputCols=["s0", "s1"], ddof=0), partitions), 300)


@pytest.mark.classic_only
def test_what_the_driver_collects_does_not_grow_with_partitions(spark, monkeypatch, collected):
    """Above the bound, partials are merged on executors, and one a dozen partitions comes back; no row gets lost."""
    monkeypatch.setattr(scan, "DRIVER_BYTES", 0)
    monkeypatch.setattr(merging, "FAN_IN", 12)
    df = spark.range(0, 40, 1, 40).selectExpr("double(id) AS x", "7D AS z")

    assert_counted_once(StandardScaler(inputCols=["x", "z"], ddof=0).fit(df), 40)
    assert len(collected[0]) == 4


def test_what_the_driver_collects_does_not_grow_with_rows(spark, collected):
    """A hundred times the rows, the same few numbers, of scalars and of an array."""
    for rows in (1000, 100_000):
        df = spark.range(0, rows, 1, 3).selectExpr("double(id) AS x", "double(id) AS y", "array(double(id), 1D) AS a")
        assert MinMaxScaler(inputCols=["x", "y", "a"]).fit(df).count == rows
    few, many = (sorted((row["group"], sum(np.size(v) for v in row.values())) for row in rows) for rows in collected)

    assert few == many
    assert [sum(group == k for group, _ in few) <= 3 for k in (0, 1)] == [True, True]
