"""Saving and loading: Spark ML metadata (JSON) and one Parquet data set of the raw statistics.

A path holds ``metadata`` and, for models, the statistics in ``data`` or ``data.1``. An overwrite never touches
what the saved stage needs until the new one is complete: the statistics go to the folder not in use, then the
new metadata to ``metadata.next``, and only then is ``metadata``, which names the folder in use, replaced. Wherever
that is interrupted, either ``metadata`` still describes the old stage, or ``metadata.next`` the new one, which load
then takes. It needs no renaming, which neither object stores nor Spark Connect have.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
from pyspark.errors import AnalysisException
from pyspark.ml.param import Params
from pyspark.ml.util import DefaultParamsReader, MLReadable, MLReader, MLWritable, MLWriter
from pyspark.sql import SparkSession
from pyspark.sql.types import ArrayType, DoubleType, LongType, StructField, StructType

from sparkscale.errors import PersistenceError
from sparkscale.spark.partials import collect
from sparkscale.statistics import Mergeable

__all__ = ["StageReader", "Writable"]

W = TypeVar("W", bound="Writable")

FORMAT_VERSION = 1
CHUNK = 4096  # features a row of the saved statistics
FOLDERS = ("data", "data.1")


class Writable(MLWritable, Params, MLReadable[Any]):
    """Mixin for stages that are saved and loaded."""

    def write(self) -> MLWriter:
        """Return a writer: ``stage.write().overwrite().save(path)``."""
        return StageWriter(self)

    def save(self, path: str) -> None:
        """Save to a path, which must not exist; same as ``write().save(path)``."""
        self.write().save(path)

    @classmethod
    def read(cls: type[W]) -> MLReader[W]:
        """Return a reader: ``cls.read().load(path)``."""
        return StageReader(cls)

    @classmethod
    def load(cls: type[W], path: str) -> W:
        """Load from a path; same as ``read().load(path)``."""
        return cls.read().load(path)

    def _saved(self) -> tuple[dict[str, Any], Mergeable | None]:
        """Return what to save beside the Params: JSON, and a statistic if there is one."""
        return {}, None

    def _restore(self, extra: Mapping[str, Any], arrays: Mapping[str, Any] | None) -> None:
        """Take back what ``_saved`` returned."""


def class_name(stage: type) -> str:
    """Return the name to load a class by: the public one for our own."""
    ours = stage.__module__.startswith("sparkscale.")
    return f"{'sparkscale' if ours else stage.__module__}.{stage.__name__}"


def params_of(stage: Params) -> dict[str, Any]:
    """Return uid and Params as Spark ML's metadata has them."""
    return {
        "class": class_name(type(stage)),
        "uid": stage.uid,
        "paramMap": {p.name: v for p, v in stage._paramMap.items()},
        "defaultParamMap": {p.name: v for p, v in stage._defaultParamMap.items()},
    }


def with_params(stage: Any, metadata: Mapping[str, Any]) -> Any:
    """Give a new stage the saved uid and Params."""
    stage._resetUid(metadata["uid"])
    saved = {name: metadata[name] for name in ("paramMap", "defaultParamMap")}
    DefaultParamsReader.getAndSetParams(stage, {"sparkVersion": "4.0.0", **saved})
    return stage


class StageWriter(MLWriter):
    """Writes a stage; see the module for the order that keeps an interrupted overwrite readable."""

    def __init__(self, stage: Writable) -> None:
        super().__init__()
        self._stage = stage

    def _handleOverwrite(self, path: str) -> None:
        """Leave the old stage in place: ``saveImpl`` replaces it once the new one is complete."""

    def saveImpl(self, path: str) -> None:
        """Save to ``path``."""
        spark = self.sparkSession
        old = _metadata(spark, path, "metadata")
        if old is None:
            old = _metadata(spark, path, "metadata.next")
            if old is not None and self.shouldOverwrite:  # an overwrite was interrupted: end it first
                _write_metadata(spark, f"{path}/metadata", old, "overwrite")
        if not self.shouldOverwrite and (old is not None or _exists(spark, path)):
            raise _taken(path)
        try:
            self._write(spark, path, old)
        except AnalysisException as failure:
            if "PATH_ALREADY_EXISTS" not in str(failure):
                raise
            raise _taken(path) from failure

    def _write(self, spark: SparkSession, path: str, old: Mapping[str, Any] | None) -> None:
        mode = "overwrite" if self.shouldOverwrite else "error"
        extra, statistic = self._stage._saved()
        metadata: dict[str, Any] = {
            **params_of(self._stage),
            "timestamp": int(time.time() * 1000),
            "sparkVersion": spark.version,
            "formatVersion": FORMAT_VERSION,
            **extra,
        }
        if statistic is not None:
            in_use = "data" if old is None else old.get("data", "data")
            metadata["data"] = FOLDERS[1] if old is not None and in_use == FOLDERS[0] else FOLDERS[0]
            metadata["numFeatures"] = len(statistic)
            _write_statistic(spark, f"{path}/{metadata['data']}", statistic, mode)
        names = ("metadata.next", "metadata") if self.shouldOverwrite else ("metadata",)
        for name in names:
            _write_metadata(spark, f"{path}/{name}", metadata, mode)


class StageReader(MLReader[Any]):
    """Reads a stage, with one clear error for each way in which a path can be unusable."""

    def __init__(self, stage: type[Writable] | None = None) -> None:
        super().__init__()
        self._class = stage

    def load(self, path: str) -> Any:
        """Load from ``path``."""
        spark = self.sparkSession
        metadata = _metadata(spark, path, "metadata") or _metadata(spark, path, "metadata.next")
        if metadata is None:
            raise PersistenceError(f"'{path}' holds no saved stage: there is no readable metadata in it.")
        kind = self._class or _public(metadata.get("class"))
        if kind is None or metadata.get("class") != class_name(kind):
            wanted = class_name(self._class) if self._class else "stage of sparkscale"
            raise PersistenceError(f"'{path}' holds a {metadata.get('class')}, not a {wanted}.")
        version = metadata.get("formatVersion")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise PersistenceError(
                f"'{path}' has format version {version}; this version of sparkscale reads up to {FORMAT_VERSION}. "
                "Upgrade sparkscale."
            )
        arrays = None
        if "data" in metadata:
            arrays = _read_statistic(spark, f"{path}/{metadata['data']}", metadata.get("numFeatures"))
        try:
            stage = with_params(kind(), metadata)
            stage._restore(metadata, arrays)
        except (ImportError, KeyError, TypeError, AttributeError, ValueError) as failure:
            raise PersistenceError(f"'{path}': the metadata lacks a part, or has one of another form.") from failure
        return stage


def _public(name: Any) -> Any:
    """Return the public class of ours that has this full name."""
    package, _, own = str(name).rpartition(".")
    ours = import_module("sparkscale")
    return getattr(ours, own) if package == "sparkscale" and own in ours.__all__ else None


def _metadata(spark: SparkSession, path: str, name: str) -> dict[str, Any] | None:
    """Return the metadata under a path, or ``None`` where there is none that can be read."""
    pattern = f"{path}/[{name[0]}]{name[1:]}"
    try:
        # Twice, and as a pattern: Spark logs the trace of a single path that does not exist.
        rows = spark.read.text([pattern, pattern]).collect()
        found = json.loads(rows[0][0])
    except (IndexError, ValueError):  # nothing in it, or not JSON
        return None
    except AnalysisException as failure:
        if "PATH_NOT_FOUND" not in str(failure):
            raise
        return None
    return found if isinstance(found, dict) else None


def _write_metadata(spark: SparkSession, path: str, metadata: Mapping[str, Any], mode: str) -> None:
    lines = spark.createDataFrame([(json.dumps(metadata),)], "value string")
    lines.coalesce(1).write.mode(mode).text(path)


def _exists(spark: SparkSession, path: str) -> bool:
    """Whether there is anything in a path."""
    try:
        spark.read.text([f"{path}/*"] * 2).schema  # noqa: B018  # twice, as above
    except AnalysisException as failure:
        if "PATH_NOT_FOUND" not in str(failure):
            raise
        return False
    return True


def _taken(path: str) -> PersistenceError:
    return PersistenceError(
        f"'{path}' already exists, with something in it. Save elsewhere, or use write().overwrite()."
    )


def _write_statistic(spark: SparkSession, path: str, statistic: Mergeable, mode: str) -> None:
    arrays = statistic.arrays()
    step = max(1, CHUNK * len(statistic) // max(a.size for a in arrays.values()))  # a matrix has rows of many numbers
    rows = [
        (start, *(a[start : start + step].ravel().tolist() for a in arrays.values()))
        for start in range(0, len(statistic), step)
    ]
    doubles = [StructField(name, ArrayType(DoubleType(), False), False) for name in arrays]
    schema = StructType([StructField("start", LongType(), False), *doubles])
    spark.createDataFrame(rows, schema).coalesce(1).write.mode(mode).parquet(path)


def _read_statistic(spark: SparkSession, path: str, features: Any) -> dict[str, Any]:
    try:
        rows = sorted(collect(spark.read.parquet(path)), key=lambda row: row["start"])
        names = [name for name in rows[0] if name != "start"]
        arrays = {name: np.concatenate([row[name] for row in rows]) for name in names}
    except Exception as failure:
        raise PersistenceError(f"'{path}': the saved statistics are missing or cannot be read.") from failure
    square = features**2 if isinstance(features, int) else None
    if any(len(a) not in (features, square) for a in arrays.values()):
        raise PersistenceError(
            f"'{path}': the saved statistics are of {len(arrays[names[0]])} features, not {features}."
        )
    return arrays
