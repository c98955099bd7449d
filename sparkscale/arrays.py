"""The array library that an array belongs to, and precision: the same code for NumPy and for arrays elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["cast", "double"]


def double(x: Any) -> tuple[Any, Any, Any]:
    """Return the namespace of an array, the array in double precision, and the floating type of results.

    Parameters
    ----------
    x : array_like
        An array of a library of the Python array API standard, or what `numpy.asarray` takes.

    Returns
    -------
    xp : module
        The library's namespace.
    values : array
        In double precision.
    kind : data type
        That of ``x`` if it is a floating one, else double.
    """
    x = x if hasattr(x, "__array_namespace__") else np.asarray(x)
    xp = x.__array_namespace__() if hasattr(x, "__array_namespace__") else np
    kind = x.dtype if "float" in str(x.dtype) else xp.float64
    return xp, cast(xp, x, xp.float64), kind


def cast(xp: Any, x: Any, kind: Any) -> Any:
    """Return an array in another type."""
    if x.dtype == kind:
        return x
    return xp.astype(x, kind) if hasattr(xp, "astype") else x.astype(kind)
