"""Models whose map is monotone, but not affine."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sparkscale.scalers._model import Array, ScalerModel
from sparkscale.statistics import Mergeable

__all__ = ["CurveModel"]

S = TypeVar("S", bound=Mergeable)


class CurveModel(ScalerModel[S]):
    """Base of the models with a curve for each feature."""

    def _entry_map(self, ignored: npt.NDArray[np.bool_] | None = None) -> Any:
        self._check_params()
        if ignored is None:
            self._check_empty()
        return self._map()

    def _shown_map(self) -> dict[str, Array]:
        return {}
