"""Tables by name or path: read as Spark reads them, and written whole or not at all."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from sparkscale.cli import csv
from sparkscale.cli.formats import format_of
from sparkscale.cli.source import Source
from sparkscale.errors import OutputExistsError, ParamError
from sparkscale.spark import jvm, paths, renames, sql
from sparkscale.spark.columns import temp_column_name

__all__ = ["check_free", "read", "write"]

PATH_CHARACTERS = frozenset("/\\:")  # which the name of a table does not have
STALE_AFTER_SECONDS = 7 * 24 * 3600.0  # without a change, after which what a killed run has left behind is removed


def read(spark: SparkSession, name: str, format: str | None, options: Mapping[str, str]) -> Source:
    """Return a table. A path may be a pattern, unless it exists as it is.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
        The session.
    name : str
        A path, or the name of a table.
    format : {"parquet", "csv", "json", "orc", "table"}, optional
        If left out: a table if one has this name, else from the file extension.
    options : mapping of str
        For Spark's reader.
    """
    may_be_table = format is None and PATH_CHARACTERS.isdisjoint(name)
    if format == "table" or (may_be_table and _table_exists(spark, name)):
        return Source(spark.table(sql.without_variables(name, f"Table '{name}'")))
    file_format, escaped = format_of(name, format), paths.escaped(name)
    if escaped == name and jvm.exists(spark, name) is False:
        renames.recover_path(spark, name, math.inf)
    path = escaped if escaped != name and _path_exists(spark, name) else name
    if file_format == "csv":
        return csv.read(spark, path, options)
    return Source(spark.read.format(file_format).options(**options).load(path))


def write(df: DataFrame, name: str, format: str | None, options: Mapping[str, str], *, overwrite: bool) -> None:
    """Write a table to an output that ``check_free`` has passed. It is a path, unless ``format`` is ``"table"``.

    All of it is computed before an existing output is touched. At a path, it is written under another name, and renamed
    when it is complete. Spark itself replaces the old by the new for tables, and on Connect, which cannot rename files.

    Raises
    ------
    OutputExistsError
        If the path has come to exist while the job ran, unless it is to be overwritten.
    """
    spark, output_format = df.sparkSession, format_of(name, format)
    mode = "overwrite" if overwrite else "error"
    if output_format == "table":
        df.localCheckpoint().write.mode(mode).saveAsTable(name)
        return
    all_options = csv.write_options(options) if output_format == "csv" else options
    if not jvm.has_jvm(df):
        df.localCheckpoint().write.format(output_format).options(**all_options).mode(mode).save(name)
        return
    temp_path = f"{name.rstrip('/')}.{temp_column_name()}"
    try:
        df.write.format(output_format).options(**all_options).save(temp_path)
        check_free(spark, name, output_format, overwrite=overwrite)  # another run may have written it meanwhile
        renames.replace_path(spark, temp_path, name)
    except BaseException:
        jvm.remove_path(spark, temp_path)
        raise


def check_free(spark: SparkSession, name: str, format: str | None, *, overwrite: bool) -> None:
    """Refuse an output that exists, unless it is to be overwritten, and a table that would end with the session.

    First, what a killed run has begun at the path is completed or undone.
    """
    output_format = format_of(name, format)
    if output_format == "table":
        sql.without_variables(name, f"Table '{name}'")
        if not _is_persistent(spark, name):
            raise ParamError(
                f"Table '{name}' would end with this session, whose catalog is in memory. Name a path, or a catalog by "
                "Spark's configuration (--conf spark.sql.catalogImplementation=hive)."
            )
    elif jvm.exists(spark, name) is not None:
        renames.recover_path(spark, name, STALE_AFTER_SECONDS)
    if not overwrite and _exists(spark, name, output_format):
        raise OutputExistsError(f"'{name}' already exists. Name another output, or overwrite it (--overwrite).")


def _is_persistent(spark: SparkSession, name: str) -> bool:
    """Whether a table outlives the session."""
    catalogs = (f"spark.sql.catalog.{name.partition('.')[0]}", "spark.sql.catalog.spark_catalog")
    if any(spark.conf.get(key, None) for key in catalogs):
        return True
    return spark.conf.get("spark.sql.catalogImplementation") != "in-memory"


def _exists(spark: SparkSession, name: str, format: str) -> bool:
    return _table_exists(spark, name) if format == "table" else _path_exists(spark, name)


def _table_exists(spark: SparkSession, name: str) -> bool:
    try:
        return sql.VARIABLE not in name and spark.catalog.tableExists(name)
    except AnalysisException:  # no name of a table
        return False


def _path_exists(spark: SparkSession, path: str) -> bool:
    exists = jvm.exists(spark, path)
    return paths.exists(spark, path) if exists is None else exists
