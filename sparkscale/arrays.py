"""The array library that an array belongs to, its device, and precision: one code for NumPy and libraries elsewhere."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj, is_numpy_array
from array_api_compat import numpy as xnp

__all__ = ["beside", "cast", "cupy", "double", "keep_freed_memory", "namespace", "rows_at_once"]

CHUNK = 1 << 16  # values whose temporaries stay in a core's cache


@cache
def keep_freed_memory() -> None:
    """Let glibc keep memory that is freed for the next chunk, up to 64 MB.

    Once it has freed a block of 32 MB it does. Before, it gives memory back after each chunk, which then begins with page
    faults: 7 ms for the moments of 10,000 x 64, in place of 2. Of a larger block it learns nothing, after one of 8 MB each
    sparse batch still has 500 page faults, and its moments take 7 % longer.
    """
    np.empty((1 << 22) - 1024)


def namespace(x: Any) -> Any:
    """Return the namespace of an array; NumPy's of what is none."""
    return array_namespace(x) if is_array_api_obj(x) else xnp


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
    x = x if is_array_api_obj(x) else np.asarray(x)
    xp = namespace(x)
    kind = x.dtype if xp.isdtype(x.dtype, "real floating") else xp.float64
    return xp, cast(xp, x, xp.float64), kind


def cast(xp: Any, x: Any, kind: Any) -> Any:
    """Return an array in another type."""
    return xp.astype(x, kind, copy=False)


def beside(x: Any, parameter: Any) -> Any:
    """Return a parameter in double precision as an array of the library and on the device of ``x``.

    Parameters
    ----------
    x : array
        What it is to be used with.
    parameter : array_like
        An array of that library, or what `numpy.asarray` takes.

    Returns
    -------
    array
        The parameter.
    """
    xp = namespace(x)
    if is_array_api_obj(parameter) and not is_numpy_array(parameter):
        return cast(xp, parameter, xp.float64)
    values = np.asarray(parameter, dtype=np.float64)
    return values if is_numpy_array(x) else xp.asarray(values, dtype=xp.float64, device=device(x))


def rows_at_once(x: Any) -> int:
    """Return how many rows of a matrix to take at a time: what a cache holds, or all of them on a device."""
    rows, features = (int(length) for length in x.shape)
    return max(1, CHUNK // max(features, 1)) if is_numpy_array(x) else max(1, rows)


def cupy(pooled: bool = False) -> Any:
    """Return CuPy. Only a worker calls this: the driver may have neither the library nor a device.

    Parameters
    ----------
    pooled : bool, default=False
        Whether it is to take memory from the RAPIDS memory manager.

    Raises
    ------
    ImportError
        If one of them is not installed.
    """
    import cupy as found  # noqa: PLC0415

    if pooled:
        from rmm.allocators.cupy import rmm_cupy_allocator  # noqa: PLC0415

        found.cuda.set_allocator(rmm_cupy_allocator)
    return found
