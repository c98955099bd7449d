"""Saving and loading: Spark ML metadata (JSON) and one Parquet data set of the raw statistics.

A path holds ``metadata`` and, for models, a folder of statistics whose name no other save has, and which the metadata
names. The metadata has checksums of the statistics and of itself, so that what was torn, mixed or changed is not taken
for a model.

An overwrite never touches what the saved stage needs until the new one is complete: the statistics go to their own
folder, then the new metadata to ``metadata.next``, and only then is ``metadata`` replaced. Wherever that is interrupted,
either ``metadata`` still describes the old stage, or ``metadata.next`` the new one, which load then takes. It needs no
renaming, which neither object stores nor Spark Connect have. Statistics that no metadata names are removed at the end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

from pyspark.ml.param import Params
from pyspark.ml.util import DefaultParamsReader, MLReadable, MLReader, MLWritable, MLWriter

from sparkscale.errors import PersistenceError
from sparkscale.spark import paths, storage
from sparkscale.spark.storage import METADATA, MalformedError, typed_entry
from sparkscale.statistics import Mergeable

__all__ = ["StageReader", "Writable"]

W = TypeVar("W", bound="Writable")

FORMAT_VERSION = 2


class Writable(MLWritable, Params, MLReadable[Any]):
    """Mixin for stages that are saved and loaded."""

    def write(self) -> MLWriter:
        """Return a writer: ``stage.write().overwrite().save(path)``."""
        return StageWriter(self)

    def save(self, path: str) -> None:
        """Save to a path, which must not exist. Same as ``write().save(path)``."""
        self.write().save(path)

    @classmethod
    def read(cls: type[W]) -> MLReader[W]:
        """Return a reader: ``cls.read().load(path)``."""
        return StageReader(cls)

    @classmethod
    def load(cls: type[W], path: str) -> W:
        """Load from a path. Same as ``read().load(path)``."""
        return cls.read().load(path)

    def _saved(self) -> tuple[dict[str, Any], Mergeable | None]:
        """Return what to save beside the Params: JSON, and a statistic if there is one."""
        return {}, None

    @classmethod
    def _saved_statistic_class(cls, extra: Mapping[str, Any]) -> type[Mergeable] | None:
        """Return the class of the statistic that was saved with this JSON."""
        return None

    def _restore(self, extra: Mapping[str, Any], statistic: Any) -> None:
        """Take back what ``_saved`` returned."""


def class_name(stage: type) -> str:
    """Return the name to load a class by: the public one for our own."""
    ours = stage.__module__.startswith("sparkscale.")
    return f"{'sparkscale' if ours else stage.__module__}.{stage.__name__}"


def public(name: Any) -> Any:
    """Return the public class of ours that has this full name, or ``None``: nothing else is imported."""
    package, _, own = str(name).rpartition(".")
    ours = import_module("sparkscale.scalers")
    return getattr(ours, own) if package == "sparkscale" and own in ours.__all__ else None


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
    stage._resetUid(typed_entry(metadata, "uid", str))
    saved = {name: typed_entry(metadata, name, dict) for name in ("paramMap", "defaultParamMap")}
    unknown = [name for params in saved.values() for name in params if not stage.hasParam(name)]
    if unknown:
        raise MalformedError(f"{type(stage).__name__} has no Param {unknown[0]!r}")
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
        path = os.fspath(path)
        extra, statistic = self._stage._saved()
        try:
            self._save(path, {**params_of(self._stage), **extra}, statistic)
        except PersistenceError:
            raise
        except Exception as failure:
            if "PATH_ALREADY_EXISTS" in str(failure):
                raise _taken(path) from failure
            if "ParentNotDirectory" in str(failure):
                raise PersistenceError(
                    f"'{path}' cannot be written: it is a file, or lies in one. Save elsewhere, or remove the file."
                ) from failure
            raise PersistenceError(f"'{path}' cannot be written: {storage.first_line(failure)}") from failure

    def _save(self, path: str, params: Mapping[str, Any], statistic: Mergeable | None) -> None:
        spark = self.sparkSession
        storage.check_path(spark, path)
        before = storage.children(spark, path)
        if before and not self.shouldOverwrite:
            raise _taken(path)
        unused = storage.abandoned(before) | self._in_use(path)
        mode = "overwrite" if self.shouldOverwrite else "error"
        for pause in (*storage.PAUSES, None):
            written = self._write(path, params, statistic, mode)
            unused.add(str(written.get("data")))
            standing = [m for name in METADATA for m in self._metadata(path, name)]
            # Statistics may be gone that another writer took for those of a save that was interrupted.
            complete = statistic is None or paths.files(spark, f"{path}/{written['data']}")
            if standing and (complete or written not in standing):
                storage.remove(spark, path, unused - {str(m.get("data")) for m in standing})
                return
            if pause is not None:
                storage.wait(pause)
            mode = "overwrite"  # of what this save has written
        raise PersistenceError(f"'{path}' cannot be read again after it was written to. Save elsewhere.")

    def _in_use(self, path: str) -> set[str]:
        """Return the folders of statistics of the stage to be overwritten."""
        spark, current, following = self.sparkSession, *METADATA
        if not self.shouldOverwrite:
            return set()
        old = self._metadata(path, current)
        if not old:  # an overwrite was interrupted: end it first
            old = self._metadata(path, following)
            if old:
                storage.write_metadata(spark, f"{path}/{current}", old[0], "overwrite")
        of_format_1 = {"data", "data.1"} if any(m.get("formatVersion") == 1 for m in old) else set()
        return of_format_1 | {
            str(m.get("data", "data")) for m in old if "class" in m
        }  # data is that of Spark's own models

    def _metadata(self, path: str, name: str) -> list[dict[str, Any]]:
        return storage.retry_unsettled(lambda: storage.undamaged(self.sparkSession, path, name))

    def _write(self, path: str, params: Mapping[str, Any], statistic: Mergeable | None, mode: str) -> dict[str, Any]:
        """Write the statistic, then the metadata, which is returned."""
        spark = self.sparkSession
        metadata: dict[str, Any] = {
            **params,
            "timestamp": int(time.time() * 1000),
            "sparkVersion": spark.version,
            "formatVersion": FORMAT_VERSION,
        }
        if statistic is not None:
            metadata["data"] = storage.new_folder()
            metadata["numFeatures"] = len(statistic)
            metadata["dataChecksum"] = storage.checksum_of(statistic)
            storage.write_statistic(spark, f"{path}/{metadata['data']}", statistic)
        # As it will be read: JSON has neither tuples nor integers for keys.
        metadata = json.loads(json.dumps(metadata))
        metadata["checksum"] = storage.checksum(metadata)
        for name in reversed(METADATA) if self.shouldOverwrite else METADATA[:1]:
            storage.write_metadata(spark, f"{path}/{name}", metadata, mode)
        return metadata


class StageReader(MLReader[Any]):
    """Reads a stage, with one clear error for each way in which a path can be unusable."""

    def __init__(self, stage: type[Writable] | None = None) -> None:
        super().__init__()
        self._class = stage

    def load(self, path: str) -> Any:
        """Load from ``path``."""
        path = os.fspath(path)
        try:
            return storage.retry_unsettled(lambda: self._stage(path))
        except PersistenceError:
            raise
        except Exception as failure:
            raise PersistenceError(f"'{path}' cannot be read: {storage.first_line(failure)}") from failure

    def _stage(self, path: str) -> Any:
        """Return the stage of the first line of metadata that is sound."""
        problems: list[PersistenceError] = []
        for text in self._texts(path, problems):
            try:
                return self._of(path, text)
            except PersistenceError as problem:  # noqa: PERF203
                problems.append(problem)
        if problems:
            raise problems[0]
        missing = f"'{path}' holds no saved stage: there is no readable metadata in it."
        if path.strip() and storage.is_stage(self.sparkSession, path):
            raise storage.UnsettledError(missing)
        raise PersistenceError(missing)

    def _texts(self, path: str, problems: list[PersistenceError]) -> Iterator[str]:
        """Return the lines of metadata that can be read; what cannot is a problem."""
        for name in METADATA:
            try:
                lines = storage.metadata_lines(self.sparkSession, path, name)
            except PersistenceError as problem:  # noqa: PERF203
                problems.append(problem)
            else:
                yield from lines

    def _of(self, path: str, text: str) -> Any:
        """Return the stage of a line of metadata."""
        metadata = storage.parsed(text)
        if metadata is None:
            raise PersistenceError(f"'{path}' holds no saved stage: there is no readable metadata in it.")
        stage_class = self._class or public(metadata.get("class"))
        if stage_class is None or metadata.get("class") != class_name(stage_class):
            wanted = class_name(self._class) if self._class else "stage of sparkscale"
            raise PersistenceError(f"'{path}' holds a {metadata.get('class')}, not a {wanted}.")
        version = metadata.get("formatVersion")
        if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
            raise PersistenceError(
                f"'{path}' has format version {version}; this version of sparkscale reads up to {FORMAT_VERSION}. "
                "Upgrade sparkscale."
            )
        if (version > 1 or "checksum" in metadata) and metadata.get("checksum") != storage.checksum(metadata):
            raise PersistenceError(f"'{path}': the metadata was changed or damaged after it was saved. Save it again.")
        try:
            statistic_class = stage_class._saved_statistic_class(metadata)
            statistic = None
            if statistic_class is not None:
                statistic = storage.read_statistic(self.sparkSession, path, metadata, statistic_class)
            stage = with_params(stage_class(), metadata)
            stage._restore(metadata, statistic)
        except PersistenceError:
            raise
        except (MalformedError, TypeError, ValueError) as failure:  # of ours, of a Param's type, of an array's shape
            raise PersistenceError(f"'{path}': the metadata is not what sparkscale saves: {failure}.") from failure
        return stage


def _taken(path: str) -> PersistenceError:
    return PersistenceError(
        f"'{path}' already exists, with something in it. Save elsewhere, or use write().overwrite()."
    )
