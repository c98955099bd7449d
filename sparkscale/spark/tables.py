"""Tables by name or path: read as Spark reads them, and written whole or not at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import NumericType

from sparkscale.errors import ColumnNotFoundError, OutputExistsError, ParamError
from sparkscale.spark import jvm
from sparkscale.spark.columns import fresh

__all__ = ["FORMATS", "check_free", "chosen", "read", "write"]

FORMATS = ("parquet", "csv", "json", "orc", "table")
PATHS = frozenset("/\\:")  # what the name of a table does not have
READ = {"csv": {"header": "true", "inferSchema": "true"}}
WRITE = {"csv": {"header": "true"}}


def _format_of(name: str) -> str:
    """Return the format that the ending of a path tells, else Parquet."""
    ending = name.rstrip("/").rpartition(".")[2].lower()
    return ending if ending in FORMATS and ending != "table" else "parquet"


def read(spark: SparkSession, name: str, kind: str | None, options: Mapping[str, str]) -> DataFrame:
    """Return a table.

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
        return spark.table(name)
    kind = kind or _format_of(name)
    return spark.read.format(kind).options(**{**READ.get(kind, {}), **options}).load(name)


def write(df: DataFrame, name: str, kind: str | None, options: Mapping[str, str], *, overwrite: bool) -> None:
    """Write a table where ``check_free`` has found room; a table is one only if ``kind`` says so, see ``read``.

    All of it is computed before what is there is touched. A path is written beside, and moved to its place when it is
    complete; on Connect, which has no files to move, and for tables it is Spark that replaces the old by the new.

    Raises
    ------
    OutputExistsError
        If a path has come to exist while the job ran, unless it is to be overwritten.
    """
    spark, kind = df.sparkSession, kind or _format_of(name)
    mode = "overwrite" if overwrite else "error"
    if kind == "table":
        df.localCheckpoint().write.mode(mode).saveAsTable(name)
        return
    settings = {**WRITE.get(kind, {}), **options}
    if not jvm.has_jvm(df):
        df.localCheckpoint().write.format(kind).options(**settings).mode(mode).save(name)
        return
    made = f"{name.rstrip('/')}.{fresh()}"
    try:
        df.write.format(kind).options(**settings).save(made)
        check_free(spark, name, kind, overwrite=overwrite)  # a job takes its time
        jvm.replace_path(spark, made, name)
    except BaseException:
        jvm.remove_path(spark, made)
        raise


def check_free(spark: SparkSession, name: str, kind: str | None, *, overwrite: bool) -> None:
    """Refuse an output that exists, unless it is to be overwritten, and one that would not last."""
    kind = kind or _format_of(name)
    if kind == "table" and not _lasts(spark, name):
        raise ParamError(
            f"Table '{name}' would end with this session, whose catalog is in memory. Name a path, or a catalog by "
            "Spark's configuration (--conf spark.sql.catalogImplementation=hive)."
        )
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
        return spark.catalog.tableExists(name)
    except AnalysisException:  # no name of a table
        return False


def _exists(spark: SparkSession, name: str, kind: str) -> bool:
    if kind == "table":
        return _table_exists(spark, name)
    try:
        spark.read.text([name, name]).schema  # noqa: B018  # twice: Spark logs the trace of a single path that is not
    except AnalysisException as failed:
        if "PATH_NOT_FOUND" not in str(failed):
            raise
        return False
    return True


def chosen(df: DataFrame, patterns: Sequence[str], without: Collection[str] = ()) -> list[str]:
    """Return the columns that names and patterns choose, each once, in the order of the patterns.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        With the columns.
    patterns : sequence of str
        Names; patterns with ``*``, ``?`` and ``[...]``; or ``numeric``, all columns of one number.
    without : collection of str
        What ``numeric`` leaves out.

    Raises
    ------
    ColumnNotFoundError
        If one of them chooses nothing.
    """
    numeric = [f.name for f in df.schema.fields if isinstance(f.dataType, NumericType) and f.name not in without]
    found: dict[str, Any] = {}
    for pattern in patterns:
        names = [name for name in df.columns if name == pattern] or (
            numeric if pattern == "numeric" else [name for name in df.columns if fnmatchcase(name, pattern)]
        )
        if not names:
            raise ColumnNotFoundError(f"'{pattern}' is no column. There are: {', '.join(df.columns)}.")
        found |= dict.fromkeys(names)
    return list(found)
