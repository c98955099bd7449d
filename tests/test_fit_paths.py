"""The ways that a fit may take: they give one statistic, in one scan of the data."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import functions as F

import scans
from conftest import jobs_so_far
from frames import KINDS, names_of
from models import facts
from sparkscale import MinMaxScaler, StandardScaler, Whitener
from sparkscale.blocks import DenseBlock
from sparkscale.errors import SizeMismatchError
from sparkscale.spark import arrow, jvm, tasks
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import aggregates, batching, key_runs, keyed, merging, partials, scan, selection
from sparkscale.spark.fit.blocks import Pool
from sparkscale.spark.gpu import Cpu, Gpu
from sparkscale.statistics import Extrema, Moments
from table import each_scaler

# A scaler of each statistic that SQL knows, too.
each_statistic = pytest.mark.parametrize("scaler", [MinMaxScaler, StandardScaler], ids=["Extrema", "Moments"])
COLUMNS = ["x", "a", "v", "y", "z", "k"]
SCALARS, SCALARS_AT = ["x", "y", "z", "k"], [0, 7, 8, 9]


@pytest.fixture(scope="module")
def data(spark):
    """Fifty rows in seven partitions, one of them empty, with null and NaN, and vectors of both forms."""
    df = spark.range(0, 50, 1, 7).filter("id NOT BETWEEN 7 AND 13")
    df = df.selectExpr(
        "id",
        "CASE WHEN id % 5 = 1 THEN null WHEN id % 7 = 3 THEN double('NaN') ELSE sin(id) * 10 END AS x",
        "float(id) / 3 AS y",
        "3.3D AS z",
        "1e3D + id AS k",
        "CASE WHEN id % 6 = 2 THEN null ELSE array(double(id), CASE WHEN id % 4 > 0 THEN 1D / id END, -2D) END AS a",
        "1D + id % 3 AS w",
    )
    row = F.udf(
        lambda i: Vectors.dense([i / 7.0, 0.0, -i]) if i % 2 else Vectors.sparse(3, {2: float(i)}) if i % 3 else None,
        VectorUDT(),
    )
    return df.withColumn("v", row("id"))


def by_arrow(monkeypatch):
    """Close the way of SQL aggregates."""
    monkeypatch.setattr(aggregates, "suits", lambda *args: False)


def merged_on_executors(monkeypatch):
    """Make the driver collect nothing that executors have not merged, a few partitions a task."""
    monkeypatch.setattr(scan, "_limit", lambda *data: None)
    monkeypatch.setattr(merging, "FAN_IN", 2)


def fitted_through_arrow(scaler, df, merged_on):
    with pytest.MonkeyPatch.context() as monkeypatch:
        by_arrow(monkeypatch)
        if merged_on == "executors":
            merged_on_executors(monkeypatch)
        else:
            monkeypatch.setattr(scan, "DRIVER_BYTES", 1 << 60)
        return scaler.fit(df)


@pytest.fixture(scope="module")
def arrow_fits(data):
    """Models of all columns, by scaler and by where partial statistics were merged."""

    @cache
    def fitted(scaler, merged_on):
        df = data.coalesce(1) if merged_on == "one partition" else data
        return fitted_through_arrow(scaler(inputCols=COLUMNS), df, merged_on)

    return fitted


def spied(monkeypatch):
    """Record the results of the SQL aggregates; empty if none ran."""
    answers, original = [], aggregates.summarize

    def summarize_(*args, **kwargs):
        answers.append(original(*args, **kwargs))
        return answers[-1]

    monkeypatch.setattr(aggregates, "summarize", summarize_)
    return answers


def same(one, other, rel=1e-13, at=slice(None)):
    """Two statistics agree, the one with some features of the other."""
    for name, expected in facts(other).items():
        assert getattr(one, name) == pytest.approx(expected[at], rel=rel), name


@pytest.fixture
def ways(monkeypatch):
    """Record which way a fit takes, and spare it the way."""
    taken = []

    def ones(columns, statistic):
        sizes = tuple(c.size or 3 for c in columns)
        return scan.Summary(statistic.of(DenseBlock(np.ones((1, sum(sizes))))), sizes)

    def by_sql(df, columns, statistic, *, handle_invalid):
        taken.append("SQL")
        return ones(columns, statistic).statistic

    def through_arrow(df, columns, statistic, *rest):
        taken.append("Arrow")
        return ones(columns, statistic)

    monkeypatch.setattr(aggregates, "summarize", by_sql)
    monkeypatch.setattr(scan, "_scan", through_arrow)
    return taken


@pytest.mark.core
@each_scaler
def test_few_scalars_are_fitted_by_sql_aggregates(data, ways, scaler):
    """For a few scalar columns the statistic comes from SQL."""
    scaler(inputCols=["x", "y", "z"]).fit(data)

    assert ways == ["SQL"]


@pytest.mark.parametrize(
    "params",
    [
        {"inputCols": ["x", "a"]},
        {"inputCol": "v"},
        {"inputCol": "x", "weightCol": "w"},
        {"inputCol": "x", "handleInvalid": "skip"},
    ],
    ids=["array", "vector", "weights", "skip"],
)
def test_other_fits_use_arrow(data, ways, params):
    """Arrays, vectors, weights and dropped rows are beyond the SQL aggregates."""
    StandardScaler(**params).fit(data)

    assert ways == ["Arrow"]


def test_many_scalars_are_fitted_through_arrow(data, monkeypatch):
    """Above some number of aggregates the generated code is too large to be fast."""
    answers = spied(monkeypatch)
    df = data.selectExpr(*(f"y + {i} AS c{i}" for i in range(60)))
    model = MinMaxScaler(inputCols=df.columns).fit(df)

    assert answers == []
    assert model.numFeatures == 60
    assert np.diff(model.statistics.min).tolist() == pytest.approx([1.0] * 59)


@pytest.mark.core
@each_statistic
def test_sql_and_arrow_agree(data, arrow_fits, monkeypatch, scaler):
    """Counts and extrema are identical, moments equal up to rounding; well-conditioned columns need no second scan."""
    answers = spied(monkeypatch)
    by_sql, by_arrow = scaler(inputCols=SCALARS).fit(data), arrow_fits(scaler, "driver")

    assert [type(a) for a in answers] == [Moments if scaler is StandardScaler else Extrema]
    same(by_sql.statistics, answers[0], rel=0)
    same(by_sql.statistics, by_arrow.statistics, rel=1e-13 if scaler is StandardScaler else 0, at=SCALARS_AT)
    assert by_sql.statistics.count.tolist() == by_arrow.statistics.count[SCALARS_AT].tolist()
    assert by_sql.invalidCounts == [by_arrow.invalidCounts[k] for k in SCALARS_AT]
    assert by_sql.constantFeatures == [name for name in by_arrow.constantFeatures if name in SCALARS] == ["z"]
    if scaler is StandardScaler:
        assert by_sql.std[2] == by_arrow.std[SCALARS_AT[2]] == 0.0


def test_sql_and_arrow_agree_where_invalid_values_are_errors(data, monkeypatch):
    """Values pass through the check on either way."""
    answers, strict = spied(monkeypatch), StandardScaler(inputCols=["y", "z"], handleInvalid="error")
    by_sql, by_arrow = strict.fit(data), fitted_through_arrow(strict, data, "driver")

    assert len(answers) == 1
    same(by_sql.statistics, by_arrow.statistics)
    assert by_sql.statistics.count.tolist() == by_arrow.statistics.count.tolist()
    assert by_sql.invalidCounts == by_arrow.invalidCounts == [0, 0]
    assert by_sql.constantFeatures == by_arrow.constantFeatures == ["z"]
    assert by_sql.std[1] == by_arrow.std[1] == 0.0


@pytest.mark.parametrize(
    "scaler", [MinMaxScaler, pytest.param(StandardScaler, marks=pytest.mark.core)], ids=["Extrema", "Moments"]
)
def test_merging_on_executors_agrees(arrow_fits, scaler):
    """All kinds, merged in a tree on executors, on the driver, or never torn apart, give one statistic."""
    direct, merged, whole = (arrow_fits(scaler, where) for where in ("driver", "executors", "one partition"))

    assert merged.numFeatures == direct.numFeatures == whole.numFeatures == 10
    assert merged.count == direct.count == whole.count == 43
    for other in (merged, whole):
        same(other.statistics, direct.statistics, rel=1e-13 if scaler is StandardScaler else 0)
        assert other.invalidCounts == direct.invalidCounts


def test_merging_on_executors_agrees_for_weights_and_skip(data):
    """Weights and dropped rows come through the tree."""
    scaler = StandardScaler(inputCols=["x", "a", "v"], weightCol="w", handleInvalid="skip")
    direct, merged = (fitted_through_arrow(scaler, data, where) for where in ("driver", "executors"))

    assert 0 < merged.count < 43
    assert merged.count == direct.count
    assert (merged.statistics.weight > merged.statistics.count).all()
    same(merged.statistics, direct.statistics)


def test_merging_on_executors_refuses_lengths_that_differ():
    """A mismatch that shows only between partitions is found by the task that merges them."""
    groups = selection.column_groups([FeatureColumn("a", "array")])
    sent = [partials.Partial(k, 0, 0, n, 0.0, Extrema.of(DenseBlock(np.ones((1, n))))) for k, n in ((6, 4), (7, 5))]
    task = merging._merge_task(
        (partials.to_batch(each, Extrema) for each in sent), fan_in=2, groups=groups, statistic_class=Extrema
    )

    with pytest.raises(SizeMismatchError, match="'a' holds arrays of length 4 and 5"):
        next(task)


def test_merging_on_executors_of_partitions_without_a_value(spark):
    """Partitions that hold only nulls, and so do not know a length, meet others that do."""
    df = spark.range(0, 8, 1, 8).selectExpr(
        "CASE WHEN id IN (3, 6) THEN array(double(id), 1D) END AS a", "double(id) AS x"
    )
    model = fitted_through_arrow(MinMaxScaler(inputCols=["a", "x"]), df, "executors")

    assert model.originalMax.toArray().tolist() == [6.0, 1.0, 7.0]
    assert model.invalidCounts == [6, 6, 0]


def bits(statistic):
    return [v.hex() for array in statistic.arrays().values() for v in array.ravel().tolist()]


@pytest.mark.parametrize("merged_on", ["driver", "executors"])
def test_a_fit_repeats_to_the_bit(data, arrow_fits, monkeypatch, merged_on):
    """Partial statistics are merged in partition order, never in the order in which they come."""
    expected, collect, came = bits(arrow_fits(StandardScaler, merged_on).statistics), arrow.collect, []
    monkeypatch.setattr(arrow, "collect", lambda df: came.extend(collect(df)) or came)
    again = fitted_through_arrow(StandardScaler(inputCols=COLUMNS), data, merged_on)

    assert bits(again.statistics) == expected
    groups = selection.column_groups(again._columns)
    for order in (came[::-1], came[1::2] + came[::2], came[3:] + came[:3]):
        rows = [partials.of_row(row, Moments) for row in order]
        merged = scan.summary(merging.merge(rows, groups, Moments), scan.Scan(groups, Moments, False, "cpu", Pool()))
        assert bits(merged.statistic) == expected


@pytest.mark.core
def test_an_ill_conditioned_column_falls_back(spark, monkeypatch):
    """If the mean is large relative to the spread, Spark's variance loses digits, and fit uses Arrow instead."""
    answers = spied(monkeypatch)
    df = spark.range(0, 1000, 1, 3).selectExpr("1e9D + id % 10 AS x", "double(id) AS y")
    model = StandardScaler(inputCols=["x", "y"], ddof=0).fit(df)

    assert answers == [None]
    assert model.std[0] ** 2 == pytest.approx(8.25, rel=1e-14)
    assert model.mean[0] == 1e9 + 4.5


@pytest.mark.core
def test_squares_that_vanish_fall_back(spark, monkeypatch):
    """With Arrow, tiny values are not mistaken for constants, even if their sum is 0."""
    answers = spied(monkeypatch)
    texts = {
        "small": "(1 + id % 3) * 1e-170D",
        "symmetric": "IF(id % 2 = 0, 1e-200D, -1e-200D)",
        "zero": "id * 0D",
        "one": "1D",
    }
    df = spark.range(0, 6, 1, 2).selectExpr(*(f"{text} AS {name}" for name, text in texts.items()))
    model = StandardScaler(inputCols=[*texts], ddof=0).fit(df)

    assert answers == [None]
    assert model.std.toArray() == pytest.approx([(2 / 3) ** 0.5 * 1e-170, 1e-200, 0.0, 0.0], rel=1e-14, abs=0)
    assert model.constantFeatures == ["zero", "one"]


def test_constants_and_tiny_values_among_others_do_not_fall_back(spark, monkeypatch):
    """Zeros and values whose squares underflow are distinguished without a second scan."""
    answers = spied(monkeypatch)
    df = spark.range(0, 6, 1, 2).selectExpr(
        "id * 0D AS zero", "1D AS one", "1e-100D AS c", "IF(id < 5, 1e-200D, 3) AS x"
    )
    model = StandardScaler(inputCols=df.columns).fit(df)

    assert [type(a) for a in answers] == [Moments]
    assert model.constantFeatures == ["zero", "one", "c"]
    assert (model.mean[3], model.std[3]) == pytest.approx((0.5, 1.5**0.5), rel=1e-15)


def test_overflowing_sums_fall_back(spark, monkeypatch):
    """Sums beyond the range of a double are not taken for statistics; the mean of large values is."""
    answers = spied(monkeypatch)
    df = spark.range(0, 4, 1, 1).selectExpr("1e308D + id * 0D AS x")
    model = StandardScaler(inputCol="x").fit(df)

    assert answers == [None]
    assert (model.mean[0], model.std[0]) == (1e308, 0.0)


SCANS = {
    "extrema by SQL": (MinMaxScaler(inputCols=["x", "y"]), None),
    "moments by SQL": (StandardScaler(inputCols=["x", "y"]), None),
    "all kinds": (StandardScaler(inputCols=["x", "y", "a", "v"]), "driver"),
    "error": (StandardScaler(inputCols=["x", "y", "a", "v"], handleInvalid="error"), "driver"),
    "skip, merged on executors": (StandardScaler(inputCols=["x", "a", "v"], handleInvalid="skip"), "executors"),
}


@pytest.mark.parametrize("case", SCANS)
def test_a_fit_reads_the_data_once(spark, tmp_path, case):
    """Each row is computed exactly once, whichever way the fit takes."""
    scaler, merged_on = SCANS[case]
    log = str(tmp_path / "read")

    def read(i):
        with open(log, "a") as file:
            file.write(f"{i}\n")
        return float(i)

    x = F.udf(read, "double").asNondeterministic()
    df = spark.range(0, 20, 1, 3).select(x("id").alias("x")).selectExpr("x", "x * 2 AS y", "array(x, 1D) AS a")
    df = df.withColumn("v", array_to_vector("a"))
    model = fitted_through_arrow(scaler, df, merged_on) if merged_on else scaler.fit(df)

    assert model.count == 20
    with open(log) as file:
        assert sorted(int(line) for line in file) == list(range(20))


@pytest.mark.core
@pytest.mark.parametrize("partitions", [3, None], ids=["known", "unknown"])
def test_long_arrays_of_unknown_size_are_merged_on_executors(spark, monkeypatch, partitions):
    """Tasks say so at the first row, if they know how many they are; else as soon as so many have sent too much.

    What they do not compute they read all the same: of a partition more than a socket holds.
    """
    monkeypatch.setattr(scan, "DRIVER_BYTES", 2 * Extrema.numbers(3) * 8)
    monkeypatch.setattr(scan, "USUAL_PARTITIONS", 1)
    monkeypatch.setattr(scan, "USUAL_FEATURES", 1)
    monkeypatch.setattr(jvm, "partitions", lambda df: partitions)
    came, collected = [], merging.collect_partials
    monkeypatch.setattr(merging, "collect_partials", lambda *data: came.append(collected(*data)) or came[-1])
    df = spark.range(0, 300_000, 1, 3).selectExpr("array(double(id % 12), -1D, 2D * (id % 12)) AS a")
    model = MinMaxScaler(inputCol="a").fit(df)

    assert came[0] is None
    assert [p.partition for p in came[1]] == [0]
    assert model.count == 300_000
    assert model.originalMax.toArray().tolist() == [11.0, -1.0, 22.0]


def test_fits_of_arrays_are_one_job(spark, monkeypatch):
    """For columns of unknown size there is neither a shuffle nor a query for the size."""
    wide = [f"array_repeat(double(id + {k}), 300) AS a{k}" for k in range(6)]
    df = spark.range(0, 40, 1, 20).selectExpr(*wide)
    before = jobs_so_far()
    model = StandardScaler(inputCols=df.columns).fit(df)

    assert jobs_so_far() - before == 1
    assert model.numFeatures == 1800


@each_statistic
def test_the_number_of_partitions_does_not_matter(spark, scaler):
    """To SQL neither: one partition, several, and empty ones among them give one statistic."""
    statistics = [
        scaler(inputCol="x").fit(spark.range(0, 20, 1, n).selectExpr("double(id * id) / 7 AS x")).statistics
        for n in (1, 30)
    ]

    same(*statistics, rel=1e-13 if scaler is StandardScaler else 0)


def test_batches_do_not_matter(monkeypatch):
    """A partition that comes in several Arrow batches gives the statistic of one that comes whole."""
    monkeypatch.setattr(batching, "SPARSE_ROWS", 7)  # otherwise sparse batches are concatenated
    rows = [[float(i) if i % 4 else None, 0.0 if i % 3 else 1.0, -i / 7.0] if i % 9 else None for i in range(1, 50)]
    statistics = []
    for size in (50, 7):
        monkeypatch.setattr(scans, "ROWS", size)
        statistics.append(scans.fit(StandardScaler(inputCols=names_of(KINDS)), scans.Partitions([rows])).statistics)

    same(*statistics)


def test_a_frame_with_a_shuffle_is_fitted(spark):
    """A plan whose partitions are not known beforehand is fitted as any other."""
    df = (
        spark.range(0, 100, 1, 4)
        .selectExpr("id % 10 AS k", "double(id) AS x")
        .groupBy("k")
        .agg(F.collect_list("x").alias("a"))
    )
    model = MinMaxScaler(inputCol="a").fit(df.selectExpr("slice(array_sort(a), 1, 3) AS a"))

    assert model.originalMin.toArray().tolist() == [0.0, 10.0, 20.0]
    assert model.originalMax.toArray().tolist() == [9.0, 19.0, 29.0]


# --- small partitions of a cache share tasks -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cached(spark):
    """Sixty rows in thirty partitions of a cache, some without a row, which a shuffle has brought there."""
    df = spark.range(0, 60, 1, 4).selectExpr("id", "sin(id) AS x", "array(double(id), cos(id) * 1e5D, 0D) AS a")
    df = df.withColumn("v", array_to_vector("a")).repartition(30, "id").cache()
    df.count()
    yield df
    df.unpersist()


@pytest.fixture
def parallel(monkeypatch):
    """Record the number of tasks of each stage that goes to Python."""
    tasks_of_stages, original = [], tasks.map_in_arrow

    def map_in_arrow(df, *more):
        tasks_of_stages.append(df.rdd.getNumPartitions())
        return original(df, *more)

    monkeypatch.setattr(tasks, "map_in_arrow", map_in_arrow)
    return tasks_of_stages


@pytest.mark.core
@pytest.mark.classic_only
@pytest.mark.parametrize(
    "stage",
    [StandardScaler(inputCols=["a", "v"], handleInvalid="error"), Whitener(inputCols=["a", "v"], outputCol="o")],
    ids=["StandardScaler", "Whitener"],
)
def test_small_partitions_of_a_cache_share_tasks(cached, parallel, monkeypatch, stage):
    """Two a core; the statistic is that of the partitions alone, to the bit, whichever of them share a task."""
    shared = stage.fit(cached.where("id < 57"))
    monkeypatch.setattr(jvm, "cache", lambda df: None)
    monkeypatch.setattr(jvm, "partitions", lambda df: 30)
    alone = stage.fit(cached.where("id < 57"))

    assert parallel == [4, 30]
    assert bits(shared.statistics) == bits(alone.statistics)


@pytest.mark.classic_only
def test_partitions_that_share_tasks_are_merged_on_executors_as_well(cached, parallel, monkeypatch):
    """They do not count as one."""
    expected = StandardScaler(inputCol="v").fit(cached).statistics
    merged_on_executors(monkeypatch)
    merged = StandardScaler(inputCol="v").fit(cached).statistics

    assert parallel[:2] == [4, 4]
    same(merged, expected)


@pytest.mark.classic_only
def test_other_partitions_do_not_share_tasks(spark, cached, parallel):
    """Of a source, of a shuffle, of a cache that is not there yet; of few partitions, or large ones."""
    plain = spark.range(0, 30, 1, 30).selectExpr("array(double(id)) AS a")
    frames = [plain, cached.repartition(20), cached.union(cached), plain.select("a", "a").toDF("a", "b").cache()]
    for df in (*frames, cached.coalesce(7)):
        MinMaxScaler(inputCol="a").fit(df)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(scan, "SMALL_ROWS", 1)
        MinMaxScaler(inputCol="a").fit(cached)
        monkeypatch.undo()
        monkeypatch.setattr(scan, "TASK_BYTES", 64)
        MinMaxScaler(inputCol="a").fit(cached)

    assert parallel == [30, 20, 60, 30, 7, 30, 30]
    frames[-1].unpersist()


@pytest.mark.parametrize("before", [1, 3000, 12_000])
def test_blocks_do_not_depend_on_partitions_sharing_the_task(before):
    """One of more rows than a batch of Spark's has is cut where it would be alone."""
    rows = 25_000
    of, values = [9] * before + [4] * rows, np.concatenate([np.zeros(before), np.arange(rows)])
    arrays = pa.ListArray.from_arrays(pa.array(np.arange(len(of) + 1), pa.int32()), pa.array(values))
    whole = pa.record_batch({"a0": arrays, "b": pa.array(of, pa.int32())})
    batches = (whole.slice(start, batching.ROWS_IN_BATCH) for start in range(0, len(of), batching.ROWS_IN_BATCH))
    blocks = {
        number: [b.column("a0").flatten().to_pylist() for b in run] for number, run in batching.by_partition(batches)
    }

    assert [len(block) for block in blocks[4]] == [10_000, 10_000, 5000]
    assert np.concatenate(blocks[4]).tolist() == [*range(rows)]
    assert sum(map(len, blocks[9])) == before


@pytest.mark.parametrize("params", [{"handleInvalid": "skip"}, {"weightCol": "w"}], ids=str)
def test_sharing_a_task_does_not_change_partial_statistics(params):
    """Rows that are dropped or weigh nothing, and partitions of no other rows; of all kinds of columns."""
    rows = [[[float(i * k), None if i == 2 else 0.0, -1.0] if i % 5 else None for i in range(8)] for k in (1, 2, 3)]
    weights = [[1.0, 0.0] * 4, [0.0] * 8, [2.0] * 8]
    data = scans.Partitions(rows, weights)
    alone = scans.fit(StandardScaler(inputCols=names_of(KINDS), **params), data).statistics
    shared = scans.fit(StandardScaler(inputCols=names_of(KINDS), **params), replace(data, shared=True)).statistics

    assert bits(shared) == bits(alone)


def test_batches_are_cut_where_the_partition_changes():
    """Batches of one partition are concatenated in order; an empty partition has no batch."""

    def of(partitions, first):
        rows = [[float(first + k)] for k in range(len(partitions))]
        return pa.record_batch({"a0": rows, "b": pa.array(partitions, pa.int32())})

    batches = [of([5, 5, 0], 0), of([], 3), of([0, 7, 7], 3), of([7], 6)]
    actual = [
        (number, [b.column("a0").to_pylist() for b in run]) for number, run in batching.by_partition(iter(batches))
    ]

    assert actual == [(5, [[[0.0], [1.0]]]), (0, [[[2.0], [3.0]]]), (7, [[[4.0], [5.0], [6.0]]])]


# --- sparse rows are put together -----------------------------------------------------------------------------------

DENSE, NULL, SPARSE = ([], [1.0, 2.0, 3.0]), ([-1], []), ([2], [5.0])


def batch(rows, row, **more):
    """Return an Arrow batch of one vector column: the same indices and values in every row."""
    indices, values = row
    cells = {
        "a0": pa.array([values] * rows, pa.list_(pa.float64())),
        "i0": pa.array([indices] * rows, pa.list_(pa.int32())),
    }
    return pa.record_batch({**cells, **more})


def reading(read, batches):
    """Yield the batches, and record which were read."""
    for k, each in enumerate(batches):
        read.append(k)
        yield each


def test_sparse_batches_are_put_together_up_to_a_budget(monkeypatch):
    """In order; dense batches and batches of only nulls are gathered as the device requires."""
    rows = [(1, SPARSE), (3, SPARSE), (1, DENSE), (2, DENSE), (1, NULL), *[(2, SPARSE)] * 4]
    batches = [batch(*each) for each in rows]
    monkeypatch.setattr(batching, "SPARSE_BYTES", 3 * batches[-1].nbytes)
    gathered = list(batching.rebatch(iter(batches), Cpu().rebatch))

    assert [b.num_rows for b in gathered] == [4, 1, 2, 1, 6, 2]
    assert pa.Table.from_batches(gathered).to_pydict() == pa.Table.from_batches(batches).to_pydict()
    assert list(batching.rebatch(iter([]), Cpu().rebatch)) == []
    assert [b.num_rows for b in batching.rebatch(iter(batches), Gpu(None).rebatch)] == [4, 4, 6, 2]


def test_short_sparse_rows_are_put_together_up_to_a_number(monkeypatch):
    """Sums over more rows would have larger rounding errors. Sparse rows are always summed on the CPU."""
    monkeypatch.setattr(batching, "SPARSE_ROWS", 5)
    batches = [batch(n, SPARSE) for n in (2, 3, 1, 9, 4)]

    for device in (Cpu(), Gpu(None)):
        assert [b.num_rows for b in batching.rebatch(iter(batches), device.rebatch)] == [5, 1, 9, 4]


@pytest.mark.parametrize("row", [DENSE, SPARSE], ids=["dense", "sparse"])
def test_a_large_batch_is_computed_before_the_next_is_read(monkeypatch, row):
    """Concatenation holds no additional batches in memory."""
    monkeypatch.setattr(batching, "SPARSE_BYTES", 1)
    read = []
    gathered = batching.rebatch(reading(read, [batch(n, row) for n in (1, 2, 3)]), Cpu().rebatch)

    assert next(gathered).num_rows == 1
    assert read == [0]


def test_fit_takes_one_statistic_of_sparse_batches_put_together(monkeypatch):
    """Three batches, one block."""
    of = Mock(side_effect=Moments.of)
    monkeypatch.setattr(Moments, "of", of)
    groups = selection.column_groups([FeatureColumn("v", "vector", size=3)])
    task = scan.Scan(groups, Moments, False, "cpu", Pool())
    (sent,) = task(iter([batch(n, SPARSE) for n in (1, 2, 3)]))
    (row,) = arrow.iter_rows(sent)

    assert partials.of_row(row, Moments).statistic.count.tolist() == [6.0, 6.0, 6.0]
    assert of.call_count == 1


def test_keys_are_sent_once_a_task_holds_too_many_numbers(monkeypatch):
    """Before the next rows are read."""
    monkeypatch.setattr(batching, "KEYED_ROWS", 1)
    monkeypatch.setattr(key_runs, "MOST_NUMBERS", 1)
    task = keyed.KeyedScan(
        selection.column_groups([FeatureColumn("v", "vector", size=3)]), Moments, False, "cpu", Pool()
    )
    read = []
    sent = task(reading(read, [batch(1, SPARSE, b=pa.array([k], pa.int32())) for k in range(3)]))

    assert next(sent).column("b").to_pylist() == [0]
    assert read == [0]
