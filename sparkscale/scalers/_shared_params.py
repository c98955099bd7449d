"""Params that stages share."""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from typing import Any

import numpy as np
from pyspark.ml.param.shared import HasWeightCol

from sparkscale.layout import FORMATS, MAX_ARRAY_LENGTH, Layout, are_lengths
from sparkscale.scalers._columns import ColumnParams
from sparkscale.scalers._params import P, param, to_range

__all__ = [
    "HasBias",
    "HasClip",
    "HasClipNorm",
    "HasClipRange",
    "HasConstant",
    "HasEpsilon",
    "HasGain",
    "HasLayout",
    "HasShape",
    "HasWeight",
    "check_axes",
]


class HasClip(ColumnParams):
    """Mixin for clipping to the target range."""

    clip = param("clip", "clip results to the target range", bool)

    _defaults = {"clip": False}

    def getClip(self) -> bool:
        """Return ``clip``."""
        return self.getOrDefault(self.clip)

    def setClip(self: P, value: bool) -> P:
        """Set ``clip``."""
        return self._set(clip=value)


class HasClipRange(ColumnParams):
    """Mixin for clipping to a range in scaled units."""

    clip = param("clip", "[low, high], in scaled units, to clip results to; None: do not clip", to_range)

    _defaults = {"clip": None}
    _none_is_a_value: Collection[str] = ("clip",)

    def getClip(self) -> list[float] | None:
        """Return ``clip``."""
        return self.getOrDefault(self.clip)

    def setClip(self: P, value: list[float] | None) -> P:
        """Set ``clip``."""
        return self._set(clip=value)


class HasConstant(ColumnParams):
    """Mixin for what becomes of constant features."""

    handleConstant = param(
        "handleConstant",
        "a feature without spread. 'collapse': maps to one value, as in Spark; 'unit': is divided by 1, as in "
        "scikit-learn.",
        str,
    )

    _defaults = {"handleConstant": "collapse"}
    _choices = {"handleConstant": ("collapse", "unit")}

    def getHandleConstant(self) -> str:
        """Return ``handleConstant``."""
        return self.getOrDefault(self.handleConstant)

    def setHandleConstant(self: P, value: str) -> P:
        """Set ``handleConstant``."""
        return self._set(handleConstant=value)


class HasWeight(HasWeightCol):
    """Mixin for row weights."""

    def setWeightCol(self: P, value: str) -> P:
        """Set ``weightCol``."""
        return self._set(weightCol=value)


class HasClipNorm(ColumnParams):
    """Mixin for the largest norm."""

    clipNorm = param("clipNorm", "the largest norm, positive", float)
    formula = param(
        "formula", "'tensorflow': what is longer gets clipNorm exactly; 'torch': 1e-6 is added to the norm first.", str
    )

    _defaults = {"formula": "tensorflow"}
    _choices = {"formula": ("tensorflow", "torch")}

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
        norm = self.getClipNorm() if self.isDefined("clipNorm") else None
        if norm is None or not 0.0 < norm < np.inf:
            raise self._fail(f"clipNorm must be set, positive and finite. Got {norm}.")


class HasEpsilon(ColumnParams):
    """Mixin for what keeps divisors away from 0."""

    epsilon = param("epsilon", "added to the variance or mean square", float)

    _defaults = {"epsilon": 1e-5}

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


class HasGain(ColumnParams):
    """Mixin for the gain. Where the shape tells how long it is, ``HasShape`` comes first."""

    gamma = param("gamma", "gain: what results are multiplied by", list[float])

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

    def _check_params(self) -> None:
        super()._check_params()
        for name, values in self._gains().items():
            if not (values and np.all(np.isfinite(values))):
                raise self._fail(f"{name} must be a list of finite numbers. Got {values}.")
            if self._length is not None and len(values) != self._length:
                raise self._fail(f"{name} has {len(values)} values where {self._length} are needed. Give one for each.")


class HasBias(HasGain):
    """Mixin for gain and bias."""

    beta = param("beta", "bias: what is added to results", list[float])

    def getBeta(self) -> list[float]:
        """Return ``beta``."""
        return self.getOrDefault(self.beta)

    def setBeta(self: P, value: list[float]) -> P:
        """Set ``beta``."""
        return self._set(beta=value)


def check_axes(stage: ColumnParams, name: str) -> None:
    """Refuse a Param that is not the lengths of axes."""
    if stage.isSet(name) and not are_lengths(stage.getOrDefault(name)):
        raise stage._fail(
            f"{name} must be a list of positive integers, whose product is at most {MAX_ARRAY_LENGTH}. "
            f"Got {stage.getOrDefault(name)}."
        )


class HasLayout(ColumnParams):
    """Mixin for rows that are flattened tensors."""

    _may_be_open = True  # whether one length may be -1

    shape = param("shape", "shape of the tensor that a row holds flattened", list[int])
    dataFormat = param(
        "dataFormat", "the axis of the shape that is that of the channels: 'channelsFirst' or 'channelsLast'", str
    )

    _defaults = {"dataFormat": "channelsFirst"}
    _choices = {"dataFormat": FORMATS}

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

    def _check_params(self) -> None:
        layout = self._open_layout()
        if layout is None:
            check_axes(self, "shape")
        elif self._assembles:
            raise self._fail(
                f"rows of shape {self.getShape()} do not become one vector. Set outputCols instead of outputCol."
            )
        super()._check_params()

    def _open_layout(self) -> Layout | None:
        """Return the layout if rows may have any number of places."""
        if not (self._may_be_open and self.isSet("shape")):
            return None
        known = [n for n in self.getShape() if n != -1]
        if len(known) == len(self.getShape()) or not (known == [] or are_lengths(known)):
            return None
        layout = self._layout()
        return layout if layout and layout.is_open else None


class HasShape(HasLayout, HasGain):
    """Mixin for rows that are flattened tensors, whose channels have a gain each."""

    _may_be_open = False

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

    def _reason(self) -> str:
        if not self.isSet("shape"):
            return super()._reason()
        return f", but shape {self.getShape()} has {prod(self.getShape())} places. Correct the shape, or the rows."
