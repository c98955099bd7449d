"""A scaler in a Pipeline under cross-validation: ours against Spark's.

Scikit-learn's breast cancer table has 569 rows of 30 numbers on very different scales. The same logistic regression
is tuned twice over the same folds: after Spark's ``VectorAssembler`` and ``StandardScaler``, and after the one stage
of sparkscale that replaces both. The grid varies the scaler's ``withStd`` as well as the regression's ``regParam``.
Both ways must come to the same accuracies. The fitted Pipeline is then saved, loaded, and compared.

Run ``python examples/logistic_regression.py``, with ``--remote`` on Spark Connect.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from typing import Any

from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import StandardScaler as SparkStandardScaler
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.tuning import CrossValidator, CrossValidatorModel, ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from sklearn.datasets import load_breast_cancer

from sparkscale import StandardScaler

WITH_STD, REG_PARAM = [True, False], [0.01, 0.1]


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="A scaler in a Pipeline under cross-validation.")
    parser.add_argument("--remote", nargs="?", const="local[*]", help="use Spark Connect; own server, or a URL")
    spark = make_session(parser.parse_args().remote)
    table = load_breast_cancer(as_frame=True).frame
    names = [name for name in table.columns if name != "target"]
    train, test = spark.createDataFrame(table).coalesce(1).randomSplit([0.8, 0.2], seed=7)

    assembler = VectorAssembler(inputCols=names, outputCol="assembled")
    theirs = SparkStandardScaler(inputCol="assembled", outputCol="features", withMean=True)
    spark_model = tune(train, [assembler, theirs])
    ours = StandardScaler(inputCols=names, outputCol="features", withMean=True)
    model = tune(train, [ours])

    one, two = ([*m.avgMetrics, accuracy(m.transform(test))] for m in (model, spark_model))
    labels = [f"folds, withStd={w}, regParam={r}" for w in WITH_STD for r in REG_PARAM]
    print(f"{'accuracy':<36}{'sparkscale':>14}{'Spark':>14}")
    for label, a, b in zip([*labels, "test rows, best model"], one, two, strict=True):
        print(f"{label:<36}{a:>14.9f}{b:>14.9f}")
    difference = max(abs(a - b) for a, b in zip(one, two, strict=True))
    print(f"\nlargest difference: {difference:.1e}\nequal: {difference <= 1e-9}")

    with tempfile.TemporaryDirectory() as path:
        best: Any = model.bestModel  # a PipelineModel
        best.write().overwrite().save(path)
        loaded = PipelineModel.load(path)
    print(f"\nloaded: {loaded.stages[0]}\naccuracy of the loaded Pipeline: {accuracy(loaded.transform(test)):.9f}")
    spark.stop()
    if difference > 1e-9:
        sys.exit("The accuracies differ.")


def tune(train: DataFrame, scaling: list[Any]) -> CrossValidatorModel:
    """Choose the scaler's and the regression's Params by cross-validation."""
    regression = LogisticRegression(labelCol="target", standardization=False, maxIter=20)
    grid = ParamGridBuilder().addGrid(scaling[-1].withStd, WITH_STD).addGrid(regression.regParam, REG_PARAM).build()
    validator = CrossValidator(
        estimator=Pipeline(stages=[*scaling, regression]),
        estimatorParamMaps=grid,
        evaluator=MulticlassClassificationEvaluator(labelCol="target", metricName="accuracy"),
        numFolds=3,
        parallelism=2,
        seed=7,
    )
    return validator.fit(train)


def accuracy(predicted: DataFrame) -> float:
    """Return the part of the rows that was predicted right."""
    return MulticlassClassificationEvaluator(labelCol="target", metricName="accuracy").evaluate(predicted)


def make_session(remote: str | None) -> SparkSession:
    """Start a quiet local Spark, or connect to one."""
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*pandas >= 3")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers need the packages of this environment
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
    options = " ".join(f"--conf {name}={value}" for name, value in quiet.items())
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", f"{options} pyspark-shell")
    builder = SparkSession.builder.appName("logistic regression")
    return (builder.remote(remote) if remote else builder.master("local[*]")).getOrCreate()


if __name__ == "__main__":
    main()
