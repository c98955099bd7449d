"""Params of batch normalization, and its scan of the data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from pyspark.sql import DataFrame

from sparkscale.scalers._fit import FitMixin
from sparkscale.scalers._groups import HasGroups
from sparkscale.scalers._learned import Array
from sparkscale.scalers._missing import HasMissing
from sparkscale.scalers._params import P, param, to_float_or_none
from sparkscale.scalers._shared_params import HasBias, HasEpsilon, HasShape, HasWeight
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit.batches import Batches
from sparkscale.spark.fit.scan import Summary
from sparkscale.spark.gpu import effective_device
from sparkscale.spark.keys import resolve_key
from sparkscale.statistics import BatchAverage, MovingAverage, RunningMoments

__all__ = ["BatchNormParams"]


class BatchNormParams(HasWeight, HasEpsilon, HasShape, HasBias, HasMissing, HasGroups, FitMixin):
    """What estimator and model share: Params, and the scan of rows, of places or of mini-batches."""

    _may_be_open = True

    momentum = param(
        "momentum",
        "weight of a new batch in the moving average, as in PyTorch (1 minus Keras's); None for the plain average",
        to_float_or_none,
    )
    batchCol = param("batchCol", "column that tells each row's mini-batch, and by its order that of the batches", str)

    _defaults = {"momentum": 0.1, "gamma": [1.0], "beta": [0.0]}
    _none_is_a_value = ("momentum",)

    def getMomentum(self) -> float | None:
        """Return ``momentum``."""
        return self.getOrDefault(self.momentum)

    def getBatchCol(self) -> str:
        """Return ``batchCol``."""
        return self.getOrDefault(self.batchCol)

    def setMomentum(self: P, value: float | None) -> P:
        """Set ``momentum``."""
        return self._set(momentum=value)

    def setBatchCol(self: P, value: str) -> P:
        """Set ``batchCol``."""
        return self._set(batchCol=value)

    def _check_params(self) -> None:
        super()._check_params()
        if self.getEpsilon() == 0:
            raise self._fail("epsilon must be positive. Got 0.0.")
        momentum = self.getMomentum()
        if momentum is not None and not 0 <= momentum <= 1:
            raise self._fail(f"momentum must be between 0 and 1, or None. Got {momentum}.")

    @property
    def _length(self) -> int | None:
        return None  # of all columns' channels, which fit knows; one value is for all

    def _per_channel(self, name: str, channels: int) -> Array:
        values = np.asarray(self.getOrDefault(name), dtype=np.float64)
        if len(values) not in (1, channels):
            raise self._fail(f"{name} has {len(values)} values for {channels} channels. Give one a channel, or one.")
        return np.broadcast_to(values, (channels,))

    def _check_columns(self, columns: Sequence[FeatureColumn]) -> None:
        super()._check_columns(columns)
        layout = self._layout()
        channels = [layout.channels if layout else column.size for column in columns]
        if None not in channels:  # known before any job
            for name in ("gamma", "beta"):
                self._per_channel(name, sum(n or 0 for n in channels))

    def _summarize(self, df: DataFrame, columns: Sequence[FeatureColumn], statistic_class: type[Any]) -> Summary | None:
        if issubclass(statistic_class, RunningMoments):
            self._check_columns(columns)
            return self._batches(df, columns).summarize(df, statistic_class, self._of_batches(statistic_class))
        return super()._summarize(df, columns, statistic_class)

    def _of_batches(self, statistic_class: type[RunningMoments]) -> Any:
        if not issubclass(statistic_class, MovingAverage):
            return BatchAverage.of_batches
        momentum = self.getMomentum()
        if momentum is None:
            raise self._fail("a moving average cannot go on as a plain one. Set momentum to a number, or fit again.")
        return partial(MovingAverage.of_batches, momentum=momentum)

    def _batches(self, df: DataFrame, columns: Sequence[FeatureColumn]) -> Batches:
        if not self.isSet("batchCol"):
            raise self._fail("batchCol is not set. Name the column that tells each row's mini-batch.")
        if self._open_layout() is not None:
            raise self._fail(
                f"mini-batches need rows of one length. Got shape={self.getShape()}: give all its lengths."
            )
        key = resolve_key(df, self.getBatchCol())
        return Batches(
            columns,
            key,
            self._layout(),
            self.getHandleInvalid(),
            self._weight(df),
            effective_device(self.getDevice(), df.sparkSession),
        )
