"""Batch normalization: moments, inference, training and gradients."""

from __future__ import annotations

from typing import Any

from sparkscale.arrays import as_array_like, cast, double
from sparkscale.errors import ParamError
from sparkscale.kernels._shared import (
    Axes,
    affine,
    as_tuple,
    broadcast_channels,
    check_epsilon,
    count,
    in_units,
    inverse_root,
    mean,
)

__all__ = ["batch_norm", "batch_norm_backward", "batch_norm_train", "moments"]


def moments(x: Any, axes: Axes, *, keepdims: bool = False, where: Any = None) -> tuple[Any, Any]:
    r"""Return mean and variance over axes, as ``tf.nn.moments`` does.

    .. math:: \mu = \frac1n \sum_i x_i, \qquad \sigma^2 = \frac1n \sum_i (x_i - \mu)^2

    Parameters
    ----------
    x : array_like
        Values.
    axes : int or sequence of int
        The axes to reduce.
    keepdims : bool, default=False
        Keep reduced axes with length 1.
    where : array of bool, optional
        Mask of the values to include, of the shape of ``x``. Default: all.

    Returns
    -------
    mean : array
        In double precision; 0 where no value is included.
    variance : array
        The biased variance; 0 where no value is included.

    Examples
    --------
    >>> from sparkscale.kernels import moments
    >>> moments([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]], 0)
    (array([3., 5.]), array([2.66666667, 8.66666667]))
    """
    xp, x, _ = double(x)
    over = as_tuple(axes)
    center = mean(xp, x, over, where)
    deviation = x - center
    # Correct the rounding error of the mean.
    rest = mean(xp, deviation, over, where)
    variance = mean(xp, (deviation - rest) ** 2, over, where)
    center = center + rest
    return (center, variance) if keepdims else (xp.squeeze(center, axis=over), xp.squeeze(variance, axis=over))


def batch_norm(
    x: Any, mean: Any, variance: Any, gamma: Any = None, beta: Any = None, *, epsilon: float = 1e-5, axis: int = 1
) -> Any:
    r"""Normalize channels by given statistics, as a batch-norm layer does in evaluation mode.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon} / \gamma} + \beta

    Parameters
    ----------
    x : array_like, shape (n, ..., channels, ...)
        Values.
    mean, variance : array_like, shape (channels,)
        Running statistics.
    gamma, beta : array_like, shape (channels,), optional
        Gain and bias. Default: 1 and 0.
    epsilon : float, default=1e-5
        Added to the variance. A channel whose variance and epsilon are both 0 becomes beta.
    axis : int, default=1
        The channel axis.

    Returns
    -------
    array
        Of the shape of ``x``.

    References
    ----------
    S. Ioffe, C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", ICML 2015.

    Examples
    --------
    >>> from sparkscale.kernels import batch_norm
    >>> batch_norm([[3.0], [5.0]], mean=[3.0], variance=[4.0], epsilon=0.0)
    array([[0.],
           [1.]])
    """
    check_epsilon(epsilon)
    xp, values, dtype = double(x)
    mean, variance = (broadcast_channels(xp, p, values, axis) for p in (mean, variance))
    y = (values - mean) * inverse_root(xp, variance, epsilon)
    return cast(xp, affine(xp, y, gamma, beta, axis), dtype)


def batch_norm_train(
    x: Any, gamma: Any = None, beta: Any = None, *, epsilon: float = 1e-5, axis: int = 1
) -> tuple[Any, Any, Any]:
    """Normalize channels by the statistics of the batch, as a batch-norm layer does in training mode.

    Parameters
    ----------
    x : array_like, shape (n, ..., channels, ...)
        Values.
    gamma, beta : array_like, shape (channels,), optional
        Gain and bias. Default: 1 and 0.
    epsilon : float, default=1e-5
        Added to the variance.
    axis : int, default=1
        The channel axis.

    Returns
    -------
    y : array
        Of the shape of ``x``.
    mean, variance : array, shape (channels,)
        Mean and biased variance of the batch.

    Raises
    ------
    ParamError
        If a channel has fewer than two values.

    Examples
    --------
    >>> from sparkscale.kernels import batch_norm_train
    >>> batch_norm_train([[1.0], [3.0]], epsilon=0.0)
    (array([[-1.],
           [ 1.]]), array([2.]), array([1.]))
    """
    check_epsilon(epsilon)
    xp, values, dtype = double(x)
    over = _other_axes(values, axis)
    if count(values, over) < 2:  # noqa: PLR2004
        raise ParamError("batch_norm_train needs more than one value per channel: pass a larger batch.")
    values, small, unit = _in_units_without_epsilon(xp, values, epsilon, over)
    mean, variance = moments(values, over, keepdims=True)
    y = affine(xp, (values - mean) * inverse_root(xp, variance, small), gamma, beta, axis)
    mean, variance = (xp.squeeze(p, axis=over) for p in (mean * unit, variance * unit * unit))
    return cast(xp, y, dtype), mean, variance


def batch_norm_backward(
    dy: Any, x: Any, gamma: Any = None, epsilon: float = 1e-5, *, axis: int = 1
) -> tuple[Any, Any, Any]:
    r"""Return the gradients of `batch_norm_train`.

    .. math:: d\beta = \sum dy, \quad d\gamma = \sum dy \, \hat x, \quad
              dx = \frac{\gamma}{n \sqrt{\sigma^2 + \epsilon}} (n \, dy - d\beta - \hat x \, d\gamma)

    Parameters
    ----------
    dy : array_like
        Gradient of the loss with respect to the output, of the shape of ``x``.
    x : array_like, shape (n, ..., channels, ...)
        The input of the forward pass.
    gamma : array_like, shape (channels,), optional
        Gain. Default: 1.
    epsilon : float, default=1e-5
        As in the forward pass.
    axis : int, default=1
        The channel axis.

    Returns
    -------
    dx : array
        Of the shape of ``x``.
    dgamma, dbeta : array, shape (channels,)
        Gradients with respect to gain and bias.

    Examples
    --------
    >>> from sparkscale.kernels import batch_norm_backward
    >>> dx, dgamma, dbeta = batch_norm_backward([[1.0], [0.0]], [[1.0], [3.0]], epsilon=0.0)
    >>> dgamma, dbeta
    (array([-1.]), array([1.]))
    """
    check_epsilon(epsilon)
    xp, values, dtype = double(x)
    gradient = as_array_like(values, dy)
    over = _other_axes(values, axis)
    values, small, unit = _in_units_without_epsilon(xp, values, epsilon, over)
    mean, variance = moments(values, over, keepdims=True)
    root = inverse_root(xp, variance, small)
    normal = (values - mean) * root
    dbeta = xp.sum(gradient, axis=over, keepdims=True)
    dgamma = xp.sum(gradient * normal, axis=over, keepdims=True)
    n = count(values, over)
    dx = affine(xp, root / unit * (gradient - dbeta / n - normal * dgamma / n), gamma, None, axis)
    return cast(xp, dx, dtype), xp.squeeze(dgamma, axis=over), xp.squeeze(dbeta, axis=over)


def _in_units_without_epsilon(xp: Any, x: Any, epsilon: float, axes: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Scale values and epsilon by ``in_units`` if epsilon is 0; otherwise an underflowing variance has no effect."""
    return in_units(xp, x, epsilon, axes, None) if epsilon == 0 else (x, epsilon, 1.0)


def _other_axes(x: Any, axis: int) -> tuple[int, ...]:
    return tuple(a for a in range(x.ndim) if a != axis % x.ndim)
