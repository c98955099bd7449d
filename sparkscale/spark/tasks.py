"""Tasks in Python: what holds up short ones is taken away at the start of each.

Two causes, neither in the task itself. After each task a worker that is used again collects garbage, and passes over all
that NumPy, pandas and PyArrow made when they were imported: 10 to 40 ms. And what the JVM writes last waits until the
worker acknowledges what came before, which Linux delays by 40 ms.
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

MOST_OBJECTS = 5000  # that a collection passes over in a fraction of a millisecond
MOST_FREEZES = 3  # in a worker's life, so that garbage of others that is frozen stays little
_freezes = 0


def map_in_arrow(df: DataFrame, function: Callable[[Batches], Batches], schema: StructType) -> DataFrame:
    """Return what a function makes of each partition's Arrow batches."""
    return df.mapInArrow(_Task(function), schema)


@dataclass(frozen=True)
class _Task:
    """A function that is called when its worker is ready."""

    function: Callable[[Batches], Batches]

    def __call__(self, batches: Batches) -> Batches:
        begin()
        return self.function(batches)


def begin() -> None:
    """Make the worker of a task ready for it; of one that no daemon of PySpark's has started, only its memory."""
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
        module = frame.f_globals.get("__spec__")  # the daemon's __name__ may be __main__
        if frame.f_code.co_name == "worker" and getattr(module, "name", None) == "pyspark.daemon":
            return frame
        frame = frame.f_back
    return None


def _acknowledge_at_once(connection: object) -> None:
    """Acknowledge what the JVM has sent; Linux goes back to its delays by itself, and so for each task."""
    if not isinstance(connection, socket.socket) or connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    if hasattr(socket, "TCP_QUICKACK"):
        with suppress(OSError):  # a kernel that has no such option
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _freeze() -> None:
    """Take what is there out of all later collections, if it is much; garbage is collected first."""
    global _freezes  # noqa: PLW0603  # of the worker
    if _freezes < MOST_FREEZES and len(gc.get_objects()) > MOST_OBJECTS:
        gc.collect()
        _freezes += 1
        gc.freeze()
