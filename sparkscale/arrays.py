"""Array library, device and precision of an array, so that one code runs on NumPy and on GPU libraries."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj, is_numpy_array
from array_api_compat import numpy as xnp

__all__ = ["as_array_like", "cast", "cupy", "double", "keep_freed_memory", "namespace", "rows_at_once"]

VALUES_IN_CACHE = 1 << 16  # values per chunk: temporaries of this size stay in a core's cache


@cache
def keep_freed_memory() -> None:
    """Make glibc keep up to 64 MB of freed memory for the next chunk.

    glibc does so once a block of 32 MB has been freed. Before that, it returns memory to the system after each chunk,
    and the next chunk starts with page faults: the moments of 10,000 x 64 values take 7 ms instead of 2 ms. Freeing a
    larger block has no effect. After a block of 8 MB, each sparse batch still causes 500 page faults, and its moments
    take 7 % longer.
    """
    np.empty((1 << 22) - 1024)


def namespace(x: Any) -> Any:
    """Return the namespace of an array; NumPy's for anything else."""
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
    dtype : data type
        That of ``x`` if it is a floating type, else double.
    """
    x = x if is_array_api_obj(x) else np.asarray(x)
    xp = namespace(x)
    dtype = x.dtype if xp.isdtype(x.dtype, "real floating") else xp.float64
    return xp, cast(xp, x, xp.float64), dtype


def cast(xp: Any, x: Any, dtype: Any) -> Any:
    """Return an array in another type."""
    return xp.astype(x, dtype, copy=False)


def as_array_like(x: Any, parameter: Any) -> Any:
    """Return a parameter as an array in double precision, of the library and on the device of ``x``.

    Parameters
    ----------
    x : array
        The array that the parameter is combined with.
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
    """Return how many rows of a matrix to process at a time: as many as fit in the cache, or all of them on a GPU."""
    rows, features = (int(length) for length in x.shape)
    return max(1, VALUES_IN_CACHE // max(features, 1)) if is_numpy_array(x) else max(1, rows)


def cupy(pooled: bool = False) -> Any:
    """Import CuPy. Only workers call this: the driver may have neither the library nor a device.

    Parameters
    ----------
    pooled : bool, default=False
        Whether CuPy allocates from the RAPIDS memory manager.

    Raises
    ------
    ImportError
        If CuPy, or the memory manager, is not installed.
    """
    import cupy as library  # noqa: PLC0415

    if pooled:
        from rmm.allocators.cupy import rmm_cupy_allocator  # noqa: PLC0415

        library.cuda.set_allocator(rmm_cupy_allocator)
    return library
