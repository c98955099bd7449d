"""Params that layers share, with a fit and without."""

from __future__ import annotations

from math import prod
from typing import Any, TypeVar

import numpy as np
from pyspark.ml.param import Param, Params, TypeConverters

from sparkscale.layout import FORMATS, LONGEST, Layout, are_lengths
from sparkscale.scalers._params import ColumnParams

__all__ = ["HasBias", "HasClipNorm", "HasEpsilon", "HasGain", "HasShape"]

P = TypeVar("P", bound=ColumnParams)


class HasEpsilon(ColumnParams):
    """Mixin for what keeps divisors away from 0."""

    epsilon: Param[float] = Param(
        Params._dummy(), "epsilon", "added to the variance or mean square", typeConverter=TypeConverters.toFloat
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(epsilon=1e-5)

    def getEpsilon(self) -> float:
        """Return ``epsilon``."""
        return self.getOrDefault(self.epsilon)

    def setEpsilon(self: P, value: float) -> P:
        """Set ``epsilon``."""
        return self._set(epsilon=value)

    def _check_params(self) -> None:
        super()._check_params()
        if not 0.0 <= self.getEpsilon() < np.inf:
            raise self._fail(f"epsilon must be at least 0 and finite. Got {self.getEpsilon()}.")


class HasClipNorm(ColumnParams):
    """Mixin for the largest norm."""

    clipNorm: Param[float] = Param(
        Params._dummy(), "clipNorm", "the largest norm, positive", typeConverter=TypeConverters.toFloat
    )
    formula: Param[str] = Param(
        Params._dummy(),
        "formula",
        "'tensorflow': what is longer gets clipNorm exactly; 'torch': 1e-6 is added to the norm first.",
        typeConverter=TypeConverters.toString,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(formula="tensorflow")

    def getClipNorm(self) -> float:
        """Return ``clipNorm``."""
        return self.getOrDefault(self.clipNorm)

    def getFormula(self) -> str:
        """Return ``formula``."""
        return self.getOrDefault(self.formula)

    def setClipNorm(self: P, value: float) -> P:
        """Set ``clipNorm``."""
        return self._set(clipNorm=value)

    def setFormula(self: P, value: str) -> P:
        """Set ``formula``."""
        return self._set(formula=value)

    def _check_params(self) -> None:
        super()._check_params()
        self._check_choice("formula", ("tensorflow", "torch"))
        norm = self.getClipNorm() if self.isDefined("clipNorm") else None
        if norm is None or not 0.0 < norm < np.inf:
            raise self._fail(f"clipNorm must be set, positive and finite. Got {norm}.")


class HasGain(ColumnParams):
    """Mixin for the gain. Where the shape tells how long it is, ``HasShape`` comes first."""

    gamma: Param[list[float]] = Param(
        Params._dummy(), "gamma", "gain: what results are multiplied by", typeConverter=TypeConverters.toListFloat
    )

    def getGamma(self) -> list[float]:
        """Return ``gamma``."""
        return self.getOrDefault(self.gamma)

    def setGamma(self: P, value: list[float]) -> P:
        """Set ``gamma``."""
        return self._set(gamma=value)

    def _gains(self) -> dict[str, Any]:
        """Return gain and bias, as far as they are set."""
        return {n: self.getOrDefault(n) for n in ("gamma", "beta") if self.hasParam(n) and self.isSet(n)}

    @property
    def _length(self) -> int | None:
        """How many values gain and bias have, if other Params or they themselves tell."""
        return next((len(values) for values in self._gains().values()), None)

    def _reason(self) -> str:
        """Say why a row of another length is refused, as the end of a sentence."""
        return f", but gamma or beta has {self._length} values. Give one for each place, or correct the rows."

    def _check_axes(self, name: str) -> None:
        if self.isSet(name) and not are_lengths(self.getOrDefault(name)):
            raise self._fail(
                f"{name} must be a list of positive integers, whose product is at most {LONGEST}. "
                f"Got {self.getOrDefault(name)}."
            )

    def _check_params(self) -> None:
        super()._check_params()
        for name, values in self._gains().items():
            if not (values and np.all(np.isfinite(values))):
                raise self._fail(f"{name} must be a list of finite numbers. Got {values}.")
            if self._length is not None and len(values) != self._length:
                raise self._fail(f"{name} has {len(values)} values where {self._length} are needed. Give one for each.")


class HasBias(HasGain):
    """Mixin for gain and bias."""

    beta: Param[list[float]] = Param(
        Params._dummy(), "beta", "bias: what is added to results", typeConverter=TypeConverters.toListFloat
    )

    def getBeta(self) -> list[float]:
        """Return ``beta``."""
        return self.getOrDefault(self.beta)

    def setBeta(self: P, value: list[float]) -> P:
        """Set ``beta``."""
        return self._set(beta=value)


class HasShape(HasGain):
    """Mixin for rows that are flattened tensors, whose channels have a gain each."""

    shape: Param[list[int]] = Param(
        Params._dummy(),
        "shape",
        "shape of the tensor that a row holds flattened",
        typeConverter=TypeConverters.toListInt,
    )
    dataFormat: Param[str] = Param(
        Params._dummy(),
        "dataFormat",
        "the axis of the shape that is that of the channels: 'channelsFirst' or 'channelsLast'",
        typeConverter=TypeConverters.toString,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(dataFormat="channelsFirst")

    def getShape(self) -> list[int]:
        """Return ``shape``."""
        return self.getOrDefault(self.shape)

    def getDataFormat(self) -> str:
        """Return ``dataFormat``."""
        return self.getOrDefault(self.dataFormat)

    def setShape(self: P, value: list[int]) -> P:
        """Set ``shape``."""
        return self._set(shape=value)

    def setDataFormat(self: P, value: str) -> P:
        """Set ``dataFormat``."""
        return self._set(dataFormat=value)

    def _layout(self) -> Layout | None:
        return Layout(tuple(self.getShape()), self.getDataFormat()) if self.isSet("shape") else None

    @property
    def _first(self) -> bool:
        return self.getDataFormat() == "channelsFirst"

    @property
    def _channels(self) -> int:
        """How many channels the shape has."""
        return Layout(self.getShape(), self.getDataFormat()).channels

    @property
    def _axes(self) -> tuple[int, int]:
        """The axes of a row: channels and places, or places and channels; without a shape one place each."""
        axes = (self._channels, self._places) if self.isSet("shape") else (-1, 1)
        return axes if self._first else (axes[1], axes[0])

    @property
    def _places(self) -> int:
        """How many places each channel has: one, where a row is its channels."""
        layout = self._layout()
        return layout.places if layout else 1

    @property
    def _length(self) -> int | None:
        return self._channels if self.isSet("shape") else super()._length

    def _check_params(self) -> None:
        self._check_choice("dataFormat", FORMATS)
        self._check_axes("shape")
        super()._check_params()

    def _reason(self) -> str:
        if not self.isSet("shape"):
            return super()._reason()
        return f", but shape {self.getShape()} has {prod(self.getShape())} places. Correct the shape, or the rows."
