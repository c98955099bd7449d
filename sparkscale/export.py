"""Export of fitted batch normalization as a layer of PyTorch or Keras."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkscale.errors import ParamError, RangeOverflowError
from sparkscale.scalers import BatchNormModel

__all__ = ["to_keras", "to_torch"]

Array = npt.NDArray[np.float64]
DIMENSIONS = {1: "BatchNorm1d", 2: "BatchNorm1d", 3: "BatchNorm2d", 4: "BatchNorm3d"}  # by the number of axes of a row


def to_torch(model: BatchNormModel) -> Any:
    """Return a PyTorch layer in evaluation mode that computes what the model does, in single precision, but fills nothing.

    It holds the variance that the model divides by; with ``statistics="population"`` that is the biased variance.
    ``layer.double()`` computes in double precision, but with parameters that were rounded to single.

    Parameters
    ----------
    model : BatchNormModel
        The fitted model. The layer has the channels of all columns, one column after the other.

    Returns
    -------
    torch.nn.BatchNorm1d, torch.nn.BatchNorm2d or torch.nn.BatchNorm3d
        Chosen by the length of the model's ``shape``. PyTorch expects channels first: permute rows with channels last.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    ParamError
        If a channel had no valid value, or ``shape`` has more than four axes.
    RangeOverflowError
        If a number does not fit into single precision.

    Examples
    --------
    >>> from sparkscale import BatchNorm
    >>> from sparkscale.export import to_torch
    >>> df = spark.createDataFrame([([1.0, 2.0],), ([3.0, 8.0],)], "x array<double>")
    >>> layer = to_torch(BatchNorm(inputCol="x").fit(df))
    >>> type(layer).__name__, layer.running_mean, layer.running_var, layer.training
    ('BatchNorm1d', tensor([2., 5.]), tensor([1., 9.]), False)
    """
    try:
        import torch
    except ImportError as missing:
        raise ImportError("to_torch needs PyTorch. Install it: pip install 'sparkscale[torch]'") from missing
    gamma, beta, mean, variance = _layer_parameters(model)
    dimensions = len(model.getShape()) if model.isSet("shape") else 1
    if dimensions not in DIMENSIONS:
        raise ParamError(f"PyTorch has no batch normalization for shape {model.getShape()}. Flatten some of its axes.")
    layer_class = getattr(torch.nn, DIMENSIONS[dimensions])
    layer = layer_class(model.numChannels, eps=model.getEpsilon(), momentum=model.getMomentum())
    tensors = {
        "weight": gamma,
        "bias": beta,
        "running_mean": mean,
        "running_var": variance,
        "num_batches_tracked": model.numBatchesTracked,
    }
    layer.load_state_dict({name: torch.as_tensor(value) for name, value in tensors.items()})
    return layer.eval()


def to_keras(model: BatchNormModel) -> Any:
    """Return a built Keras layer that computes what the model does, in single precision, but fills nothing.

    It holds the variance that the model divides by. Its ``momentum`` is 1 minus the model's.

    Parameters
    ----------
    model : BatchNormModel
        The fitted model, of one column if it has a ``shape``.

    Returns
    -------
    keras.layers.BatchNormalization
        Built for rows of the model's ``shape``, or of its channels; normalizing over the axis of ``dataFormat``.

    Raises
    ------
    ImportError
        If Keras is not installed.
    ParamError
        If a channel had no valid value, or the model has no momentum, or several columns with a shape.
    RangeOverflowError
        If a number does not fit into single precision.

    Examples
    --------
    >>> from sparkscale import BatchNorm
    >>> from sparkscale.export import to_keras
    >>> df = spark.createDataFrame([([1.0, 2.0],), ([3.0, 8.0],)], "x array<double>")
    >>> layer = to_keras(BatchNorm(inputCol="x").fit(df))
    >>> [w.name for w in layer.weights]
    ['gamma', 'beta', 'moving_mean', 'moving_variance']
    """
    try:
        import keras
    except ImportError as missing:
        raise ImportError(
            "to_keras needs Keras and the backend set in KERAS_BACKEND. Install Keras: pip install 'sparkscale[keras]'"
        ) from missing
    values = _layer_parameters(model)
    momentum = model.getMomentum()
    if momentum is None:
        raise ParamError(
            "Keras has no cumulative average of batches (momentum=None). Set the model's momentum to a number."
        )
    if model.isSet("shape") and -1 in model.getShape():
        raise ParamError(f"A Keras layer takes tensors of one shape, and that of the model is {model.getShape()}.")
    if model.isSet("shape") and model.numFeatures != prod(model.getShape()):
        raise ParamError("A Keras layer takes one tensor. Fit the model on one column to export it.")
    shape = model.getShape() if model.isSet("shape") else [model.numChannels]
    first = model.isSet("shape") and model.getDataFormat() == "channelsFirst"
    layer = keras.layers.BatchNormalization(
        axis=1 if first else -1, epsilon=model.getEpsilon(), momentum=1.0 - momentum
    )
    layer.build((None, *shape))
    layer.set_weights([np.asarray(v) for v in values])
    return layer


def _layer_parameters(model: BatchNormModel) -> tuple[list[float], list[float], Array, Array]:
    """Return gain, bias, mean and variance; refuse what single precision cannot represent."""
    if not isinstance(model, BatchNormModel):
        raise ParamError(f"Only a BatchNormModel can be exported as a layer. Got {type(model).__name__}.")
    if model.numGroups:
        raise ParamError(
            "A layer has one map, and each group has its own. Export the model of a group: model.group(...)."
        )
    mean, variance = model.runningMean.toArray(), model.normalizingVar.toArray()
    if np.isnan(mean).any():
        raise ParamError(
            f"Channels without a valid value have no statistics to export: {', '.join(model.emptyFeatures[:5])}. "
            "Drop them."
        )
    parameters = model.getGamma(), model.getBeta(), mean, variance
    with np.errstate(over="ignore"):
        if not all(np.isfinite(np.asarray(v).astype(np.float32)).all() for v in parameters):
            raise RangeOverflowError(
                "A mean, variance, gain or bias is not representable in the single precision of layers. Bring the "
                "values to another unit first."
            )
    return parameters
