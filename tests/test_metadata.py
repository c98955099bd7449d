"""Extrema of integers come from the metadata of the source, if it has them, without reading rows."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import jobs_so_far
from sparkscale import MaxAbsScaler, MinMaxScaler
from sparkscale.errors import InvalidValueError
from sparkscale.spark import jvm
from sparkscale.spark.fit import aggregates

pytestmark = pytest.mark.classic_only

SETTINGS = {"spark.sql.sources.useV1SourceList": "", "spark.sql.parquet.aggregatePushdown": "true"}
ROWS = 1000


@pytest.fixture
def version_2(spark):
    """Parquet as a DataSource V2, which supports aggregate push-down."""
    before = {name: spark.conf.get(name) for name in SETTINGS}
    for name, value in SETTINGS.items():
        spark.conf.set(name, value)
    yield
    for name, value in before.items():
        spark.conf.set(name, value)


def integers(rows):
    """Return columns of whole numbers of each width, one of them all null."""
    numbers = np.arange(rows)
    return {
        "byte": pa.array(numbers % 100 - 50, pa.int8()),
        "short": pa.array(numbers % 1000, pa.int16()),
        "int": pa.array([None if n % 4 == 1 else int(n) for n in numbers], pa.int32()),
        "long": pa.array(numbers * 2**53 + 1, pa.int64()),
        "empty": pa.array([None] * rows, pa.int64()),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of two sizes, and some without what is needed."""
    path = tmp_path_factory.mktemp("metadata")
    for name, rows in (("few", ROWS), ("many", 200 * ROWS)):
        pq.write_table(pa.table(integers(rows)), path / f"{name}.parquet", use_dictionary=False)
    pq.write_table(pa.table(integers(ROWS)), path / "silent.parquet", write_statistics=False)
    numbers = np.arange(6.0)
    pq.write_table(pa.table({"x": np.where(numbers == 3, np.nan, numbers), "n": [1] * 6}), path / "nan.parquet")
    return path


def queries(monkeypatch):
    """Record the plans of the queries of aggregates."""
    plans, original = [], aggregates.sql.select

    def select(df, *texts):
        selected = original(df, *texts)
        if any(text.startswith("count(") for text in texts):
            plans.append(selected._jdf.queryExecution().executedPlan().toString())
        return selected

    monkeypatch.setattr(aggregates.sql, "select", select)
    return plans


def bytes_read(spark, fit):
    """Return how many bytes the tasks of a fit read."""
    store = spark.sparkContext._jsc.sc().statusStore()
    before = jobs_so_far()
    fit()
    stages = [store.job(k).stageIds() for k in range(before, jobs_so_far())]
    numbers = [ids.apply(i) for ids in stages for i in range(ids.size())]
    return sum(store.lastStageAttempt(number).inputBytes() for number in numbers)


def test_extrema_come_from_file_metadata(spark, version_2, folder, monkeypatch):
    """One query; counts and extrema equal those of the rows, and a column of nulls has no extrema."""
    plans = queries(monkeypatch)
    df = spark.read.parquet(str(folder / "few.parquet"))
    model = MinMaxScaler(inputCols=[name for name in df.columns if name != "empty"]).fit(df)

    assert len(plans) == 1
    assert "PushedAggregation: [COUNT(*), COUNT(byte), MIN(byte), MAX(byte)" in plans[0]
    assert model.originalMin.toArray().tolist() == [-50.0, 0.0, 0.0, 1.0]
    assert model.originalMax.toArray().tolist() == [49.0, 999.0, 999.0, float((ROWS - 1) * 2**53 + 1)]
    assert model.invalidCounts == [0, 0, ROWS // 4, 0]
    assert model.count == ROWS


def test_amount_of_data_read_is_constant(spark, version_2, folder):
    """Only the footers of the files are read."""
    scaler = MaxAbsScaler(inputCols=["byte", "short", "long"])
    frames = [spark.read.parquet(str(folder / f"{name}.parquet")) for name in ("few", "many")]
    few, many = (bytes_read(spark, partial(scaler.fit, df)) for df in frames)

    assert many <= few + 100
    assert many < (folder / "many.parquet").stat().st_size / 100


def test_source_without_extrema_is_scanned(spark, version_2, folder, monkeypatch, caplog):
    """Spark's query fails for files without extrema; fit then computes them from the rows."""
    df = spark.read.parquet(str(folder / "silent.parquet"))
    with caplog.at_level(logging.INFO, "sparkscale"):
        model = MinMaxScaler(inputCols=["byte", "int"]).fit(df)

    assert "Computing extrema from the rows" in caplog.text
    assert model.originalMax.toArray().tolist() == [49.0, 999.0]
    assert model.invalidCounts == [0, ROWS // 4]


def test_cancelled_query_is_not_retried(spark, version_2, folder, monkeypatch):
    """Spark's exception is raised."""
    plans = queries(monkeypatch)
    monkeypatch.setattr(jvm, "cancelled", lambda failure: failure)  # as if this was why it failed
    with pytest.raises(aggregates.FAILURES, match="aggregatePushdown"):
        MinMaxScaler(inputCol="byte").fit(spark.read.parquet(str(folder / "silent.parquet")))

    assert len(plans) == 1


def test_failure_of_a_row_is_not_retried(spark, monkeypatch):
    """There is no second query if the source does not compute aggregates."""
    plans = queries(monkeypatch)
    df = spark.range(3).selectExpr("IF(id = 2, raise_error('no such row'), id) AS n")
    with pytest.raises(Exception, match="no such row"):
        MinMaxScaler(inputCol="n").fit(df)

    assert len(plans) == 1


def test_a_column_of_nulls_has_no_extrema(spark, version_2, folder):
    """Whether the source refuses to say so or not."""
    df = spark.read.parquet(str(folder / "few.parquet"))
    model = MinMaxScaler(inputCols=["int", "empty"]).fit(df)

    assert model.emptyFeatures == ["empty"]
    assert model.invalidCounts == [ROWS // 4, ROWS]
    assert model.originalMax[0] == 999.0


@pytest.mark.parametrize("writer", ["pyarrow", "Spark"])
def test_file_bounds_of_floats_are_not_used(spark, version_2, folder, tmp_path, monkeypatch, writer):
    """They ignore NaN, or are missing because of it; this also holds if integers are scaled in the same fit."""
    path = str(folder / "nan.parquet")
    if writer == "Spark":
        spark.read.parquet(path).write.parquet(str(tmp_path / "nan"))
        path = str(tmp_path / "nan")
    plans = queries(monkeypatch)
    model = MinMaxScaler(inputCols=["x", "n"]).fit(spark.read.parquet(path))

    assert "PushedAggregation: []" in plans[0]
    assert model.invalidCounts == [1, 0]
    assert model.originalMax.toArray().tolist() == [5.0, 1.0]


@pytest.mark.parametrize("policy", ["keep", "error", "keepNaN"])
def test_null_follows_handle_invalid(spark, version_2, folder, policy):
    """The error equals that of reading the rows."""
    df = spark.read.parquet(str(folder / "few.parquet"))
    scaler = MinMaxScaler(inputCols=["long", "int"], handleInvalid=policy)
    if policy == "error":
        with pytest.raises(InvalidValueError, match="Column 'int' holds null, which handleInvalid='error' refuses"):
            scaler.fit(df)
    else:
        assert scaler.fit(df).invalidCounts == [0, ROWS // 4]
    assert MinMaxScaler(inputCol="long", handleInvalid=policy).fit(df).invalidCounts == [0]
