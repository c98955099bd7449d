"""Estimator and model pairs: a statistic, and a function from it to an affine map."""

from sparkscale.scalers._mapped import InverseModel
from sparkscale.scalers.batch_norm import BatchNorm, BatchNormModel
from sparkscale.scalers.clip_by_global_norm import ClipByGlobalNorm, ClipByGlobalNormModel
from sparkscale.scalers.max_abs import MaxAbsScaler, MaxAbsScalerModel
from sparkscale.scalers.min_max import MinMaxScaler, MinMaxScalerModel
from sparkscale.scalers.spectral_norm import SpectralNorm, SpectralNormModel
from sparkscale.scalers.standard import StandardScaler, StandardScalerModel
from sparkscale.scalers.whitener import Whitener, WhitenerModel

__all__ = [
    "BatchNorm",
    "BatchNormModel",
    "ClipByGlobalNorm",
    "ClipByGlobalNormModel",
    "InverseModel",
    "MaxAbsScaler",
    "MaxAbsScalerModel",
    "MinMaxScaler",
    "MinMaxScalerModel",
    "SpectralNorm",
    "SpectralNormModel",
    "StandardScaler",
    "StandardScalerModel",
    "Whitener",
    "WhitenerModel",
]
