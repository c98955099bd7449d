"""The Params that a statistic depends on, besides those that its class shows: they may not change after fit."""

from __future__ import annotations

from typing import Any

from sparkscale.scalers._fit import FitMixin

__all__ = ["FitOptions"]


class FitOptions(FitMixin):
    """Mixin for fitted models."""

    _fit_options: dict[str, Any] | None = None
    """The shape and the mask of fit; ``None`` if there was no fit."""

    def _options(self) -> dict[str, Any]:
        """Return what the Params are now."""
        layout, mask = self._layout(), self._mask()
        shape = {} if layout is None else {"shape": [*layout.shape], "dataFormat": layout.data_format}
        return shape if mask is None else {**shape, "maskValue": mask}

    def _saved_options(self) -> dict[str, Any]:
        """Return what is saved of them: nothing if there is neither a shape nor a mask."""
        then = self._fit_options
        return {} if then is None or not (then or self._options()) else {"options": then}

    def _check_params(self) -> None:
        super()._check_params()
        now, then = self._options(), self._fit_options
        if then is not None and any(now.get(name) != then.get(name) for name in ("shape", "dataFormat")):
            raise self._fail("shape or dataFormat was changed since fit. Set it back, or fit again.")

    def _mask_of_fit(self) -> float | None:
        return self._mask() if self._fit_options is None else self._fit_options.get("maskValue")

    def _check_same_mask(self, mask: float | None) -> None:
        """Refuse to add what was learned with another mask."""
        if mask != self._mask_of_fit():
            raise self._fail(
                f"statistics of maskValue {self._mask_of_fit()} and {mask} do not add up. Use the same maskValue in all of them."
            )
