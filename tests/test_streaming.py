"""A fitted model transforms a stream as it transforms a batch."""

from __future__ import annotations

import pytest
from pyspark.ml.functions import array_to_vector

from sparkscale import MaxAbsScaler, MinMaxScaler, StandardScaler

CASES = {
    "scalar": MinMaxScaler(inputCol="x"),
    "array": StandardScaler(inputCol="a", withMean=True),
    "vector": StandardScaler(inputCol="v"),
    "vector with offset": MinMaxScaler(inputCol="v", min=-1.0),
    "vector with clip": MaxAbsScaler(inputCol="v", clip=True),
    "one vector": MinMaxScaler(inputCols=["x", "a", "v"], outputCol="f"),
    "skip": StandardScaler(inputCols=["x", "a", "v"], handleInvalid="skip"),
    "error": StandardScaler(inputCols=["x", "a", "v"], handleInvalid="error"),
}


@pytest.fixture(scope="module")
def folder(spark, tmp_path_factory):
    """Parquet files of ten rows."""
    path = str(tmp_path_factory.mktemp("stream") / "in")
    df = spark.range(0, 10, 1, 2).selectExpr("id", "double(id * id) AS x", "array(double(id), 1D / (id + 1)) AS a")
    df.withColumn("v", array_to_vector("a")).write.parquet(path)
    return path


def streamed(spark, df, tmp_path):
    """Run a streaming query over what is there and return the rows that it wrote."""
    out = str(tmp_path / "out")
    query = (
        df.writeStream.format("parquet")
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start(out)
    )
    assert query.awaitTermination(60)
    return spark.read.parquet(out).orderBy("id").collect()


@pytest.mark.core
@pytest.mark.parametrize("case", CASES)
def test_a_stream_is_transformed_as_a_batch(spark, folder, tmp_path, case):
    """Scalars, arrays and vectors of a stream get the numbers that they get in a batch."""
    batch = spark.read.parquet(folder)
    model = CASES[case].fit(batch)
    stream = spark.readStream.schema(batch.schema).parquet(folder)
    scaled = model.transform(stream)
    found = streamed(spark, scaled, tmp_path)

    assert scaled.isStreaming
    assert len(found) == 10
    assert found == model.transform(batch).orderBy("id").collect()


def test_a_stream_is_restored_as_a_batch(spark, folder, tmp_path):
    """The way back runs on streams too."""
    batch = spark.read.parquet(folder)
    model = MinMaxScaler(inputCols=["x", "a", "v"], outputCol="f").fit(batch)
    scaled = model.transform(batch).select("id", "f")
    scaled.write.parquet(str(tmp_path / "scaled"))
    stream = spark.readStream.schema(scaled.schema).parquet(str(tmp_path / "scaled"))

    assert (
        streamed(spark, model.inverseTransform(stream), tmp_path)
        == model.inverseTransform(scaled).orderBy("id").collect()
    )
