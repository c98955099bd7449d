"""The scan that a fit is, and that an update repeats."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import DataFrame

from sparkscale.layout import Layout
from sparkscale.scalers._columns import ColumnParams
from sparkscale.scalers._groups import set_of_one
from sparkscale.scalers._params import P, param
from sparkscale.spark import gpu
from sparkscale.spark.columns import FeatureColumn, resolve_weight
from sparkscale.spark.fit.by_key import Keyed, summarize_by_key
from sparkscale.spark.fit.scan import Summary, summarize
from sparkscale.spark.fit.tables import StatisticTable
from sparkscale.spark.keys import KeyColumn

__all__ = ["FitMixin", "LearnedRows"]

LOG = logging.getLogger("sparkscale")


@dataclass(frozen=True)
class LearnedRows:
    """The statistic of some rows, the sizes of the columns, and the statistics of each key."""

    statistic: Any
    sizes: tuple[int, ...]
    table: StatisticTable | None = None


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
        self._check_columns(columns)
        return summarize(
            df,
            columns,
            statistic_class,
            handle_invalid=self.getHandleInvalid(),
            weight=self._weight(df),
            device=gpu.effective_device(self.getDevice(), df.sparkSession),
            layout=self._layout(),
        )

    def _summarize_by_key(
        self, df: DataFrame, columns: Sequence[FeatureColumn], keys: Sequence[KeyColumn], statistic_class: type[Any]
    ) -> Keyed | None:
        """Compute a statistic of each key, on the CPU."""
        if gpu.effective_device(self.getDevice(), df.sparkSession) != "cpu":
            LOG.info("%s: statistics by key are computed on the CPU.", type(self).__name__)
        self._check_columns(columns)
        return summarize_by_key(
            df,
            columns,
            keys,
            set_of_one(statistic_class),
            handle_invalid=self.getHandleInvalid(),
            weight=self._weight(df),
            layout=self._layout(),
        )

    def _learn_rows(
        self, df: DataFrame, columns: Sequence[FeatureColumn], keys: Sequence[KeyColumn], statistic_class: type[Any]
    ) -> LearnedRows | None:
        """Return what rows show, of each key too if there are keys; ``None`` if there is no row."""
        if not keys:
            summary = self._summarize(df, columns, statistic_class)
            return LearnedRows(summary.statistic, summary.sizes) if summary else None
        by_key = self._summarize_by_key(df, columns, keys, statistic_class)
        total: Any = by_key.table.total() if by_key else None
        return LearnedRows(total.statistics[0], by_key.sizes, by_key.table) if by_key and total else None

    def _check_columns(self, columns: Sequence[FeatureColumn]) -> None:
        """Refuse columns whose known sizes contradict Params."""
        layout = self._layout()
        for column in columns:
            if column.kind == "vector" and column.mask == 0:
                raise self._fail(
                    f"maskValue=0 is not for vectors such as '{column.name}', since those that are sparse do not store zeros. "
                    "Convert the column to arrays (vector_to_array)."
                )
            if layout is not None and column.size is not None and column.layout is None:
                layout.check(column.name, column.size)

    def _layout(self) -> Layout | None:
        """Return how arrays and vectors hold channels, of which each has one entry in the statistic."""
        return None

    def _mask(self) -> float | None:
        """Return the value that counts as missing and is kept, if there is one."""
        return None

    def _described(self, columns: Sequence[FeatureColumn]) -> list[FeatureColumn]:
        """Return columns as the Params describe them: the features of arrays of any length are their channels."""
        layout, mask = self._layout(), self._mask()
        columns = [replace(c, mask=mask) for c in columns]
        if layout is None or not layout.is_open:
            return columns
        return [replace(c, size=layout.channels, layout=layout) if c.kind == "array" else c for c in columns]

    def _weight(self, df: DataFrame) -> FeatureColumn | None:
        if not (self.hasParam("weightCol") and self.isSet("weightCol")):
            return None
        return resolve_weight(df, self.getOrDefault("weightCol"))
