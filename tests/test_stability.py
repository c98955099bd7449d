"""Digits: large means, huge values, single precision, and fits that repeat to the last bit."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkscale import MaxAbsScaler, MinMaxScaler, StandardScaler
from sparkscale.errors import RangeOverflowError
from strategies import EPS, KINDS, exact_moments, frame, names_of, values_of
from table import TABLE

every_kind = pytest.mark.parametrize("kind", KINDS)
EVERY_KIND = names_of(KINDS, features=1)


def single(spark: SparkSession, values: Any) -> DataFrame:
    """Return a frame whose columns of every kind hold one feature."""
    return frame(spark, [[float(v)] for v in values], features=1)


# --- large means -----------------------------------------------------------------------------------------------

LARGE_MEAN = 1e9 + np.random.default_rng(1).normal(size=2000)


@pytest.fixture(scope="module")
def large_mean(spark: SparkSession) -> DataFrame:
    return single(spark, LARGE_MEAN).repartition(5).cache()


@pytest.mark.core
@every_kind
def test_a_large_mean_costs_no_variance(large_mean: DataFrame, kind: str) -> None:
    """At mean 1e9 and variance 1 the mean is right to the last bit or two, and the deviation to 8 digits."""
    _, _, mean, m2 = exact_moments(LARGE_MEAN)

    model = StandardScaler(inputCols=names_of([kind], 1)).fit(large_mean)

    assert model.mean[0] == pytest.approx(float(mean), rel=2 * EPS)
    assert model.std[0] == pytest.approx(float(m2 / (len(LARGE_MEAN) - 1)) ** 0.5, rel=1e-8)


@every_kind
def test_a_large_mean_does_not_depend_on_partitions(large_mean: DataFrame, kind: str) -> None:
    """At mean 1e9 and variance 1 one partition and five have the same map to 1e-12."""
    estimator = StandardScaler(inputCols=names_of([kind], 1), withMean=True)

    one, many = estimator.fit(large_mean.coalesce(1)).affine, estimator.fit(large_mean).affine

    assert many.center[0] == pytest.approx(one.center[0], rel=1e-12)
    assert many.scale[0] == pytest.approx(one.scale[0], rel=1e-12)


def test_centring_keeps_what_the_data_hold(large_mean: DataFrame) -> None:
    """Standardised values at mean 1e9 are exact to what subtracting a double from a double can be."""
    _, _, mean, m2 = exact_moments(LARGE_MEAN)
    std = float(m2 / (len(LARGE_MEAN) - 1)) ** 0.5
    expected = (LARGE_MEAN - float(mean)) / std

    model = StandardScaler(inputCols=EVERY_KIND, withMean=True).fit(large_mean)

    found = values_of(model.transform(large_mean), model.getOutputCols(), features=1)
    np.testing.assert_allclose(found, np.tile(expected[:, None], (1, len(KINDS))), rtol=1e-7, atol=3e-7)


@pytest.mark.core
@every_kind
def test_alternating_series(spark: SparkSession, kind: str) -> None:
    """NIST's NumAcc4: mean 10000000.2 and standard deviation 0.1, to the digits that doubles hold of them."""
    series = [10000000.2, *[10000000.1, 10000000.3] * 500]
    assert 1001 == len(series)

    model = StandardScaler(inputCols=names_of([kind], 1)).fit(single(spark, series))

    assert model.mean[0] == pytest.approx(10000000.2, rel=2 * EPS)
    assert model.std[0] == pytest.approx(0.1, rel=2e-8)


# --- huge values -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def huge(spark: SparkSession) -> DataFrame:
    return single(spark, [-5e299, 0.0, 1e300])


def test_min_max_of_huge_values(huge: DataFrame) -> None:
    """A range of 1.5e300 is as good as any."""
    model = MinMaxScaler(inputCols=EVERY_KIND).fit(huge)

    found = values_of(model.transform(huge), model.getOutputCols(), features=1)
    np.testing.assert_allclose(found, np.tile([[0.0], [1 / 3], [1.0]], (1, len(KINDS))), rtol=4 * EPS)


def test_max_abs_of_huge_values(huge: DataFrame) -> None:
    """So is a largest value of 1e300."""
    model = MaxAbsScaler(inputCols=EVERY_KIND).fit(huge)

    found = values_of(model.transform(huge), model.getOutputCols(), features=1)
    np.testing.assert_allclose(found, np.tile([[-0.5], [0.0], [1.0]], (1, len(KINDS))), rtol=4 * EPS)


@pytest.mark.core
@every_kind
def test_a_variance_that_overflows_is_refused(huge: DataFrame, kind: str) -> None:
    """The variance of such values is no double; the error names the column."""
    names = names_of([kind], 1)

    with pytest.raises(RangeOverflowError, match=names[0]):
        StandardScaler(inputCols=names).fit(huge)


@pytest.mark.core
@every_kind
def test_a_range_that_overflows_is_refused(spark: SparkSession, kind: str) -> None:
    """From -1e308 to 1e308 is 2e308, which is no double; the error names the column."""
    names = names_of([kind], 1)

    with pytest.raises(RangeOverflowError, match=names[0]):
        MinMaxScaler(inputCols=names).fit(single(spark, [-1e308, 1e308]))


def test_a_model_that_would_overflow_by_update_is_refused(spark: SparkSession) -> None:
    """Learning on is refused like learning, and the model that was stays good."""
    model = MinMaxScaler(inputCols=EVERY_KIND).fit(single(spark, [-1e308, 0.0]))

    with pytest.raises(RangeOverflowError):
        model.update(single(spark, [1e308]))
    assert [-1e308] * len(KINDS) == model.originalMin.tolist()


def test_max_abs_takes_the_whole_range(spark: SparkSession) -> None:
    """The largest absolute value always is a double."""
    df = single(spark, [-1e308, 1e308])
    model = MaxAbsScaler(inputCols=EVERY_KIND).fit(df)

    found = values_of(model.transform(df), model.getOutputCols(), features=1)
    np.testing.assert_array_equal(found, np.tile([[-1.0], [1.0]], (1, len(KINDS))))


# --- single precision ------------------------------------------------------------------------------------------


@pytest.mark.core
def test_a_million_floats_at_a_million(spark: SparkSession) -> None:
    """Sums of floats are doubles: a million of them at 1e6 keep mean and deviation."""
    rows, width = 100_000, 10
    element = "float(1e6D + pmod(id * 7919 + i * 104729, 101) * 0.0625D)"
    df = spark.range(0, rows, 1, 4).selectExpr(f"transform(sequence(0, {width - 1}), i -> {element}) AS a")
    steps = (np.arange(rows)[:, None] * 7919 + np.arange(width) * 104729) % 101
    mean = 1e6 + steps.sum(axis=0) / rows * 0.0625
    std = np.sqrt((rows * (steps**2).sum(axis=0) - steps.sum(axis=0) ** 2) / (rows * (rows - 1))) * 0.0625

    model = StandardScaler(inputCol="a").fit(df)

    np.testing.assert_allclose(model.mean.toArray(), mean, rtol=4 * EPS)
    np.testing.assert_allclose(model.std.toArray(), std, rtol=1e-10)


# --- repeatability ---------------------------------------------------------------------------------------------

PARTITIONS = 6
PATHS = {"aggregates": ["x"], "arrow scalars": ["x", "a"], "arrays": ["a"], "dense": ["dense"], "sparse": ["sparse"]}


def slowed(spark: SparkSession, slow: int | None, path: str) -> DataFrame:
    """Rows in six partitions, of which one takes longer than all others together."""

    def wait(first):  # no type hints: PySpark would look for pandas in them
        from pyspark import TaskContext

        context = TaskContext.get()
        if first and context is not None and context.partitionId() == slow:
            time.sleep(0.4)
        return True

    x = "pmod(id * 7919, 10007) / 7.0D + 1e3D * sin(id)"
    df = spark.range(0, 3000, 1, PARTITIONS).withColumn("x", F.expr(x))
    df = df.withColumn("a", F.expr("array(x, x * x, x + 1e5D)")).withColumn("zero", F.lit(0.0))
    if path == "dense":
        df = VectorAssembler(inputCols=["x", "id"], outputCol="dense").transform(df)
    if path == "sparse":
        zeros = [f"z{i}" for i in range(6)]
        for name in zeros:
            df = df.withColumn(name, F.lit(0.0))
        df = df.withColumn("odd", F.expr("CASE WHEN id % 2 = 1 THEN x ELSE 0D END"))
        df = VectorAssembler(inputCols=["x", *zeros, "odd"], outputCol="sparse").transform(df)
    waits = F.udf(wait, "boolean").asNondeterministic()  # so that it stays where it is
    return df.where(waits(F.expr(f"id % {3000 // PARTITIONS} = 0")))


@pytest.mark.one_world
@pytest.mark.core
@pytest.mark.parametrize("entry", {e.statistic: e for e in TABLE}.values(), ids=lambda e: e.name)
@pytest.mark.parametrize("path", PATHS)
def test_fit_repeats_to_the_last_bit(spark: SparkSession, entry: Any, path: str) -> None:
    """The same partitions give the same statistic, of each kind, bit for bit, in whatever order their tasks finish."""
    estimator = entry.scaler(inputCols=PATHS[path])
    expected = estimator.fit(slowed(spark, None, path)).statistics.arrays()

    for slow in (0, PARTITIONS - 1):
        actual = estimator.fit(slowed(spark, slow, path)).statistics.arrays()

        assert {n: a.tobytes() for n, a in expected.items()} == {n: a.tobytes() for n, a in actual.items()}


@pytest.mark.parametrize("value", [1.1e38, 1.2345e100, 1e-50, 0.1])
def test_a_constant_stays_one_when_more_of_it_is_learned(spark: SparkSession, value: float) -> None:
    """Whichever way fit went, and whatever its sums rounded to."""
    few, more = (spark.range(n).select(F.lit(value).alias("x")) for n in (3, 7))
    scaler = StandardScaler(inputCol="x", withMean=True)

    for model in (scaler.fit(few).merge(scaler.fit(more)), scaler.fit(few).update(more)):
        assert (model.mean[0], model.std[0], model.constantFeatures) == (value, 0.0, ["x"])


@pytest.mark.parametrize("weight", [1e-170, 1e200])
def test_weights_whose_squares_are_no_doubles_are_refused(spark: SparkSession, weight: float) -> None:
    """The sample variance needs their squares; the population's does not."""
    df = spark.range(3).select(F.col("id").cast("double").alias("x"), F.lit(weight).alias("w"))

    with pytest.raises(RangeOverflowError, match="'x'"):
        StandardScaler(inputCol="x", weightCol="w").fit(df)
    assert StandardScaler(inputCol="x", weightCol="w", ddof=0).fit(df).std[0] == pytest.approx((2 / 3) ** 0.5)
