"""Cases of little data: many small partitions, a thousand rows, and a search over a small table."""

from collections.abc import Callable
from pathlib import Path

from pyspark.ml import Pipeline
from pyspark.ml import feature as spark_ml
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.functions import array_to_vector
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession

import sparkscale
from benchmarks import data
from benchmarks.timing import Measure, noop

KINDS = ("Standard", "MinMax", "MaxAbs")


def partitions_case(spark: SparkSession, folder: Path, rows: int, partitions: int) -> dict[str, Measure]:
    """Return the measures of fits on arrays and vectors in memory, and on arrays that a shuffle brings."""
    arrays = data.arrays(spark, folder, 100, rows)
    shuffled = arrays.where("size(a) > 0").repartition(partitions)  # else Spark would take it from the cache
    held = arrays.repartition(partitions).withColumn("v", array_to_vector("a")).persist()
    held.count()
    both = {"held": held, "shuffled": shuffled}
    measures = {}
    for where, df in both.items():
        as_vectors = df.withColumn("v", array_to_vector("a"))
        ours = sparkscale.StandardScaler(inputCol="a")
        theirs = spark_ml.StandardScaler(inputCol="v", outputCol="s")
        measures[f"fit arrays, {where}"] = Measure(
            lambda o=ours, d=df: o.fit(d), lambda t=theirs, d=as_vectors: t.fit(d), 1.3
        )
    ours = sparkscale.StandardScaler(inputCol="v")
    theirs = spark_ml.StandardScaler(inputCol="v", outputCol="s")
    measures["fit vectors, held"] = Measure(lambda: ours.fit(held), lambda: theirs.fit(held), 1.3)
    measures["plain read"] = Measure(lambda: noop(held))
    return measures


def rows_case(spark: SparkSession, folder: Path, rows: int) -> dict[str, Measure]:
    """Return the measures of fit, and of transform and collect, on ten scalars, arrays and vectors of ten."""
    table = data.scalars(spark, folder, 10, rows)
    names = table.columns
    scalars = table.coalesce(1).persist()
    assembled = spark_ml.VectorAssembler(inputCols=names, outputCol="v").transform(scalars)
    others = assembled.selectExpr(f"array({', '.join(names)}) AS a", "v").persist()
    others.count()
    measures = {}
    for kind in KINDS:
        theirs = getattr(spark_ml, f"{kind}Scaler")(inputCol="v", outputCol="s")
        assembler = spark_ml.VectorAssembler(inputCols=names, outputCol="v")
        candidates: dict[str, tuple[DataFrame, dict[str, object], Callable[[], DataFrame]]] = {
            "scalars": (scalars, {"inputCols": names}, lambda a=assembler: a.transform(scalars)),
            "arrays": (
                others,
                {"inputCol": "a", "outputCol": "s"},
                lambda: others.withColumn("v", array_to_vector("a")),
            ),
            "vectors": (others, {"inputCol": "v", "outputCol": "s"}, lambda: others),
        }
        for name, (df, params, as_vectors) in candidates.items():
            ours = getattr(sparkscale, f"{kind}Scaler")(**params)
            our_model, their_model = ours.fit(df), theirs.fit(as_vectors())
            measures[f"fit {kind}, {name}"] = Measure(
                lambda o=ours, d=df: o.fit(d), lambda t=theirs, v=as_vectors: t.fit(v()), 1.3
            )
            measures[f"transform {kind}, {name}"] = Measure(
                lambda m=our_model, d=df: m.transform(d).collect(),
                lambda m=their_model, v=as_vectors: m.transform(v()).collect(),
                1.3,
            )
    measures["plain read"] = Measure(scalars.collect)
    return measures


def search_case(spark: SparkSession) -> dict[str, Measure]:
    """Return the measure of a search over four settings in three folds of a small table of thirty columns."""
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415  # only this case needs it

    table = load_breast_cancer(as_frame=True).frame
    df = spark.createDataFrame(table.rename(columns=lambda name: name.replace(" ", "_"))).withColumnRenamed(
        "target", "label"
    )
    df = df.coalesce(2).persist()
    names = [name for name in df.columns if name != "label"]
    regression = LogisticRegression(featuresCol="scaled", maxIter=10)
    grid = ParamGridBuilder().addGrid(regression.regParam, [0.001, 0.01, 0.1, 1.0]).build()
    ours = [sparkscale.StandardScaler(inputCols=names, outputCol="scaled")]
    theirs = [
        spark_ml.VectorAssembler(inputCols=names, outputCol="v"),
        spark_ml.StandardScaler(inputCol="v", outputCol="scaled"),
    ]

    def search(stages: list[object]) -> object:
        return CrossValidator(
            estimator=Pipeline(stages=[*stages, regression]),
            estimatorParamMaps=grid,
            evaluator=BinaryClassificationEvaluator(),
            numFolds=3,
            seed=7,
        ).fit(df)

    return {
        "CrossValidator": Measure(lambda: search(ours), lambda: search(theirs), 1.1),
        "plain read": Measure(lambda: noop(df)),
    }
