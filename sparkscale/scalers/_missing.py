"""Params of what becomes of missing values, null and NaN, in transform, and of a value that marks others as missing."""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite

from sparkscale.scalers._columns import ColumnParams
from sparkscale.scalers._params import P, param, to_fill, to_float_or_none
from sparkscale.spark.names import unquoted

__all__ = ["HasMissing"]


class HasMissing(ColumnParams):
    """Mixin for filling missing values, for columns that tell where they were, and for a mask. A model has ``_center``."""

    fillInvalid = param(
        "fillInvalid",
        "what transform gives for null and NaN, in scaled units: a number; 'center', the center of the feature as it is "
        "mapped; None: null and NaN",
        to_fill,
    )
    addIndicator = param(
        "addIndicator", "add a column <input>_missing for each input: 1 where a value is null or NaN, else 0", bool
    )
    maskValue = param(
        "maskValue",
        "a value, such as that of padding, that counts as missing in fit, and is kept by transform",
        to_float_or_none,
    )

    _defaults = {"fillInvalid": None, "addIndicator": False, "maskValue": None}
    _none_is_a_value: Collection[str] = ("fillInvalid", "maskValue")

    def getFillInvalid(self) -> float | str | None:
        """Return ``fillInvalid``."""
        return self.getOrDefault(self.fillInvalid)

    def getAddIndicator(self) -> bool:
        """Return ``addIndicator``."""
        return self.getOrDefault(self.addIndicator)

    def getMaskValue(self) -> float | None:
        """Return ``maskValue``."""
        return self.getOrDefault(self.maskValue)

    def setFillInvalid(self: P, value: float | str | None) -> P:
        """Set ``fillInvalid``."""
        return self._set(fillInvalid=value)

    def setAddIndicator(self: P, value: bool) -> P:
        """Set ``addIndicator``."""
        return self._set(addIndicator=value)

    def setMaskValue(self: P, value: float | None) -> P:
        """Set ``maskValue``."""
        return self._set(maskValue=value)

    def _mask(self) -> float | None:
        return self.getMaskValue()

    def _indicator_names(self) -> list[str]:
        return [f"{unquoted(name)}_missing" for name in self._input_names()] if self.getAddIndicator() else []

    def _check_params(self) -> None:
        super()._check_params()
        mask = self.getMaskValue()
        if mask is not None and not isfinite(mask):
            raise self._fail(f"maskValue must be a finite number: NaN and infinity are invalid anyway. Got {mask}.")
        if self.getFillInvalid() is not None and self.getHandleInvalid() != "keep":
            raise self._fail(
                f"fillInvalid fills what handleInvalid='keep' keeps, and handleInvalid is {self.getHandleInvalid()!r}. "
                "Set it to 'keep', or fillInvalid to None."
            )
