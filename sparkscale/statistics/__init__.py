"""Mergeable statistics: computed per block of rows and merged over partitions, without Spark."""

from sparkscale.statistics._base import Fold, Mergeable, Statistic
from sparkscale.statistics._per_feature import PerFeature
from sparkscale.statistics.co_moments import CoMoments
from sparkscale.statistics.counts import Counts
from sparkscale.statistics.extrema import Extrema
from sparkscale.statistics.likelihood import Likelihood
from sparkscale.statistics.moments import Moments
from sparkscale.statistics.powers import BoxCoxMoments, PowerMoments, YeoJohnsonMoments
from sparkscale.statistics.quantiles import Quantiles
from sparkscale.statistics.running import BatchAverage, MovingAverage, RunningMoments
from sparkscale.statistics.sets import StatisticSet
from sparkscale.statistics.squares import Squares

__all__ = [
    "BatchAverage",
    "BoxCoxMoments",
    "CoMoments",
    "Counts",
    "Extrema",
    "Fold",
    "Likelihood",
    "Mergeable",
    "Moments",
    "MovingAverage",
    "PerFeature",
    "PowerMoments",
    "Quantiles",
    "RunningMoments",
    "Squares",
    "Statistic",
    "StatisticSet",
    "YeoJohnsonMoments",
]
