"""Estimator and model pairs: a statistic, and a function from it to an affine map."""

from sparkscale.scalers._mapped import InverseModel
from sparkscale.scalers.batch_norm import BatchNorm, BatchNormModel
from sparkscale.scalers.max_abs import MaxAbsScaler, MaxAbsScalerModel
from sparkscale.scalers.min_max import MinMaxScaler, MinMaxScalerModel
from sparkscale.scalers.standard import StandardScaler, StandardScalerModel

__all__ = [
    "BatchNorm",
    "BatchNormModel",
    "InverseModel",
    "MaxAbsScaler",
    "MaxAbsScalerModel",
    "MinMaxScaler",
    "MinMaxScalerModel",
    "StandardScaler",
    "StandardScalerModel",
]
