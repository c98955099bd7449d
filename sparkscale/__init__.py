"""Feature scaling on Apache Spark.

A scaler is a mergeable statistic plus a function from that statistic to an affine map; a fitted model is that
map, rendered as a Spark expression.
"""

from importlib.metadata import PackageNotFoundError, version

from sparkscale.scalers import (
    InverseModel,
    MaxAbsScaler,
    MaxAbsScalerModel,
    MinMaxScaler,
    MinMaxScalerModel,
    StandardScaler,
    StandardScalerModel,
)

try:
    __version__ = version("sparkscale")
except PackageNotFoundError:  # run from a zip that spark-submit shipped
    __version__ = "0+unknown"

__all__ = [
    "InverseModel",
    "MaxAbsScaler",
    "MaxAbsScalerModel",
    "MinMaxScaler",
    "MinMaxScalerModel",
    "StandardScaler",
    "StandardScalerModel",
]
