"""Distributions: values are counted into bins where they lie, in two queries, and only counts are collected."""

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

# Of a bin: as near to its upper edge a value is counted as being there, so that rounding does not tell what was mapped
# from what was not.
EDGE = 1e-9


def values(columns: Sequence[FeatureColumn], sources: Sequence[str], features: range) -> str:
    """Return the values that a row has of some features of one column, as the SQL text of an array of doubles.

    Parameters
    ----------
    columns : sequence of FeatureColumn
        All columns, with their sizes.
    sources : sequence of str
        Each column as SQL text: a scalar, or an array of doubles.
    features : range
        Which features, counted through all columns.
    """
    ends = np.cumsum([c.size or 0 for c in columns])
    at = int(np.searchsorted(ends, features[0], side="right"))
    column, source, start = columns[at], sources[at], int(ends[at]) - (columns[at].size or 0)
    if column.kind == "scalar":
        return f"array(double({source}))"
    first, last = features[0] - start, features[-1] - start
    if first == last:
        return f"array(get({source}, {first}))"
    return f"transform(sequence({first}, {last}, {features.step}), i -> get({source}, i))"


def histograms(df: DataFrame, arrays: Sequence[str], bins: int) -> list[Histogram]:
    """Count values into bins of equal width between their extremes.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data.
    arrays : sequence of str
        For each histogram the values of a row, as the SQL text of an array of doubles; null for none.
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
    # One row a value: an aggregate for each bin would be hundreds of them, more than Spark compiles.
    found = sql.select(df, f"posexplode(array({', '.join(arrays)})) AS (j, xs)")
    found = sql.select(found, "j", "explode(xs) AS x")
    found = sql.select(found, "j", f"CASE WHEN {FINITE.format(x='x')} THEN x END AS x")
    with translate_job_errors():
        return _counted(found, len(arrays), bins)


def _counted(df: DataFrame, size: int, bins: int) -> list[Histogram]:
    rows, count, low, high = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
    extremes = [sql.expr(text) for text in ("count(*)", "count(x)", "min(x)", "max(x)")]
    collected = df.groupBy("j").agg(*extremes).collect()
    if not collected:
        raise EmptyDataError("The DataFrame has no row, so there is nothing to plot. Plot one that has.")
    for j, *cells in collected:
        rows[j], count[j], low[j], high[j] = (0.0 if cell is None else cell for cell in cells)
    with np.errstate(over="ignore"):
        unit = np.where(np.isfinite(high - low), 1.0, 0.5)  # a range may be no double, but its half is
    low, high = low * unit, high * unit
    width = (high - low) / bins
    constant = width == 0
    place = (
        f"(x * {parameter(unit, 'j')} - {parameter(low, 'j')}) / {parameter(np.where(constant, np.inf, width), 'j')}"
    )
    binned = sql.select(sql.where(df, "x IS NOT NULL"), "j", f"least(int({place} + {EDGE}D), {bins - 1}) AS bin")
    counts = np.zeros((size, bins), dtype=np.int64)
    for j, at, number in binned.groupBy("j", "bin").count().collect():
        counts[j, at] = number
    made = []
    for j in range(size):
        used = 0 if not count[j] else 1 if constant[j] else bins
        edges = np.linspace(low[j], high[j], used + 1) / unit[j] if used else np.empty(0)
        made.append(Histogram(edges, counts[j, :used], int(rows[j] - count[j])))
    return made
