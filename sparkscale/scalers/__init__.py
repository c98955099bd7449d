"""Stages of ``pyspark.ml``: estimators with their models, and row-wise transformers."""

from sparkscale.scalers._inverse import InverseModel
from sparkscale.scalers.batch_norm import BatchNorm, BatchNormModel
from sparkscale.scalers.clip_by_global_norm import ClipByGlobalNorm, ClipByGlobalNormModel
from sparkscale.scalers.clip_by_norm import ClipByNorm
from sparkscale.scalers.clip_by_value import ClipByValue
from sparkscale.scalers.comparison import Comparison
from sparkscale.scalers.group_norm import GroupNorm
from sparkscale.scalers.instance_norm import InstanceNorm
from sparkscale.scalers.layer_norm import LayerNorm
from sparkscale.scalers.max_abs import MaxAbsScaler, MaxAbsScalerModel
from sparkscale.scalers.min_max import MinMaxScaler, MinMaxScalerModel
from sparkscale.scalers.normalizer import Normalizer
from sparkscale.scalers.power_transformer import PowerTransformer, PowerTransformerModel
from sparkscale.scalers.profile import Profile
from sparkscale.scalers.quantile_transformer import QuantileTransformer, QuantileTransformerModel
from sparkscale.scalers.quantizer import Quantizer, QuantizerModel
from sparkscale.scalers.rms_norm import RMSNorm
from sparkscale.scalers.robust import RobustScaler, RobustScalerModel
from sparkscale.scalers.scaler_set import ScalerSet, ScalerSetModel
from sparkscale.scalers.spectral_norm import SpectralNorm, SpectralNormModel
from sparkscale.scalers.standard import StandardScaler, StandardScalerModel
from sparkscale.scalers.streaming_fit import StreamingFit
from sparkscale.scalers.whitener import Whitener, WhitenerModel
from sparkscale.scalers.winsorizer import Winsorizer, WinsorizerModel

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
]
