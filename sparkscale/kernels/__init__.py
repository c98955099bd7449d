"""Batch normalization and related normalizations, quantile and power transforms, as functions on arrays of any library.

Every function takes array_likes, or arrays of a library that follows the Python array API standard, and returns arrays
of the same library. Sums are computed in double precision; results have the floating type of the input, or double.
Axis 0 is the batch; ``axis`` is the channel axis.
"""

from sparkscale.kernels.batch import batch_norm, batch_norm_backward, batch_norm_train, moments
from sparkscale.kernels.clipping import clip_by_global_norm, clip_by_norm, clip_by_value, global_norm
from sparkscale.kernels.matrix import spectral_norm, whitening
from sparkscale.kernels.power import inverse_power_transform, power_transform
from sparkscale.kernels.quantile import inverse_quantile_transform, quantile_transform
from sparkscale.kernels.quantization import dequantize, quantize
from sparkscale.kernels.rows import group_norm, instance_norm, layer_norm, normalize, rms_norm

__all__ = [
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_train",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "dequantize",
    "global_norm",
    "group_norm",
    "instance_norm",
    "inverse_power_transform",
    "inverse_quantile_transform",
    "layer_norm",
    "moments",
    "normalize",
    "power_transform",
    "quantile_transform",
    "quantize",
    "rms_norm",
    "spectral_norm",
    "whitening",
]
