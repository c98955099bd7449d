"""Batch normalization and its family as functions on arrays: for workers, for serving code, for any array library.

Every function takes whatever `numpy.asarray` takes, or an array of a library of the Python array API standard, and
answers in that library. Sums are taken in double precision; results have the input's floating type, or double. Axis 0
is the batch; ``axis`` is that of the channels.
"""

from sparkscale.kernels.batch import batch_norm, batch_norm_backward, batch_norm_train, moments
from sparkscale.kernels.clipping import clip_by_global_norm, clip_by_norm, clip_by_value, global_norm
from sparkscale.kernels.matrix import spectral_norm, whitening
from sparkscale.kernels.rows import group_norm, instance_norm, layer_norm, normalize, rms_norm

__all__ = [
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_train",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "global_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "moments",
    "normalize",
    "rms_norm",
    "spectral_norm",
    "whitening",
]
