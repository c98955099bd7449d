"""The metadata and statistics of saved stages, in folders that other processes may write to at the same time."""

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
from sparkscale.spark.fit.partials import collect
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
    "first_line",
    "is_stage",
    "metadata_lines",
    "new_folder",
    "parsed",
    "part",
    "patiently",
    "read_statistic",
    "remove",
    "undamaged",
    "wait",
    "write_metadata",
    "write_statistic",
]

T = TypeVar("T")

logger = logging.getLogger("sparkscale")

METADATA = ("metadata", "metadata.next")
FOLDER = re.compile(r"data(\.[0-9a-f]+)?")  # of statistics; format 1 had data and data.1
UNIQUE = re.compile(r"data\.[0-9a-f]{20}")
CHUNK = 4096  # features a row of the saved statistics
FAILURES: tuple[type[Exception], ...] = (PySparkException, OSError, *jvm.errors())
# Seconds after which a step is tried again that met another writer: as often as there are pauses.
PAUSES: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8, 1.6)
LONGEST = 3600.0  # seconds that a save may take from its statistics to its metadata: until then nobody removes them


class MalformedError(ValueError):
    """A part of the metadata that is not what was saved."""


class UnsettledError(PersistenceError):
    """A state that another writer may be about to change."""


def part(saved: Any, name: str, kind: type) -> Any:
    """Return a part of saved JSON, which must be of a type."""
    value = saved.get(name) if isinstance(saved, Mapping) else None
    if type(value) is not kind:
        raise MalformedError(f"{name} is {value!r}, not of type {kind.__name__}")
    return value


def patiently(action: Callable[[], T]) -> T:
    """Return what an action gives, once other writers let it."""
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
    """Refuse a path that could not be read again."""
    if not path.strip():
        raise PersistenceError("The path is empty. Name a folder to save to.")
    try:
        paths.exists(spark, path)
    except FAILURES as failure:
        if "URISyntaxException" not in str(failure):
            raise
        wrong = (
            "beside any of []{}*?\\ in a path. Rename it."
            if paths.escaped(path) != path
            else "in the first part of a relative path. Put ./ before it."
        )
        raise PersistenceError(f"'{path}' cannot be read by Spark, which takes no colon {wrong}") from failure


def children(spark: SparkSession, path: str) -> set[str]:
    """Return the names of what is in a path; on Connect, of all folders below it that hold files."""
    names = jvm.children(spark, path)
    return {uri.rsplit("/", 2)[-2] for uri in paths.files(spark, path)} if names is None else {*names}


def is_stage(spark: SparkSession, path: str) -> bool:
    """Whether a path holds a part of a stage at least."""
    return any(name in METADATA or FOLDER.fullmatch(name) for name in children(spark, path))


def new_folder() -> str:
    """Return a name for statistics that no other save gives, and that tells when it was given."""
    return f"data.{int(time.time() * 1000):011x}{uuid4().hex[:9]}"


def abandoned(names: Iterable[str]) -> set[str]:
    """Return those of the folders that a save gave names to which has long ended."""
    before = f"data.{int((time.time() - LONGEST) * 1000):011x}"
    return {name for name in names if UNIQUE.fullmatch(name) and name < before}


def metadata_lines(spark: SparkSession, path: str, name: str) -> list[str]:
    """Return the lines of metadata in a folder of a path, the newest first."""
    try:
        lines = paths.lines(spark, f"{path}/{name}")
    except FAILURES as failure:
        if _gone(failure):
            raise UnsettledError(f"'{path}' changes while it is read: another process writes to it.") from failure
        raise PersistenceError(f"'{path}' cannot be read: {first_line(failure)}") from failure
    return sorted(set(lines), key=_timestamp, reverse=True)


def first_line(failure: Exception) -> str:
    """Return what a failure says, without the trace of the JVM."""
    return (jvm.message(failure) or str(failure)).strip().partition("\n")[0] or type(failure).__name__


def _gone(failure: Exception) -> bool:
    """Whether a file is not there any more."""
    return any(sign in str(failure) for sign in ("PATH_NOT_FOUND", "FILE_NOT_EXIST", "FileNotFound"))


def _timestamp(text: str) -> int:
    timestamp = (parsed(text) or {}).get("timestamp")
    return timestamp if isinstance(timestamp, int) else 0


def parsed(text: str) -> dict[str, Any] | None:
    """Return the object that a line of JSON holds, if it does."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return metadata if isinstance(metadata, dict) else None


def undamaged(spark: SparkSession, path: str, name: str) -> list[dict[str, Any]]:
    """Return the metadata in a folder of a path that were not damaged, whoever wrote them."""
    try:
        metadata = map(parsed, metadata_lines(spark, path, name))
    except UnsettledError:
        raise
    except PersistenceError:  # a file that Spark cannot read is damaged
        return []
    return [m for m in metadata if m and m.get("checksum") in (None, checksum(m))]


def write_metadata(spark: SparkSession, path: str, metadata: Mapping[str, Any], mode: str) -> None:
    """Write metadata as one line of JSON; an overwrite that meets another one is tried again."""
    lines = spark.createDataFrame([(json.dumps(metadata),)], paths.LINES)
    for pause in PAUSES if mode == "overwrite" else ():
        try:
            lines.coalesce(1).write.mode(mode).text(path)
        except FAILURES:  # noqa: PERF203  # two writers remove each other's files; what fails to the end is raised below
            wait(pause)
        else:
            return
    lines.coalesce(1).write.mode(mode).text(path)


def wait(seconds: float) -> None:
    """Let other writers go on for about so long."""
    time.sleep(seconds * (0.5 + random()))  # noqa: S311  # writers that met must not meet again


def remove(spark: SparkSession, path: str, folders: set[str]) -> None:
    """Remove statistics that no metadata names; on Connect, which removes no folder, what is in them."""
    for name in sorted(name for name in folders if FOLDER.fullmatch(name)):  # and nothing else, whatever metadata say
        place = f"{path}/{name}"
        try:
            if not jvm.remove_path(spark, place) and paths.files(spark, place):
                # By a column without values, so that no file is left in it.
                nothing = spark.createDataFrame([], StructType([*paths.LINES, StructField("no", StringType())]))
                writer = nothing.write.mode("overwrite").option("partitionOverwriteMode", "static")
                writer.partitionBy("no").text(place)
        except FAILURES as failure:  # the stage is saved all the same
            logger.warning("'%s', which is of no use any more, cannot be removed: %s", place, failure)


def checksum(metadata: Mapping[str, Any]) -> str:
    """Return the checksum of metadata as canonical JSON."""
    rest = {name: value for name, value in metadata.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def checksum_of(statistic: Mergeable) -> str:
    """Return the checksum of a statistic's arrays, whatever the files that hold them."""
    whole = hashlib.sha256()
    for name, array in statistic.arrays().items():
        values = np.where(np.isnan(array), np.nan, array).astype("<f8")  # NaN of one kind
        whole.update(json.dumps([name, array.shape]).encode())
        whole.update(values.tobytes())
    return whole.hexdigest()


def _schema(names: tuple[str, ...]) -> StructType:
    doubles = [StructField(name, ArrayType(DoubleType(), False), False) for name in names]
    return StructType([StructField("start", LongType(), False), *doubles])


def write_statistic(spark: SparkSession, path: str, statistic: Mergeable) -> None:
    """Write the arrays of a statistic as Parquet."""
    arrays = statistic.arrays()
    step = max(1, CHUNK * len(statistic) // max(a.size for a in arrays.values()))  # a matrix has rows of many numbers
    rows = [
        (start, *(a[start : start + step].ravel().tolist() for a in arrays.values()))
        for start in range(0, len(statistic), step)
    ]
    spark.createDataFrame(rows, _schema(statistic.names())).coalesce(1).write.mode("overwrite").parquet(path)


def read_statistic(spark: SparkSession, path: str, metadata: Mapping[str, Any], kind: type[Mergeable]) -> Mergeable:
    """Return the statistic that metadata names, if it is the one that was saved with it."""
    folder, features = part(metadata, "data", str), part(metadata, "numFeatures", int)
    if not FOLDER.fullmatch(folder):
        raise MalformedError(f"data is {folder!r}, which is no folder of statistics")
    place = f"{path}/{folder}"
    try:
        # By a schema of our own: that of the files may name classes, which Spark would import.
        df = spark.read.schema(_schema(kind.names())).parquet(paths.escaped(place))
        rows = sorted(collect(df), key=lambda row: row["start"])
        arrays = {name: np.concatenate([row[name] for row in rows]) for name in kind.names()}
    except Exception as failure:
        raise (UnsettledError if _gone(failure) else PersistenceError)(
            f"'{place}': the saved statistics are missing or cannot be read."
        ) from failure
    counted = len(arrays["count"])
    if counted != features:
        raise PersistenceError(f"'{place}': the saved statistics are of {counted} features, not {features}.")
    try:
        statistic = kind.from_arrays({name: values for name, values in arrays.items() if len(values)})
    except (KeyError, ValueError) as failure:
        raise PersistenceError(f"'{place}': the saved statistics are not {kind.__name__}.") from failure
    numbers = sum(array.size for array in statistic.arrays().values())
    if any(len(a) != features for a in statistic.arrays().values()) or numbers != kind.numbers(features):
        raise PersistenceError(f"'{place}': the saved statistics are not of {features} features throughout.")
    counts = np.concatenate([statistic.count, statistic.invalid])
    if not np.all((counts >= 0) & np.isfinite(counts)):
        raise PersistenceError(f"'{place}': the saved statistics hold counts that are negative, or no numbers.")
    if metadata.get("formatVersion") != 1 and metadata.get("dataChecksum") != checksum_of(statistic):
        raise PersistenceError(f"'{place}': the saved statistics are not those that were saved with the metadata.")
    return statistic
