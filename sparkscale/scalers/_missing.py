"""Params of what becomes of missing values, null and NaN, in transform."""

from __future__ import annotations

from sparkscale.scalers._columns import ColumnParams
from sparkscale.scalers._params import P, param, to_fill
from sparkscale.spark.names import unquoted

__all__ = ["HasMissing"]


class HasMissing(ColumnParams):
    """Mixin for filling missing values, and for columns that tell where they were. A model has ``_center``."""

    fillInvalid = param(
        "fillInvalid",
        "what transform gives for null and NaN, in scaled units: a number; 'center', the center of the feature as it is "
        "mapped; None: null and NaN",
        to_fill,
    )
    addIndicator = param(
        "addIndicator", "add a column <input>_missing for each input: 1 where a value is null or NaN, else 0", bool
    )

    _defaults = {"fillInvalid": None, "addIndicator": False}
    _none_is_a_value = ("fillInvalid",)

    def getFillInvalid(self) -> float | str | None:
        """Return ``fillInvalid``."""
        return self.getOrDefault(self.fillInvalid)

    def getAddIndicator(self) -> bool:
        """Return ``addIndicator``."""
        return self.getOrDefault(self.addIndicator)

    def setFillInvalid(self: P, value: float | str | None) -> P:
        """Set ``fillInvalid``."""
        return self._set(fillInvalid=value)

    def setAddIndicator(self: P, value: bool) -> P:
        """Set ``addIndicator``."""
        return self._set(addIndicator=value)

    def _indicator_names(self) -> list[str]:
        return [f"{unquoted(name)}_missing" for name in self._input_names()] if self.getAddIndicator() else []

    def _check_params(self) -> None:
        super()._check_params()
        if self.getFillInvalid() is not None and self.getHandleInvalid() != "keep":
            raise self._fail(
                f"fillInvalid fills what handleInvalid='keep' keeps, and handleInvalid is {self.getHandleInvalid()!r}. "
                "Set it to 'keep', or fillInvalid to None."
            )
