"""Feature scaling on Apache Spark.

A scaler is a mergeable statistic plus a function from that statistic to an affine map; a fitted model is that
map, rendered as a Spark expression.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparkscale.scalers import (
        BatchNorm,
        BatchNormModel,
        ClipByGlobalNorm,
        ClipByGlobalNormModel,
        ClipByNorm,
        ClipByValue,
        Comparison,
        GroupNorm,
        InstanceNorm,
        InverseModel,
        LayerNorm,
        MaxAbsScaler,
        MaxAbsScalerModel,
        MinMaxScaler,
        MinMaxScalerModel,
        Normalizer,
        PowerTransformer,
        PowerTransformerModel,
        Profile,
        QuantileTransformer,
        QuantileTransformerModel,
        Quantizer,
        QuantizerModel,
        RMSNorm,
        RobustScaler,
        RobustScalerModel,
        ScalerSet,
        ScalerSetModel,
        SpectralNorm,
        SpectralNormModel,
        StandardScaler,
        StandardScalerModel,
        StreamingFit,
        Whitener,
        WhitenerModel,
        Winsorizer,
        WinsorizerModel,
    )
    from sparkscale.spark.patterns import columns

try:
    __version__ = version("sparkscale")
except PackageNotFoundError:  # run from a zip that spark-submit shipped
    __version__ = "0+unknown"

__all__ = [
    "BatchNorm",
    "BatchNormModel",
    "ClipByGlobalNorm",
    "ClipByGlobalNormModel",
    "ClipByNorm",
    "ClipByValue",
    "Comparison",
    "GroupNorm",
    "InstanceNorm",
    "InverseModel",
    "LayerNorm",
    "MaxAbsScaler",
    "MaxAbsScalerModel",
    "MinMaxScaler",
    "MinMaxScalerModel",
    "Normalizer",
    "PowerTransformer",
    "PowerTransformerModel",
    "Profile",
    "QuantileTransformer",
    "QuantileTransformerModel",
    "Quantizer",
    "QuantizerModel",
    "RMSNorm",
    "RobustScaler",
    "RobustScalerModel",
    "ScalerSet",
    "ScalerSetModel",
    "SpectralNorm",
    "SpectralNormModel",
    "StandardScaler",
    "StandardScalerModel",
    "StreamingFit",
    "Whitener",
    "WhitenerModel",
    "Winsorizer",
    "WinsorizerModel",
    "columns",
]


def __getattr__(name: str) -> Any:
    """Import what needs Spark lazily: maps and statistics can be used without it."""
    if name not in __all__:
        raise AttributeError(f"module 'sparkscale' has no attribute {name!r}")
    return getattr(import_module("sparkscale.spark.patterns" if name == "columns" else "sparkscale.scalers"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
