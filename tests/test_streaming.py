"""A fitted model transforms a stream as it transforms a batch."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.ml.functions import array_to_vector

from models import learned, with_params
from sparkscale import MaxAbsScalerModel, MinMaxScalerModel, StandardScalerModel
from sparkscale.spark.columns import FeatureColumn

IDS = np.arange(10.0)
A = np.column_stack([IDS, 1 / (IDS + 1)])
VALUES = {"x": (IDS**2)[:, None], "a": A, "v": A}
KINDS = {"x": "scalar", "a": "array", "v": "vector"}


# A model for each way in which columns are transformed; the last one makes one vector of all.
CASES = {
    "scalar": (MinMaxScalerModel, ["x"], {}),
    "array": (StandardScalerModel, ["a"], {"withMean": True}),
    "vector": (StandardScalerModel, ["v"], {}),
    "offset": (MinMaxScalerModel, ["v"], {"min": -1.0}),
    "clip": (MaxAbsScalerModel, ["v"], {"clip": True}),
    "skip": (StandardScalerModel, ["x", "a", "v"], {"handleInvalid": "skip"}),
    "error": (StandardScalerModel, ["x", "a", "v"], {"handleInvalid": "error"}),
    "one": (MinMaxScalerModel, ["x", "a", "v"], {"outputCol": "one"}),
}


@pytest.fixture(scope="module")
def models(spark):
    """The models, as fits on the ten rows would leave them."""
    models_by_case = {}
    for case, (kind, names, params) in CASES.items():
        columns = [FeatureColumn(name, KINDS[name], size=VALUES[name].shape[1]) for name in names]
        outputs = {} if case == "one" else {"outputCols": [f"{case}_{name}" for name in names]}
        model = learned(kind(), np.hstack([VALUES[name] for name in names]), *columns)
        models_by_case[case] = with_params(model, **outputs, **params)
    return models_by_case


@pytest.fixture(scope="module")
def folder(spark, tmp_path_factory):
    """Parquet files of ten rows."""
    path = str(tmp_path_factory.mktemp("stream") / "in")
    df = spark.range(0, 10, 1, 2).selectExpr("id", "double(id * id) AS x", "array(double(id), 1D / (id + 1)) AS a")
    df = df.withColumn("v", array_to_vector("a"))
    df.write.parquet(path)
    return path, df.schema


def transformed(df, models):
    """Transform by all models, and back by the last, whose inputs come back in place of the originals."""
    for model in models.values():
        df = model.transform(df)
    return models["one"].inverseTransform(df, outputCols=models["one"]._input_names())


@pytest.fixture(scope="module")
def streamed(spark, folder, models, tmp_path_factory):
    """The rows that a streaming query wrote, and those of the same query over a batch."""
    path, schema = folder
    stream = transformed(spark.readStream.schema(schema).parquet(path), models)
    assert stream.isStreaming
    folder_out = tmp_path_factory.mktemp("stream")
    query = (
        stream.writeStream.format("parquet")
        .option("checkpointLocation", str(folder_out / "checkpoint"))
        .trigger(availableNow=True)
        .start(str(folder_out / "out"))
    )
    assert query.awaitTermination(60)
    batch = transformed(spark.read.schema(schema).parquet(path), models)
    written = spark.read.schema(batch.schema).parquet(str(folder_out / "out"))
    return [sorted(df.collect(), key=lambda row: row["id"]) for df in (written, batch)]


@pytest.mark.core
def test_a_stream_is_transformed_as_a_batch(streamed, models):
    """Scalars, arrays and vectors of a stream get the numbers that they get in a batch."""
    written, batch = streamed

    assert len(written) == 10
    for case, model in models.items():
        outputs = [case] if case == "one" else model.getOutputCols()
        assert [[row[n] for n in outputs] for row in written] == [[row[n] for n in outputs] for row in batch], case


@pytest.mark.core
def test_a_stream_is_restored_as_a_batch(streamed):
    """The way back runs on streams too."""
    written, batch = streamed

    for name, values in VALUES.items():
        assert [row[name] for row in written] == [row[name] for row in batch], name
        restored = [row[name].toArray() if KINDS[name] == "vector" else row[name] for row in written]
        assert np.reshape(restored, values.shape) == pytest.approx(values, abs=1e-13)
