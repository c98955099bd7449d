"""Our stages among Spark's: pipelines, tuning, many Params at once."""

from __future__ import annotations

import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.regression import LinearRegression
from pyspark.ml.tuning import CrossValidator, CrossValidatorModel, ParamGridBuilder, TrainValidationSplit

from frames import cells
from sparkscale import (
    MaxAbsScaler,
    MaxAbsScalerModel,
    MinMaxScaler,
    MinMaxScalerModel,
    StandardScaler,
    StandardScalerModel,
)

# Spark's tuning leaves its thread pool to the garbage collector.
tuning = pytest.mark.filterwarnings("ignore:unclosed running multiprocessing pool:ResourceWarning")
X, Y = [float(i) for i in range(40)], [float((i * 7) % 11) for i in range(40)]


@pytest.fixture(scope="module")
def data(spark):
    """Forty rows on a plane, in one partition."""
    return spark.range(0, 40, 1, 1).selectExpr(
        "double(id) AS x", "double((id * 7) % 11) AS y", "3D * id - 2D * ((id * 7) % 11) + 5 AS label"
    )


@pytest.mark.settings
@pytest.mark.core
def test_scalers_take_the_place_of_assemblers(data):
    """Columns go into a regression without a VectorAssembler, each scaler making a vector, of what others made, too.

    The pipeline's model has the scalers' models as stages.
    """
    stages = [
        MaxAbsScaler(inputCols=["x"], outputCol="largest"),
        StandardScaler(inputCols=["y"], outputCol="standard"),
        MinMaxScaler(inputCols=["largest", "standard"], outputCol="features"),
        LinearRegression(),
    ]
    model = Pipeline(stages=stages).fit(data)
    predicted = model.transform(data)

    assert isinstance(model, PipelineModel)
    assert [type(stage) for stage in model.stages[:3]] == [MaxAbsScalerModel, StandardScalerModel, MinMaxScalerModel]
    assert model.stages[2].originalMax.toArray().tolist() == [1.0, pytest.approx(10.0 / model.stages[1].std[0])]
    assert predicted.columns == ["x", "y", "label", "largest", "standard", "features", "prediction"]
    for prediction, label in cells(predicted, "prediction", "label"):
        assert prediction == pytest.approx(label, abs=1e-6)


@pytest.mark.core
def test_a_scaler_follows_an_assembler(data):
    """Used as Spark's own scaler: a vector in, a vector out, with the assembler's names kept."""
    pipeline = Pipeline(
        stages=[
            VectorAssembler(inputCols=["x", "y"], outputCol="v"),
            StandardScaler(inputCol="v", outputCol="features", withMean=True),
            LinearRegression(),
        ]
    )
    model = pipeline.fit(data)

    assert model.stages[1].featureNames == ["x", "y"]
    assert model.transform(data).first()["prediction"] == pytest.approx(5.0, abs=1e-6)


def test_an_inverse_is_a_stage(data):
    """There and back in one pipeline model."""
    model = StandardScaler(inputCols=["x", "y"], outputCol="f", withMean=True).fit(data)
    restored = PipelineModel(stages=[model, model.inverse().setOutputCols(["x", "y"])]).transform(data)

    assert restored.columns == ["x", "y", "label", "f"]
    for row, x, y in zip(cells(restored, "x", "y"), X, Y, strict=True):
        assert row == pytest.approx([x, y], abs=1e-13)


@pytest.mark.core
def test_fit_multiple_fits_each_param_map(data):
    """Each ParamMap gives one model, with its index."""
    scaler = MinMaxScaler(inputCol="x")
    models = dict(scaler.fitMultiple(data, [{scaler.max: 2.0}, {scaler.max: 3.0}]))

    assert sorted(models) == [0, 1]
    assert [models[i].affine.apply([39.0]).item() for i in (0, 1)] == [2.0, 3.0]
    assert {m.uid for m in models.values()} == {scaler.uid}
    assert scaler.getMax() == 1.0


def test_fit_takes_a_list_of_param_maps(data):
    """fit with a list gives a list of models, in its order."""
    scaler = StandardScaler(inputCol="x")
    models = scaler.fit(data, [{scaler.withMean: True}, {scaler.ddof: 0}])

    assert [(m.getWithMean(), m.getDdof()) for m in models] == [(True, 1), (False, 0)]


@tuning
def test_cross_validation_searches_our_params(data, tmp_path):
    """Each point of the grid reaches the fit, side by side in two threads; the best is refitted, saved and loaded.

    The target range matters to a regression with a penalty.
    """
    scaler = MinMaxScaler(inputCols=["x", "y"], outputCol="features")
    regression = LinearRegression(regParam=1.0, maxIter=5)
    grid = [{scaler.max: largest, regression.elasticNetParam: share} for largest, share in ((0.01, 0.1), (100.0, 0.0))]
    tuned = CrossValidator(
        estimator=Pipeline(stages=[scaler, regression]),
        estimatorParamMaps=grid,
        evaluator=RegressionEvaluator(metricName="rmse"),
        numFolds=2,
        parallelism=2,
        seed=7,
    ).fit(data)
    best = tuned.bestModel.stages[0]
    tuned.save(str(tmp_path / "tuned"))
    loaded = CrossValidatorModel.load(str(tmp_path / "tuned"))

    assert loaded.avgMetrics == tuned.avgMetrics
    assert loaded.bestModel.stages[0].affine == best.affine
    assert len(set(tuned.avgMetrics)) > 1
    assert best.getMax() == tuned.getEstimatorParamMaps()[tuned.avgMetrics.index(min(tuned.avgMetrics))][scaler.max]
    assert best.uid == scaler.uid
    assert best.count == 40
    assert best.affine.apply([39.0, 10.0]).tolist() == [best.getMax()] * 2


@pytest.mark.core
@tuning
def test_a_scaler_alone_is_tuned(spark):
    """Tuning passes the estimator's Params to the model's transform: the model knows them by its uid.

    A train-validation split, the cheaper tuner, works the same way.
    """
    df = spark.range(0, 20, 1, 1).selectExpr("double(id) AS x", "double(id) / 19 * 4 AS label")
    scaler = MinMaxScaler(inputCol="x", outputCol="prediction")
    tuned = TrainValidationSplit(
        estimator=scaler,
        estimatorParamMaps=ParamGridBuilder().addGrid(scaler.max, [1.0, 4.0, 9.0]).build(),
        evaluator=RegressionEvaluator(),
        trainRatio=0.7,
        parallelism=2,
        seed=3,
    ).fit(df)

    assert len(set(tuned.validationMetrics)) == 3
    assert tuned.bestModel.getMax() == 4.0
    assert tuned.bestModel.uid == scaler.uid


def test_a_copied_pipeline_fits_the_same(data):
    """Copying a pipeline copies our stages, with their Params."""
    pipeline = Pipeline(stages=[MinMaxScaler(inputCols=["x", "y"], outputCol="f", min=-1.0)])
    extra = {pipeline.getStages()[0].max: 3.0}
    one, other = pipeline.fit(data), pipeline.copy(extra).fit(data)

    assert one.stages[0].affine.apply([0.0, 10.0]).tolist() == [-1.0, 1.0]
    assert other.stages[0].affine.apply([0.0, 10.0]).tolist() == [-1.0, 3.0]
