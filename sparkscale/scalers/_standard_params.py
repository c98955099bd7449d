"""Params of StandardScaler."""

from __future__ import annotations

from sparkscale.scalers._groups import HasGroups
from sparkscale.scalers._missing import HasMissing
from sparkscale.scalers._params import P, param
from sparkscale.scalers._shared_params import HasClipRange, HasConstant, HasLayout, HasWeight

__all__ = ["StandardParams"]


class StandardParams(HasWeight, HasLayout, HasConstant, HasClipRange, HasMissing, HasGroups):
    """What estimator and model share."""

    withMean = param("withMean", "subtract the mean", bool)
    withStd = param("withStd", "divide by the standard deviation", bool)
    ddof = param("ddof", "delta degrees of freedom: 1 for the sample's standard deviation, 0 for the population's", int)

    _defaults = {"withMean": False, "withStd": True, "ddof": 1}

    def getWithMean(self) -> bool:
        """Return ``withMean``."""
        return self.getOrDefault(self.withMean)

    def getWithStd(self) -> bool:
        """Return ``withStd``."""
        return self.getOrDefault(self.withStd)

    def getDdof(self) -> int:
        """Return ``ddof``."""
        return self.getOrDefault(self.ddof)

    def setWithMean(self: P, value: bool) -> P:
        """Set ``withMean``."""
        return self._set(withMean=value)

    def setWithStd(self: P, value: bool) -> P:
        """Set ``withStd``."""
        return self._set(withStd=value)

    def setDdof(self: P, value: int) -> P:
        """Set ``ddof``."""
        return self._set(ddof=value)

    def _check_params(self) -> None:
        super()._check_params()
        if self.getDdof() not in (0, 1):
            raise self._fail(f"ddof must be 0 or 1. Got {self.getDdof()}.")
