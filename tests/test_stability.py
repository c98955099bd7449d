"""Digits: large means, huge values, single precision, and fits that repeat to the last bit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import scans
from frames import KINDS, frame, names_of, values_of
from sparkscale import BatchNorm, MaxAbsScaler, MinMaxScaler, StandardScaler
from sparkscale.errors import RangeOverflowError
from sparkscale.spark.fit import merging, scan
from sparkscale.spark.fit.blocks import Pool
from sparkscale.statistics import CoMoments, Extrema, Moments, Statistic
from strategies import EPS, exact_moments
from table import TABLE

every_kind = pytest.mark.parametrize("kind", KINDS)
EVERY_KIND = names_of(KINDS, features=1)
OF_STATISTICS = {entry.statistic: entry for entry in TABLE}
every_statistic = pytest.mark.parametrize("statistic", OF_STATISTICS, ids=lambda s: s.__name__)


def single(spark: SparkSession, values: Any) -> DataFrame:
    """Return a frame whose columns of every kind hold one feature."""
    return frame(spark, [[float(v)] for v in values], features=1)


def partitions(*columns: Sequence[float]) -> scans.Partitions:
    """Return what such a frame is without Spark, torn into partitions."""
    return scans.Partitions([[[float(v)] for v in part] for part in columns], features=1)


def scaled(df: DataFrame, *models: Any) -> list[np.ndarray]:
    """Return what each of the models makes of a feature, in all kinds, by one query."""
    for k, model in enumerate(models):
        df = model.copy({model.outputCols: [f"{name}_{k}" for name in EVERY_KIND]}).transform(df)
    values = values_of(df, [f"{name}_{k}" for k in range(len(models)) for name in EVERY_KIND], features=1)
    return np.hsplit(values, len(models))


def in_every_kind(values: Sequence[float]) -> np.ndarray:
    return np.tile(np.reshape(values, (-1, 1)), (1, len(KINDS)))


# --- large means -----------------------------------------------------------------------------------------------

LARGE_MEAN = 1e9 + np.random.default_rng(1).normal(size=2000)
SERIES = [10000000.2, *[10000000.1, 10000000.3] * 500]  # NIST's NumAcc4: mean 10000000.2 and standard deviation 0.1


def assert_digits(name: str, mean: float, std: float) -> None:
    """The mean is right to the last bit or two, and the deviation to 8 digits, or to those that doubles hold of it."""
    if name == "series":
        assert mean == pytest.approx(10000000.2, rel=2 * EPS)
        assert std == pytest.approx(0.1, rel=2e-8)
    else:
        _, _, exact_mean, m2 = exact_moments(LARGE_MEAN)
        assert mean == pytest.approx(float(exact_mean), rel=2 * EPS)
        assert std == pytest.approx(float(m2 / (len(LARGE_MEAN) - 1)) ** 0.5, rel=1e-8)


@pytest.fixture(scope="module")
def large_mean(spark: SparkSession) -> DataFrame:
    return single(spark, LARGE_MEAN)


@every_kind
def test_a_large_mean_costs_no_variance(kind: str) -> None:
    """At mean 1e9 and variance 1 the mean is right to the last bit or two, and the deviation to 8 digits."""
    model = scans.fit(StandardScaler(inputCols=names_of([kind], 1)), partitions(*np.array_split(LARGE_MEAN, 5)))

    assert_digits("large mean", model.mean[0], model.std[0])


@every_kind
def test_a_large_mean_does_not_depend_on_partitions(kind: str) -> None:
    """At mean 1e9 and variance 1 one partition and five have the same map to 1e-12."""
    estimator = StandardScaler(inputCols=names_of([kind], 1), withMean=True)

    one, many = (scans.fit(estimator, partitions(*np.array_split(LARGE_MEAN, n))).affine for n in (1, 5))

    assert many.center[0] == pytest.approx(one.center[0], rel=1e-12)
    assert many.scale[0] == pytest.approx(one.scale[0], rel=1e-12)


@pytest.mark.core
def test_centring_loses_no_digits(large_mean: DataFrame) -> None:
    """Standardised values at mean 1e9 are exact to what subtracting a double from a double can be."""
    _, _, mean, m2 = exact_moments(LARGE_MEAN)
    std = float(m2 / (len(LARGE_MEAN) - 1)) ** 0.5
    expected = (LARGE_MEAN - float(mean)) / std

    model = StandardScaler(inputCols=EVERY_KIND, withMean=True).fit(large_mean)

    for k in range(len(KINDS)):
        assert_digits("large mean", model.mean[k], model.std[k])
    (rows,) = scaled(large_mean, model)
    np.testing.assert_allclose(rows, in_every_kind(expected), rtol=1e-7, atol=3e-7)


@every_kind
def test_alternating_series(kind: str) -> None:
    """NIST's NumAcc4: mean 10000000.2 and standard deviation 0.1, to the digits that doubles hold of them."""
    assert 1001 == len(SERIES)

    model = scans.fit(StandardScaler(inputCols=names_of([kind], 1)), partitions(SERIES[:500], SERIES[500:]))

    assert_digits("series", model.mean[0], model.std[0])


def test_scalars_alone_keep_their_digits(spark: SparkSession) -> None:
    """What SQL aggregates would lose of a large mean and of an alternating series."""
    rows = [[v, SERIES[i] if i < len(SERIES) else None] for i, v in enumerate(LARGE_MEAN.tolist())]
    df = spark.createDataFrame(rows, "large double, series double").coalesce(1)

    model = StandardScaler(inputCols=["large", "series"]).fit(df)

    assert_digits("large mean", model.mean[0], model.std[0])
    assert_digits("series", model.mean[1], model.std[1])


# --- huge values -----------------------------------------------------------------------------------------------

HUGE, WHOLE_RANGE = [-5e299, 0.0, 1e300], [-1e308, 1e308]


def test_huge_values(spark: SparkSession) -> None:
    """A range of 1.5e300 is as good as any, and so is a largest value of 1e300."""
    models = [scans.fit(kind(inputCols=EVERY_KIND), partitions(HUGE)) for kind in (MinMaxScaler, MaxAbsScaler)]

    by_range, by_largest = scaled(single(spark, HUGE), *models)

    np.testing.assert_allclose(by_range, in_every_kind([0.0, 1 / 3, 1.0]), rtol=4 * EPS)
    np.testing.assert_allclose(by_largest, in_every_kind([-0.5, 0.0, 1.0]), rtol=4 * EPS)


def test_max_abs_of_the_largest_doubles(spark: SparkSession) -> None:
    """The largest absolute value never overflows."""
    model = scans.fit(MaxAbsScaler(inputCols=EVERY_KIND), partitions(WHOLE_RANGE))

    (rows,) = scaled(single(spark, WHOLE_RANGE), model)

    np.testing.assert_array_equal(rows, in_every_kind([-1.0, 1.0]))


OVERFLOWING = {StandardScaler: HUGE, MinMaxScaler: WHOLE_RANGE}
each_overflowing = pytest.mark.parametrize("scaler", OVERFLOWING, ids=["variance", "range"])


@each_overflowing
@every_kind
def test_a_variance_or_range_that_overflows_is_refused(scaler: Any, kind: str) -> None:
    """The variance of such values is no double, nor is the range from -1e308 to 1e308; the error names the column."""
    names = names_of([kind], 1)

    with pytest.raises(RangeOverflowError, match=names[0]):
        scans.fit(scaler(inputCols=names), partitions(OVERFLOWING[scaler]))


@each_overflowing
def test_a_variance_or_range_that_overflows_is_refused_by_sql(spark: SparkSession, scaler: Any) -> None:
    """Of scalars alone, too."""
    df = spark.createDataFrame([(v,) for v in OVERFLOWING[scaler]], "s0 double").coalesce(1)

    with pytest.raises(RangeOverflowError, match="s0"):
        scaler(inputCol="s0").fit(df)


def test_a_model_that_would_overflow_by_update_is_refused(spark: SparkSession) -> None:
    """Learning on is refused like learning, and the model that was stays good."""
    model = scans.fit(MinMaxScaler(inputCols=EVERY_KIND), partitions([-1e308, 0.0]))
    more = single(spark, [1e308])

    with pytest.raises(RangeOverflowError):
        model.update(more)
    assert [-1e308] * len(KINDS) == model.originalMin.tolist()


# --- tiny values -----------------------------------------------------------------------------------------------

UNITS = [1e-150, 1e-160, 1e-170, 1e-305]
SPREAD = np.random.default_rng(0).normal(3.0, 1.0, 50)


@pytest.mark.core
def test_values_whose_squares_vanish(spark: SparkSession) -> None:
    """Of every kind, and of scalars alone, they are standardised like the same values in another unit."""
    rows, features = (SPREAD[:, None] * UNITS).tolist(), len(UNITS)
    df, scalar_names = frame(spark, rows, features), names_of(["scalar"], features)
    through_arrow = scans.fit(
        StandardScaler(inputCols=names_of(KINDS, features), withMean=True),
        scans.Partitions([rows[:20], rows[20:]], features=features),
    )
    alone = StandardScaler(inputCols=scalar_names, outputCols=[f"{n}_alone" for n in scalar_names], withMean=True).fit(
        df
    )

    done = values_of(
        alone.transform(through_arrow.transform(df)),
        [f"{name}_scaled" for name in names_of(KINDS, features)] + [f"{name}_alone" for name in scalar_names],
        features,
    )

    expected = (SPREAD - SPREAD.mean()) / SPREAD.std(ddof=1)
    np.testing.assert_allclose(done, np.tile(expected[:, None], done.shape[1]), atol=1e-13)
    assert [] == alone.constantFeatures == through_arrow.constantFeatures


def test_weights_whose_squares_underflow() -> None:
    """With the least weights that there are, the population's deviation is right; the sample's needs their squares."""
    weighted = scans.Partitions([[[1.0]], [[2.0]]], weights=[[5e-324]] * 2, features=1)
    scaler = StandardScaler(inputCols=EVERY_KIND, weightCol="w", withMean=True)

    model = scans.fit(scaler.setDdof(0), weighted)

    assert [0.5] * len(KINDS) == model.std.tolist()
    assert [1.5] * len(KINDS) == model.mean.tolist()
    with pytest.raises(RangeOverflowError):
        scans.fit(scaler.setDdof(1), weighted)


def test_batch_norm_of_tiny_values_names_no_constant() -> None:
    """Beside epsilon their variance is nothing, but they are not all the same."""
    model = scans.fit(BatchNorm(inputCols=EVERY_KIND, statistics="population"), partitions([1e-170], [3e-170]))

    assert [] == model.constantFeatures
    assert [0.0] * len(KINDS) == model.runningVar.tolist()


# --- single precision ------------------------------------------------------------------------------------------


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


def bits(statistic: Statistic) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in statistic.arrays().items()}


@every_statistic
@pytest.mark.parametrize("kinds", [("scalar",), ("array",), ("dense",), ("sparse",), KINDS], ids="-".join)
def test_fit_does_not_depend_on_which_partition_comes_first(
    monkeypatch: pytest.MonkeyPatch, statistic: type[Statistic], kinds: Sequence[str]
) -> None:
    """Partial statistics of each kind, in whatever order they come, make the same statistic bit for bit."""
    rows = (np.random.default_rng(3).normal(size=(60, 3)) * [1.0, 1e3, 1e-3] + [0.0, 1e5, 1.0]).tolist()
    merge, came = merging.merge, []
    # Of what the tasks send, and the groups of columns.
    monkeypatch.setattr(merging, "merge", lambda *merged: came.append(merged) or merge(*merged))
    estimator = OF_STATISTICS[statistic].scaler(inputCols=names_of(kinds))
    expected = scans.fit(estimator, scans.Partitions([rows[k : k + 10] for k in range(0, 60, 10)])).statistics
    ((sent, groups, _),) = came
    assert len(sent) >= PARTITIONS

    for order in (sent[::-1], sent[1::2] + sent[::2], sent[len(sent) // 2 :] + sent[: len(sent) // 2]):
        task = scan.Scan(groups, statistic, False, "cpu", Pool())
        actual = scan.summary(merge(order, groups, statistic), task).statistic

        assert bits(expected) == bits(actual)


def slowed(spark: SparkSession, slow: int) -> DataFrame:
    """Rows in six partitions, of which one takes longer than the sum of all others."""

    def wait(first):  # no type hints: PySpark would look for pandas in them
        from pyspark import TaskContext

        context = TaskContext.get()
        if first and context is not None and context.partitionId() == slow:
            time.sleep(0.4)
        return True

    x = "pmod(id * 7919, 10007) / 7.0D + 1e3D * sin(id)"
    zeros = [f"z{i}" for i in range(6)]
    df = spark.range(0, 3000, 1, PARTITIONS).withColumn("x", F.expr(x))
    df = df.selectExpr(
        "*", "array(x, x * x, x + 1e5D) AS a", "IF(id % 2 = 1, x, 0D) AS odd", *(f"0D AS {z}" for z in zeros)
    )
    df = VectorAssembler(inputCols=["x", "id"], outputCol="dense").transform(df)
    df = VectorAssembler(inputCols=["x", *zeros, "odd"], outputCol="sparse").transform(df)
    waits = F.udf(wait, "boolean").asNondeterministic()  # so that it stays where it is
    return df.where(waits(F.expr(f"id % {3000 // PARTITIONS} = 0")))


@pytest.mark.classic_only
@pytest.mark.parametrize(
    ("statistic", "way"),
    [
        (Extrema, "aggregates"),
        (Moments, "aggregates"),
        (Moments, "driver"),
        (Moments, "executors"),
        (CoMoments, "executors"),
    ],
    ids=lambda v: v if isinstance(v, str) else v.__name__,
)
def test_fit_repeats_to_the_last_bit(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, statistic: type[Statistic], way: str
) -> None:
    """The same partitions give the same statistic, of all kinds, bit for bit, in whatever order their tasks finish."""
    if way == "executors":
        monkeypatch.setattr(scan, "_limit", lambda *data: None)
        monkeypatch.setattr(merging, "FAN_IN", 2)
    elif way == "driver":
        monkeypatch.setattr(scan, "DRIVER_BYTES", 1 << 60)
    columns = ["x"] if way == "aggregates" else ["x", "a", "dense", "sparse"]
    estimator = OF_STATISTICS[statistic].scaler(inputCols=columns)

    first_is_last, in_order = (estimator.fit(slowed(spark, slow)).statistics for slow in (0, PARTITIONS - 1))

    assert bits(first_is_last) == bits(in_order)


@pytest.mark.parametrize("value", [1.1e38, 1.2345e100, 1e-50, 0.1])
def test_constant_stays_constant_after_merge(spark: SparkSession, value: float) -> None:
    """For both fit paths, even if sums are rounded."""
    few, more = (spark.range(0, n, 1, 1).select(F.lit(value).alias("s0")) for n in (3, 7))
    scaler = StandardScaler(inputCols=["s0"], withMean=True)
    by_sql, through_arrow = scaler.fit(few), scans.fit(scaler, partitions([value] * 7))

    for model in (by_sql.merge(through_arrow), through_arrow.merge(by_sql), by_sql.update(more)):
        assert (model.mean[0], model.std[0], model.constantFeatures) == (value, 0.0, ["s0"])


@pytest.mark.parametrize("weight", [1e-170, 1e200])
def test_weights_whose_squares_are_no_doubles_are_refused(weight: float) -> None:
    """The sample variance needs their squares; the population's does not."""
    weighted = scans.Partitions([[[0.0], [1.0], [2.0]]], weights=[[weight] * 3], features=1)
    scaler = StandardScaler(inputCols=["s0"], weightCol="w")

    with pytest.raises(RangeOverflowError, match="'s0'"):
        scans.fit(scaler, weighted)
    assert scans.fit(scaler.setDdof(0), weighted).std[0] == pytest.approx((2 / 3) ** 0.5)
