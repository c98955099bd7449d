"""Times of candidates that run in turn, and their ratios."""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)

import pyspark
from pyspark.sql import DataFrame, SparkSession

Action = Callable[[], object]


def noop(df: DataFrame) -> None:
    """Compute all of a DataFrame and keep nothing."""
    df.write.format("noop").mode("overwrite").save()


@dataclass(frozen=True)
class Measure:
    """What is timed: ours, Spark's, and the ratio that is wanted."""

    ours: Action
    spark: Action | None = None
    target: float | None = None


def measure(case: dict[str, Measure], rounds: int) -> dict[str, tuple[float, float | None]]:
    """Return the median seconds of ours and Spark's for each measure; the first two rounds warm up."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in case}
    for k in range(rounds + 2):
        for name, measures in case.items():
            for action, seconds in zip((measures.ours, measures.spark), times[name], strict=True):
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
    parser.add_argument("--check", action="store_true", help="exit with 1 if a ratio is above its target")
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
    """Run the cases and print a table, and under ``--check`` what misses its target."""
    missed = []
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
            reference = "" if theirs is None else f"{theirs:8.3f}{ours / theirs:8.2f}"
            wanted = "" if target is None else f"{target:8.2f}"
            to_read = "" if name.endswith(": plain read") else f"{ours / read:9.2f}"
            print(f"  {name:42}{ours:8.3f}{reference:16}{wanted:8}{to_read}".rstrip(), flush=True)
            if target is not None and theirs is not None and ours / theirs > target:
                missed.append(f"{title}: {name}: {ours / theirs:.2f}, target {target:.2f}")
    if options.check and missed:
        sys.exit("\n".join(["Above their target:", *missed]))
