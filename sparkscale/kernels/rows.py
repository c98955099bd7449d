"""Normalizations of each row separately."""

from __future__ import annotations

from typing import Any

from sparkscale.arrays import as_array_like, cast, double
from sparkscale.errors import ParamError
from sparkscale.kernels._shared import Axes, affine, as_tuple, count, in_units, mean, nonzero, p_norm
from sparkscale.kernels.batch import moments

__all__ = ["group_norm", "instance_norm", "layer_norm", "normalize", "rms_norm"]


def layer_norm(
    x: Any, gamma: Any = None, beta: Any = None, *, epsilon: float = 1e-5, axes: Axes = -1, where: Any = None
) -> Any:
    r"""Normalize each row by its own mean and variance over ``axes``.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \gamma + \beta

    Parameters
    ----------
    x : array_like
        Values.
    gamma, beta : array_like, optional
        Gain and bias, of the shape of the normalized axes.
    epsilon : float, default=1e-5
        Added to the biased variance.
    axes : int or sequence of int, default=-1
        The axes normalized over.
    where : array of bool, optional
        Mask of the values that mean and variance are computed from, of the shape of ``x``. Default: all.

    Returns
    -------
    array
        Of the shape of ``x``.

    References
    ----------
    J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", arXiv:1607.06450.

    Examples
    --------
    >>> from sparkscale.kernels import layer_norm
    >>> layer_norm([[1.0, 3.0]], epsilon=0.0)
    array([[-1.,  1.]])
    """
    xp, values, dtype = double(x)
    values, small, _ = in_units(xp, values, epsilon, as_tuple(axes), where)
    center, variance = moments(values, axes, keepdims=True, where=where)
    y = (values - center) / nonzero(xp, xp.sqrt(variance + small))
    y = y if gamma is None else y * as_array_like(y, gamma)
    return cast(xp, y if beta is None else y + as_array_like(y, beta), dtype)


def group_norm(
    x: Any, groups: int, gamma: Any = None, beta: Any = None, *, epsilon: float = 1e-5, where: Any = None
) -> Any:
    """Normalize each group of channels of each row by its own mean and variance.

    Parameters
    ----------
    x : array_like, shape (n, channels, ...)
        Values, channels first.
    groups : int
        Number of groups, a divisor of the number of channels. One group is layer norm over channels and places; one
        channel per group is instance norm.
    gamma, beta : array_like, shape (channels,), optional
        Gain and bias.
    epsilon : float, default=1e-5
        Added to the biased variance.
    where : array of bool, optional
        Mask of the values that means and variances are computed from, of the shape of ``x``. Default: all.

    Returns
    -------
    array
        Of the shape of ``x``.

    Raises
    ------
    ParamError
        If ``groups`` does not divide the number of channels.

    References
    ----------
    Y. Wu, K. He, "Group normalization", arXiv:1803.08494.

    Examples
    --------
    >>> from sparkscale.kernels import group_norm
    >>> group_norm([[1.0, 3.0, 2.0, 6.0]], 2, epsilon=0.0)
    array([[-1.,  1., -1.,  1.]])
    """
    xp, values, dtype = double(x)
    n, channels = values.shape[:2]
    if groups < 1 or channels % groups:
        raise ParamError(f"groups={groups} does not divide {channels} channels: choose a divisor.")
    shape = (n, groups, count(values, range(1, values.ndim)) // groups)
    mask = None if where is None else xp.reshape(where, shape)
    y = xp.reshape(layer_norm(xp.reshape(values, shape), epsilon=epsilon, where=mask), values.shape)
    return cast(xp, affine(xp, y, gamma, beta, 1), dtype)


def instance_norm(x: Any, gamma: Any = None, beta: Any = None, *, epsilon: float = 1e-5, where: Any = None) -> Any:
    """Normalize each channel of each row by its own mean and variance over the places.

    Parameters
    ----------
    x : array_like, shape (n, channels, ...)
        Values, channels first.
    gamma, beta : array_like, shape (channels,), optional
        Gain and bias.
    epsilon : float, default=1e-5
        Added to the biased variance.
    where : array of bool, optional
        Mask of the values that means and variances are computed from, of the shape of ``x``. Default: all.

    Returns
    -------
    array
        Of the shape of ``x``.

    References
    ----------
    D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance normalization: the missing ingredient for fast stylization",
    arXiv:1607.08022.

    Examples
    --------
    >>> from sparkscale.kernels import instance_norm
    >>> instance_norm([[[1.0, 3.0], [2.0, 6.0]]], epsilon=0.0)
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """
    _, values, _ = double(x)
    return group_norm(x, values.shape[1], gamma, beta, epsilon=epsilon, where=where)


def rms_norm(x: Any, gamma: Any = None, *, epsilon: float = 1e-6, axes: Axes = -1, where: Any = None) -> Any:
    r"""Divide each row by its root mean square over ``axes``; over channels it is pixel norm.

    .. math:: y = \frac{x}{\sqrt{\frac1n \sum_i x_i^2 + \epsilon}} \gamma

    Parameters
    ----------
    x : array_like
        Values.
    gamma : array_like, optional
        Gain, of the shape of the normalized axes.
    epsilon : float, default=1e-6
        Added to the mean square.
    axes : int or sequence of int, default=-1
        The axes normalized over.
    where : array of bool, optional
        Mask of the values that the mean square is computed from, of the shape of ``x``. Default: all.

    Returns
    -------
    array
        Of the shape of ``x``.

    References
    ----------
    B. Zhang, R. Sennrich, "Root mean square layer normalization", arXiv:1910.07467. T. Karras et al., "Progressive
    growing of GANs", arXiv:1710.10196, section 4.2 (pixel norm).

    Examples
    --------
    >>> from sparkscale.kernels import rms_norm
    >>> rms_norm([[3.0, 4.0, 0.0, 0.0]], epsilon=0.0)
    array([[1.2, 1.6, 0. , 0. ]])
    """
    xp, values, dtype = double(x)
    values, small, _ = in_units(xp, values, epsilon, as_tuple(axes), where)
    y = values / nonzero(xp, xp.sqrt(mean(xp, values**2, as_tuple(axes), where) + small))
    return cast(xp, y if gamma is None else y * as_array_like(y, gamma), dtype)


def normalize(x: Any, p: float = 2.0, *, axis: int = -1, where: Any = None) -> Any:
    r"""Divide by the p-norm along an axis; zero vectors stay zero, as in Spark's Normalizer.

    .. math:: y = x / \lVert x \rVert_p

    Parameters
    ----------
    x : array_like
        Values.
    p : float, default=2.0
        Order of the norm, at least 1; may be infinity.
    axis : int, default=-1
        The axis normalized along.
    where : array of bool, optional
        Mask of the values that the norm is computed from, of the shape of ``x``. Default: all.

    Returns
    -------
    array
        Of the shape of ``x``.

    Raises
    ------
    ParamError
        If ``p < 1``.

    Examples
    --------
    >>> from sparkscale.kernels import normalize
    >>> normalize([[3.0, 4.0], [0.0, 0.0]])
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    xp, values, dtype = double(x)
    if not p >= 1:
        raise ParamError(f"p must be at least 1. Got {p}.")
    return cast(xp, values / nonzero(xp, p_norm(xp, values, p, (axis,), where)), dtype)
