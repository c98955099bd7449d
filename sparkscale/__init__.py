"""Feature scaling on Apache Spark.

A scaler is a mergeable statistic plus a function from that statistic to an affine map; a fitted model is that
map, rendered as a Spark expression.
"""

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
        GroupNorm,
        InstanceNorm,
        InverseModel,
        LayerNorm,
        MaxAbsScaler,
        MaxAbsScalerModel,
        MinMaxScaler,
        MinMaxScalerModel,
        Normalizer,
        RMSNorm,
        RobustScaler,
        RobustScalerModel,
        SpectralNorm,
        SpectralNormModel,
        StandardScaler,
        StandardScalerModel,
        Whitener,
        WhitenerModel,
    )

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
    "GroupNorm",
    "InstanceNorm",
    "InverseModel",
    "LayerNorm",
    "MaxAbsScaler",
    "MaxAbsScalerModel",
    "MinMaxScaler",
    "MinMaxScalerModel",
    "Normalizer",
    "RMSNorm",
    "RobustScaler",
    "RobustScalerModel",
    "SpectralNorm",
    "SpectralNormModel",
    "StandardScaler",
    "StandardScalerModel",
    "Whitener",
    "WhitenerModel",
]


def __getattr__(name: str) -> Any:
    """Import scalers lazily: maps and statistics can be used without Spark."""
    if name not in __all__:
        raise AttributeError(f"module 'sparkscale' has no attribute {name!r}")
    from sparkscale import scalers  # noqa: PLC0415

    return getattr(scalers, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
