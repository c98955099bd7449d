"""Columns that tell which values lie outside a range, that of all rows or of a row's key."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkscale.spark.columns import FeatureColumn, temp_column_name
from sparkscale.spark.expression import FINITE, array_literal, elementwise, feature_index, literal, with_places
from sparkscale.spark.frame import Frame
from sparkscale.spark.keys import KeyColumn
from sparkscale.spark.transform.by_key import join_columns
from sparkscale.spark.transform.column_map import Array
from sparkscale.spark.transform.vectors import as_array

__all__ = ["add_outside"]


def add_outside(
    df: DataFrame,
    columns: Sequence[FeatureColumn],
    ranges: tuple[Array, Array] | DataFrame,
    entries: Sequence[str],
    keys: Sequence[KeyColumn] = (),
) -> tuple[DataFrame, list[str]]:
    """Add a column for each input, with 0 where a valid value lies outside the range of its feature, and null elsewhere.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data.
    columns : sequence of FeatureColumn
        Its columns, with their sizes.
    ranges : pair of numpy.ndarray, or pyspark.sql.DataFrame
        The least and the largest value of each entry, or of each key ``b`` the lists ``low`` and ``high``; nothing is
        outside the range of an unknown key.
    entries : sequence of str
        The entry of feature ``{0}`` of each column, as SQL.
    keys : sequence of KeyColumn
        The columns that make up a key.

    Returns
    -------
    pyspark.sql.DataFrame
        The data with these columns.
    list of str
        Their names.
    """
    frame = Frame(df)
    columns = frame.read(list(columns))
    if isinstance(ranges, DataFrame):
        added = frame.add_all([key.sql for key in frame.read(list(keys))])
        low, high = join_columns(frame, F.broadcast(ranges), added, ("low", "high"))
    else:
        low, high = frame.add_all([array_literal(values) for values in ranges])
    outputs = {}
    for column, entry in zip(columns, entries, strict=True):
        scalar = column.kind == "scalar"
        source, feature = (column.sql, "0") if scalar else (as_array(frame, column, "keep"), feature_index(column))
        place = entry.format(feature)
        x = f"double({source if scalar else 'x'})"
        valid = FINITE.format(x=x)
        if column.mask_value is not None:
            valid += f" AND {x} <> {literal(column.mask_value)}"
        outside = f"CASE WHEN {valid} AND ({x} < get({low}, {place}) OR {x} > get({high}, {place})) THEN 0D END"
        outputs[temp_column_name()] = outside if scalar else with_places(column, source, elementwise(source, outside))
    frame.add_named(outputs)
    return frame.finish(), [*outputs]
