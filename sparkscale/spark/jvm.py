"""The only module that reaches into the JVM.

On Connect there is none: what is asked then answers ``None``, and what moves and removes is for where `has_jvm`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from sparkscale.spark import paths

__all__ = [
    "Cache",
    "cache",
    "cancelled",
    "children",
    "errors",
    "exists",
    "has_jvm",
    "is_cancelled",
    "message",
    "partitions",
    "plan",
    "recover_path",
    "remove_path",
    "replace_path",
    "standard_scaler",
]

NEW = re.compile(r"\.sparkscale_[0-9a-f]{12}")  # what the name of a path has at its end while a table is written
CANCELLED = re.compile(r"org\.apache\.spark\.SparkException: (\[SPARK_JOB_CANCELLED\] )?Job \d+ cancelled\b")
ABOVE = {"Project", "Filter", "SubqueryAlias", "View"}  # what may stand above a cache
OLD, GONE = ".old", ".gone"  # at the end of what was replaced, and of that while it is removed


def has_jvm(df: DataFrame) -> bool:
    """Whether there is a JVM to ask."""
    return hasattr(df, "_jdf")


def partitions(df: DataFrame) -> int | None:
    """Return the number of partitions if it is known without running a job.

    An adaptive plan only knows it after its shuffles have run.
    """
    if not has_jvm(df):
        return None
    from py4j.protocol import Py4JError

    try:
        plan = df._jdf.queryExecution().executedPlan()
        if "Exchange" in plan.toString() or "Adaptive" in plan.nodeName() or "Subquery" in plan.toString():
            return None
        return int(plan.execute().getNumPartitions())
    except Py4JError:  # a cluster that allows no such call
        return None


@dataclass(frozen=True)
class Cache:
    """What a cache holds, and on how many tasks the session can work at once."""

    partitions: int
    rows: int
    bytes: int
    slots: int


def cache(df: DataFrame) -> Cache | None:
    """Return what is cached of a DataFrame that is no more than selects and filters over one cache.

    ``None`` also of a cache that has not been computed yet, or not all of it, and where the user has set how many tasks
    there are to be. Spark does not tell of what it has dropped from a cache since. The plan of ``df`` is settled by this,
    so that it does not know of later caches: ask a frame that is yours.
    """
    if not has_jvm(df):
        return None
    from py4j.protocol import Py4JError

    try:
        context = df.sparkSession.sparkContext
        held = df._jdf.queryExecution().withCachedData()
        while held.nodeName() in ABOVE:
            held = held.children().head()
        if held.nodeName() != "InMemoryRelation" or context.getConf().contains("spark.default.parallelism"):
            return None
        if not held.cacheBuilder().isCachedColumnBuffersLoaded():
            return None
        statistics = held.stats()
        return Cache(
            held.cacheBuilder().cachedColumnBuffers().getNumPartitions(),
            statistics.rowCount().get(),
            statistics.sizeInBytes(),
            context.defaultParallelism,
        )
    except Py4JError:  # a cluster that allows no such call
        return None


def plan(df: DataFrame) -> str | None:
    """Return a query's plan as Spark prints it."""
    return str(df._jdf.queryExecution().toString()) if has_jvm(df) else None


def errors() -> tuple[type[Exception], ...]:
    """Return what a call of the JVM may raise."""
    try:
        from py4j.protocol import Py4JError
    except ImportError:
        return ()
    return (Py4JError,)


def message(failure: BaseException) -> str | None:
    """Return what the JVM says of a failure that PySpark has not made its own, or ``None`` if it is none of these."""
    found = getattr(failure, "java_exception", None)
    if found is None:
        return None
    while found.getCause() is not None:
        found = found.getCause()
    return str(found.toString())


def cancelled(failure: BaseException) -> PySparkException | None:
    """Return PySpark's exception for the cancellation of a job, which it leaves to Py4J's; ``None`` if it is none.

    Where rows come as Arrow, Py4J's exception says only that a result was awaited.
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
    """Whether a query failed since it was cancelled, on classic or on Connect."""
    return cancelled(failure) is not None or "OPERATION_CANCELED" in str(failure)


def exists(spark: SparkSession, path: str) -> bool | None:
    """Return whether there is something at a path; on Connect it cannot be asked for."""
    if not hasattr(spark, "_jsparkSession"):
        return None
    files, place = _files(spark, path)
    return bool(files.exists(place))


def replace_path(spark: SparkSession, made: str, path: str) -> None:
    """Move what is complete to where it belongs; what is there already is kept until then, and removed after.

    Between two renames there is nothing at the path. `recover_path` ends what was killed there.
    """
    files, source, target, old = _files(spark, made, path, f"{made}{OLD}")
    replaces = files.exists(target)
    try:
        if replaces:
            _rename(files, target, old)
        _rename(files, source, target)
    except BaseException as failure:
        complete = files.exists(target)
        if replaces and not complete:
            _rename(files, old, target)
        # Another run may have taken this one for killed, and ended it.
        if not (isinstance(failure, OSError) and complete and not files.exists(source)):
            raise
    if replaces:
        _delete(files, old)


def recover_path(spark: SparkSession, path: str, stale_after: float) -> None:
    """End what killed runs of `replace_path` have begun, and remove what they left behind.

    If there is nothing at the path and an old one was renamed away, the new one is complete, and takes its place; without
    a new one the old one goes back. An old one beside a complete path is removed. A new one that is not in place may
    belong to a run that is going on: it is removed only when nothing in it has changed for a long time.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
        The session.
    path : str
        Where a table is written.
    stale_after : float
        The age in seconds from which on a new one belongs to no run.
    """
    path = path.rstrip("/")
    files, target = _files(spark, path)
    parent = files.makeQualified(target).getParent()
    if parent is None or not files.exists(parent):
        return
    name = target.getName()
    beside = spark._jvm.org.apache.hadoop.fs.GlobFilter(f"{paths.escaped(name)}.sparkscale_*")  # type: ignore[union-attr]
    suffixes = [status.getPath().getName()[len(name) :] for status in files.listStatus(parent, beside)]
    ours = [s for s in suffixes if NEW.fullmatch(s.removesuffix(GONE).removesuffix(OLD))]
    places = {suffix: _files(spark, f"{path}{suffix}")[1] for suffix in ours}
    old = {suffix.removesuffix(OLD) for suffix in places if suffix.endswith(OLD)}
    if old and not files.exists(target):
        pairs = old & places.keys() or {f"{suffix}{OLD}" for suffix in old}
        newest = max(pairs, key=lambda suffix: files.getFileStatus(places[suffix]).getModificationTime())
        try:
            _rename(files, places[newest], target)
        except OSError:
            if not files.exists(target):  # else a run that was going on has gone on
                raise
    _remove_left(files, target, places, time.time() - stale_after)


def _remove_left(files: Any, target: Any, places: Mapping[str, Any], stale: float) -> None:
    """Remove old ones beside what is complete, and new ones that have not changed since a time."""
    there = files.exists(target)
    places = {suffix: place for suffix, place in places.items() if files.exists(place)}  # one may be in place by now
    new = {suffix: place for suffix, place in places.items() if not suffix.endswith((OLD, GONE))}
    in_use = {suffix for suffix, place in new.items() if not _is_older(files, place, stale)}
    for suffix, place in places.items():
        if suffix.endswith(OLD) and there and suffix.removesuffix(OLD) not in in_use:
            _delete(files, place)
        elif suffix.endswith(GONE) or (suffix in new and suffix not in in_use):
            files.delete(place, True)


def _files(spark: SparkSession, *paths: str) -> tuple[Any, ...]:
    """Return the file system of paths, and each of them as its objects."""
    objects = [spark._jvm.org.apache.hadoop.fs.Path(path) for path in paths]  # type: ignore[union-attr]
    return objects[-1].getFileSystem(spark._jsc.hadoopConfiguration()), *objects


def _rename(files: Any, source: Any, target: Any) -> None:
    """Rename what is there to what is not: into a folder that is there it would be moved."""
    if files.exists(target) or not files.rename(source, target):
        raise OSError(f"'{source.toString()}' could not be renamed to '{target.toString()}'.")


def _delete(files: Any, old: Any) -> None:
    """Delete what was replaced, under a name by which nobody puts it back when half of it is gone."""
    if files.exists(old):  # else another run has done it
        gone = old.suffix(GONE)
        _rename(files, old, gone)
        files.delete(gone, True)


def _is_older(files: Any, path: Any, when: float) -> bool:
    """Whether a folder and all files in it were last changed before a time."""
    if files.getFileStatus(path).getModificationTime() >= when * 1000:
        return False
    listed = files.listFiles(path, True)
    while listed.hasNext():
        if listed.next().getModificationTime() >= when * 1000:
            return False
    return True


def remove_path(spark: SparkSession, path: str) -> bool:
    """Remove a path with all that is in it, and return whether that could be asked for; on Connect it cannot."""
    if not hasattr(spark, "_jsparkSession"):
        return False
    files, place = _files(spark, path)
    files.delete(place, True)
    return True


def children(spark: SparkSession, path: str) -> list[str] | None:
    """Return the names of what is in a folder, or that of a file; on Connect it cannot be asked for."""
    if not hasattr(spark, "_jsparkSession"):
        return None
    files, place = _files(spark, path)
    return [status.getPath().getName() for status in files.listStatus(place)] if files.exists(place) else []


def standard_scaler(
    df: DataFrame, source: str, name: str, center: Any, scale: Any
) -> Callable[[DataFrame], DataFrame] | None:
    """Return what adds, by Spark's own model, ``(x - center) / scale``, twice as fast as an expression over arrays.

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
