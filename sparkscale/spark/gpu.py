"""The device of a task: its GPU, or the CPU."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from operator import add
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from sparkscale import arrays
from sparkscale.blocks import Block, DenseBlock, Runs
from sparkscale.errors import DeviceError, ScalingError, tag_error
from sparkscale.spark.arrow import concat_batches
from sparkscale.statistics import Statistic
from sparkscale.statistics._reductions import run_starts

__all__ = ["Cpu", "Gpu", "Kernel", "device_of_task", "effective_device", "has_plugin", "partition_id"]

T = TypeVar("T")
W = TypeVar("W", bound="Cpu")
Array = npt.NDArray[np.floating[Any]]
Kernel = Callable[[Any], Any]  # from rows to rows, as arrays of any library

RESOURCE = "gpu"  # the name used in the documentation of Spark and of the plugin
AMOUNT, PLUGIN = f"spark.task.resource.{RESOURCE}.amount", "spark.rapids.sql.python.gpu.enabled"
SQL_PLUGIN = "com.nvidia.spark.SQLPlugin"
_mig_devices: list[str] = []  # that this worker has used
VISIBLE, POOLED = "CUDA_VISIBLE_DEVICES", "RAPIDS_POOLED_MEM_ENABLED"
BLOCK_BYTES = 1 << 28  # of Arrow batches that become one block on a GPU
MOST_RUNS = 256  # that a GPU reduces one by one
CPU_STACKED_ROWS = 1024  # rows of several columns that are stacked at a time on a CPU
LOG = logging.getLogger("sparkscale")
REMEDY = (
    "Give tasks a GPU (spark.executor.resource.gpu.amount, spark.task.resource.gpu.amount and "
    "spark.executor.resource.gpu.discoveryScript) and workers a CuPy of the driver's CUDA version "
    "(cupy-cuda12x or cupy-cuda13x), or set device to 'cpu' or 'auto'."
)


def effective_device(device: str, spark: SparkSession) -> str:
    """Return the device for tasks: "auto" becomes "cpu" in a session whose tasks get no GPU. The choice is logged."""
    if device != "auto":
        return device
    amount, plugin = _conf(spark, AMOUNT) or "0", _conf(spark, PLUGIN) or "false"
    has_gpu = float(amount) > 0 or plugin.lower() == "true"
    where = "GPUs" if has_gpu else "the CPU"
    LOG.warning("device='auto': computing on %s, since %s is %s and %s is %s.", where, AMOUNT, amount, PLUGIN, plugin)
    return device if has_gpu else "cpu"


def has_plugin(spark: SparkSession) -> bool:
    """Whether the RAPIDS Accelerator runs Spark's own expressions on the GPU."""
    return SQL_PLUGIN in _conf(spark, "spark.plugins")


def _conf(spark: SparkSession, key: str) -> str:
    """Return a session's setting; an empty string if it is not set, or if a service does not allow reading it."""
    try:
        return spark.conf.get(key, "") or ""
    except PySparkException:
        return ""


class Cpu:
    """The CPU, as the device of a task without a GPU. As a context manager, it frees its memory on exit."""

    def __enter__(self: W) -> W:
        return self

    def __exit__(self, *failure: object) -> None:
        self.free()

    def of(self, statistic_class: type[Statistic], block: Block) -> Statistic:
        """Return the statistic of a block."""
        return statistic_class.of(block)

    def apply(self, kernel: Kernel, rows: Array) -> Array:
        """Apply a kernel to rows."""
        with np.errstate(all="ignore"):
            results: Array = kernel(rows)
        return results

    def rebatch(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Combine Arrow batches into a size that suits the device."""
        return batches

    def rows(self, features: int) -> int:
        """Return how many rows of several columns to stack at a time."""
        return CPU_STACKED_ROWS

    def free(self) -> None:
        """Release memory that is kept for the next array."""


@dataclass(frozen=True)
class Gpu(Cpu):
    """The GPU of a task.

    Parameters
    ----------
    cupy : module
        CuPy, with the task's device as the current one.
    partition : int
        The partition that the task computes.
    """

    cupy: Any
    partition: int = 0

    def of(self, statistic_class: type[Statistic], block: Block) -> Statistic:
        """Return the statistic of a block, computed on the GPU if it is dense and a GPU can, else on the CPU."""
        if not isinstance(block, DenseBlock) or not block.rows or not statistic_class.on_gpu:
            return statistic_class.of(block)
        if block.runs is not None and len(run_starts(block.runs)) > MOST_RUNS:
            return statistic_class.of(block)
        compute = partial(self._of, statistic_class)
        return statistic_class.join_blocks(*zip(*self._split_on_oom(block, compute, add), strict=True))

    def _of(self, statistic_class: type[Statistic], block: DenseBlock) -> list[tuple[Statistic, Runs | None]]:
        to_device = self.cupy.asarray
        weights = None if block.weights is None else to_device(block.weights)
        statistic = statistic_class.of(DenseBlock(to_device(block.values), weights, block.runs))
        arrays = {name: self.cupy.asnumpy(array) for name, array in statistic.arrays().items()}
        return [(statistic_class(**arrays), block.runs)]

    def apply(self, kernel: Kernel, rows: Array) -> Array:
        """Apply a kernel to rows on the GPU."""

        def compute(block: DenseBlock) -> Array:
            results: Array = self.cupy.asnumpy(kernel(self.cupy.asarray(block.values)))
            return results

        return self._split_on_oom(DenseBlock(rows), compute, lambda first, second: np.concatenate([first, second]))

    def _split_on_oom(self, block: DenseBlock, compute: Callable[[DenseBlock], T], join: Callable[[T, T], T]) -> T:
        """Compute on a block, or recursively on its halves if it does not fit into the GPU's memory.

        Raises
        ------
        DeviceError
            If the computation fails, or a single row does not fit.
        """
        try:
            return compute(block)
        except MemoryError as failed:  # of CuPy, and of the RAPIDS memory manager
            if block.rows < 2:  # noqa: PLR2004
                raise self._failed(failed, "Let fewer tasks share it, or set device to 'cpu'.") from failed
        except ScalingError:
            raise
        except Exception as failed:
            raise self._failed(failed, "See the executor's log, or set device to 'cpu'.") from failed
        self.free()
        half = block.rows // 2
        return join(self._split_on_oom(block[:half], compute, join), self._split_on_oom(block[half:], compute, join))

    def _failed(self, cause: Exception, remedy: str) -> DeviceError:
        text = f"The GPU failed in partition {self.partition}: {type(cause).__name__}: {cause}. {remedy}"
        return DeviceError(tag_error(DeviceError, text))

    def rebatch(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Concatenate Arrow batches up to ``BLOCK_BYTES``: a GPU is slow on small batches."""
        return concat_batches(batches, BLOCK_BYTES)

    def rows(self, features: int) -> int:
        """Return how many rows of several columns to stack at a time."""
        return max(1, BLOCK_BYTES // (8 * max(features, 1)))

    def free(self) -> None:
        """Release memory that is kept for the next array, since tasks share the device."""
        self.cupy.get_default_memory_pool().free_all_blocks()
        self.cupy.get_default_pinned_memory_pool().free_all_blocks()


def device_of_task(device: str) -> Cpu:
    """Return the GPU of the running task, or the CPU.

    The GPU is, in this order: the first of ``CUDA_VISIBLE_DEVICES``, which the RAPIDS Accelerator sets; the address
    that Spark assigned to the task; otherwise, as in local mode, one of all GPUs, chosen by the partition's number.

    Parameters
    ----------
    device : {"cpu", "auto", "gpu"}
        The Param ``device``.

    Returns
    -------
    Cpu
        A `Gpu`, except with "cpu", or with "auto" if there is no GPU, which is logged.

    Raises
    ------
    DeviceError
        With "gpu", if there is none.
    """
    if device == "cpu":
        return Cpu()
    try:
        return _gpu_of_task(task_context())
    except _NoGpu as failed:
        if device == "gpu":
            raise DeviceError(tag_error(DeviceError, f"device='gpu', but {failed}. {REMEDY}")) from failed
        _warn_once(str(failed))
        return Cpu()


def partition_id() -> int:
    """Return the partition number of the running task."""
    context = task_context()
    return context.partitionId() if context else 0


def task_context() -> Any:
    """Return the context of the running task, or ``None``."""
    from pyspark import TaskContext  # noqa: PLC0415  # a pure Connect client lacks it; workers have it

    return TaskContext.get()


@cache  # once per worker, which runs many tasks
def _warn_once(reason: str) -> None:
    LOG.warning("device='auto': computing on the CPU, since %s.", reason)


class _NoGpu(Exception):  # noqa: N818  # caught here
    """The reason why there is no GPU."""


def _gpu_of_task(context: Any) -> Gpu:
    address = _address(context)
    visible = os.environ.get(VISIBLE)
    pooled = os.environ.get(POOLED, "").lower() == "true"
    try:
        cupy = arrays.cupy(pooled=pooled)
    except ImportError as failed:
        subject = "CuPy and rmm cannot both" if pooled else "CuPy cannot"
        raise _NoGpu(f"{subject} be imported by the worker's Python ({failed})") from failed
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as failed:
        raise _NoGpu(f"CuPy {cupy.__version__} finds no device ({failed})") from failed
    if not devices:
        raise _NoGpu(f"CuPy {cupy.__version__} finds no device")
    if visible:
        index = 0  # CUDA numbers the visible ones
    elif address:
        index = int(address)
        if index >= devices:
            raise _NoGpu(f"Spark assigned device {address}, but CuPy finds {devices} only")
    else:
        index = context.partitionId() % devices if context else 0
    try:
        cupy.cuda.Device(index).use()
        cupy.asnumpy(cupy.asarray(np.ones(1)) + 1.0)  # the device may be unusable, or compilation of kernels may fail
    except Exception as failed:
        raise _NoGpu(f"device {index} cannot be used ({type(failed).__name__}: {failed})") from failed
    return Gpu(cupy, context.partitionId() if context else 0)


def _address(context: Any) -> str | None:
    """Return the address that Spark assigned to the task; a MIG device, which has a name, is made visible."""
    visible = os.environ.get(VISIBLE)
    if visible is not None and not visible.strip():
        raise _NoGpu(f"{VISIBLE} is empty")
    assigned = context.resources().get(RESOURCE) if context else None
    address: str | None = assigned.addresses[0] if assigned and assigned.addresses else None
    if address is None or address.isdecimal():
        return address
    if visible in _mig_devices and visible != address:
        raise _NoGpu(
            f"Spark assigned {address} to a worker that already uses {visible}, and CUDA cannot change devices: set "
            "spark.python.worker.reuse to false, or give each executor one MIG device"
        )
    if not visible:
        _mig_devices.append(address)
        os.environ[VISIBLE] = address
    return address
