"""Draw docs/images/scalers.png: what each scaler makes of one column with outliers, on one axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pyspark.sql import SparkSession

from sparkscale import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler, Winsorizer

PATH = Path(__file__).parents[1] / "docs" / "images" / "scalers.png"
BLUE, ORANGE, GREY = "#2a6f97", "#d1603d", "#999999"
LEAST, LARGEST = -3.5, 10.5  # of the axis; farther values are drawn at its end
SCALERS = {
    "Winsorizer": Winsorizer(inputCol="x", lower=0.05, upper=0.95),
    "StandardScaler(withMean=True)": StandardScaler(inputCol="x", withMean=True),
    "StandardScaler(…, clip=[-3, 3])": StandardScaler(inputCol="x", withMean=True, clip=[-3.0, 3.0]),
    "MinMaxScaler": MinMaxScaler(inputCol="x"),
    "MaxAbsScaler": MaxAbsScaler(inputCol="x"),
    "RobustScaler(withCentering=True)": RobustScaler(inputCol="x", withCentering=True),
}


def response_times() -> np.ndarray:
    """Return seconds: most within a few, and six requests that hung."""
    usual = np.random.default_rng(3).gamma(6.0, 0.4, size=194)
    return np.append(usual, [15.0, 18.0, 20.0, 24.0, 27.0, 30.0])


def draw(axes: Axes, name: str, values: np.ndarray, height: np.ndarray) -> None:
    """Draw one row of dots, the outliers in a color of their own."""
    outlier = np.arange(len(values)) >= len(values) - 6
    for chosen, color in ((~outlier, BLUE), (outlier, ORANGE)):
        inside = np.clip(values[chosen], LEAST, LARGEST)
        axes.scatter(inside, height[chosen], s=9, color=color, alpha=0.7, linewidths=0)
    for place in (0.0, 1.0):
        axes.axvline(place, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    axes.set_title(f"{name}: from {values.min():.3g} to {values.max():.3g}", loc="left", fontsize=9, pad=3)
    axes.set_ylim(-0.2, 1.2)
    axes.yaxis.set_visible(False)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)


def main() -> None:
    """Scale the column by each scaler, and draw it before and after."""
    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    x = response_times()
    df = spark.createDataFrame([(value,) for value in x.tolist()], "x double").coalesce(1)
    rows = {"x, in seconds": x}
    for name, scaler in SCALERS.items():
        scaled = scaler.fit(df).transform(df).select("x_scaled").collect()
        rows[name] = np.array([row[0] for row in scaled])
    figure = Figure(figsize=(7.5, 6.2), dpi=150, layout="constrained")
    height = np.random.default_rng(1).random(len(x))
    axes = figure.subplots(len(rows), sharex=True)
    for row_axes, (name, values) in zip(axes, rows.items(), strict=True):
        draw(row_axes, name, values, height)
    axes[-1].set_xlim(LEAST, LARGEST + 0.2)
    axes[-1].set_xlabel("one axis for all; orange: six outliers; what is farther is drawn at the end", fontsize=9)
    figure.savefig(PATH)


if __name__ == "__main__":
    main()
