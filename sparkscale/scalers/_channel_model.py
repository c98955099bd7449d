"""Models of rows that are flattened tensors, whose channels have one entry of the statistic each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sparkscale.layout import Layout
from sparkscale.scalers._model import ScalerModel
from sparkscale.scalers._report import plus
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.transform.apply import slices_of
from sparkscale.statistics import Mergeable

__all__ = ["ChannelModel"]

S = TypeVar("S", bound=Mergeable)


class ChannelModel(ScalerModel[S]):
    """Base of the models that may have a shape."""

    @property
    def count(self) -> int:
        """Number of rows used in fit; with a shape that holds -1, number of values of a channel."""
        layout = self._layout()
        return super().count // (1 if layout is None or layout.is_open else layout.places)

    def _layouts(self, layout: Layout) -> list[Layout]:
        """Return the layout of the features of each column."""
        return [layout.sized(column.size or 0) for column in self._columns]

    def _entry_of_feature(self) -> slice | npt.NDArray[np.intp]:
        layout = self._layout()
        if layout is None:
            return super()._entry_of_feature()
        each = enumerate(self._layouts(layout))
        return np.concatenate([k * layout.channels + one.channel_of() for k, one in each])

    def _entry_sql(self, features: slice) -> str:
        layout = self._layout()
        if layout is None:
            return super()._entry_sql(features)
        column = [of_column.start for of_column in slices_of(self._columns)].index(features.start)
        of_column = self._layouts(layout)[column]
        if features.stop - features.start == of_column.size:
            return plus(column * layout.channels, of_column.index_sql("{0}"))
        channel = layout.index_sql(f"({{0}} % {layout.size})")  # in a vector of all columns
        return f"int({{0}} div {layout.size}) * {layout.channels} + {channel}"

    def _features_of(self, entry: int) -> range:
        layout = self._layout()
        if layout is None:
            return super()._features_of(entry)
        column, channel = divmod(entry, layout.channels)
        start, of_column = slices_of(self._columns)[column].start, self._layouts(layout)[column]
        features = start + of_column.features()[:, channel]
        step = int(features[1] - features[0]) if len(features) > 1 else 1
        return range(int(features[0]), int(features[-1]) + 1, step)

    def _entry_columns(self) -> Sequence[FeatureColumn]:
        layout = self._layout()
        if layout is None:
            return self._columns
        return [FeatureColumn(f"{c.name}_channel", "array", size=layout.channels) for c in self._columns]

    def _check_params(self) -> None:
        super()._check_params()
        layout = self._layout()
        for column in self._columns:
            of_rows = layout if layout and layout.is_open and column.kind == "array" else None
            if column.layout != of_rows:
                raise self._fail("shape or dataFormat was changed since fit. Set it back, or fit again.")

    def _restore(self, extra: Mapping[str, Any], statistic: Any) -> None:
        super()._restore(extra, statistic)
        self._check_columns(self._columns)
