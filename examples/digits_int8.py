"""Find nearest neighbours among digits whose pixels are integers of eight bits instead of doubles.

Vector databases store embeddings in this way: an eighth of the memory of doubles, and nearly the same neighbours. The example

1. quantises scikit-learn's 1,797 digits, 64 pixels each, by their extrema and by their quantiles,
2. restores them from the codes, and compares the errors with the bound that the model states,
3. finds the 10 nearest neighbours of each digit by brute force, in NumPy, and prints the recall: which share of the
   neighbours among the original digits is found among the restored ones.

Run ``python examples/digits_int8.py``, with ``--remote`` on Spark Connect. It needs scikit-learn, for the digits.
"""

from __future__ import annotations

import argparse
import os
import sys

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from sklearn.datasets import load_digits

from sparkscale import Quantizer

NEIGHBOURS = 10


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Nearest neighbours among quantised digits.")
    parser.add_argument("--remote", nargs="?", const="local[*]", help="use Spark Connect; own server, or a URL")
    spark = make_session(parser.parse_args().remote)
    images, _ = load_digits(return_X_y=True)
    expected = neighbours(images)
    df = spark.createDataFrame([*enumerate(images.tolist())], "id int, pixels array<double>")
    print(f"{len(images):,} digits of 64 doubles: {images.nbytes:,} bytes")

    for lower, upper in ((0.0, 1.0), (0.005, 0.995)):
        model = Quantizer(inputCol="pixels", outputCol="code", lower=lower, upper=upper).fit(df)
        coded = model.transform(df)
        codes = collected(coded, "code").astype(np.int8)
        restored = collected(model.inverseTransform(coded, outputCol="restored"), "restored")
        low, high = model.ranges
        error = np.abs(restored - np.clip(images, low, high)).max(axis=0)
        clipped = np.mean((images < low) | (images > high))
        found = neighbours(restored)
        recall = np.mean([len(np.intersect1d(one, other)) for one, other in zip(expected, found, strict=True)])
        print(f"int8, range from quantile {lower} to {upper}: {codes.nbytes:,} bytes, {clipped:.1%} of values clipped")
        print(f"  errors within the bound: {bool(np.all(error <= model.errorBound.toArray()))}")
        print(f"  recall of {NEIGHBOURS} nearest neighbours: {recall / NEIGHBOURS:.4f}")
    spark.stop()


def neighbours(x: np.ndarray) -> np.ndarray:
    """Return the indices of the nearest rows of each row, without itself."""
    squares = np.sum(x**2, axis=1)
    distances = squares[:, None] + squares - 2 * x @ x.T
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1, kind="stable")[:, :NEIGHBOURS]


def collected(df: DataFrame, column: str) -> np.ndarray:
    """Return an array column as a matrix, in the order of ``id``."""
    return np.array([row[column] for row in sorted(df.select("id", column).collect())])


def make_session(remote: str | None) -> SparkSession:
    """Start a quiet local Spark, or connect to one."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers need the packages of this environment
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
    options = " ".join(f"--conf {name}={value}" for name, value in quiet.items())
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", f"{options} pyspark-shell")
    builder = SparkSession.builder.appName("digits")
    return (builder.remote(remote) if remote else builder.master("local[*]")).getOrCreate()


if __name__ == "__main__":
    main()
