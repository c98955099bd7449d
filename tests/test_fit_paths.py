"""The ways that a fit may take: they give one statistic, in one scan of the data."""

from __future__ import annotations

from functools import partial
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from sparkscale import MaxAbsScaler, MinMaxScaler, StandardScaler
from sparkscale.errors import SizeMismatchError
from sparkscale.spark import aggregates, arrow, partials, summarize
from sparkscale.spark.batches import Batches, _Within
from sparkscale.spark.columns import FeatureColumn, KeyColumn
from sparkscale.spark.gpu import Cpu, Gpu
from sparkscale.statistics import Extrema, Moments

SCALERS = (MinMaxScaler, MaxAbsScaler, StandardScaler)
each_scaler = pytest.mark.parametrize("scaler", SCALERS, ids=lambda c: c.__name__)


@pytest.fixture(scope="module")
def data(spark):
    """Fifty rows in seven partitions, one of them empty, with null and NaN, and vectors of both forms."""
    df = spark.range(0, 50, 1, 7).filter("id NOT BETWEEN 7 AND 13")
    df = df.selectExpr(
        "id",
        "CASE WHEN id % 5 = 1 THEN null WHEN id % 7 = 3 THEN double('NaN') ELSE sin(id) * 10 END AS x",
        "float(id) / 3 AS y",
        "3.3D AS z",
        "CASE WHEN id % 6 = 2 THEN null ELSE array(double(id), CASE WHEN id % 4 > 0 THEN 1D / id END, -2D) END AS a",
        "1D + id % 3 AS w",
    )
    row = F.udf(
        lambda i: Vectors.dense([i / 7.0, 0.0, -i]) if i % 2 else Vectors.sparse(3, {2: float(i)}) if i % 3 else None,
        VectorUDT(),
    )
    return df.withColumn("v", row("id"))


@pytest.fixture
def by_arrow(monkeypatch):
    """Close the way of SQL aggregates."""
    monkeypatch.setattr(aggregates, "suits", lambda *args: False)


def merged_on_executors(monkeypatch):
    """Make the driver collect nothing that executors have not merged, a few partitions a task."""
    monkeypatch.setattr(summarize, "DRIVER_BYTES", 0)
    monkeypatch.setattr(partials, "FAN_IN", 2)


def spied(monkeypatch):
    """Record what the SQL aggregates returned; nothing if they were not asked."""
    answers, original = [], aggregates.summarize

    def summarize_(*args, **kwargs):
        answers.append(original(*args, **kwargs))
        return answers[-1]

    monkeypatch.setattr(aggregates, "summarize", summarize_)
    return answers


def facts(statistic):
    """Return what a statistic says of its rows, however it holds it."""
    names = ("count", "invalid", "weight", "weight_square", "mean", "m2")
    if isinstance(statistic, Extrema):
        names = ("count", "invalid", "min", "max")
    return {name: getattr(statistic, name) for name in names}


def same(one, other, rel=1e-13):
    for name, expected in facts(other).items():
        assert getattr(one, name) == pytest.approx(expected, rel=rel), name


@pytest.mark.core
@each_scaler
def test_few_scalars_are_fitted_by_sql_aggregates(data, monkeypatch, scaler):
    """For a few scalar columns the statistic comes from SQL."""
    answers = spied(monkeypatch)
    model = scaler(inputCols=["x", "y", "z"]).fit(data)

    assert [type(a) for a in answers] == [Moments if scaler is StandardScaler else Extrema]
    assert model.statistics is not None
    same(model.statistics, answers[0], rel=0)


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
def test_all_else_is_fitted_through_arrow(data, monkeypatch, params):
    """Arrays, vectors, weights and dropped rows are beyond the SQL aggregates."""
    answers = spied(monkeypatch)
    StandardScaler(**params).fit(data)

    assert answers == []


def test_many_scalars_are_fitted_through_arrow(data, monkeypatch):
    """Above some number of aggregates the generated code is too large to be fast."""
    answers = spied(monkeypatch)
    df = data.selectExpr(*(f"y + {i} AS c{i}" for i in range(60)))
    model = MinMaxScaler(inputCols=df.columns).fit(df)

    assert answers == []
    assert model.numFeatures == 60
    assert np.diff(model.statistics.min).tolist() == pytest.approx([1.0] * 59)


@pytest.mark.core
@each_scaler
@pytest.mark.parametrize("policy", ["keep", "error"])
def test_sql_and_arrow_agree(data, monkeypatch, scaler, policy):
    """Counts and extrema to the bit, moments to rounding."""
    columns = ["x", "y", "z"] if policy == "keep" else ["y", "z"]
    by_sql = scaler(inputCols=columns, handleInvalid=policy).fit(data)
    monkeypatch.setattr(aggregates, "suits", lambda *args: False)
    by_arrow = scaler(inputCols=columns, handleInvalid=policy).fit(data)

    same(by_sql.statistics, by_arrow.statistics, rel=1e-13 if scaler is StandardScaler else 0)
    assert by_sql.statistics.count.tolist() == by_arrow.statistics.count.tolist()
    assert by_sql.invalidCounts == by_arrow.invalidCounts
    assert by_sql.constantFeatures == by_arrow.constantFeatures
    if scaler is StandardScaler:
        assert by_sql.std[len(columns) - 1] == by_arrow.std[len(columns) - 1] == 0.0


@pytest.mark.core
@each_scaler
def test_merging_on_executors_agrees(data, by_arrow, monkeypatch, scaler):
    """All kinds, merged in a tree on executors or on the driver, give one statistic."""
    columns = ["x", "a", "v", "y"]
    direct = scaler(inputCols=columns).fit(data)
    merged_on_executors(monkeypatch)
    merged = scaler(inputCols=columns).fit(data)

    assert merged.numFeatures == direct.numFeatures == 8
    assert merged.count == direct.count == 43
    same(merged.statistics, direct.statistics, rel=1e-13 if scaler is StandardScaler else 0)
    assert merged.invalidCounts == direct.invalidCounts


@pytest.mark.parametrize("params", [{"weightCol": "w"}, {"handleInvalid": "skip"}], ids=["weights", "skip"])
def test_merging_on_executors_agrees_for_weights_and_skip(data, by_arrow, monkeypatch, params):
    """Weights and dropped rows come through the tree."""
    direct = StandardScaler(inputCols=["x", "a", "v"], **params).fit(data)
    merged_on_executors(monkeypatch)
    merged = StandardScaler(inputCols=["x", "a", "v"], **params).fit(data)

    assert merged.count == direct.count
    same(merged.statistics, direct.statistics)


def test_merging_on_executors_refuses_lengths_that_differ(spark, by_arrow, monkeypatch):
    """A mismatch that shows only between partitions is found by the task that merges them."""
    merged_on_executors(monkeypatch)
    df = spark.range(0, 8, 1, 8).selectExpr("array_repeat(1D, CASE WHEN id = 7 THEN 5 ELSE 4 END) AS a")

    with pytest.raises(SizeMismatchError, match="'a' holds arrays of length 4 and 5"):
        MinMaxScaler(inputCol="a").fit(df)


def test_merging_on_executors_of_partitions_without_a_value(spark, by_arrow, monkeypatch):
    """Partitions that hold only nulls, and so do not know a length, meet others that do."""
    merged_on_executors(monkeypatch)
    df = spark.range(0, 8, 1, 8).selectExpr(
        "CASE WHEN id IN (3, 6) THEN array(double(id), 1D) END AS a", "double(id) AS x"
    )
    model = MinMaxScaler(inputCols=["a", "x"]).fit(df)

    assert model.originalMax.toArray().tolist() == [6.0, 1.0, 7.0]
    assert model.invalidCounts == [6, 6, 0]


@pytest.mark.core
@pytest.mark.parametrize("how", ["direct", "executors"])
def test_a_fit_repeats_to_the_bit(data, by_arrow, monkeypatch, how):
    """Partial statistics are merged in partition order, never in the order in which they come."""
    if how == "executors":
        merged_on_executors(monkeypatch)
    found = {
        tuple(v.hex() for array in m.statistics.arrays().values() for v in array.tolist())
        for _ in range(3)
        for m in [StandardScaler(inputCols=["x", "a", "v"]).fit(data)]
    }

    assert len(found) == 1


@pytest.mark.core
def test_an_ill_conditioned_column_falls_back(spark, monkeypatch):
    """Where the mean is large beside the spread, Spark's running variance loses digits and Arrow takes over."""
    answers = spied(monkeypatch)
    df = spark.range(0, 1000, 1, 3).selectExpr("1e9D + id % 10 AS x", "double(id) AS y")
    model = StandardScaler(inputCols=["x", "y"], ddof=0).fit(df)

    assert answers == [None]
    assert model.std[0] ** 2 == pytest.approx(8.25, rel=1e-14)
    assert model.mean[0] == 1e9 + 4.5


def test_a_well_conditioned_column_does_not_fall_back(spark, monkeypatch):
    """The second scan is for columns that need it."""
    answers = spied(monkeypatch)
    StandardScaler(inputCol="x").fit(spark.range(100).selectExpr("1e3D + id AS x"))

    assert [a is None for a in answers] == [False]


def test_overflowing_sums_fall_back(spark, monkeypatch):
    """Sums beyond the range of a double are not taken for statistics; the mean of large values is."""
    answers = spied(monkeypatch)
    df = spark.range(4).selectExpr("1e308D + id * 0D AS x")
    model = StandardScaler(inputCol="x").fit(df)

    assert answers == [None]
    assert (model.mean[0], model.std[0]) == (1e308, 0.0)


SCANS = {
    "scalars by SQL": ({"inputCols": ["x", "y"]}, False, False),
    "scalars by Arrow": ({"inputCols": ["x", "y"]}, True, False),
    "array": ({"inputCol": "a"}, True, False),
    "vector": ({"inputCol": "v"}, True, False),
    "all kinds": ({"inputCols": ["x", "y", "a", "v"]}, True, False),
    "skip": ({"inputCols": ["x", "a", "v"], "handleInvalid": "skip"}, True, False),
    "error": ({"inputCols": ["x", "y", "a", "v"], "handleInvalid": "error"}, True, False),
    "executors": ({"inputCols": ["x", "a", "v"]}, True, True),
}


@pytest.mark.parametrize("scaler", [MinMaxScaler, StandardScaler], ids=lambda c: c.__name__)
@pytest.mark.parametrize("case", SCANS)
def test_a_fit_reads_the_data_once(spark, monkeypatch, tmp_path, scaler, case):
    """Each row is computed exactly once, whichever way the fit takes."""
    params, arrow, executors = SCANS[case]
    if arrow:
        monkeypatch.setattr(aggregates, "suits", lambda *args: False)
    if executors:
        merged_on_executors(monkeypatch)
    log = str(tmp_path / "read")

    def read(i):
        with open(log, "a") as file:
            file.write(f"{i}\n")
        return float(i)

    x = F.udf(read, "double").asNondeterministic()
    df = spark.range(0, 20, 1, 3).select(x("id").alias("x")).selectExpr("x", "x * 2 AS y", "array(x, 1D) AS a")
    df = df.withColumn("v", array_to_vector("a"))
    model = scaler(**params).fit(df)

    assert model.count == 20
    with open(log) as file:
        assert sorted(int(line) for line in file) == list(range(20))


@pytest.mark.parametrize("scaler", [MinMaxScaler, StandardScaler], ids=lambda c: c.__name__)
@pytest.mark.parametrize("column", ["x", "a", "v"])
def test_the_number_of_partitions_does_not_matter(spark, scaler, column):
    """One partition, several, and empty ones among them give one statistic."""
    found = []
    for partitions in (1, 7, 30):
        df = spark.range(0, 20, 1, partitions).selectExpr(
            "double(id * id) / 7 AS x", "array(double(id), 1D / (id + 1)) AS a"
        )
        found.append(scaler(inputCol=column).fit(df.withColumn("v", array_to_vector("a"))).statistics)

    for other in found[1:]:
        same(other, found[0], rel=1e-13 if scaler is StandardScaler else 0)


def test_batches_do_not_matter(spark, monkeypatch):
    """A partition that comes in several Arrow batches gives the statistic of one that comes whole."""
    rows = [(Vectors.dense([i, 1.0]) if i % 3 else Vectors.sparse(2, {0: float(i)}),) for i in range(50)]
    df = spark.createDataFrame(rows, StructType([StructField("v", VectorUDT())])).coalesce(1)
    whole = StandardScaler(inputCol="v").fit(df)
    size = spark.conf.get("spark.sql.execution.arrow.maxRecordsPerBatch")
    try:
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "7")
        parts = StandardScaler(inputCol="v").fit(df)
    finally:
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", size)

    same(parts.statistics, whole.statistics)


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
    """Return the batches one by one, and record which were asked for."""
    for k, each in enumerate(batches):
        read.append(k)
        yield each


def test_sparse_batches_are_put_together_up_to_a_budget(monkeypatch):
    """In their order; dense ones, and those of null alone, pass as the device wants them."""
    rows = [(1, SPARSE), (3, SPARSE), (1, DENSE), (2, DENSE), (1, NULL), *[(2, SPARSE)] * 4]
    batches = [batch(*each) for each in rows]
    monkeypatch.setattr(arrow, "BYTES", 3 * batches[-1].nbytes)
    found = list(arrow.gathered(iter(batches), Cpu().gathered))

    assert [b.num_rows for b in found] == [4, 1, 2, 1, 6, 2]
    assert pa.Table.from_batches(found).to_pydict() == pa.Table.from_batches(batches).to_pydict()
    assert list(arrow.gathered(iter([]), Cpu().gathered)) == []
    assert [b.num_rows for b in arrow.gathered(iter(batches), Gpu(None).gathered)] == [4, 4, 6, 2]


def test_short_sparse_rows_are_put_together_up_to_a_number(monkeypatch):
    """Sums of more rows would round more; on whatever device, since the CPU computes them."""
    monkeypatch.setattr(arrow, "ROWS", 5)
    batches = [batch(n, SPARSE) for n in (2, 3, 1, 9, 4)]

    for device in (Cpu(), Gpu(None)):
        assert [b.num_rows for b in arrow.gathered(iter(batches), device.gathered)] == [5, 1, 9, 4]


@pytest.mark.parametrize("row", [DENSE, SPARSE], ids=["dense", "sparse"])
def test_a_large_batch_is_computed_before_the_next_is_read(monkeypatch, row):
    """No more of them are held than without."""
    monkeypatch.setattr(arrow, "BYTES", 1)
    read = []
    found = arrow.gathered(reading(read, [batch(n, row) for n in (1, 2, 3)]), Cpu().gathered)

    assert next(found).num_rows == 1
    assert read == [0]


def test_fit_takes_one_statistic_of_sparse_batches_put_together(monkeypatch):
    """Three batches, one block."""
    of = Mock(side_effect=Moments.of)
    monkeypatch.setattr(Moments, "of", of)
    parts = arrow.groups([FeatureColumn("v", "vector", size=3)])
    task = partial(summarize._of_partition, parts=parts, statistic=Moments, skip=False, device="cpu")
    (found,) = task(iter([batch(n, SPARSE) for n in (1, 2, 3)]), chunk=None, tile=None)
    (row,) = partials.rows_of(found)

    assert partials.of_row(row, Moments).statistic.count.tolist() == [6.0, 6.0, 6.0]
    assert of.call_count == 1


def test_mini_batches_are_not_put_together(monkeypatch):
    """Each is a statistic of its own: what is held is told before more of them are read."""
    within = Batches([FeatureColumn("v", "vector", size=3)], KeyColumn("b", "int", "b"), None, "keep", None, "cpu")
    task = _Within(within.parts, None, skip=False, most=1, device="cpu")
    read = []
    found = task(reading(read, [batch(1, SPARSE, b=pa.array([k], pa.int32())) for k in range(3)]))

    assert next(found).column("b").to_pylist() == [0]
    assert read == [0]
