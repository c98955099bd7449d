"""Mergeable statistics: of a block of rows, merged over partitions. No Spark here."""

from sparkscale.statistics._base import Fold, Mergeable, Statistic
from sparkscale.statistics.co_moments import CoMoments
from sparkscale.statistics.extrema import Extrema
from sparkscale.statistics.moments import Moments
from sparkscale.statistics.running import BatchAverage, MovingAverage, RunningMoments
from sparkscale.statistics.squares import Squares

__all__ = [
    "BatchAverage",
    "CoMoments",
    "Extrema",
    "Fold",
    "Mergeable",
    "Moments",
    "MovingAverage",
    "RunningMoments",
    "Squares",
    "Statistic",
]
