"""Print, for each kind of column, the time of fit and transform as a ratio to Spark's own and to a plain read.

All candidates of a case are run in turn, several rounds in one session, and medians are compared, so that a
machine that slows down slows all of them.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)

import pyspark
from pyspark.ml import feature as spark_ml
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import sparkscale
from benchmarks import data
from sparkscale.spark import aggregates, partials

Action = Callable[[], object]


def noop(df: DataFrame) -> None:
    """Compute all of a DataFrame and keep nothing."""
    df.write.format("noop").mode("overwrite").save()


def unpacked(df: DataFrame, vector: str, names: list[str]) -> DataFrame:
    """Take a vector apart into columns, as users of Spark's scalers have to."""
    array = df.withColumn("unpacked", vector_to_array(vector))
    return array.selectExpr("* except (unpacked)", *(f"unpacked[{i}] AS {n}_scaled" for i, n in enumerate(names)))


@dataclass(frozen=True)
class Measure:
    """What is timed: ours, Spark's, and the ratio that is wanted."""

    ours: Action
    spark: Action | None = None
    target: float | None = None


class Planned(Exception):  # noqa: N818  # no error
    """Raised in place of the job."""


def plan(fit: Action) -> None:
    """Do what fit does on the driver before the job, and no more."""
    with patch.object(partials, "collect", side_effect=Planned), suppress(Planned):
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
    """Return the measures on so many columns that Java would not compile one method for all, beside a plain read."""
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
    found: dict[str, Measure] = {}
    for name, params in (("Standard", {}), ("Standard withMean", {"withMean": True}), ("MinMax", {}), ("MaxAbs", {})):
        if column == "sparse" and name in {"Standard withMean", "MinMax"}:
            continue
        kind = f"{name.split()[0]}Scaler"
        ours = getattr(sparkscale, kind)(inputCol="v", outputCol="s", **params)
        theirs = getattr(spark_ml, kind)(inputCol="v", outputCol="s", **params)
        our_model, their_model = ours.fit(df), theirs.fit(df)
        found[f"fit {name}"] = Measure(lambda o=ours: o.fit(df), lambda t=theirs: t.fit(df), 1.1)
        found[f"transform {name}"] = Measure(
            lambda o=our_model: noop(o.transform(df)), lambda t=their_model: noop(t.transform(df)), 1.1
        )
    found["plain read"] = Measure(lambda: noop(df))
    return found


def array_case(df: DataFrame) -> dict[str, Measure]:
    """Return the measures on an array column, beside Spark's through vectors."""
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
    """Return the measures of what maps each row by itself, beside a plain read of the rows."""
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


def measure(case: dict[str, Measure], rounds: int) -> dict[str, tuple[float, float | None]]:
    """Return the median seconds of ours and Spark's for each measure; the first two rounds warm up."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in case}
    for k in range(rounds + 2):
        for name, found in case.items():
            for action, seconds in zip((found.ours, found.spark), times[name], strict=True):
                if action is None:
                    continue
                start = time.perf_counter()
                action()
                if k > 1:
                    seconds.append(time.perf_counter() - start)
    return {
        name: (statistics.median(ours), statistics.median(theirs) if theirs else None)
        for name, (ours, theirs) in times.items()
    }


def options_of(description: str) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the rows, for a quick look")
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "sparkscale-benchmarks")
    return parser.parse_args()


def session(**confs: str) -> SparkSession:
    """Return a session on all cores."""
    builder = SparkSession.builder.master("local[*]").config("spark.driver.memory", "4g")
    builder = builder.config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false")
    for name, value in confs.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def report(
    cases: dict[str, Callable[[], dict[str, Measure]]], options: argparse.Namespace, one: str, other: str
) -> None:
    """Run the cases and print a table."""
    print(f"PySpark {pyspark.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores; median seconds")
    print(f"{'':44}{one:>8}{other:>8}{'ratio':>8}{'target':>8}{'to read':>9}")
    for title, make in cases.items():
        if options.only not in title:
            continue
        case = make()
        results = measure(case, options.rounds)
        read = results["plain read"][0]
        print(title)
        for name, (ours, theirs) in results.items():
            target = case[name].target
            beside = "" if theirs is None else f"{theirs:8.3f}{ours / theirs:8.2f}"
            wanted = "" if target is None else f"{target:8.2f}"
            to_read = "" if name.endswith(": plain read") else f"{ours / read:9.2f}"
            print(f"  {name:42}{ours:8.3f}{beside:16}{wanted:8}{to_read}".rstrip(), flush=True)


def main() -> None:
    """Run the cases beside Spark's own."""
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
        "arrays, 500,000 x 64": lambda: array_case(data.arrays(spark, folder, 64, rows(500_000))),
        "rows, 500,000 x 64": lambda: row_case(data.arrays(spark, folder, 64, rows(500_000))),
        "images, 100,000 x 3 x 32 x 32": lambda: image_case(
            data.images(spark, folder, [3, 32, 32], rows(100_000)), [3, 32, 32]
        ),
        "sparse vectors, 400,000 rows, 50 of 100,000": lambda: vector_case(
            data.sparse(spark, folder, 100_000, 50, rows(400_000)), "sparse"
        ),
    }
    report(cases, options, "ours", "Spark")


if __name__ == "__main__":
    main()
