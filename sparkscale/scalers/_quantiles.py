"""What the scalers by quantiles share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from sparkscale.display.html import Extent
from sparkscale.scalers._base import Scaler
from sparkscale.scalers._learned import Array
from sparkscale.scalers._missing import HasMissing
from sparkscale.scalers._model import ScalerModel
from sparkscale.scalers._params import P, param
from sparkscale.scalers._persistence import Content
from sparkscale.spark import storage
from sparkscale.statistics import Mergeable, Quantiles
from sparkscale.statistics.quantiles import INTERPOLATIONS

__all__ = ["HasQuantiles", "HasSketch", "OfQuantiles", "QuantileModel", "QuantileScaler"]

M = TypeVar("M", bound="OfQuantiles")


class HasSketch(HasMissing):
    """Mixin for the sketch that quantiles are taken from, and for filling missing values by the median."""

    relativeError = param(
        "relativeError", "the rank of a quantile is off by at most this share of the rows; 0 keeps every value", float
    )
    _defaults = {"relativeError": Quantiles.relative_error}

    def getRelativeError(self) -> float:
        """Return ``relativeError``."""
        return self.getOrDefault(self.relativeError)

    def setRelativeError(self: P, value: float) -> P:
        """Set ``relativeError``."""
        return self._set(relativeError=value)

    @property
    def _statistic_class(self) -> type[Quantiles]:
        return Quantiles.within(self.getRelativeError())

    def _check_params(self) -> None:
        super()._check_params()
        if not 0 <= self.getRelativeError() <= 1:
            raise self._fail(f"relativeError must be from 0 to 1. Got {self.getRelativeError()}.")
        if self.hasParam("asOf") and self.isSet("asOf"):
            raise self._fail(
                "asOf is not available: the quantiles of the rows before each value may not fit in memory. Leave it out."
            )


class HasQuantiles(HasSketch):
    """Mixin for a lower and an upper quantile."""

    lower = param("lower", "lower quantile, between 0 and 1", float)
    upper = param("upper", "upper quantile, between 0 and 1", float)
    interpolation = param(
        "interpolation",
        "a quantile between two values. 'none': is one of the values, as in Spark; 'linear': is interpolated, as in "
        "scikit-learn.",
        str,
    )

    _defaults = {"interpolation": "none"}
    _choices = {"interpolation": INTERPOLATIONS}

    def getLower(self) -> float:
        """Return ``lower``."""
        return self.getOrDefault(self.lower)

    def getUpper(self) -> float:
        """Return ``upper``."""
        return self.getOrDefault(self.upper)

    def getInterpolation(self) -> str:
        """Return ``interpolation``."""
        return self.getOrDefault(self.interpolation)

    def setLower(self: P, value: float) -> P:
        """Set ``lower``."""
        return self._set(lower=value)

    def setUpper(self: P, value: float) -> P:
        """Set ``upper``."""
        return self._set(upper=value)

    def setInterpolation(self: P, value: str) -> P:
        """Set ``interpolation``."""
        return self._set(interpolation=value)

    def _check_params(self) -> None:
        super()._check_params()
        if not 0 <= self.getLower() < self.getUpper() <= 1:
            raise self._fail(
                f"lower must be less than upper, and both from 0 to 1. Got lower={self.getLower()}, upper={self.getUpper()}."
            )


class OfQuantiles(HasSketch, ScalerModel[Quantiles]):
    """Base of the models that hold quantiles."""

    _statistic_class = Quantiles

    def _check_params(self) -> None:
        super()._check_params()
        if isinstance(self._learned, Quantiles) and self.getRelativeError() != self._learned.relative_error:
            raise self._fail(
                f"relativeError is {self.getRelativeError()}, and fit used {self._learned.relative_error}. Set it back, or fit "
                "again."
            )

    def merge(self: M, *others: M) -> M:
        """Return a new model, equal to one fitted on the data of all the models, within the relative error.

        Parameters
        ----------
        *others : model of the same class
            Fitted on the same columns, with the same ``relativeError``.

        Returns
        -------
        model of the same class
            A new model with the Params of this one. The merged models are unchanged.

        Raises
        ------
        ParamError
            If a model has another class or ``relativeError``, was fitted on other columns, or was given its numbers, or only
            one of the models was fitted with ``handleInvalid="skip"``.
        """
        statistics = [m.statistics for m in (self, *others) if type(m) is type(self)]
        errors = {s.relative_error for s in statistics if isinstance(s, Quantiles)}
        if len(errors) > 1:
            raise self._fail(
                f"the models were fitted with different values of relativeError, {' and '.join(map(str, sorted(errors)))}. Fit "
                "them with the same one to merge."
            )
        return super().merge(*others)

    def _center(self) -> Array:
        return self._needed("median")

    def _saved(self) -> tuple[dict[str, Any], Content | None]:
        extra, statistic = super()._saved()
        errors = {"relativeError": statistic.relative_error} if isinstance(statistic, Quantiles) else {}
        return {**extra, **errors}, statistic

    @classmethod
    def _saved_class(cls, extra: Mapping[str, Any]) -> type[Mergeable] | None:
        if super()._saved_class(extra) is None:
            return None
        error = storage.typed_entry(extra, "relativeError", float)
        if not 0 <= error <= 1:
            raise storage.MalformedError(f"relativeError is {error}, not from 0 to 1")
        return Quantiles.within(error)


class QuantileModel(HasQuantiles, OfQuantiles):
    """Base of the models of two quantiles and the median."""

    _without_spread = "feature(s) with equal quantiles"

    def _numbers_of(self, statistic: Quantiles) -> Mapping[str, Array]:
        quantiles = {"lower": self.getLower(), "median": 0.5, "upper": self.getUpper()}
        numbers = {name: statistic.quantile(q, self.getInterpolation()) for name, q in quantiles.items()}
        with np.errstate(all="ignore"):
            numbers["range"] = numbers["upper"] - numbers["lower"]
        return {**numbers, "min": statistic.min, "max": statistic.max}

    def _spread(self) -> Array:
        return self._shown("range")

    def _extent(self) -> Extent:
        return Extent(self._shown("lower"), self._shown("upper"), self._shown("median"))


class QuantileScaler(HasSketch, Scaler[M], Generic[M]):
    """Base of the scalers by quantiles."""
