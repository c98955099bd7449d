"""The one table of all scalers. A public scaler, or a Param of one, that is missing here fails a test."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import pytest
from pyspark.ml import Estimator, Model

import sparkscale
from sparkscale.statistics import CoMoments, Extrema, Moments, Quantiles, Squares, Statistic

# Those that Spark has, too: what is not a law of every scaler is tried on them.
SCALERS = (sparkscale.MinMaxScaler, sparkscale.MaxAbsScaler, sparkscale.StandardScaler)
each_scaler = pytest.mark.parametrize("scaler", SCALERS, ids=lambda c: c.__name__)


@dataclass(frozen=True)
class Entry:
    """A scaler, its model, its statistic, and the combinations of Params that the laws are tried on."""

    scaler: type
    model: type
    statistic: type[Statistic]
    choices: tuple[dict[str, Any], ...]
    own: frozenset[str] = frozenset()  # Params that have tests of their own, because not all kinds of columns take them

    @property
    def name(self) -> str:
        return self.scaler.__name__

    @property
    def joint(self) -> bool:
        """Whether the map of a feature depends on all features."""
        return self.statistic in (CoMoments, Squares)


TABLE = (
    Entry(
        sparkscale.BatchNorm,
        sparkscale.BatchNormModel,
        Moments,
        ({}, {"epsilon": 1e-3, "gamma": [0.5], "beta": [2.0], "fillInvalid": "center"}),
        frozenset({"statistics", "shape", "dataFormat", "momentum", "batchCol"}),
    ),
    Entry(
        sparkscale.MinMaxScaler,
        sparkscale.MinMaxScalerModel,
        Extrema,
        (
            {},
            {"min": -1.0, "max": 1.0},
            {"min": -3.0, "max": 7.0, "clip": True},
            {"min": 2.0, "max": 5.0, "handleConstant": "unit", "fillInvalid": "center"},
        ),
    ),
    Entry(
        sparkscale.MaxAbsScaler,
        sparkscale.MaxAbsScalerModel,
        Extrema,
        ({}, {"clip": True}, {"handleConstant": "unit", "fillInvalid": -2.0}),
    ),
    Entry(
        sparkscale.StandardScaler,
        sparkscale.StandardScalerModel,
        Moments,
        (
            {},
            {"withMean": True},
            {"withStd": False},
            {"withMean": True, "withStd": False},
            {"withMean": True, "ddof": 0},
            {"handleConstant": "unit", "fillInvalid": "center"},
            {"withMean": True, "handleConstant": "unit"},
            {"withMean": True, "clip": [-0.5, 1.0]},
        ),
    ),
    Entry(
        sparkscale.RobustScaler,
        sparkscale.RobustScalerModel,
        Quantiles,
        (
            {},
            {"withCentering": True, "interpolation": "linear"},
            {"withCentering": True, "unitVariance": True, "lower": 0.1, "upper": 0.9},
            {"withScaling": False, "withCentering": True},
            {"handleConstant": "unit"},
            {"clip": [-1.0, 0.5], "fillInvalid": "center"},
        ),
        frozenset({"relativeError"}),
    ),
    Entry(
        sparkscale.Winsorizer,
        sparkscale.WinsorizerModel,
        Quantiles,
        (
            {},
            {"lower": 0.2, "upper": 0.6},
            {"lower": 0.1, "interpolation": "linear", "fillInvalid": 2.5},
        ),
        frozenset({"relativeError"}),
    ),
    Entry(
        sparkscale.Quantizer,
        sparkscale.QuantizerModel,
        Extrema,
        ({}, {"scheme": "symmetric"}, {"fillInvalid": "center"}),
        # By quantiles, the statistic is another; "uint8" does not go with "symmetric".
        frozenset({"dtype", "lower", "upper", "relativeError", "interpolation"}),
    ),
    Entry(sparkscale.SpectralNorm, sparkscale.SpectralNormModel, CoMoments, ({},)),
    Entry(
        sparkscale.ClipByGlobalNorm,
        sparkscale.ClipByGlobalNormModel,
        Squares,
        ({}, {"clipNorm": 2.0, "formula": "torch"}),
    ),
)
EVERY_CHOICE = [(entry, choice) for entry in TABLE for choice in entry.choices]

# Params of all scalers, or of many, that tests give by themselves.
COMMON = {
    "addIndicator",
    "dataFormat",
    "maskValue",
    "shape",
    "device",
    "groupCols",
    "asOf",
    "handleUnseen",
    "minGroupCount",
    "handleEmpty",
    "handleInvalid",
    "inputCol",
    "inputCols",
    "outputCol",
    "outputCols",
    "weightCol",
}
# Scalers whose map is a matrix, not one of each feature by itself: test_matrix.py has their laws.
MATRIX = {sparkscale.Whitener: sparkscale.WhitenerModel}
# Scalers whose map is a curve of each feature, with choices of Params: test_curves.py has their laws.
CURVES: dict[type, tuple[dict[str, Any], ...]] = {
    sparkscale.PowerTransformer: (
        {},
        {"standardize": False, "fillInvalid": -1.0, "addIndicator": True},
        {"lambdas": [0.25], "fillInvalid": "center"},
    ),
    sparkscale.QuantileTransformer: (
        {},
        {"outputDistribution": "normal", "nQuantiles": 5, "fillInvalid": "center", "addIndicator": True},
    ),
}
# Models that no scaler fits, and what is fitted to the scalers of a set.
DERIVED = {sparkscale.InverseModel, sparkscale.ScalerSet, sparkscale.ScalerSetModel}


def public(kind: type) -> set[type]:
    """Return the public classes of a kind."""
    members = (getattr(sparkscale, name) for name in sparkscale.__all__)
    return {c for c in members if inspect.isclass(c) and issubclass(c, kind)}


def public_scalers() -> set[type]:
    """Return the public estimators."""
    return public(Estimator) - DERIVED


def public_models() -> set[type]:
    """Return the public models that scalers fit."""
    return public(Model) - DERIVED


def choice_id(choice: dict[str, Any]) -> str:
    """Return a short name of a combination of Params."""
    return ",".join(f"{name}={value}" for name, value in choice.items()) or "defaults"


def model_of(scaler: Any, fitted: Any) -> Any:
    """Return the model that a scaler fits, without a job: another of its statistic was fitted on the same columns and rows."""
    model = scaler._model()
    model._learn(fitted._columns, fitted.statistics, skips=fitted._skips)
    return scaler._copyValues(model)
