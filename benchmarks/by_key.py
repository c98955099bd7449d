"""Cases of groups, profiles and sets of scalers: beside what Spark's users do in their place."""

import shutil
from pathlib import Path

from pyspark.ml import feature as spark_ml
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

import sparkscale
from benchmarks import data
from benchmarks.timing import Measure, noop
from sparkscale import Profile


def scalars_case(spark: SparkSession, folder: Path, rows: int, keys: int) -> dict[str, Measure]:
    """Return the measures of scaling three scalars by key, beside window functions."""
    df = data.keyed(spark, folder, rows, keys)
    names = ["x", "y", "z"]
    window = Window.partitionBy("k")
    scaler = sparkscale.StandardScaler(inputCols=names, groupCols=["k"], withMean=True)
    model = scaler.fit(df)

    def means() -> None:
        noop(df.select("*", *((F.col(n) - F.avg(n).over(window)).alias(f"{n}_scaled") for n in names)))

    return {
        "fit + transform by key : window functions (mean only)": Measure(
            lambda: noop(scaler.fit(df).transform(df)), means, 1.4
        ),
        "fit by key": Measure(lambda: scaler.fit(df)),
        "transform by key": Measure(lambda: noop(model.transform(df))),
        "aggregate": Measure(lambda: noop(df.groupBy("k").agg(*(f(n) for n in names for f in (F.avg, F.stddev))))),
        "plain read": Measure(lambda: noop(df)),
    }


def arrays_case(df: DataFrame, keys: int) -> dict[str, Measure]:
    """Return the measures of arrays by key, beside a fit without keys."""
    keyed = df.withColumn("k", F.expr(f"pmod(hash(a[0]), {keys})"))
    by_key = sparkscale.StandardScaler(inputCol="a", groupCols=["k"])
    plain = sparkscale.StandardScaler(inputCol="a")
    return {
        "fit by key : fit without": Measure(lambda: by_key.fit(keyed), lambda: plain.fit(keyed), 2.0),
        "plain read": Measure(lambda: noop(keyed)),
    }


def set_case(df: DataFrame) -> dict[str, Measure]:
    """Return the measures of three scalers of a vector from one scan, and of profiles."""
    kinds = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler")
    ours = sparkscale.ScalerSet(stages=[getattr(sparkscale, k)(inputCol="v", outputCol=k) for k in kinds])
    theirs = [getattr(spark_ml, k)(inputCol="v", outputCol=k) for k in kinds]

    def profile(*statistics: str) -> Profile:
        return Profile.of(df, inputCols=["v"], statistics=[*statistics])

    return {
        "fit three scalers : three fits of Spark's": Measure(
            lambda: ours.fit(df), lambda: [scaler.fit(df) for scaler in theirs], 0.45
        ),
        "profile of moments, extrema, quantiles : of moments": Measure(
            lambda: profile("moments", "extrema", "quantiles"), lambda: profile("moments"), 1.5
        ),
        "plain read": Measure(lambda: noop(df)),
    }


def many_keys_case(spark: SparkSession, folder: Path, keys: int) -> dict[str, Measure]:
    """Return the measures of more keys than the driver holds: fit, transform, save and load."""
    df = data.keyed(spark, folder, 3 * keys, keys)
    scaler = sparkscale.StandardScaler(inputCols=["x", "y", "z"], groupCols=["k"])
    model, path = scaler.fit(df), folder / "many_keys"

    def saved() -> None:
        shutil.rmtree(path, ignore_errors=True)
        model.save(str(path))
        sparkscale.StandardScalerModel.load(str(path))

    return {
        "fit by key": Measure(lambda: scaler.fit(df)),
        "transform by key": Measure(lambda: noop(model.transform(df))),
        "save and load": Measure(saved),
        "plain read": Measure(lambda: noop(df)),
    }
