"""Print, for each kind of column, the time of fit and transform as a ratio to Spark's own and to a plain read.

All candidates of a case are run in turn, several rounds in one session, and medians are compared, so that a
machine that slows down slows all of them.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

from pyspark.ml import feature as spark_ml
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import sparkscale
from benchmarks import by_key, data, distributions, over_time, small
from benchmarks.timing import Action, Measure, noop, options_of, report, session
from sparkscale.spark.fit import aggregates, merging


def unpacked(df: DataFrame, vector: str, names: list[str]) -> DataFrame:
    """Take a vector apart into columns, as users of Spark's scalers have to."""
    array = df.withColumn("unpacked", vector_to_array(vector))
    return array.selectExpr("* except (unpacked)", *(f"unpacked[{i}] AS {n}_scaled" for i, n in enumerate(names)))


class Planned(Exception):  # noqa: N818  # no error
    """Raised in place of the job."""


def plan(fit: Action) -> None:
    """Do what fit does on the driver before the job, and no more."""
    with patch.object(merging, "collect_partials", side_effect=Planned), suppress(Planned):
        fit()


def through_arrow(fit: Action) -> None:
    """Fit without SQL aggregates, as more columns or a cluster do."""
    with patch.object(aggregates, "suits", return_value=False):
        fit()


def scalar_case(spark: SparkSession, folder: Path, columns: int, rows: int) -> dict[str, Measure]:
    """Return the measures on scalar columns."""
    df = data.scalars(spark, folder, columns, rows)
    names = df.columns
    assembler = spark_ml.VectorAssembler(inputCols=names, outputCol="v")
    theirs = spark_ml.StandardScaler(inputCol="v", outputCol="s", withMean=True)
    ours = sparkscale.StandardScaler(inputCols=names, withMean=True)
    our_model, their_model = ours.fit(df), theirs.fit(assembler.transform(df))
    few = columns <= 10

    def spark_transform(model: spark_ml.StandardScalerModel) -> None:
        noop(unpacked(model.transform(assembler.transform(df)), "s", names))

    def fit_spark() -> object:
        return theirs.fit(assembler.transform(df))

    measures = {
        "fit Standard": Measure(lambda: ours.fit(df), fit_spark, 0.4 if few else 1.1),
        "fit MinMax": Measure(
            lambda: sparkscale.MinMaxScaler(inputCols=names).fit(df),
            lambda: spark_ml.MinMaxScaler(inputCol="v", outputCol="s").fit(assembler.transform(df)),
            0.4 if few else 1.1,
        ),
        "transform to columns": Measure(
            lambda: noop(our_model.transform(df)), lambda: spark_transform(their_model), 0.4
        ),
        "fit + transform to columns": Measure(
            lambda: noop(ours.fit(df).transform(df)), lambda: spark_transform(fit_spark()), 0.35 if few else None
        ),
        "plan of transform": Measure(lambda: our_model.transform(df).schema),
        "plain read": Measure(lambda: noop(df)),
    }
    if few:
        measures["fit Standard through Arrow"] = Measure(lambda: through_arrow(lambda: ours.fit(df)), fit_spark)
    else:
        measures["plan of fit"] = Measure(lambda: plan(lambda: ours.fit(df)))
    return measures


def wide_case(df: DataFrame, arrays: DataFrame) -> dict[str, Measure]:
    """Return the measures on more columns than Java compiles in one method, and of a plain read."""
    names = df.columns
    stages = {
        "error": (df, sparkscale.StandardScaler(inputCols=names, handleInvalid="error")),
        "skip": (df, sparkscale.StandardScaler(inputCols=names, handleInvalid="skip")),
        "clip": (df, sparkscale.MinMaxScaler(inputCols=names, clip=True)),
        "15 arrays of 10": (arrays, sparkscale.StandardScaler(inputCols=arrays.columns)),
    }
    models = {name: (d, stage.fit(d)) for name, (d, stage) in stages.items()}
    measures = {
        f"transform, {name} : plain read": Measure(lambda m=model, d=d: noop(m.transform(d)), lambda d=d: noop(d))
        for name, (d, model) in models.items()
    }
    return {**measures, "plain read": Measure(lambda: noop(df))}


def vector_case(df: DataFrame, column: str) -> dict[str, Measure]:
    """Return the measures on a vector column."""
    measures: dict[str, Measure] = {}
    for name, params in (("Standard", {}), ("Standard withMean", {"withMean": True}), ("MinMax", {}), ("MaxAbs", {})):
        if column == "sparse" and name in {"Standard withMean", "MinMax"}:
            continue
        kind = f"{name.split()[0]}Scaler"
        ours = getattr(sparkscale, kind)(inputCol="v", outputCol="s", **params)
        theirs = getattr(spark_ml, kind)(inputCol="v", outputCol="s", **params)
        our_model, their_model = ours.fit(df), theirs.fit(df)
        measures[f"fit {name}"] = Measure(lambda o=ours: o.fit(df), lambda t=theirs: t.fit(df), 1.1)
        measures[f"transform {name}"] = Measure(
            lambda o=our_model: noop(o.transform(df)), lambda t=their_model: noop(t.transform(df)), 1.1
        )
    measures["plain read"] = Measure(lambda: noop(df))
    return measures


def quantile_case(scalars: DataFrame, vectors: DataFrame) -> dict[str, Measure]:
    """Return the measures of scaling by quantiles, of scalars with Spark's assembler, and of a vector column."""
    names = scalars.columns
    assembler = spark_ml.VectorAssembler(inputCols=names, outputCol="v")
    measures = {}
    for kind, df, as_vectors, target in (
        ("scalars", scalars, lambda: assembler.transform(scalars), 0.35),
        ("vectors", vectors, lambda: vectors, 0.25),
    ):
        columns = {"inputCols": names} if kind == "scalars" else {"inputCol": "v", "outputCol": "s"}
        ours, theirs = sparkscale.RobustScaler(**columns), spark_ml.RobustScaler(inputCol="v", outputCol="s")
        measures[f"fit Robust, {kind}"] = Measure(
            lambda o=ours, d=df: o.fit(d), lambda t=theirs, v=as_vectors: t.fit(v()), target
        )
        measures[f"fit Standard, {kind}"] = Measure(
            lambda d=df, c=columns: through_arrow(lambda: sparkscale.StandardScaler(**c).fit(d))
        )
        measures[f"read {kind}"] = Measure(lambda d=df: noop(d))
    model, their_model = (
        s(inputCol="v", outputCol="s").fit(vectors.limit(1000))
        for s in (sparkscale.RobustScaler, spark_ml.RobustScaler)
    )
    measures["transform Robust, vectors"] = Measure(
        lambda: noop(model.transform(vectors)), lambda: noop(their_model.transform(vectors)), 1.1
    )
    measures["plain read"] = Measure(lambda: noop(vectors))
    return measures


def array_case(df: DataFrame) -> dict[str, Measure]:
    """Return the measures on an array column, compared with Spark's on vectors."""
    as_vectors = df.withColumn("v", array_to_vector("a"))
    ours = sparkscale.StandardScaler(inputCol="a", outputCol="s", withMean=True)
    theirs = spark_ml.StandardScaler(inputCol="v", outputCol="s", withMean=True)
    our_model, their_model = ours.fit(df), theirs.fit(as_vectors)
    return {
        "fit Standard": Measure(lambda: ours.fit(df), lambda: theirs.fit(as_vectors), 1.1),
        "transform": Measure(
            lambda: noop(our_model.transform(df)),
            lambda: noop(their_model.transform(as_vectors).withColumn("s", vector_to_array(F.col("s")))),
            0.7,
        ),
        "plain read": Measure(lambda: noop(df)),
    }


def image_case(df: DataFrame, shape: list[int]) -> dict[str, Measure]:
    """Return the measures on flattened images; what is compared with is our own scaler of each pixel."""
    pixels = sparkscale.StandardScaler(inputCol="a", ddof=0)
    channels = sparkscale.BatchNorm(inputCol="a", shape=shape)
    batches = df.withColumn("batch", F.expr("monotonically_increasing_id() div 256"))
    moving = sparkscale.BatchNorm(inputCol="a", shape=shape, statistics="moving", batchCol="batch")
    return {
        "fit BatchNorm : StandardScaler": Measure(lambda: channels.fit(df), lambda: pixels.fit(df), 1.2),
        "fit BatchNorm moving : StandardScaler": Measure(lambda: moving.fit(batches), lambda: pixels.fit(df)),
        "plain read": Measure(lambda: noop(df)),
    }


def row_case(df: DataFrame) -> dict[str, Measure]:
    """Return the measures of the row-wise transformers, compared with a plain read."""
    stages = {
        "LayerNorm": sparkscale.LayerNorm(inputCol="a"),
        "GroupNorm": sparkscale.GroupNorm(inputCol="a", numGroups=8),
        "RMSNorm": sparkscale.RMSNorm(inputCol="a"),
        "Normalizer": sparkscale.Normalizer(inputCol="a"),
        "ClipByNorm": sparkscale.ClipByNorm(inputCol="a", clipNorm=1.0),
        "ClipByValue": sparkscale.ClipByValue(inputCol="a", low=-1.0, high=1.0),
    }
    measures = {
        f"{name} : plain read": Measure(lambda s=stage: noop(s.transform(df)), lambda: noop(df), 2.0)
        for name, stage in stages.items()
    }
    return {**measures, "plain read": Measure(lambda: noop(df))}


def main() -> None:
    """Run the cases, and compare with Spark's scalers."""
    options = options_of(__doc__)
    spark, folder = session(), options.folder

    def rows(n: int) -> int:
        return max(100, int(n * options.scale))

    cases: dict[str, Callable[[], dict[str, Measure]]] = {
        "scalars, 10 columns x 2,000,000": lambda: scalar_case(spark, folder, 10, rows(2_000_000)),
        "scalars, 1,000 columns x 20,000": lambda: scalar_case(spark, folder, 1000, rows(20_000)),
        "wide, 60 columns x 300,000": lambda: wide_case(
            data.scalars(spark, folder, 60, rows(300_000)), data.arrays(spark, folder, 10, rows(300_000), 15)
        ),
        "dense vectors, 500,000 x 64": lambda: vector_case(data.vectors(spark, folder, 64, rows(500_000)), "dense"),
        "quantiles, 10 x 2,000,000 scalars and 500,000 x 64 vectors": lambda: quantile_case(
            data.scalars(spark, folder, 10, rows(2_000_000)), data.vectors(spark, folder, 64, rows(500_000))
        ),
        "arrays, 500,000 x 64": lambda: array_case(data.arrays(spark, folder, 64, rows(500_000))),
        "quantization, 10 x 1,000,000 scalars and 100,000 x 64 arrays": lambda: distributions.quantizer_case(
            data.scalars(spark, folder, 10, rows(1_000_000)), data.arrays(spark, folder, 64, rows(100_000))
        ),
        "distributions, 10 x 2,000,000": lambda: distributions.curves_case(
            data.scalars(spark, folder, 10, rows(2_000_000))
        ),
        "rows, 500,000 x 64": lambda: row_case(data.arrays(spark, folder, 64, rows(500_000))),
        "images, 100,000 x 3 x 32 x 32": lambda: image_case(
            data.images(spark, folder, [3, 32, 32], rows(100_000)), [3, 32, 32]
        ),
        "sparse vectors, 400,000 rows, 50 of 100,000": lambda: vector_case(
            data.sparse(spark, folder, 100_000, 50, rows(400_000)), "sparse"
        ),
        **{
            f"partitions, 50,000 x 100 in {n:,}": lambda n=n: small.partitions_case(spark, folder, rows(50_000), n)
            for n in (20, 200, 1000)
        },
        "by key, 4,000,000 rows of 3, 100,000 keys": lambda: by_key.scalars_case(
            spark, folder, rows(4_000_000), rows(100_000)
        ),
        "by key, 1,000,000 arrays of 64, 10,000 keys": lambda: by_key.arrays_case(
            data.arrays(spark, folder, 64, rows(1_000_000)), rows(10_000)
        ),
        "1,000,000 keys of 3": lambda: by_key.many_keys_case(spark, folder, rows(1_000_000)),
        "sets and profiles, 500,000 x 64": lambda: by_key.set_case(data.vectors(spark, folder, 64, rows(500_000))),
        "as of a day, 4,000,000 rows of 3, 365 days, 100 keys": lambda: over_time.as_of_case(
            spark, folder, rows(4_000_000), 100, 365
        ),
        "a batch of a stream, 100,000 x 10": lambda: over_time.batch_case(
            data.scalars(spark, folder, 10, rows(100_000)), folder
        ),
        "small, 1,000 rows of 10": lambda: small.rows_case(spark, folder, 1000),
        "search, breast_cancer in 3 folds over 4 settings": lambda: small.search_case(spark),
    }
    report(cases, options, "ours", "Spark")


if __name__ == "__main__":
    main()
