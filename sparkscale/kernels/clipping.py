"""Clipping of values and of norms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sparkscale.arrays import as_array_like, cast, double
from sparkscale.errors import ParamError
from sparkscale.kernels._shared import Axes, as_tuple, p_norm

TORCH_SLACK = 1e-6  # what torch.nn.utils.clip_grad_norm_ adds to the norm

__all__ = ["clip_by_global_norm", "clip_by_norm", "clip_by_value", "global_norm"]


def clip_by_value(x: Any, low: Any, high: Any) -> Any:
    """Clip values to ``[low, high]``; NaN stays NaN.

    Parameters
    ----------
    x : array_like
        Values.
    low, high : float or array_like
        The bounds, for all values, or one for each feature: broadcast to the shape of ``x``.

    Returns
    -------
    array
        Of the shape of ``x``.

    Raises
    ------
    ParamError
        If ``low > high``, or one of them is NaN.

    Examples
    --------
    >>> from sparkscale.kernels import clip_by_value
    >>> clip_by_value([-2.0, 0.5, 3.0], -1.0, 1.0)
    array([-1. ,  0.5,  1. ])
    >>> clip_by_value([[-2.0, -2.0], [3.0, 3.0]], [-1.0, 0.0], [1.0, float("inf")])
    array([[-1.,  0.],
           [ 1.,  3.]])
    """
    xp, values, dtype = double(x)
    lowest, highest = (as_array_like(values, bound) for bound in (low, high))
    if not xp.all(lowest <= highest):
        raise ParamError(f"low must not be above high. Got low={low}, high={high}.")
    values = xp.where(values < lowest, lowest, values)
    return cast(xp, xp.where(values > highest, highest, values), dtype)


def clip_by_norm(
    x: Any, clip_norm: float, *, axes: Axes | None = None, formula: str = "tensorflow", where: Any = None
) -> Any:
    r"""Scale vectors whose norm exceeds ``clip_norm`` down to that norm.

    .. math:: y = x \frac{c}{\max(\lVert x \rVert_2, c)} \;\text{(TensorFlow)}, \qquad
              y = x \min\left(1, \frac{c}{\lVert x \rVert_2 + 10^{-6}}\right) \;\text{(PyTorch)}

    Parameters
    ----------
    x : array_like
        Values.
    clip_norm : float
        The maximum norm, positive.
    axes : int or sequence of int, optional
        The axes that each norm is computed over. Default: all.
    formula : {"tensorflow", "torch"}, default="tensorflow"
        Whose formula to use.
    where : array of bool, optional
        Mask of the values that the norm is computed from, of the shape of ``x``. Default: all.

    Returns
    -------
    array
        Of the shape of ``x``.

    Raises
    ------
    ParamError
        If ``clip_norm`` is not positive or the formula is unknown.

    Examples
    --------
    >>> from sparkscale.kernels import clip_by_norm
    >>> clip_by_norm([3.0, 4.0], 2.5)
    array([1.5, 2. ])
    """
    xp, values, dtype = double(x)
    over = tuple(range(values.ndim)) if axes is None else as_tuple(axes)
    return cast(xp, values * clip_factor(xp, p_norm(xp, values, 2.0, over, where), clip_norm, formula), dtype)


def global_norm(arrays: Iterable[Any]) -> Any:
    """Return the joint 2-norm of all values of all arrays.

    Parameters
    ----------
    arrays : iterable of array_like
        Values.

    Returns
    -------
    array, 0-dimensional
        The norm.

    Examples
    --------
    >>> from sparkscale.kernels import global_norm
    >>> float(global_norm([[3.0, 4.0], [[0.0, 12.0]]]))
    13.0
    """
    norms = []
    for array in arrays:
        xp, values, _ = double(array)
        norms.append(xp.reshape(p_norm(xp, values, 2.0, tuple(range(values.ndim))), (1,)))
    if not norms:
        return double(0.0)[1]
    return xp.reshape(p_norm(xp, xp.concat(norms), 2.0, (0,)), ())


def clip_by_global_norm(
    arrays: Sequence[Any], clip_norm: float, *, formula: str = "tensorflow"
) -> tuple[list[Any], Any]:
    """Scale all arrays by one factor so that their global norm is at most ``clip_norm``.

    Parameters
    ----------
    arrays : sequence of array_like
        Values.
    clip_norm : float
        The maximum global norm, positive.
    formula : {"tensorflow", "torch"}, default="tensorflow"
        As in `clip_by_norm`.

    Returns
    -------
    clipped : list of array
        Of the shapes of ``arrays``.
    norm : array, 0-dimensional
        The global norm before clipping.

    Raises
    ------
    ParamError
        If ``clip_norm`` is not positive or the formula is unknown.

    Examples
    --------
    >>> from sparkscale.kernels import clip_by_global_norm
    >>> clipped, norm = clip_by_global_norm([[3.0, 4.0], [0.0, 12.0]], 2.6)
    >>> clipped[0].round(12), float(norm)
    (array([0.6, 0.8]), 13.0)
    """
    norm = global_norm(arrays)
    factor = clip_factor(double(norm)[0], norm, clip_norm, formula)
    clipped = []
    for array in arrays:
        xp, values, dtype = double(array)
        clipped.append(cast(xp, values * factor, dtype))
    return clipped, norm


def clip_factor(xp: Any, norm: Any, clip: float, formula: str) -> Any:
    """Return the factor that clips a norm, as an array of the library ``xp``; NaN where the norm is NaN."""
    if not clip > 0:
        raise ParamError(f"clip_norm must be positive. Got {clip}.")
    if formula == "tensorflow":
        return clip / xp.where(norm > clip, norm, xp.where(xp.isnan(norm), norm, xp.full_like(norm, clip)))
    if formula == "torch":
        factor = clip / (norm + TORCH_SLACK)
        return xp.where(factor < 1, factor, xp.where(xp.isnan(factor), factor, xp.ones_like(factor)))
    raise ParamError(f"formula must be 'tensorflow' or 'torch'. Got {formula!r}.")
