"""What a task computes on: the GPU that is its own, or the CPU."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from math import inf
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
from sparkscale.statistics import Statistic

__all__ = ["Cpu", "Gpu", "Kernel", "concat_batches", "device_of_task", "effective_device", "has_plugin", "partition_id"]

T = TypeVar("T")
W = TypeVar("W", bound="Cpu")
Array = npt.NDArray[np.floating[Any]]
Kernel = Callable[[Any], Any]  # from rows of any array library to rows of it

RESOURCE = "gpu"  # by the name that Spark's and the plugin's documentation give it
AMOUNT, PLUGIN = f"spark.task.resource.{RESOURCE}.amount", "spark.rapids.sql.python.gpu.enabled"
SQL_PLUGIN = "com.nvidia.spark.SQLPlugin"
_parts: list[str] = []  # of devices, that this worker began on
VISIBLE, POOLED = "CUDA_VISIBLE_DEVICES", "RAPIDS_POOLED_MEM_ENABLED"
BUDGET = 1 << 28  # bytes of Arrow batches that become one block
ROWS = 1024
LOG = logging.getLogger("sparkscale")
REMEDY = (
    "Give tasks a GPU (spark.executor.resource.gpu.amount, spark.task.resource.gpu.amount and "
    "spark.executor.resource.gpu.discoveryScript) and workers a CuPy of the driver's CUDA version "
    "(cupy-cuda12x or cupy-cuda13x), or set device to 'cpu' or 'auto'."
)


def effective_device(device: str, spark: SparkSession) -> str:
    """Return what to ask of tasks: of "auto" it is "cpu" in a session that gives its tasks no GPU, which is logged."""
    if device != "auto":
        return device
    amount, plugin = _conf(spark, AMOUNT) or "0", _conf(spark, PLUGIN) or "false"
    there = float(amount) > 0 or plugin.lower() == "true"
    where = "GPUs" if there else "the CPU"
    LOG.warning("device='auto': computing on %s, since %s is %s and %s is %s.", where, AMOUNT, amount, PLUGIN, plugin)
    return device if there else "cpu"


def has_plugin(spark: SparkSession) -> bool:
    """Whether the RAPIDS Accelerator runs Spark's own expressions on the GPU."""
    return SQL_PLUGIN in _conf(spark, "spark.plugins")


def _conf(spark: SparkSession, key: str) -> str:
    """Return what a session is configured to; nothing where it does not say, as on services that keep it to themselves."""
    try:
        return spark.conf.get(key, "") or ""
    except PySparkException:
        return ""


class Cpu:
    """What a task computes on if it has no GPU, or is not to use it; by ``with``, what it holds is given back."""

    def __enter__(self: W) -> W:
        return self

    def __exit__(self, *failure: object) -> None:
        self.free()

    def of(self, statistic_class: type[Statistic], block: Block) -> Statistic:
        """Return the statistic of a block."""
        return statistic_class.of(block)

    def apply(self, kernel: Kernel, rows: Array) -> Array:
        """Return what a kernel makes of rows."""
        with np.errstate(all="ignore"):
            found: Array = kernel(rows)
        return found

    def gathered(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return Arrow batches in sizes that suit the device."""
        return batches

    def rows(self, features: int) -> int:
        """Return how many rows of columns are put beside each other at a time."""
        return ROWS

    def free(self) -> None:
        """Give memory back that is held for the next array."""


@dataclass(frozen=True)
class Gpu(Cpu):
    """A device that is there.

    Parameters
    ----------
    cupy : module
        CuPy, with the task's device made current.
    partition : int
        What the task computes.
    """

    cupy: Any
    partition: int = 0

    def of(self, statistic_class: type[Statistic], block: Block) -> Statistic:
        """Return the statistic of a block, computed on the device; of a sparse one on the CPU."""
        if not isinstance(block, DenseBlock) or not block.rows:
            return statistic_class.of(block)
        compute = partial(self._of, statistic_class)
        return statistic_class.join_blocks(*zip(*self._in_parts(block, compute, add), strict=True))

    def _of(self, statistic_class: type[Statistic], block: DenseBlock) -> list[tuple[Statistic, Runs | None]]:
        put = self.cupy.asarray
        weights = None if block.weights is None else put(block.weights)
        statistic = statistic_class.of(DenseBlock(put(block.values), weights, block.runs))
        arrays = {name: self.cupy.asnumpy(array) for name, array in statistic.arrays().items()}
        return [(statistic_class(**arrays), block.runs)]

    def apply(self, kernel: Kernel, rows: Array) -> Array:
        """Return what a kernel makes of rows on the device."""

        def made(part: DenseBlock) -> Array:
            found: Array = self.cupy.asnumpy(kernel(self.cupy.asarray(part.values)))
            return found

        return self._in_parts(DenseBlock(rows), made, lambda one, other: np.concatenate([one, other]))

    def _in_parts(self, block: DenseBlock, compute: Callable[[DenseBlock], T], join: Callable[[T, T], T]) -> T:
        """Compute of a block; where the device has no room for it, half by half.

        Raises
        ------
        DeviceError
            If it fails otherwise, or has no room for a single row.
        """
        try:
            return compute(block)
        except MemoryError as failed:  # CuPy's own, and that of the memory manager of RAPIDS
            if block.rows < 2:  # noqa: PLR2004
                raise self._failed(failed, "Let fewer tasks share it, or set device to 'cpu'.") from failed
        except ScalingError:
            raise
        except Exception as failed:
            raise self._failed(failed, "See the executor's log, or set device to 'cpu'.") from failed
        self.free()
        half = block.rows // 2
        return join(self._in_parts(block[:half], compute, join), self._in_parts(block[half:], compute, join))

    def _failed(self, why: Exception, remedy: str) -> DeviceError:
        text = f"The GPU failed in partition {self.partition}: {type(why).__name__}: {why}. {remedy}"
        return DeviceError(tag_error(DeviceError, text))

    def gathered(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return Arrow batches put together until they have ``BUDGET`` bytes: a device is slow with little at a time."""
        return concat_batches(batches, BUDGET)

    def rows(self, features: int) -> int:
        """Return how many rows of columns are put beside each other at a time."""
        return max(1, BUDGET // (8 * max(features, 1)))

    def free(self) -> None:
        """Give memory back that is held for the next array, since tasks share the device."""
        self.cupy.get_default_memory_pool().free_all_blocks()
        self.cupy.get_default_pinned_memory_pool().free_all_blocks()


def device_of_task(device: str) -> Cpu:
    """Return the GPU of the task that runs, or the CPU.

    The GPU is, in this order: the first that ``CUDA_VISIBLE_DEVICES`` shows, as the RAPIDS Accelerator sets it; the
    address that Spark assigned to the task; without either, as in local mode, one of all by the partition's number.

    Parameters
    ----------
    device : {"cpu", "auto", "gpu"}
        What is asked for.

    Returns
    -------
    Cpu
        A `Gpu`; not under "cpu", and not under "auto" if there is none, which is logged.

    Raises
    ------
    DeviceError
        Under "gpu", if there is none.
    """
    if device == "cpu":
        return Cpu()
    try:
        return _found(task())
    except _Missing as failed:
        if device == "gpu":
            raise DeviceError(tag_error(DeviceError, f"device='gpu', but {failed}. {REMEDY}")) from failed
        _tell(str(failed))
        return Cpu()


def partition_id() -> int:
    """Return the number of the partition that a task computes."""
    context = task()
    return context.partitionId() if context else 0


def task() -> Any:
    """Return Spark's word on the task that runs, or ``None``."""
    from pyspark import TaskContext  # noqa: PLC0415  # a pure Connect client lacks it; workers have it

    return TaskContext.get()


@cache  # once a worker, which has many tasks
def _tell(reason: str) -> None:
    LOG.warning("device='auto': computing on the CPU, since %s.", reason)


class _Missing(Exception):  # noqa: N818  # the reason, not yet an error
    """Why there is no device."""


def _found(context: Any) -> Gpu:
    address = _address(context)
    visible = os.environ.get(VISIBLE)
    pooled = os.environ.get(POOLED, "").lower() == "true"
    try:
        cupy = arrays.cupy(pooled=pooled)
    except ImportError as failed:
        what = "CuPy and rmm cannot both" if pooled else "CuPy cannot"
        raise _Missing(f"{what} be imported by the worker's Python ({failed})") from failed
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as failed:
        raise _Missing(f"CuPy {cupy.__version__} finds no device ({failed})") from failed
    if not devices:
        raise _Missing(f"CuPy {cupy.__version__} finds no device")
    if visible:
        index = 0  # CUDA numbers those that it shows
    elif address:
        index = int(address)
        if index >= devices:
            raise _Missing(f"Spark assigned device {address}, but CuPy finds {devices} only")
    else:
        index = context.partitionId() % devices if context else 0
    try:
        cupy.cuda.Device(index).use()
        cupy.asnumpy(cupy.asarray(np.ones(1)) + 1.0)  # a device may be there and not be usable, or no kernel compile
    except Exception as failed:
        raise _Missing(f"device {index} cannot be used ({type(failed).__name__}: {failed})") from failed
    return Gpu(cupy, context.partitionId() if context else 0)


def _address(context: Any) -> str | None:
    """Return what Spark assigned to the task; a part of a device, which has a name and no number, is made visible."""
    visible = os.environ.get(VISIBLE)
    if visible is not None and not visible.strip():
        raise _Missing(f"{VISIBLE} is empty")
    assigned = context.resources().get(RESOURCE) if context else None
    address: str | None = assigned.addresses[0] if assigned and assigned.addresses else None
    if address is None or address.isdecimal():
        return address
    if visible in _parts and visible != address:
        raise _Missing(
            f"Spark assigned {address} to a worker that has begun on {visible}, from which CUDA cannot change: set "
            "spark.python.worker.reuse to false, or give each executor one part"
        )
    if not visible:
        _parts.append(address)
        os.environ[VISIBLE] = address
    return address


def concat_batches(batches: Iterable[pa.RecordBatch], most: float, most_rows: float = inf) -> Iterator[pa.RecordBatch]:
    """Put batches together up to ``most`` bytes and so many rows; one that is larger stays alone."""
    held: list[pa.RecordBatch] = []
    size = rows = 0
    for batch in batches:
        if held and (size + batch.nbytes > most or rows + batch.num_rows > most_rows):
            yield _one(held)
            size = rows = 0
        held.append(batch)
        size, rows = size + batch.nbytes, rows + batch.num_rows
        del batch  # drop our reference so that the consumer can free the batch
        if size >= most or rows >= most_rows:
            yield _one(held)
            size = rows = 0
    if held:
        yield _one(held)


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Empty the list into one batch."""
    if len(batches) == 1:
        return batches.pop()
    table = pa.Table.from_batches(batches).combine_chunks()
    batch = table.to_batches()[0] if table.num_rows else batches[0]
    batches.clear()
    return batch
