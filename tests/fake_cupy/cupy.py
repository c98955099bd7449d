"""A fake CuPy: array-api-strict on a separate device. No GPU code runs here.

It replaces CuPy in Spark's Python workers. Using its arrays on the host fails, as with a GPU's, and its calls are
counted. All its names are names of CuPy, which a test checks.

``FAKE_CUPY_DEVICES`` is the number of devices, ``FAKE_CUPY_ROWS`` the most rows that fit on one, and
``FAKE_CUPY_TRACE`` a file to which each task that uses a device writes a line.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from weakref import ref

import array_api_strict as strict
import numpy as np

__version__ = "0 (fake)"

DEVICE = strict.Device("device1")
HOST = strict.Device("CPU_DEVICE")
counted = {"put": 0, "got": 0, "freed": [], "device": None, "allocator": None}
_put = []  # weak references to the arrays on the device


def held():
    """Return how many of the arrays put on the device still exist."""
    return sum(reference() is not None for reference in _put)


class ndarray:  # noqa: N801  # as CuPy calls it
    """array-api-compat needs the name; arrays here are array-api-strict's."""


class OutOfMemoryError(MemoryError):
    """Like ``cupy.cuda.memory.OutOfMemoryError``."""


class CUDARuntimeError(RuntimeError):
    """Like ``cupy.cuda.runtime.CUDARuntimeError``."""


def asarray(a, dtype=None):
    """Copy an array of the host to the device."""
    if not isinstance(a, np.ndarray):
        raise TypeError(f"Unsupported type {type(a)}")
    limit = int(os.environ.get("FAKE_CUPY_ROWS", "0"))
    if limit and a.ndim > 1 and len(a) > limit:
        raise OutOfMemoryError(f"Out of memory allocating {a.nbytes} bytes")
    counted["put"] += 1
    array = strict.asarray(np.array(a), dtype=dtype, device=DEVICE)
    _put.append(ref(array))
    return array


def asnumpy(a):
    """Copy an array of the device to the host."""
    if isinstance(a, np.ndarray):
        return a
    if a.device != DEVICE:
        raise TypeError("not an array of the device")
    counted["got"] += 1
    return np.asarray(a.to_device(HOST))


class Device:
    """Like ``cupy.cuda.Device``."""

    def __init__(self, device=None):
        self.id = device

    def use(self):
        if not 0 <= self.id < _count():
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        counted["device"] = self.id
        if "FAKE_CUPY_TRACE" in os.environ:
            with open(os.environ["FAKE_CUPY_TRACE"], "a") as trace:
                trace.write("used\n")


class _Pool:
    def free_all_blocks(self):
        counted["freed"].append(held())  # CuPy does not free memory in use


def get_default_memory_pool():
    return _Pool()


def get_default_pinned_memory_pool():
    return _Pool()


def _count():
    devices = int(os.environ.get("FAKE_CUPY_DEVICES", "1"))
    if not devices:
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
    return devices


def _set_allocator(allocator=None):
    counted["allocator"] = allocator


cuda = SimpleNamespace(
    Device=Device,
    set_allocator=_set_allocator,
    is_available=lambda: int(os.environ.get("FAKE_CUPY_DEVICES", "1")) > 0,
    memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    runtime=SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError, getDeviceCount=_count, getDevice=lambda: counted["device"]
    ),
)
