"""Draw docs/images/distributions.png: histograms of a skewed column before and after transforms of its distribution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from pyspark.sql import SparkSession

from sparkscale import PowerTransformer, QuantileTransformer, StandardScaler

PATH = Path(__file__).parents[1] / "docs" / "images" / "distributions.png"
BLUE, GREY = "#2a6f97", "#999999"
SCALERS = {
    "StandardScaler(withMean=True)": StandardScaler(inputCol="x", withMean=True),
    "PowerTransformer()": PowerTransformer(inputCol="x"),
    'QuantileTransformer(outputDistribution="normal")': QuantileTransformer(inputCol="x", outputDistribution="normal"),
    "QuantileTransformer()": QuantileTransformer(inputCol="x"),
}


def main() -> None:
    """Transform the column in each way, and draw it before and after."""
    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.gamma(2.0, 1.0, 1600), rng.gamma(30.0, 0.4, 400)])  # two kinds of requests
    df = spark.createDataFrame([(value,) for value in x.tolist()], "x double").coalesce(1)
    rows = {"x: seconds of two kinds of requests": x}
    for name, scaler in SCALERS.items():
        scaled = scaler.fit(df).transform(df).select("x_scaled").collect()
        rows[name] = np.array([row[0] for row in scaled])
    figure = Figure(figsize=(7.5, 5.2), dpi=110, layout="constrained")
    for axes, (name, values) in zip(figure.subplots(5), rows.items(), strict=True):
        axes.hist(values, bins=60, color=BLUE)
        axes.set_title(name, loc="left", fontsize=9, pad=3)
        axes.yaxis.set_visible(False)
        axes.axvline(np.median(values), color=GREY, linewidth=0.8, linestyle=":")
        for side in ("top", "left", "right"):
            axes.spines[side].set_visible(False)
    figure.savefig(PATH)


if __name__ == "__main__":
    main()
