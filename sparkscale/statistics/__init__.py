"""Mergeable statistics: of a block of rows, merged over partitions. No Spark here."""

from sparkscale.statistics._base import Fold, Statistic
from sparkscale.statistics.co_moments import CoMoments
from sparkscale.statistics.extrema import Extrema
from sparkscale.statistics.moments import Moments
from sparkscale.statistics.squares import Squares

__all__ = ["CoMoments", "Extrema", "Fold", "Moments", "Squares", "Statistic"]
