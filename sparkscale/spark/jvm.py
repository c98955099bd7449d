"""The only module that reaches into the JVM.

On Connect there is none: what is asked then answers ``None``, and what moves and removes is for where `has_jvm`.
"""

from __future__ import annotations

from typing import Any

from pyspark.ml.linalg import Vectors
from pyspark.ml.util import Identifiable
from pyspark.sql import DataFrame, SparkSession

__all__ = ["errors", "has_jvm", "message", "partitions", "remove_path", "replace_path", "standard_scaled"]


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


def replace_path(spark: SparkSession, made: str, path: str) -> None:
    """Move what is complete to where it belongs; what is there already is kept until then, and removed after."""
    hadoop = spark._jvm.org.apache.hadoop.fs  # type: ignore[union-attr]
    source, target, old = hadoop.Path(made), hadoop.Path(path), hadoop.Path(f"{made}.old")
    files = target.getFileSystem(spark._jsc.hadoopConfiguration())
    there = files.exists(target)
    if there and not files.rename(target, old):
        raise OSError(f"'{path}' could not be renamed to make room for the new.")
    if not files.rename(source, target):
        if there:
            files.rename(old, target)
        raise OSError(f"'{made}' could not be renamed to '{path}'.")
    if there:
        files.delete(old, True)


def remove_path(spark: SparkSession, path: str) -> None:
    """Remove what was begun and is not complete."""
    found = spark._jvm.org.apache.hadoop.fs.Path(path)  # type: ignore[union-attr]
    found.getFileSystem(spark._jsc.hadoopConfiguration()).delete(found, True)


def standard_scaled(df: DataFrame, source: str, name: str, center: Any, scale: Any) -> DataFrame | None:
    """Add ``(x - center) / scale`` by Spark's own model, twice as fast as an expression over arrays.

    ``None`` on Connect, and on clusters that refuse JVM constructors.
    """
    if not has_jvm(df):
        return None
    from py4j.protocol import Py4JError
    from pyspark.ml.common import _py2java
    from pyspark.ml.feature import StandardScalerModel

    context = df.sparkSession.sparkContext
    uid = Identifiable._randomUID.__func__(StandardScalerModel)  # type: ignore[attr-defined]
    try:
        vectors = [_py2java(context, Vectors.dense(v)) for v in (scale, center)]
        model = context._jvm.org.apache.spark.ml.feature.StandardScalerModel(uid, *vectors)  # type: ignore[union-attr]
    except Py4JError:
        return None
    # Set over there: PySpark's class would hand over each Param in calls of its own.
    model = model.set("withMean", True).set("withStd", True).setInputCol(source).setOutputCol(name)
    return DataFrame(model.transform(df._jdf), df.sparkSession)
