"""Mergeable statistics: of a block of rows, merged over partitions. No Spark here."""

from sparkscale.statistics._base import Fold, Mergeable, Statistic
from sparkscale.statistics.extrema import Extrema
from sparkscale.statistics.moments import Moments
from sparkscale.statistics.running import BatchAverage, MovingAverage, RunningMoments

__all__ = [
    "BatchAverage",
    "Extrema",
    "Fold",
    "Mergeable",
    "Moments",
    "MovingAverage",
    "RunningMoments",
    "Statistic",
]
