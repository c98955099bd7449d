"""Python tasks: preparation of workers that removes two delays of short tasks.

After each task, a reused worker collects garbage, and traverses all objects that NumPy, pandas and PyArrow created on
import: 10 to 40 ms. And the last data that the JVM sends wait until the worker acknowledges the previous data, which
Linux delays by 40 ms.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

from sparkscale.arrays import keep_freed_memory

__all__ = ["begin", "map_in_arrow"]

Batches = Iterator[pa.RecordBatch]

MOST_OBJECTS = 5000  # traversed by the garbage collector in a fraction of a millisecond
MOST_FREEZES = 3  # per worker, so that little garbage of other libraries is ever frozen
_freezes = 0


def map_in_arrow(df: DataFrame, function: Callable[[Batches], Batches], schema: StructType) -> DataFrame:
    """Apply a function to the Arrow batches of each partition."""
    return df.mapInArrow(_Task(function), schema)


@dataclass(frozen=True)
class _Task:
    """A function that prepares its worker before it runs."""

    function: Callable[[Batches], Batches]

    def __call__(self, batches: Batches) -> Batches:
        begin()
        return self.function(batches)


def begin() -> None:
    """Prepare the worker of a task; outside of PySpark's daemon, only its memory allocation."""
    keep_freed_memory()
    frame = _frame_of_daemon()
    if frame is None:
        return
    _acknowledge_at_once(frame.f_locals.get("sock"))
    if "SPARK_REUSE_WORKER" in os.environ:
        _freeze()


def _frame_of_daemon() -> FrameType | None:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        module = frame.f_globals.get("__spec__")  # the name of the daemon's module may be __main__
        if frame.f_code.co_name == "worker" and getattr(module, "name", None) == "pyspark.daemon":
            return frame
        frame = frame.f_back
    return None


def _acknowledge_at_once(connection: object) -> None:
    """Turn off delayed acknowledgements; Linux turns them on again by itself, so this is done for each task."""
    if not isinstance(connection, socket.socket) or connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    if hasattr(socket, "TCP_QUICKACK"):
        with suppress(OSError):  # a kernel without this option
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _freeze() -> None:
    """Collect garbage, then exclude the remaining objects from later collections if there are many."""
    global _freezes  # noqa: PLW0603  # state of the worker process
    if _freezes < MOST_FREEZES and len(gc.get_objects()) > MOST_OBJECTS:
        gc.collect()
        _freezes += 1
        gc.freeze()
