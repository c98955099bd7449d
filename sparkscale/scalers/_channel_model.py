"""Models of rows that are flattened tensors, whose channels have one entry of the statistic each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sparkscale.scalers._model import ScalerModel
from sparkscale.spark.columns import FeatureColumn
from sparkscale.statistics import Mergeable

__all__ = ["ChannelModel"]

S = TypeVar("S", bound=Mergeable)


class ChannelModel(ScalerModel[S]):
    """Base of the models that may have a shape."""

    @property
    def count(self) -> int:
        """Number of rows used in fit."""
        layout = self._layout()
        return super().count // (layout.places if layout else 1)

    def _entry_of_feature(self) -> slice | npt.NDArray[np.intp]:
        layout = self._layout()
        if layout is None:
            return super()._entry_of_feature()
        starts = np.arange(len(self._columns)) * layout.channels
        return np.concatenate([start + layout.channel_of() for start in starts])

    def _features_of(self, entry: int) -> range:
        layout = self._layout()
        if layout is None:
            return super()._features_of(entry)
        column, channel = divmod(entry, layout.channels)
        first, step = (
            (channel * layout.places, 1) if layout.data_format == "channelsFirst" else (channel, layout.channels)
        )
        return range(column * layout.size + first, column * layout.size + first + step * layout.places, step)

    def _entry_columns(self) -> Sequence[FeatureColumn]:
        layout = self._layout()
        if layout is None:
            return self._columns
        return [FeatureColumn(f"{c.name}_channel", "array", size=layout.channels) for c in self._columns]

    def _restore(self, extra: Mapping[str, Any], statistic: Any) -> None:
        super()._restore(extra, statistic)
        layout = self._layout()
        if layout is not None:
            for column in self._columns:
                layout.check(column.name, column.size or 0)
