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
from pathlib import Path

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)

import pyspark
from pyspark.ml import feature as spark_ml
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import sparkscale
from benchmarks import data

Action = Callable[[], object]


def noop(df: DataFrame) -> None:
    """Compute all of a DataFrame and keep nothing."""
    df.write.format("noop").mode("overwrite").save()


def unpacked(df: DataFrame, vector: str, names: list[str]) -> DataFrame:
    """Take a vector apart into columns, as users of Spark's scalers have to."""
    array = df.withColumn("unpacked", vector_to_array(vector))
    return array.selectExpr("* except (unpacked)", *(f"unpacked[{i}] AS {n}_scaled" for i, n in enumerate(names)))


def scalar_case(spark: SparkSession, folder: Path, columns: int, rows: int) -> dict[str, tuple[Action, Action]]:
    """Return, for each measure on scalar columns, ours and Spark's."""
    df = data.scalars(spark, folder, columns, rows)
    names = df.columns
    assembler = spark_ml.VectorAssembler(inputCols=names, outputCol="v")
    theirs = spark_ml.StandardScaler(inputCol="v", outputCol="s", withMean=True)
    ours = sparkscale.StandardScaler(inputCols=names, withMean=True)
    our_model, their_model = ours.fit(df), theirs.fit(assembler.transform(df))

    def spark_transform(model: spark_ml.StandardScalerModel) -> None:
        noop(unpacked(model.transform(assembler.transform(df)), "s", names))

    return {
        "fit Standard": (lambda: ours.fit(df), lambda: theirs.fit(assembler.transform(df))),
        "fit MinMax": (
            lambda: sparkscale.MinMaxScaler(inputCols=names).fit(df),
            lambda: spark_ml.MinMaxScaler(inputCol="v", outputCol="s").fit(assembler.transform(df)),
        ),
        "transform to columns": (lambda: noop(our_model.transform(df)), lambda: spark_transform(their_model)),
        "fit + transform to columns": (
            lambda: noop(ours.fit(df).transform(df)),
            lambda: spark_transform(theirs.fit(assembler.transform(df))),
        ),
        "plan of transform": (lambda: our_model.transform(df).schema, lambda: noop(df)),
        "plain read": (lambda: noop(df), lambda: noop(df)),
    }


def vector_case(df: DataFrame, column: str) -> dict[str, tuple[Action, Action]]:
    """Return, for each measure on a vector column, ours and Spark's."""
    found: dict[str, tuple[Action, Action]] = {}
    for name, params in (("Standard", {}), ("Standard withMean", {"withMean": True}), ("MinMax", {}), ("MaxAbs", {})):
        if column == "sparse" and name in {"Standard withMean", "MinMax"}:
            continue
        kind = f"{name.split()[0]}Scaler"
        ours = getattr(sparkscale, kind)(inputCol="v", outputCol="s", **params)
        theirs = getattr(spark_ml, kind)(inputCol="v", outputCol="s", **params)
        our_model, their_model = ours.fit(df), theirs.fit(df)
        found[f"fit {name}"] = (lambda o=ours: o.fit(df), lambda t=theirs: t.fit(df))
        found[f"transform {name}"] = (
            lambda o=our_model: noop(o.transform(df)),
            lambda t=their_model: noop(t.transform(df)),
        )
    found["plain read"] = (lambda: noop(df), lambda: noop(df))
    return found


def array_case(df: DataFrame) -> dict[str, tuple[Action, Action]]:
    """Return, for each measure on an array column, ours and Spark's through vectors."""
    as_vectors = df.withColumn("v", array_to_vector("a"))
    ours = sparkscale.StandardScaler(inputCol="a", outputCol="s", withMean=True)
    theirs = spark_ml.StandardScaler(inputCol="v", outputCol="s", withMean=True)
    our_model, their_model = ours.fit(df), theirs.fit(as_vectors)
    return {
        "fit Standard": (lambda: ours.fit(df), lambda: theirs.fit(as_vectors)),
        "transform": (
            lambda: noop(our_model.transform(df)),
            lambda: noop(their_model.transform(as_vectors).withColumn("s", vector_to_array(F.col("s")))),
        ),
        "plain read": (lambda: noop(df), lambda: noop(df)),
    }


def measure(case: dict[str, tuple[Action, Action]], rounds: int) -> list[tuple[str, float, float]]:
    """Return the median seconds of ours and Spark's for each measure; the first two rounds warm up."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in case}
    for k in range(rounds + 2):
        for name, actions in case.items():
            for action, seconds in zip(actions, times[name], strict=True):
                start = time.perf_counter()
                action()
                if k > 1:
                    seconds.append(time.perf_counter() - start)
    return [(name, statistics.median(ours), statistics.median(theirs)) for name, (ours, theirs) in times.items()]


def main() -> None:
    """Run the cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the rows, for a quick look")
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "sparkscale-benchmarks")
    options = parser.parse_args()
    builder = SparkSession.builder.master("local[*]").config("spark.driver.memory", "4g")
    builder = builder.config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false")
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    folder = options.folder

    def rows(n: int) -> int:
        return max(100, int(n * options.scale))

    cases: dict[str, Callable[[], dict[str, tuple[Action, Action]]]] = {
        "scalars, 10 columns x 2,000,000": lambda: scalar_case(spark, folder, 10, rows(2_000_000)),
        "scalars, 1,000 columns x 20,000": lambda: scalar_case(spark, folder, 1000, rows(20_000)),
        "dense vectors, 500,000 x 64": lambda: vector_case(data.vectors(spark, folder, 64, rows(500_000)), "dense"),
        "arrays, 500,000 x 64": lambda: array_case(data.arrays(spark, folder, 64, rows(500_000))),
        "sparse vectors, 400,000 rows, 50 of 100,000": lambda: vector_case(
            data.sparse(spark, folder, 100_000, 50, rows(400_000)), "sparse"
        ),
    }
    print(f"PySpark {pyspark.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores; median seconds")
    print(f"{'':44}{'ours':>8}{'Spark':>8}{'ratio':>8}{'to read':>9}")
    for title, make in cases.items():
        if options.only not in title:
            continue
        results = measure(make(), options.rounds)
        read = next(ours for name, ours, _ in results if name == "plain read")
        print(title)
        for name, ours, theirs in results:
            beside = (
                f"{theirs:8.3f}{ours / theirs:8.2f}"
                if not name.startswith("plan") and name != "plain read"
                else " " * 16
            )
            print(f"  {name:42}{ours:8.3f}{beside}{ours / read:9.2f}", flush=True)


if __name__ == "__main__":
    main()
