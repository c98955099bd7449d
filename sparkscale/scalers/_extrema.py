"""Models of least and largest values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from sparkscale.display.html import Extent
from sparkscale.scalers._model import Array, ScalerModel
from sparkscale.statistics import Extrema

__all__ = ["ExtremaModel"]

E = TypeVar("E", bound=Extrema)


class ExtremaModel(ScalerModel[E]):
    """Base of the models of least and largest values."""

    _statistic_class: type[Extrema] = Extrema

    def _numbers_of(self, statistic: E) -> Mapping[str, Array]:
        return {"originalMin": statistic.min, "originalMax": statistic.max}

    def _spread(self) -> Array:
        with np.errstate(all="ignore"):
            return self._numbers["originalMax"] - self._numbers["originalMin"]

    def _extent(self) -> Extent:
        return Extent(self._numbers["originalMin"], self._numbers["originalMax"])
