"""Each mini-batch mapped by its own statistics: a table of them, joined to the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkscale.errors import BatchError
from sparkscale.layout import Layout
from sparkscale.spark import sql, vectors
from sparkscale.spark.batches import Batches, key_text
from sparkscale.spark.columns import FeatureColumn, fresh
from sparkscale.spark.expression import array_literal, failure, guarded, sized
from sparkscale.spark.transform import Paths, complete, finished
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
        Its mini-batches.
    outputs : sequence of str
        A name for each column.
    of_batch : callable
        Makes center and scale of a batch's moments.
    gain_and_bias : pair of numpy.ndarray
        Of the channels of all columns.
    replaced : mapping from str to tuple of str
        The outputs that replace a column, or a field of a struct, and its path.
    """
    described = [c.output(out) for c, out in zip(batches.columns, outputs, strict=True)]
    df, batches, temporary = batches.readable(df)
    if batches.handle_invalid == "skip":
        df = complete(df, batches.columns)
    key, b = fresh(), fresh()
    found = batches.normalizing(df, of_batch)
    parts = {name: fresh() for name in found.columns if name != "b"}
    found = sql.select(found, f"b AS {b}", *(f"{name} AS {other}" for name, other in parts.items()))
    df = sql.select(df, "*", f"{key_text(batches.key)} AS {key}")
    df = df.join(found, on=df[key] == found[b], how="left")
    unknown = failure(
        BatchError,
        "Batch ",
        key,
        f" of column '{batches.key.name}' has no row of positive weight to take statistics from. Leave it out.",
    )
    temporary += [key, b, *parts.values()]
    made: dict[str, str] = {}
    start = 0
    for (k, place), column, out in zip(_places(batches), batches.columns, outputs, strict=True):
        channels = _channels(column, batches.layout)
        gain, bias = (values[start : start + channels] for values in gain_and_bias)
        start += channels
        center, scale = parts[f"c{k}"], parts[f"s{k}"]
        known = f"CASE WHEN {center} IS NULL THEN {unknown} ELSE {center} END"
        invalid = batches.handle_invalid
        if column.kind == "scalar":
            x = f"(double({column.sql}) - get({known}, {place})) / get({scale}, {place})"
            text = _gained(x, gain, bias, "0")
            text = f"float({text})" if column.single else text
            made[out] = guarded(column, column.sql, text, invalid)
            continue
        source = column.sql
        if column.kind == "vector":
            df, array = vectors.as_array(df, column, invalid)
            temporary += array
            source = array[0]
        index = batches.layout.index_sql("i") if batches.layout else "i"
        x = _gained(f"(double(x) - get({known}, {index})) / get({scale}, {index})", gain, bias, index)
        text = sized(column, source, column.size or 0, f"transform({source}, (x, i) -> {x})")
        text = f"cast({text} AS array<float>)" if column.single else text
        if column.kind == "vector":
            df, made_names = vectors.from_array(df, text)
            temporary += made_names
            made[out] = made_names[0]
        else:
            made[out] = guarded(column, source, text, invalid)
    return finished(df, described, made, temporary, replaced)


def _places(batches: Batches) -> list[tuple[int, int]]:
    """Return each column's group, and its place there."""
    found = {at: (k, i) for k, group in enumerate(batches.parts) for i, at in enumerate(group.positions)}
    return [found[i] for i in range(len(batches.columns))]


def _channels(column: FeatureColumn, layout: Layout | None) -> int:
    return layout.channels if layout else (column.size or 0)


def _gained(x: str, gain: Array, bias: Array, index: str) -> str:
    if np.any(gain != 1):
        x = f"({x}) * get({array_literal(gain)}, {index})"
    return f"({x}) + get({array_literal(bias)}, {index})" if np.any(bias != 0) else x
