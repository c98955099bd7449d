"""A test double of CuPy, by array-api-strict on a device of its own: no GPU code runs here.

It stands in for the library in Spark's Python workers: what reaches for its arrays from the host fails, as a GPU's
would, and what it is asked for is counted. Each name that it has is one of CuPy's, which a test checks.

``STANDIN_DEVICES`` is the number of devices, ``STANDIN_ROWS`` the most rows that fit on one, ``STANDIN_TRACE`` a file
that gets a line for each task that uses one.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from weakref import ref

import array_api_strict as strict
import numpy as np

__version__ = "0 (a test double)"

DEVICE = strict.Device("device1")
HOST = strict.Device("CPU_DEVICE")
counted = {"put": 0, "got": 0, "freed": [], "device": None, "allocator": None}
_put = []  # weak references to what is on the device


def held():
    """Return how many of the arrays put on the device are there still."""
    return sum(there() is not None for there in _put)


class ndarray:  # noqa: N801  # as CuPy calls it
    """What array-api-compat asks for by name; no array is one, since all are array-api-strict's."""


class OutOfMemoryError(MemoryError):
    """As ``cupy.cuda.memory.OutOfMemoryError``."""


class CUDARuntimeError(RuntimeError):
    """As ``cupy.cuda.runtime.CUDARuntimeError``."""


def asarray(a, dtype=None):
    """Copy an array of the host to the device."""
    if not isinstance(a, np.ndarray):
        raise TypeError(f"Unsupported type {type(a)}")
    limit = int(os.environ.get("STANDIN_ROWS", "0"))
    if limit and a.ndim > 1 and len(a) > limit:
        raise OutOfMemoryError(f"Out of memory allocating {a.nbytes} bytes")
    counted["put"] += 1
    found = strict.asarray(np.array(a), dtype=dtype, device=DEVICE)
    _put.append(ref(found))
    return found


def asnumpy(a):
    """Copy an array of the device to the host."""
    if isinstance(a, np.ndarray):
        return a
    if a.device != DEVICE:
        raise TypeError("not an array of the device")
    counted["got"] += 1
    return np.asarray(a.to_device(HOST))


class Device:
    """As ``cupy.cuda.Device``."""

    def __init__(self, device=None):
        self.id = device

    def use(self):
        if not 0 <= self.id < _count():
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        counted["device"] = self.id
        if "STANDIN_TRACE" in os.environ:
            with open(os.environ["STANDIN_TRACE"], "a") as trace:
                trace.write("used\n")


class _Pool:
    def free_all_blocks(self):
        counted["freed"].append(held())  # memory that is in use is not freed


def get_default_memory_pool():
    return _Pool()


def get_default_pinned_memory_pool():
    return _Pool()


def _count():
    devices = int(os.environ.get("STANDIN_DEVICES", "1"))
    if not devices:
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
    return devices


def _set_allocator(allocator=None):
    counted["allocator"] = allocator


cuda = SimpleNamespace(
    Device=Device,
    set_allocator=_set_allocator,
    is_available=lambda: int(os.environ.get("STANDIN_DEVICES", "1")) > 0,
    memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    runtime=SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError, getDeviceCount=_count, getDevice=lambda: counted["device"]
    ),
)
