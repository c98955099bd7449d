"""Fitted models, without a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from sparkscale.scalers._model import ScalerModel
from sparkscale.spark.columns import FeatureColumn
from sparkscale.statistics import Extrema, Statistic
from strategies import dense

M = TypeVar("M", bound=ScalerModel[Any])


def learned(model: M, rows: Sequence[Sequence[float]], *columns: str | FeatureColumn) -> M:
    """Let a model know what a fit on these rows would have taught it.

    A row holds the features of all columns beside each other; a column given by its name is a scalar. ``inputCols`` become
    their names, unless ``inputCol`` is set.
    """
    features = [FeatureColumn(c, "scalar", size=1) if isinstance(c, str) else c for c in columns]
    model._learn(features, model._statistic_class.of(dense(rows)), skips=False)
    return model if model.isSet("inputCol") else model.setInputCols([c.name for c in features])


def with_params(model: M, **params: Any) -> M:
    """Return the model under other Params."""
    return model.copy({model.getParam(name): value for name, value in params.items()})


def facts(statistic: Statistic) -> dict[str, Any]:
    """Return what a statistic says of its rows, however it holds it."""
    names = ("count", "invalid", "weight", "weight_square", "mean", "m2")
    if isinstance(statistic, Extrema):
        names = ("count", "invalid", "min", "max")
    return {name: getattr(statistic, name) for name in names}
