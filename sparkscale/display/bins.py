"""Histograms: values are counted into bins on the executors, in two queries, and only the counts are collected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pyspark.sql import DataFrame

from sparkscale.display.histogram import Histogram
from sparkscale.errors import EmptyDataError
from sparkscale.spark import sql
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import FINITE, parameter
from sparkscale.spark.jobs import translate_job_errors

__all__ = ["histograms", "values"]

# Tolerance, as a fraction of a bin: values this close to the upper edge of a bin count as in the next one, so that
# rounding does not make the histograms of mapped values differ from those of the input.
EDGE_TOLERANCE = 1e-9


def values(columns: Sequence[FeatureColumn], sources: Sequence[str], features: range) -> str:
    """Return the values of some features of one column as the SQL text of an array of doubles.

    Parameters
    ----------
    columns : sequence of FeatureColumn
        All columns, with their sizes.
    sources : sequence of str
        Each column as SQL text: a scalar, or an array of doubles.
    features : range
        The features, numbered across all columns.
    """
    ends = np.cumsum([c.size or 0 for c in columns])
    index = int(np.searchsorted(ends, features[0], side="right"))
    column, source, start = columns[index], sources[index], int(ends[index]) - (columns[index].size or 0)
    if column.kind == "scalar":
        return f"array(double({source}))"
    if column.layout is not None:
        return column.layout.channel_sql(source, features[0] - start)
    first, last = features[0] - start, features[-1] - start
    if first == last:
        return f"array(get({source}, {first}))"
    return f"transform(sequence({first}, {last}, {features.step}), i -> get({source}, i))"


def histograms(df: DataFrame, arrays: Sequence[str], bins: int) -> list[Histogram]:
    """Count values in bins of equal width from the smallest to the largest value.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data.
    arrays : sequence of str
        For each histogram, the values of a row as the SQL text of an array of doubles; null if there are none.
    bins : int
        Number of bins.

    Returns
    -------
    list of Histogram
        One for each of the arrays.

    Raises
    ------
    EmptyDataError
        If there is no row.
    """
    # One row per value: one aggregate per bin would give hundreds of aggregates, more than Spark compiles.
    exploded = sql.select(df, f"posexplode(array({', '.join(arrays)})) AS (j, xs)")
    exploded = sql.select(exploded, "j", "explode(xs) AS x")
    exploded = sql.select(exploded, "j", f"CASE WHEN {FINITE.format(x='x')} THEN x END AS x")
    with translate_job_errors():
        return _counted(exploded, len(arrays), bins)


def _counted(df: DataFrame, size: int, bins: int) -> list[Histogram]:
    rows, count, low, high = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
    extremes = [sql.expr(text) for text in ("count(*)", "count(x)", "min(x)", "max(x)")]
    collected = df.groupBy("j").agg(*extremes).collect()
    if not collected:
        raise EmptyDataError("The DataFrame has no rows, so there is nothing to plot. Pass one with rows.")
    for j, *cells in collected:
        rows[j], count[j], low[j], high[j] = (0.0 if cell is None else cell for cell in cells)
    with np.errstate(over="ignore"):
        unit = np.where(np.isfinite(high - low), 1.0, 0.5)  # a range may overflow, but half of it does not
    low, high = low * unit, high * unit
    width = (high - low) / bins
    constant = width == 0
    place = (
        f"(x * {parameter(unit, 'j')} - {parameter(low, 'j')}) / {parameter(np.where(constant, np.inf, width), 'j')}"
    )
    binned = sql.select(
        sql.where(df, "x IS NOT NULL"), "j", f"least(int({place} + {EDGE_TOLERANCE}D), {bins - 1}) AS bin"
    )
    counts = np.zeros((size, bins), dtype=np.int64)
    for j, index, number in binned.groupBy("j", "bin").count().collect():
        counts[j, index] = number
    results = []
    for j in range(size):
        used_bins = 0 if not count[j] else 1 if constant[j] else bins
        edges = np.linspace(low[j], high[j], used_bins + 1) / unit[j] if used_bins else np.empty(0)
        results.append(Histogram(edges, counts[j, :used_bins], int(rows[j] - count[j])))
    return results
