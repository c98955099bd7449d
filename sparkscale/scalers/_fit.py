"""The scan that a fit is, and that an update repeats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame

from sparkscale.errors import ColumnTypeError
from sparkscale.layout import Layout
from sparkscale.scalers._columns import ColumnParams
from sparkscale.scalers._params import P, param
from sparkscale.spark import gpu
from sparkscale.spark.columns import FeatureColumn, resolve
from sparkscale.spark.fit.scan import Summary, summarize

__all__ = ["FitMixin"]


class FitMixin(ColumnParams):
    """What estimator and model share: the scan, which the model repeats to update itself."""

    handleEmpty = param(
        "handleEmpty",
        "a feature without any valid value. 'keep': maps to NaN, with a warning; 'error': fit, merge and update fail.",
        str,
    )

    _defaults = {"handleEmpty": "keep"}
    _choices = {"handleEmpty": ("keep", "error")}

    def getHandleEmpty(self) -> str:
        """Return ``handleEmpty``."""
        return self.getOrDefault(self.handleEmpty)

    def setHandleEmpty(self: P, value: str) -> P:
        """Set ``handleEmpty``."""
        return self._set(handleEmpty=value)

    def _summarize(self, df: DataFrame, columns: Sequence[FeatureColumn], statistic_class: type[Any]) -> Summary | None:
        return summarize(
            df,
            columns,
            statistic_class,
            handle_invalid=self.getHandleInvalid(),
            weight=self._weight(df),
            device=gpu.effective_device(self.getDevice(), df.sparkSession),
            layout=self._layout(),
        )

    def _layout(self) -> Layout | None:
        """Return how arrays and vectors hold channels, of which each has one entry in the statistic."""
        return None

    def _weight(self, df: DataFrame) -> FeatureColumn | None:
        if not (self.hasParam("weightCol") and self.isSet("weightCol")):
            return None
        name = self.getOrDefault("weightCol")
        try:
            weight = resolve(df, [name])[0]
        except ColumnTypeError:
            weight = None
        if weight is None or weight.kind != "scalar":
            raise ColumnTypeError(f"Weight column '{name}' must be one number a row. Name another column, or cast it.")
        return weight
