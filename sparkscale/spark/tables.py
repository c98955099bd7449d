"""Tables by name or path: read as Spark reads them, and written whole or not at all."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from sparkscale.errors import OutputExistsError, ParamError
from sparkscale.spark import csv, jvm, paths, sql
from sparkscale.spark.columns import temp_column_name
from sparkscale.spark.source import Source

__all__ = ["FORMATS", "check_free", "format_of", "read", "write"]

FORMATS = ("parquet", "csv", "json", "orc", "table")
PATHS = frozenset("/\\:")  # what the name of a table does not have
STALE_AFTER = 7 * 24 * 3600.0  # seconds without a change, after which what a killed run has left behind is removed


def format_of(name: str, kind: str | None) -> str:
    """Return the format that is named, or that the ending of a path tells, else Parquet."""
    if kind is not None:
        return kind
    ending = name.rstrip("/").rpartition(".")[2].lower()
    return ending if ending in FORMATS and ending != "table" else "parquet"


def read(spark: SparkSession, name: str, kind: str | None, options: Mapping[str, str]) -> Source:
    """Return a table. A path may be a pattern, unless there is something at the very path.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
        The session.
    name : str
        A path, or the name of a table.
    kind : {"parquet", "csv", "json", "orc", "table"}, optional
        How it is held. If left out: a table where there is one of this name, else by the ending of the path.
    options : mapping of str
        For Spark's reader.
    """
    if kind is None and PATHS.isdisjoint(name) and _table_exists(spark, name):
        kind = "table"
    if kind == "table":
        return Source(spark.table(sql.without_variables(name, f"Table '{name}'")))
    kind, escaped = format_of(name, kind), paths.escaped(name)
    if escaped == name and jvm.exists(spark, name) is False:
        jvm.recover_path(spark, name, math.inf)
    path = escaped if escaped != name and _path_exists(spark, name) else name
    if kind == "csv":
        return csv.read(spark, path, options)
    return Source(spark.read.format(kind).options(**options).load(path))


def write(df: DataFrame, name: str, kind: str | None, options: Mapping[str, str], *, overwrite: bool) -> None:
    """Write a table where ``check_free`` has found room; a table is one only if ``kind`` says so, see ``read``.

    All of it is computed before what is there is touched. A path is written beside, and moved to its place when it is
    complete; on Connect, which has no files to move, and for tables it is Spark that replaces the old by the new.

    Raises
    ------
    OutputExistsError
        If a path has come to exist while the job ran, unless it is to be overwritten.
    """
    spark, kind = df.sparkSession, format_of(name, kind)
    mode = "overwrite" if overwrite else "error"
    if kind == "table":
        df.localCheckpoint().write.mode(mode).saveAsTable(name)
        return
    settings = csv.write_options(options) if kind == "csv" else options
    if not jvm.has_jvm(df):
        df.localCheckpoint().write.format(kind).options(**settings).mode(mode).save(name)
        return
    made = f"{name.rstrip('/')}.{temp_column_name()}"
    try:
        df.write.format(kind).options(**settings).save(made)
        check_free(spark, name, kind, overwrite=overwrite)  # a job takes its time
        jvm.replace_path(spark, made, name)
    except BaseException:
        jvm.remove_path(spark, made)
        raise


def check_free(spark: SparkSession, name: str, kind: str | None, *, overwrite: bool) -> None:
    """Refuse an output that exists, unless it is to be overwritten, and one that would not last.

    What a killed run has begun at the path is ended first.
    """
    kind = format_of(name, kind)
    if kind == "table":
        sql.without_variables(name, f"Table '{name}'")
    if kind == "table" and not _lasts(spark, name):
        raise ParamError(
            f"Table '{name}' would end with this session, whose catalog is in memory. Name a path, or a catalog by "
            "Spark's configuration (--conf spark.sql.catalogImplementation=hive)."
        )
    if kind != "table" and jvm.exists(spark, name) is not None:
        jvm.recover_path(spark, name, STALE_AFTER)
    if not overwrite and _exists(spark, name, kind):
        raise OutputExistsError(f"'{name}' already exists. Name another output, or overwrite it (--overwrite).")


def _lasts(spark: SparkSession, name: str) -> bool:
    """Whether a table outlives the session."""
    catalogs = (f"spark.sql.catalog.{name.partition('.')[0]}", "spark.sql.catalog.spark_catalog")
    if any(spark.conf.get(key, None) for key in catalogs):
        return True
    return spark.conf.get("spark.sql.catalogImplementation") != "in-memory"


def _table_exists(spark: SparkSession, name: str) -> bool:
    try:
        return sql.VARIABLE not in name and spark.catalog.tableExists(name)
    except AnalysisException:  # no name of a table
        return False


def _exists(spark: SparkSession, name: str, kind: str) -> bool:
    return _table_exists(spark, name) if kind == "table" else _path_exists(spark, name)


def _path_exists(spark: SparkSession, path: str) -> bool:
    there = jvm.exists(spark, path)
    return paths.exists(spark, path) if there is None else there
