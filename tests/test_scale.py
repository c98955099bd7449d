"""Sizes at which a careless implementation breaks: wide sparse vectors, many partitions, many rows."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.ml.linalg import SparseVector, VectorUDT
from pyspark.sql import functions as F

from sparkscale import MaxAbsScaler, MinMaxScaler, StandardScaler
from sparkscale.blocks import DenseBlock
from sparkscale.spark import aggregates, arrow, partials, summarize
from sparkscale.spark.columns import FeatureColumn
from sparkscale.statistics import Moments

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

    return spark.range(0, ROWS, 1, 4).withColumn("v", F.udf(row, VectorUDT())("id"))


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


@pytest.mark.one_world
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


@pytest.mark.one_world
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
    """24 partial statistics of 32 MB each: no task and no batch holds more than a few at a time."""
    df = spark.range(0, 24, 1, 24).selectExpr(
        "CASE WHEN id % 2 = 0 THEN array(double(id), -1D) ELSE array(double(id), 2D) END AS a"
    )

    def sparse(values):
        return SparseVector(1_000_000, [3, 999_999], values)

    wide = df.select(F.udf(sparse, VectorUDT())("a").alias("v"))
    model = MinMaxScaler(inputCol="v").fit(wide)

    assert model.count == 24
    assert model.originalMax.toArray()[[2, 3, 999_999]].tolist() == [0.0, 23.0, 2.0]
    assert model.originalMin.toArray()[[2, 3, 999_999]].tolist() == [0.0, 0.0, -1.0]


@pytest.mark.one_world
def test_partial_statistics_of_ten_thousand_partitions_are_merged(spark):
    """Each counts once, in the order of the partitions, whoever made it."""
    n, group = 10_000, arrow.Group(FeatureColumn("a", "array", size=3), (0,))

    def of_partition(batches):
        for batch in batches:
            for i in batch.column("id").to_pylist():
                found = Moments.of(DenseBlock(np.array([[float(i), 1.0 / (i + 1.0), 7.0]])))
                yield partials.to_batch(partials.Partial(i, 0, 0, 3, 0.0, found), Moments)

    ids = spark.range(0, n, 1, 4).orderBy(F.hash("id"))
    found = ids.mapInArrow(of_partition, partials.schema(Moments))
    (merged,) = partials.merge_on_driver(partials.merge_on_executors(found, [group], Moments), [group], Moments)
    moments = merged.statistic

    assert moments.count.tolist() == [n, n, n]
    assert moments.mean == pytest.approx([(n - 1) / 2, np.mean(1 / np.arange(1.0, n + 1)), 7.0], rel=1e-14)
    assert moments.variance(0) == pytest.approx(
        [(n**2 - 1) / 12, np.var(1 / np.arange(1.0, n + 1)), 0.0], rel=1e-13, abs=0
    )


@pytest.mark.one_world
@pytest.mark.parametrize("merge", ["driver", "executors"])
def test_three_hundred_partitions(spark, monkeypatch, merge):
    """Every row is counted once, wherever partial statistics are merged."""
    monkeypatch.setattr(aggregates, "suits", lambda *args: False)
    if merge == "executors":
        monkeypatch.setattr(summarize, "DRIVER_BYTES", 0)
    n = 300
    df = spark.range(0, n, 1, n).selectExpr("double(id) AS x", "7D AS z")
    model = StandardScaler(inputCols=["x", "z"], ddof=0).fit(df)

    assert model.count == n
    assert model.mean.toArray() == pytest.approx([(n - 1) / 2, 7.0], rel=1e-14)
    assert model.std.toArray() ** 2 == pytest.approx([(n**2 - 1) / 12, 0.0], rel=1e-13, abs=0)


@pytest.mark.parametrize("kind", ["scalars", "array"])
def test_what_the_driver_collects_does_not_grow_with_rows(spark, monkeypatch, kind):
    """A hundred times the rows, the same few numbers."""
    monkeypatch.setattr(aggregates, "suits", lambda *args: False)
    collected, original = [], partials.collect

    def collect(df):
        rows = original(df)
        collected.append((len(rows), sum(np.size(v) for row in rows for v in row.values())))
        return rows

    monkeypatch.setattr(partials, "collect", collect)
    for rows in (1000, 100_000):
        df = spark.range(0, rows, 1, 3).selectExpr("double(id) AS x", "double(id) AS y", "array(double(id), 1D) AS a")
        params = {"inputCols": ["x", "y"]} if kind == "scalars" else {"inputCol": "a"}
        assert MinMaxScaler(**params).fit(df).count == rows

    assert collected[0] == collected[1]
    assert collected[0][0] <= 3


def test_what_the_driver_collects_does_not_grow_with_partitions(spark, monkeypatch):
    """Above the bound, partials are merged on executors, and one a few hundred partitions comes back."""
    monkeypatch.setattr(aggregates, "suits", lambda *args: False)
    monkeypatch.setattr(summarize, "DRIVER_BYTES", 0)
    monkeypatch.setattr(partials, "FAN_IN", 64)
    collected, original = [], partials.collect

    def collect(df):
        collected.append(original(df))
        return collected[-1]

    monkeypatch.setattr(partials, "collect", collect)
    df = spark.range(0, 150, 1, 150).selectExpr("double(id) AS x")

    assert MinMaxScaler(inputCol="x").fit(df).originalMax[0] == 149.0
    assert len(collected[0]) == -(-150 // partials.FAN_IN)
