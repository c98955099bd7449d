"""Columns that tell which values are missing."""

from __future__ import annotations

from dataclasses import dataclass

from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import elementwise, is_missing
from sparkscale.spark.transform.column_map import FittedMap

__all__ = ["Indicator"]


@dataclass(frozen=True)
class Indicator(FittedMap):
    """1 for null and NaN, 0 for any other number; null for a null array or vector."""

    integer_type = "tinyint"

    def sql(self, column: FeatureColumn, source: str) -> str:
        """See `ColumnMap`."""
        if column.kind == "scalar":
            return f"tinyint({is_missing(column, source)})"
        return elementwise(source, f"tinyint({is_missing(column, 'x')})")
