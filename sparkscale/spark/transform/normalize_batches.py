"""Normalization of each mini-batch by its own statistics, which are joined to the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkscale.errors import BatchError
from sparkscale.layout import Layout
from sparkscale.spark.columns import FeatureColumn, temp_column_name
from sparkscale.spark.expression import array_literal, failure
from sparkscale.spark.fit.batches import Batches, key_text
from sparkscale.spark.frame import Frame
from sparkscale.spark.transform.apply import Plan, apply
from sparkscale.spark.transform.column_map import FittedMap
from sparkscale.spark.transform.outputs import Paths
from sparkscale.spark.transform.vectors import drop_invalid_rows
from sparkscale.statistics import Moments

__all__ = ["normalize_batches"]

Array = npt.NDArray[np.float64]


def normalize_batches(
    df: DataFrame,
    batches: Batches,
    outputs: Sequence[str],
    of_batch: Callable[[Moments], tuple[Array, Array]],
    gain_and_bias: tuple[Array, Array],
    replaced: Paths,
) -> DataFrame:
    """Add ``(x - center) / scale * gain + bias``, with the center and scale of each row's batch.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data.
    batches : Batches
        The mini-batches.
    outputs : sequence of str
        A name for each column.
    of_batch : callable
        Computes center and scale from a batch's moments.
    gain_and_bias : pair of numpy.ndarray
        Gain and bias of the channels of all columns.
    replaced : mapping from str to tuple of str
        The paths of the columns, or fields of structs, that outputs replace.
    """
    named = [c.output(out) for c, out in zip(batches.columns, outputs, strict=True)]
    frame = Frame(df)
    batches = batches.readable(frame)
    if batches.handle_invalid == "skip":
        drop_invalid_rows(frame, batches.columns)
    key = frame.add(key_text(batches.key))
    scales = batches.scales(frame.df, of_batch)
    names = {name: temp_column_name() for name in scales.columns}
    frame.join(scales.withColumnsRenamed(names), equal={key: names["b"]})
    unknown = failure(
        BatchError,
        "Batch ",
        key,
        f" of column '{batches.key.name}' has no row of positive weight to compute statistics from. Drop it.",
        "array<double>",
    )
    maps = []
    start = 0
    for (k, place), column in zip(_places(batches), batches.columns, strict=True):
        channels = batches.layout.channels if batches.layout else (column.size or 0)
        gain, bias = (values[start : start + channels] for values in gain_and_bias)
        start += channels
        center, scale = names[f"c{k}"], names[f"s{k}"]
        known = f"CASE WHEN {center} IS NULL THEN {unknown} ELSE {center} END"
        maps.append(_BatchMap(known, scale, gain, bias, place, batches.layout))
    plan = Plan(batches.columns, named, maps, batches.handle_invalid, replaced=replaced)
    return apply(frame, plan)


@dataclass(frozen=True, eq=False)
class _BatchMap(FittedMap):
    """``(x - center) / scale * gain + bias``, where ``center`` and ``scale`` are SQL of array columns."""

    center: str
    scale: str
    gain: Array
    bias: Array
    place: int
    layout: Layout | None

    def sql(self, column: FeatureColumn, source: str) -> str:
        """See `ColumnMap`."""
        if column.kind == "scalar":
            mapped = self._mapped(f"double({source})", str(self.place), "0")
        else:
            index = self.layout.index_sql("i") if self.layout else "i"
            mapped = f"transform({source}, (x, i) -> {self._mapped('double(x)', index, index)})"
        return f"cast({mapped} AS {column.sql_type})" if column.single else mapped

    def _mapped(self, x: str, place: str, channel: str) -> str:
        mapped = f"({x} - get({self.center}, {place})) / get({self.scale}, {place})"
        if np.any(self.gain != 1):
            mapped = f"({mapped}) * get({array_literal(self.gain)}, {channel})"
        return f"({mapped}) + get({array_literal(self.bias)}, {channel})" if np.any(self.bias != 0) else mapped


def _places(batches: Batches) -> list[tuple[int, int]]:
    """Return the group of each column, and its position in the group."""
    places = {position: (k, i) for k, group in enumerate(batches.groups) for i, position in enumerate(group.positions)}
    return [places[i] for i in range(len(batches.columns))]
