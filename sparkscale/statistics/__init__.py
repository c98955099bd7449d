"""Mergeable statistics: of a block of rows, merged over partitions. No Spark here."""

from sparkscale.statistics._base import Fold, Statistic
from sparkscale.statistics.extrema import Extrema
from sparkscale.statistics.moments import Moments

__all__ = ["Extrema", "Fold", "Moments", "Statistic"]
