"""The only module that accesses the JVM.

On Connect there is no JVM: queries return ``None``; functions that move and remove files need `has_jvm`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

__all__ = [
    "Cache",
    "cache",
    "cancelled",
    "children",
    "errors",
    "exists",
    "file_filter",
    "files",
    "has_jvm",
    "is_cancelled",
    "lines",
    "message",
    "partitions",
    "plan",
    "remove_path",
    "standard_scaler",
]

CANCELLED = re.compile(r"org\.apache\.spark\.SparkException: (\[SPARK_JOB_CANCELLED\] )?Job \d+ cancelled\b")
NODES_ABOVE_CACHE = {"Project", "Filter", "SubqueryAlias", "View"}  # plan nodes that `cache` looks through


def has_jvm(df: DataFrame) -> bool:
    """Whether the DataFrame is of classic Spark, with a JVM that can be called."""
    return hasattr(df, "_jdf")


def partitions(df: DataFrame) -> int | None:
    """Return the number of partitions, or ``None`` if it is unknown without running a job.

    With an adaptive plan it is known only after its shuffles have run.
    """
    if not has_jvm(df):
        return None
    from py4j.protocol import Py4JError

    try:
        plan = df._jdf.queryExecution().executedPlan()
        if "Exchange" in plan.toString() or "Adaptive" in plan.nodeName() or "Subquery" in plan.toString():
            return None
        return int(plan.execute().getNumPartitions())
    except Py4JError:  # a cluster that refuses the call
        return None


@dataclass(frozen=True)
class Cache:
    """Size of a cache, and the number of tasks that the session can run at once."""

    partitions: int
    rows: int
    bytes: int
    slots: int


def cache(df: DataFrame) -> Cache | None:
    """Return the cache that a DataFrame reads, if its plan has only selects and filters above one cache.

    ``None`` if the cache is not fully computed, or if the user has set the number of tasks. Blocks that Spark has
    evicted from the cache since are counted, too. This call analyzes the plan of ``df``, which then ignores later
    caches: pass only a DataFrame that is not shared with the user.
    """
    if not has_jvm(df):
        return None
    from py4j.protocol import Py4JError

    try:
        context = df.sparkSession.sparkContext
        node = df._jdf.queryExecution().withCachedData()
        while node.nodeName() in NODES_ABOVE_CACHE:
            node = node.children().head()
        if node.nodeName() != "InMemoryRelation" or context.getConf().contains("spark.default.parallelism"):
            return None
        if not node.cacheBuilder().isCachedColumnBuffersLoaded():
            return None
        statistics = node.stats()
        return Cache(
            node.cacheBuilder().cachedColumnBuffers().getNumPartitions(),
            statistics.rowCount().get(),
            statistics.sizeInBytes(),
            context.defaultParallelism,
        )
    except Py4JError:  # a cluster that refuses the call
        return None


def plan(df: DataFrame) -> str | None:
    """Return a query's plan as Spark prints it."""
    return str(df._jdf.queryExecution().toString()) if has_jvm(df) else None


def errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that a call into the JVM may raise."""
    try:
        from py4j.protocol import Py4JError
    except ImportError:
        return ()
    return (Py4JError,)


def message(failure: BaseException) -> str | None:
    """Return the JVM's message for a Py4J error that PySpark has not converted, or ``None``."""
    cause = getattr(failure, "java_exception", None)
    if cause is None:
        return None
    while cause.getCause() is not None:
        cause = cause.getCause()
    return str(cause.toString())


def cancelled(failure: BaseException) -> PySparkException | None:
    """Convert the Py4J error of a cancelled job to PySpark's exception; ``None`` for other failures.

    For results in Arrow format, the message of the Py4J error says only that a result was awaited.
    """
    cause = getattr(failure, "java_exception", None)
    if cause is None:
        return None
    from py4j.protocol import Py4JError
    from pyspark.errors.exceptions.captured import convert_exception

    try:
        while cause is not None and not CANCELLED.match(str(cause.toString())):
            cause = cause.getCause()
        return None if cause is None else convert_exception(cause)
    except Py4JError:  # the JVM is gone
        return None


def is_cancelled(failure: BaseException) -> bool:
    """Whether a query failed because it was cancelled, on classic Spark or on Connect."""
    return cancelled(failure) is not None or "OPERATION_CANCELED" in str(failure)


def exists(spark: SparkSession, path: str) -> bool | None:
    """Return whether a path exists; ``None`` on Connect."""
    if not hasattr(spark, "_jsparkSession"):
        return None
    system, place = files(spark, path)
    return bool(system.exists(place))


def files(spark: SparkSession, *paths: str) -> tuple[Any, ...]:
    """Return the file system of the paths, and the paths as Hadoop objects."""
    objects = [spark._jvm.org.apache.hadoop.fs.Path(path) for path in paths]  # type: ignore[union-attr]
    return objects[-1].getFileSystem(spark._jsc.hadoopConfiguration()), *objects


def file_filter(spark: SparkSession, pattern: str) -> Any:
    """Return a filter of paths by a glob pattern of their names."""
    return spark._jvm.org.apache.hadoop.fs.GlobFilter(pattern)  # type: ignore[union-attr]


def remove_path(spark: SparkSession, path: str) -> bool:
    """Remove a path recursively; return ``False`` on Connect, where that is not possible."""
    if not hasattr(spark, "_jsparkSession"):
        return False
    system, place = files(spark, path)
    system.delete(place, True)
    return True


def children(spark: SparkSession, path: str) -> list[str] | None:
    """Return the names of the entries of a folder, or that of a file; ``None`` on Connect."""
    if not hasattr(spark, "_jsparkSession"):
        return None
    system, place = files(spark, path)
    return [status.getPath().getName() for status in system.listStatus(place)] if system.exists(place) else []


def lines(spark: SparkSession, path: str) -> list[str] | None:
    """Return the lines of the text files in a folder, without a job; ``None`` on Connect, and if they are compressed."""
    if not hasattr(spark, "_jsparkSession"):
        return None
    system, place = files(spark, path)
    entries = [status.getPath() for status in system.listStatus(place)] if system.exists(place) else []
    texts = [file for file in entries if not file.getName().startswith(("_", "."))]
    if not all(file.getName().endswith(".txt") for file in texts):
        return None
    lines: list[str] = []
    for file in texts:
        stream = system.open(file)
        try:
            lines += spark._jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8").splitlines()  # type: ignore[union-attr]
        finally:
            stream.close()
    return lines


def standard_scaler(
    df: DataFrame, source: str, name: str, center: Any, scale: Any
) -> Callable[[DataFrame], DataFrame] | None:
    """Return a function that adds ``(x - center) / scale`` by Spark's own model, twice as fast as an array expression.

    ``None`` on Connect, and on clusters that refuse JVM constructors.
    """
    if not has_jvm(df):
        return None
    from py4j.protocol import Py4JError
    from pyspark.ml.common import _py2java
    from pyspark.ml.feature import StandardScalerModel
    from pyspark.ml.linalg import Vectors
    from pyspark.ml.util import Identifiable

    context = df.sparkSession.sparkContext
    uid = Identifiable._randomUID.__func__(StandardScalerModel)  # type: ignore[attr-defined]
    try:
        vectors = [_py2java(context, Vectors.dense(v)) for v in (scale, center)]
        model = context._jvm.org.apache.spark.ml.feature.StandardScalerModel(uid, *vectors)  # type: ignore[union-attr]
    except Py4JError:
        return None
    # Set Params on the JVM object: fewer py4j calls.
    model = model.set("withMean", True).set("withStd", True).setInputCol(source).setOutputCol(name)
    return lambda df: DataFrame(model.transform(df._jdf), df.sparkSession)
