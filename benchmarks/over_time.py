"""Cases of statistics over time: as of a day beside ordered windows, and a batch of a stream beside an aggregate."""

import itertools
import shutil
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

import sparkscale
from benchmarks import data
from benchmarks.timing import Measure, noop
from sparkscale import Profile, StreamingFit


def as_of_case(spark: SparkSession, folder: Path, rows: int, keys: int, days: int) -> dict[str, Measure]:
    """Return the measures of scaling three scalars by what was known on the day, with groups and without."""
    df = data.keyed(spark, folder, rows, keys).withColumn("day", F.expr(f"pmod(hash(x), {days})"))
    names = ["x", "y", "z"]
    by_key = sparkscale.StandardScaler(inputCols=names, groupCols=["k"], asOf="day", withMean=True)
    of_all = sparkscale.StandardScaler(inputCols=names, asOf="day", withMean=True)
    model = by_key.fit(df)

    def means(*keys: str) -> None:
        window = Window.partitionBy(*keys).orderBy("day").rangeBetween(Window.unboundedPreceding, -1)
        noop(df.select("*", *((F.col(n) - F.avg(n).over(window)).alias(f"{n}_scaled") for n in names)))

    return {
        "fit + transform by key : ordered windows (mean only)": Measure(
            lambda: noop(by_key.fit(df).transform(df)), lambda: means("k"), 2.0
        ),
        "fit + transform : ordered window (mean only)": Measure(lambda: noop(of_all.fit(df).transform(df)), means, 2.0),
        "fit by key": Measure(lambda: by_key.fit(df)),
        "transform by key": Measure(lambda: noop(model.transform(df))),
        "plain read": Measure(lambda: noop(df)),
    }


def batch_case(df: DataFrame, folder: Path) -> dict[str, Measure]:
    """Return the measures of what `StreamingFit` does with a batch, and of publication, of a batch of a row."""
    path, numbers = folder / "stream", itertools.count()
    shutil.rmtree(path, ignore_errors=True)
    names = df.columns
    sink = StreamingFit(str(path), inputCols=names)
    one = df.limit(1).cache()
    sink(one, next(numbers))

    def aggregate() -> None:
        df.agg(*(f(n) for n in names for f in (F.avg, F.stddev, F.min, F.max))).collect()

    return {
        "statistics of a batch : plain aggregate": Measure(lambda: Profile.of(df, inputCols=names), aggregate, 1.5),
        "batch, with publication": Measure(lambda: sink(df, next(numbers))),
        "publication": Measure(lambda: sink(one, next(numbers))),
        "plain read": Measure(lambda: noop(df)),
    }
