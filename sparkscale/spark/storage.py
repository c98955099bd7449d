"""Metadata and statistics of saved stages, in folders that other processes may write to concurrently."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from random import random
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.types import ArrayType, DoubleType, LongType, StringType, StructField, StructType

from sparkscale.errors import PersistenceError
from sparkscale.spark import jvm, paths
from sparkscale.spark.arrow import collect
from sparkscale.statistics import Mergeable

__all__ = [
    "METADATA",
    "PAUSES",
    "MalformedError",
    "UnsettledError",
    "abandoned",
    "check_path",
    "checksum",
    "checksum_of",
    "children",
    "data_folder",
    "first_line",
    "folders_of",
    "is_stage",
    "metadata_lines",
    "new_folder",
    "parsed",
    "read_statistic",
    "remove",
    "retry_unsettled",
    "typed_entry",
    "undamaged",
    "unreadable",
    "wait",
    "write_metadata",
    "write_statistic",
]

T = TypeVar("T")

logger = logging.getLogger("sparkscale")

METADATA = ("metadata", "metadata.next")
FOLDER = re.compile(r"data(\.[0-9a-f]+)?")  # of statistics; format 1 used data and data.1
UNIQUE = re.compile(r"data\.[0-9a-f]{20}")
FEATURES_PER_ROW = 4096  # of the saved statistics
FAILURES: tuple[type[Exception], ...] = (PySparkException, OSError, *jvm.errors())
# Seconds to wait before each retry of a step that conflicted with another writer.
PAUSES: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8, 1.6)
MAX_SAVE_SECONDS = 3600.0  # from writing statistics to writing metadata; newer statistics are never removed as unused


class MalformedError(ValueError):
    """An entry of the metadata is missing or invalid."""


class UnsettledError(PersistenceError):
    """The saved state is inconsistent, possibly because another process is writing."""


def typed_entry(saved: Any, name: str, value_type: type) -> Any:
    """Return an entry of saved JSON, which must be of a type."""
    value = saved.get(name) if isinstance(saved, Mapping) else None
    if type(value) is not value_type:
        raise MalformedError(f"{name} is {value!r}, not of type {value_type.__name__}")
    return value


def retry_unsettled(action: Callable[[], T]) -> T:
    """Run an action; retry it while it conflicts with other writers."""
    for pause in PAUSES:
        try:
            return action()
        except UnsettledError:  # noqa: PERF203
            wait(pause)
    try:
        return action()
    except UnsettledError as last:
        raise PersistenceError(str(last)) from last.__cause__


def check_path(spark: SparkSession, path: str) -> None:
    """Refuse a path that Spark could not read."""
    if not path.strip():
        raise PersistenceError("The path is empty. Name a folder to save to.")
    try:
        paths.exists(spark, path)
    except FAILURES as failure:
        if "URISyntaxException" not in str(failure):
            raise
        problem = (
            "together with any of []{}*?\\ in a path. Rename it."
            if paths.escaped(path) != path
            else "in the first part of a relative path. Put ./ before it."
        )
        raise PersistenceError(f"Spark cannot read '{path}': it allows no colon {problem}") from failure


def children(spark: SparkSession, path: str) -> set[str]:
    """Return the names of the entries of a folder; on Connect, of all folders below it that contain files."""
    names = jvm.children(spark, path)
    return {uri.rsplit("/", 2)[-2] for uri in paths.files(spark, path)} if names is None else {*names}


def is_stage(spark: SparkSession, path: str) -> bool:
    """Whether a path contains a saved stage, complete or not."""
    return any(name in METADATA or FOLDER.fullmatch(name) for name in children(spark, path))


def new_folder() -> str:
    """Return a unique folder name for statistics, which contains the current time."""
    return f"data.{int(time.time() * 1000):011x}{uuid4().hex[:9]}"


def abandoned(names: Iterable[str]) -> set[str]:
    """Return the folders that are too old to belong to a save in progress."""
    before = f"data.{int((time.time() - MAX_SAVE_SECONDS) * 1000):011x}"
    return {name for name in names if UNIQUE.fullmatch(name) and name < before}


def metadata_lines(spark: SparkSession, path: str, name: str) -> list[str]:
    """Return the lines of metadata in a folder, newest first."""
    try:
        lines = paths.lines(spark, f"{path}/{name}")
    except FAILURES as failure:
        if _is_missing_file(failure):
            raise UnsettledError(f"'{path}' changed while it was read: another process is writing to it.") from failure
        raise PersistenceError(f"'{path}' cannot be read: {first_line(failure)}") from failure
    return sorted(set(lines), key=_timestamp, reverse=True)


def first_line(failure: Exception) -> str:
    """Return the first line of an exception's message, without the JVM stack trace."""
    return (jvm.message(failure) or str(failure)).strip().partition("\n")[0] or type(failure).__name__


def _is_missing_file(failure: Exception) -> bool:
    """Whether an exception says that a file does not exist."""
    return any(sign in str(failure) for sign in ("PATH_NOT_FOUND", "FILE_NOT_EXIST", "FileNotFound"))


def _timestamp(text: str) -> int:
    timestamp = (parsed(text) or {}).get("timestamp")
    return timestamp if isinstance(timestamp, int) else 0


def parsed(text: str) -> dict[str, Any] | None:
    """Parse a line of JSON; ``None`` if it is not an object."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return metadata if isinstance(metadata, dict) else None


def undamaged(spark: SparkSession, path: str, name: str) -> list[dict[str, Any]]:
    """Return the metadata in a folder whose checksums, if any, are right."""
    try:
        metadata = map(parsed, metadata_lines(spark, path, name))
    except UnsettledError:
        raise
    except PersistenceError:  # an unreadable file counts as damaged
        return []
    return [m for m in metadata if m and m.get("checksum") in (None, checksum(m))]


def write_metadata(spark: SparkSession, path: str, metadata: Mapping[str, Any], mode: str) -> None:
    """Write metadata as one line of JSON; retry an overwrite that conflicts with another one."""
    lines = spark.createDataFrame([(json.dumps(metadata),)], paths.LINES)
    for pause in PAUSES if mode == "overwrite" else ():
        try:
            lines.coalesce(1).write.mode(mode).text(path)
        except FAILURES:  # noqa: PERF203  # two writers remove each other's files; the last attempt is below
            wait(pause)
        else:
            return
    lines.coalesce(1).write.mode(mode).text(path)


def wait(seconds: float) -> None:
    """Sleep for about this long, with random jitter."""
    time.sleep(seconds * (0.5 + random()))  # noqa: S311  # so that two writers do not conflict again


def remove(spark: SparkSession, path: str, folders: set[str]) -> None:
    """Remove statistics that no metadata refers to; on Connect, which cannot remove folders, only their content."""
    for name in sorted(
        name for name in folders if FOLDER.fullmatch(name)
    ):  # and no other folder, whatever the metadata contain
        place = f"{path}/{name}"
        try:
            if not jvm.remove_path(spark, place) and paths.files(spark, place):
                # Overwrite by an empty table with a partition column, which leaves no file.
                empty = spark.createDataFrame([], StructType([*paths.LINES, StructField("no", StringType())]))
                writer = empty.write.mode("overwrite").option("partitionOverwriteMode", "static")
                writer.partitionBy("no").text(place)
        except FAILURES as failure:  # the stage itself has been saved
            logger.warning("'%s' is no longer used, but cannot be removed: %s", place, failure)


def checksum(metadata: Mapping[str, Any]) -> str:
    """Return the checksum of metadata as canonical JSON."""
    rest = {name: value for name, value in metadata.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def checksum_of(statistic: Mergeable) -> str:
    """Return the checksum of a statistic's arrays, which does not depend on the file format."""
    digest = hashlib.sha256()
    for name, array in statistic.arrays().items():
        values = np.where(np.isnan(array), np.nan, array).astype("<f8")  # one bit pattern for NaN
        digest.update(json.dumps([name, array.shape]).encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _schema(names: tuple[str, ...]) -> StructType:
    doubles = [StructField(name, ArrayType(DoubleType(), False), False) for name in names]
    return StructType([StructField("start", LongType(), False), *doubles])


def write_statistic(spark: SparkSession, path: str, statistic: Mergeable) -> None:
    """Write the arrays of a statistic as Parquet."""
    largest = max(array.size for array in statistic.arrays().values())
    step = max(1, FEATURES_PER_ROW * len(statistic) // largest)  # fewer features per row for a matrix
    starts = range(0, len(statistic), step)
    pieces = statistic.split([min(step, len(statistic) - start) for start in starts])
    rows = [
        (start, *(array.ravel().tolist() for array in piece.arrays().values()))
        for start, piece in zip(starts, pieces, strict=True)
    ]
    spark.createDataFrame(rows, _schema(statistic.names())).coalesce(1).write.mode("overwrite").parquet(path)


def folders_of(metadata: Mapping[str, Any]) -> set[str]:
    """Return the folders of statistics that the metadata name."""
    return {str(metadata[name]) for name in ("data", "total") if name in metadata}


def data_folder(metadata: Mapping[str, Any], name: str = "data") -> str:
    """Return the folder of statistics that an entry of the metadata names."""
    folder: str = typed_entry(metadata, name, str)
    if not FOLDER.fullmatch(folder):
        raise MalformedError(f"{name} is {folder!r}, which is not a folder of statistics")
    return folder


def unreadable(place: str, failure: Exception) -> PersistenceError:
    """Return the error for statistics that cannot be read."""
    error = UnsettledError if _is_missing_file(failure) else PersistenceError
    return error(f"'{place}': the saved statistics are missing or cannot be read.")


def read_statistic(
    spark: SparkSession, path: str, metadata: Mapping[str, Any], statistic_class: type[Mergeable]
) -> Mergeable:
    """Return the statistic that the metadata refer to; raise if it is not the one that was saved with them."""
    place, features = f"{path}/{data_folder(metadata)}", typed_entry(metadata, "numFeatures", int)
    try:
        # With a schema of our own: that in the files may name classes, which Spark would import.
        df = spark.read.schema(_schema(statistic_class.names())).parquet(paths.escaped(place))
        rows = sorted(collect(df), key=lambda row: row["start"])
        arrays = {name: np.concatenate([row[name] for row in rows]) for name in statistic_class.names()}
    except Exception as failure:
        raise unreadable(place, failure) from failure
    saved_features = len(arrays["count"])
    if saved_features != features:
        raise PersistenceError(f"'{place}': the saved statistics are of {saved_features} features, not {features}.")
    try:
        statistic = statistic_class.from_arrays({name: values for name, values in arrays.items() if len(values)})
    except (KeyError, ValueError) as failure:
        raise PersistenceError(f"'{place}': the saved statistics are not {statistic_class.__name__}.") from failure
    if not statistic.is_complete(features):
        raise PersistenceError(f"'{place}': some of the saved statistics are not of {features} features.")
    counts = np.concatenate([statistic.count, statistic.invalid])
    if not np.all((counts >= 0) & np.isfinite(counts)):
        raise PersistenceError(f"'{place}': the saved statistics contain negative or non-finite counts.")
    if metadata.get("formatVersion") != 1 and metadata.get("dataChecksum") != checksum_of(statistic):
        raise PersistenceError(f"'{place}': the saved statistics do not match the metadata.")
    return statistic
