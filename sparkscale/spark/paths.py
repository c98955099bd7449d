"""Literal paths: Spark's reader interprets every path as a glob pattern."""

from __future__ import annotations

import re
from collections.abc import Callable

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StringType, StructField, StructType

from sparkscale.spark import jvm

__all__ = ["LINES", "escaped", "exists", "files", "lines"]

LINES = StructType([StructField("value", StringType())])
SPECIAL = re.compile(r"([\\*?{}\[\]])")


def escaped(path: str) -> str:
    """Return the pattern that matches only this path.

    The reader's option ``__globPaths__`` turns patterns off, but Connect passes it in lower case, without effect.
    """
    return SPECIAL.sub(r"\\\1", path)


def exists(spark: SparkSession, path: str) -> bool:
    """Whether a path exists."""
    return _read(spark, path, "false", lambda df: df.schema.names) != []


def lines(spark: SparkSession, path: str) -> list[str]:
    """Return the lines of the text files in a path, unordered, some more than once; none if it does not exist."""
    read = jvm.lines(spark, path)
    return read if read is not None else _read(spark, path, "false", lambda df: [row[0] for row in df.collect()])


def files(spark: SparkSession, path: str) -> list[str]:
    """Return the URIs of the files below a path, except hidden ones; that of the path itself if it is a file."""
    return _read(spark, path, "true", lambda df: df.inputFiles())


def _read(spark: SparkSession, path: str, recursive: str, action: Callable[[DataFrame], list[str]]) -> list[str]:
    reader = spark.read.schema(LINES).option("recursiveFileLookup", recursive)
    try:  # Connect checks the path only when it is read
        return action(
            reader.text([escaped(path)] * 2)
        )  # twice: Spark logs the trace of a single path that does not exist
    except AnalysisException as failure:
        if "PATH_NOT_FOUND" not in str(failure):
            raise
        return []
