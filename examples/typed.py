"""The public API under a type checker: ``mypy --strict examples/typed.py`` fails where a type is lost.

Run it with ``python examples/typed.py [--remote local[2]]``.
"""

from __future__ import annotations

import argparse
import sys
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.linalg import DenseMatrix, DenseVector
from pyspark.sql import DataFrame, SparkSession

from sparkscale import (
    BatchNorm,
    BatchNormModel,
    InverseModel,
    LayerNorm,
    MinMaxScaler,
    MinMaxScalerModel,
    StandardScaler,
    StandardScalerModel,
    Whitener,
    WhitenerModel,
    kernels,
)
from sparkscale.affine import AffineMap, MatrixMap
from sparkscale.errors import ParamError, ScalingError
from sparkscale.statistics import Extrema, Moments

if sys.version_info >= (3, 11):
    from typing import assert_type
else:
    from typing_extensions import assert_type

Array = npt.NDArray[np.float64]


def main(spark: SparkSession) -> None:
    """Use it."""
    given()
    past = spark.range(8).selectExpr("double(id) AS x", "array(double(id), double(id * id)) AS a")
    today = past.selectExpr("x + 10 AS x", "a")
    model = estimators(past)
    models(model, past, today)
    maps_and_statistics(model, past)
    layers(past)
    saving(model)


def estimators(df: DataFrame) -> StandardScalerModel:
    """Construct, set, fit."""
    scaler = StandardScaler(inputCols=["x", "a"], withMean=True, ddof=0)
    assert_type(scaler.setHandleInvalid("skip").setWithStd(True), StandardScaler)
    assert_type(scaler.getOutputCols(), list[str])
    assert_type(scaler.copy(), StandardScaler)
    models = scaler.fit(df, [{scaler.ddof: 1}, {scaler.withMean: False}])
    assert_type(models, list[StandardScalerModel])
    assert_type(MinMaxScaler(inputCol="x", clip=True).setClip(False).fit(df), MinMaxScalerModel)
    assert_type(Pipeline(stages=[scaler]).fit(df), PipelineModel)
    try:
        StandardScaler(inputCol="x", ddof=2).fit(df)
    except ParamError as error:
        base: ScalingError = error
        print(base)
    return scaler.fit(df)


def models(model: StandardScalerModel, past: DataFrame, today: DataFrame) -> None:
    """Transform, learn more, go back, look."""
    scaled = model.transform(today)
    assert_type(scaled, DataFrame)
    assert_type(model.update(today), StandardScalerModel)
    assert_type(model.merge(model, model), StandardScalerModel)
    assert_type(model.inverse(), InverseModel[StandardScalerModel])
    assert_type(model.inverse().forward, StandardScalerModel)
    assert_type(model.inverse().inverse(), StandardScalerModel)
    assert_type(model.inverse().setColumns(["x"]).setOutputCol("x_back"), InverseModel[StandardScalerModel])
    assert_type(model.inverse().setColumns(["x"]).getColumns(), list[str])
    assert_type(model.inverseTransform(scaled, inputCol="x_scaled", outputCol="x_back", columns=["x"]), DataFrame)
    assert_type(model.summary(), pd.DataFrame)
    assert_type(model.mean, DenseVector)
    assert_type(model.count, int)
    assert_type(model.numFeatures, int)
    assert_type(model.featureNames, list[str])
    assert_type(model.invalidCounts, list[int])
    assert_type(model.constantFeatures, list[str])
    assert_type(model.toSQL(), dict[str, str])
    assert_type(model.getWithMean(), bool)
    assert_type(model.setOutputCols(["x2", "a2"]).transform(past), DataFrame)
    print(model.summary())


def maps_and_statistics(model: StandardScalerModel, df: DataFrame) -> None:
    """Go on without Spark."""
    assert_type(model.affine, AffineMap)
    assert_type(model.affine.apply([[1.0, 2.0, 4.0]]), Array)
    assert_type(model.affine.inverse(), AffineMap)
    assert_type(model.affine.center, Array)
    assert_type(model.statistics, Moments)
    assert_type(model.statistics.merge(model.statistics), Moments)
    assert_type(model.statistics.variance(1), Array)
    assert_type(model.statistics.arrays(), dict[str, Array])
    assert_type(MinMaxScaler(inputCol="x").fit(df).statistics, Extrema)
    whitener = Whitener(inputCol="a", epsilon=0.1).fit(df)
    assert_type(whitener, WhitenerModel)
    assert_type(whitener.whiteningMatrix, DenseMatrix)
    assert_type(whitener.affine, MatrixMap)


def given() -> None:
    """Make maps from given numbers, without a fit."""
    assert_type(StandardScalerModel.of(inputCol="x", mean=[0.5, 1], std=np.ones(2), withMean=True), StandardScalerModel)
    assert_type(MinMaxScalerModel.of(inputCol="x", originalMin=0, originalMax=255), MinMaxScalerModel)
    norm = BatchNormModel.of(inputCols=["x", "a"], runningMean=[1, [2, 3]], runningVar=[1, (4, 9)])
    assert_type(norm, BatchNormModel)


def layers(df: DataFrame) -> None:
    """Normalize in Spark, and in NumPy by the same kernels."""
    norm = BatchNorm(inputCol="a").fit(df)
    assert_type(norm, BatchNormModel)
    assert_type(norm.runningMean, DenseVector)
    assert_type(norm.getMomentum(), float | None)
    layer = LayerNorm(inputCol="a", outputCol="n")
    assert_type(layer.setEpsilon(1e-6), LayerNorm)
    assert_type(layer.transform(df), DataFrame)
    normalized: Array = kernels.layer_norm(np.ones((2, 3)))  # of any array library: the kernels' types are open
    print(normalized.shape)


def saving(model: StandardScalerModel) -> None:
    """Save and load."""
    with TemporaryDirectory() as folder:
        model.write().overwrite().save(f"{folder}/model")
        assert_type(StandardScalerModel.load(f"{folder}/model"), StandardScalerModel)
        assert_type(StandardScalerModel.read().load(f"{folder}/model"), StandardScalerModel)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--remote")
    remote = parser.parse_args().remote
    builder = SparkSession.builder.appName("typed")
    main((builder.remote(remote) if remote else builder.master("local[2]")).getOrCreate())
