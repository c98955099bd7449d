"""A third party's estimator after our scalers: XGBoost's, which trains on Spark's workers and is no JVM stage.

It asks for the SparkContext, which Spark Connect has not, so these tests run on classic Spark alone.
"""

from __future__ import annotations

import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from xgboost.spark import SparkXGBRegressor

from sparkscale import MinMaxScaler, StandardScaler

pytestmark = [
    pytest.mark.third_party,
    pytest.mark.classic_only,
    pytest.mark.filterwarnings("ignore"),  # XGBoost's, and those of the libraries that it calls
]


@pytest.fixture(scope="module")
def data(spark):
    """Two hundred rows, with a label that is a function of the features."""
    return spark.range(200, numPartitions=2).selectExpr(
        "double(id) AS x", "array(double(id % 7), double(id % 11)) AS a", "double(id + 10 * (id % 11)) AS label"
    )


def regressor(**params):
    return SparkXGBRegressor(features_col="features", label_col="label", num_workers=1, n_estimators=5, **params)


@pytest.mark.slow
def test_cross_validation_tunes_xgboost_on_a_scaled_vector(data, tmp_path):
    """Side by side in two threads; the best pipeline splits scaled values, and predicts the same after a reload."""
    scaler = MinMaxScaler(inputCols=["x", "a"], outputCol="features")
    trees = regressor()
    grid = ParamGridBuilder().addGrid(trees.max_depth, [1, 4]).baseOn({scaler.max: 2.0}).build()
    model = CrossValidator(
        estimator=Pipeline(stages=[scaler, trees]),
        estimatorParamMaps=grid,
        evaluator=RegressionEvaluator(metricName="rmse"),
        numFolds=2,
        parallelism=2,
        seed=1,
    ).fit(data)
    best = model.bestModel
    best.save(str(tmp_path / "best"))
    splits = best.stages[1].get_booster().trees_to_dataframe()["Split"].dropna()

    assert model.avgMetrics[1] < model.avgMetrics[0]  # deeper trees see more
    assert best.stages[0].getMax() == 2.0
    assert splits.between(0.0, 2.0).all()
    assert splits.max() > 1.0
    assert PipelineModel.load(str(tmp_path / "best")).transform(data).collect() == best.transform(data).collect()


def test_xgboost_takes_scaled_columns_side_by_side(data):
    """Without a vector: the scaler's scalar outputs are named one by one."""
    scaler = StandardScaler(inputCols=["x", "label"], outputCols=["x_scaled", "y"], withMean=True)
    trees = SparkXGBRegressor(features_col=["x_scaled"], label_col="y", num_workers=1, n_estimators=50)
    predicted = Pipeline(stages=[scaler, trees]).fit(data).transform(data)

    assert RegressionEvaluator(labelCol="y", metricName="r2").evaluate(predicted) > 0.9
