"""Params of RobustScaler."""

from __future__ import annotations

from sparkscale.scalers._groups import HasGroups
from sparkscale.scalers._params import P, param
from sparkscale.scalers._quantiles import HasQuantiles
from sparkscale.scalers._shared_params import HasClipRange, HasConstant, HasLayout

__all__ = ["RobustParams"]


class RobustParams(HasLayout, HasQuantiles, HasConstant, HasClipRange, HasGroups):
    """What estimator and model share."""

    withCentering = param("withCentering", "subtract the median", bool)
    withScaling = param("withScaling", "divide by the range between the quantiles", bool)
    unitVariance = param("unitVariance", "divide by the standard deviation of normal data of the same range", bool)

    _defaults = {"lower": 0.25, "upper": 0.75, "withCentering": False, "withScaling": True, "unitVariance": False}

    def getWithCentering(self) -> bool:
        """Return ``withCentering``."""
        return self.getOrDefault(self.withCentering)

    def getWithScaling(self) -> bool:
        """Return ``withScaling``."""
        return self.getOrDefault(self.withScaling)

    def getUnitVariance(self) -> bool:
        """Return ``unitVariance``."""
        return self.getOrDefault(self.unitVariance)

    def setWithCentering(self: P, value: bool) -> P:
        """Set ``withCentering``."""
        return self._set(withCentering=value)

    def setWithScaling(self: P, value: bool) -> P:
        """Set ``withScaling``."""
        return self._set(withScaling=value)

    def setUnitVariance(self: P, value: bool) -> P:
        """Set ``unitVariance``."""
        return self._set(unitVariance=value)

    def _check_params(self) -> None:
        super()._check_params()
        if self.getUnitVariance() and not (self.getLower() > 0 and self.getUpper() < 1):
            raise self._fail(
                "unitVariance needs lower and upper between 0 and 1, since normal data have no bounds. "
                f"Got lower={self.getLower()}, upper={self.getUpper()}."
            )
