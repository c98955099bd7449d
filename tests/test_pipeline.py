"""Our stages among Spark's: pipelines, tuning, many Params at once."""

from __future__ import annotations

import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.regression import LinearRegression
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder, TrainValidationSplit

from sparkscale import MaxAbsScaler, MinMaxScaler, MinMaxScalerModel, StandardScaler

SCALERS = (MinMaxScaler, MaxAbsScaler, StandardScaler)
each_scaler = pytest.mark.parametrize("scaler", SCALERS, ids=lambda c: c.__name__)
# Spark's tuning leaves its thread pool to the garbage collector.
tuning = pytest.mark.filterwarnings("ignore:unclosed running multiprocessing pool:ResourceWarning")


@pytest.fixture(scope="module")
def data(spark):
    """Forty rows on a plane."""
    return spark.range(40).selectExpr(
        "double(id) AS x", "double((id * 7) % 11) AS y", "3D * id - 2D * ((id * 7) % 11) + 5 AS label"
    )


@pytest.mark.core
@each_scaler
def test_a_scaler_takes_the_place_of_an_assembler(data, scaler):
    """Columns go into a regression without a VectorAssembler, which sees the names of its features."""
    pipeline = Pipeline(stages=[scaler(inputCols=["x", "y"], outputCol="features"), LinearRegression()])
    predicted = pipeline.fit(data).transform(data)

    assert predicted.columns == ["x", "y", "label", "features", "prediction"]
    for row in predicted.collect():
        assert row["prediction"] == pytest.approx(row["label"], abs=1e-6)


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


@pytest.mark.core
def test_scalers_follow_each_other(data):
    """A scaler reads what another one made; the pipeline's model has the scalers' models as stages."""
    model = Pipeline(
        stages=[MaxAbsScaler(inputCols=["x", "y"]), MinMaxScaler(inputCols=["x_scaled", "y_scaled"], outputCol="f")]
    ).fit(data)

    assert isinstance(model, PipelineModel)
    assert isinstance(model.stages[1], MinMaxScalerModel)
    assert model.stages[1].originalMax.toArray().tolist() == [1.0, 1.0]


def test_an_inverse_is_a_stage(data):
    """There and back in one pipeline model."""
    model = StandardScaler(inputCols=["x", "y"], outputCol="f", withMean=True).fit(data)
    restored = PipelineModel(stages=[model, model.inverse()]).transform(data)

    assert restored.columns == ["x", "y", "label", "f"]
    for row, original in zip(restored.collect(), data.collect(), strict=True):
        assert [row["x"], row["y"]] == pytest.approx([original["x"], original["y"]], abs=1e-13)


@pytest.mark.core
def test_fit_multiple_fits_each_param_map(data):
    """Each ParamMap gives a model of its own; indices tell which is which."""
    scaler = MinMaxScaler(inputCol="x")
    maps = [{scaler.max: float(n)} for n in range(1, 5)]
    found = dict(scaler.fitMultiple(data, maps))

    assert sorted(found) == [0, 1, 2, 3]
    assert [found[i].affine.apply([39.0]).item() for i in range(4)] == [1.0, 2.0, 3.0, 4.0]
    assert {m.uid for m in found.values()} == {scaler.uid}
    assert scaler.getMax() == 1.0


def test_fit_takes_a_list_of_param_maps(data):
    """fit with a list gives a list of models, in its order."""
    scaler = StandardScaler(inputCol="x")
    models = scaler.fit(data, [{scaler.withMean: True}, {scaler.ddof: 0}])

    assert [(m.getWithMean(), m.getDdof()) for m in models] == [(True, 1), (False, 0)]


def tuned(scaler, data, tuner, **params):
    """Tune the target range of a scaler that feeds a regression with a penalty, to which the range matters."""
    regression = LinearRegression(regParam=1.0, maxIter=5)
    grid = ParamGridBuilder().addGrid(scaler.max, [0.01, 100.0]).addGrid(regression.elasticNetParam, [0.0, 0.1]).build()
    return tuner(
        estimator=Pipeline(stages=[scaler, regression]),
        estimatorParamMaps=grid,
        evaluator=RegressionEvaluator(metricName="rmse"),
        seed=7,
        **params,
    ).fit(data)


@tuning
def test_cross_validation_searches_our_params(data):
    """Each point of the grid reaches the fit, side by side in two threads, and the best is refitted."""
    scaler = MinMaxScaler(inputCols=["x", "y"], outputCol="features")
    found = tuned(scaler, data, CrossValidator, numFolds=2, parallelism=2)
    best = found.bestModel.stages[0]

    assert len(set(found.avgMetrics)) > 1
    assert best.getMax() == found.getEstimatorParamMaps()[found.avgMetrics.index(min(found.avgMetrics))][scaler.max]
    assert best.uid == scaler.uid
    assert best.count == 40
    assert best.affine.apply([39.0, 10.0]).tolist() == [best.getMax()] * 2


@tuning
def test_a_scaler_alone_is_tuned(spark):
    """Tuning passes the estimator's Params to the model's transform: the model knows them by its uid."""
    df = spark.range(20).selectExpr("double(id) AS x", "double(id) / 19 * 4 AS label")
    scaler = MinMaxScaler(inputCol="x", outputCol="prediction")
    found = CrossValidator(
        estimator=scaler,
        estimatorParamMaps=ParamGridBuilder().addGrid(scaler.max, [1.0, 4.0, 9.0]).build(),
        evaluator=RegressionEvaluator(),
        numFolds=2,
        parallelism=2,
        seed=3,
    ).fit(df)

    assert found.bestModel.getMax() == 4.0


@tuning
def test_a_train_validation_split_searches_our_params(data):
    """The cheaper tuner works the same way."""
    scaler = MinMaxScaler(inputCols=["x", "y"], outputCol="features")
    found = tuned(scaler, data, TrainValidationSplit, trainRatio=0.7)

    assert len(set(found.validationMetrics)) > 1
    assert found.bestModel.stages[0].uid == scaler.uid


def test_a_copied_pipeline_fits_the_same(data):
    """Copying a pipeline copies our stages, with their Params."""
    pipeline = Pipeline(stages=[MinMaxScaler(inputCols=["x", "y"], outputCol="f", min=-1.0)])
    extra = {pipeline.getStages()[0].max: 3.0}
    one, other = pipeline.fit(data), pipeline.copy(extra).fit(data)

    assert one.stages[0].affine.apply([0.0, 10.0]).tolist() == [-1.0, 1.0]
    assert other.stages[0].affine.apply([0.0, 10.0]).tolist() == [-1.0, 3.0]
