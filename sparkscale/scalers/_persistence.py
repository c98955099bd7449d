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
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pyspark.ml.param import Params
from pyspark.ml.util import MLReadable, MLReader, MLWritable, MLWriter

from sparkscale.errors import PersistenceError
from sparkscale.scalers._metadata import class_name, params_of, public, with_params
from sparkscale.spark import paths, saved_tables, storage
from sparkscale.spark.fit.tables import StatisticTable
from sparkscale.spark.saved_tables import Form
from sparkscale.spark.storage import METADATA, MalformedError
from sparkscale.statistics import Mergeable, StatisticSet

__all__ = ["Content", "Saved", "SavedTable", "StageReader", "Writable"]

W = TypeVar("W", bound="Saved")
V = TypeVar("V", bound="Writable")

FORMAT_VERSION = 2
TABLE_VERSION = 3  # of tables of statistics by key


class Saved(MLWritable):
    """Mixin for what is saved and loaded."""

    def write(self) -> MLWriter:
        """Return a writer: ``stage.write().overwrite().save(path)``."""
        return StageWriter(self)

    def save(self, path: str) -> None:
        """Save to a path, which must not exist. Same as ``write().save(path)``."""
        self.write().save(path)

    @classmethod
    def read(cls) -> MLReader[Any]:
        """Return a reader: ``cls.read().load(path)``."""
        return StageReader(cls)

    @classmethod
    def load(cls: type[W], path: str) -> W:
        """Load from a path. Same as ``read().load(path)``."""
        return cls.read().load(path)  # type: ignore[no-any-return]

    def _header(self) -> dict[str, Any]:
        """Return the beginning of the metadata: the class, and what else identifies an instance."""
        return {"class": class_name(type(self))}

    @classmethod
    def _of_header(cls: type[W], metadata: Mapping[str, Any]) -> W:
        """Return a new instance that has what ``_header`` returned."""
        return cls()

    def _saved(self) -> tuple[dict[str, Any], Content | None]:
        """Return what else to save: JSON, and statistics if there are any."""
        return {}, None

    @classmethod
    def _saved_form(cls, extra: Mapping[str, Any]) -> type[Mergeable] | Form | None:
        """Return the form of the statistics that were saved with this JSON."""
        return None

    def _restore(self, extra: Mapping[str, Any], content: Any) -> None:
        """Take back what ``_saved`` returned."""


class Writable(Saved, Params, MLReadable[Any]):
    """Mixin for stages that are saved and loaded."""

    @classmethod
    def read(cls: type[V]) -> MLReader[V]:
        """Return a reader: ``cls.read().load(path)``."""
        return StageReader(cls)

    def _header(self) -> dict[str, Any]:
        return params_of(self)

    @classmethod
    def _of_header(cls: type[W], metadata: Mapping[str, Any]) -> W:
        return with_params(cls(), metadata)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class SavedTable:
    """Statistics by key to be saved, the names of the key columns, and the statistics of all keys, if they are known."""

    table: StatisticTable
    names: tuple[str, ...]
    total: StatisticSet | None = None  # as it was merged: the order may matter to the last digit, or to a quantile


Content = Mergeable | SavedTable


class StageWriter(MLWriter):
    """Writes a stage; see the module for the order that keeps an interrupted overwrite readable."""

    def __init__(self, stage: Saved) -> None:
        super().__init__()
        self._stage = stage

    def _handleOverwrite(self, path: str) -> None:
        """Leave the old stage in place: ``saveImpl`` replaces it once the new one is complete."""

    def saveImpl(self, path: str) -> None:
        """Save to ``path``."""
        path = os.fspath(path)
        extra, content = self._stage._saved()
        try:
            self._save(path, {**self._stage._header(), **extra}, content)
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

    def _save(self, path: str, params: Mapping[str, Any], content: Content | None) -> None:
        spark = self.sparkSession
        storage.check_path(spark, path)
        before = storage.children(spark, path)
        if before and not self.shouldOverwrite:
            raise _taken(path)
        unused = storage.abandoned(before) | self._in_use(path)
        mode = "overwrite" if self.shouldOverwrite else "error"
        for pause in (*storage.PAUSES, None):
            written = self._write(path, params, content, mode)
            unused |= storage.folders_of(written)
            standing = [m for name in METADATA for m in self._metadata(path, name)]
            # Statistics may be gone that another writer took for those of a save that was interrupted.
            complete = all(paths.files(spark, f"{path}/{folder}") for folder in storage.folders_of(written))
            if standing and (complete or written not in standing):
                storage.remove(spark, path, unused - {f for m in standing for f in storage.folders_of(m)})
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
        # data is that of Spark's own models
        return of_format_1 | {f for m in old if "class" in m for f in storage.folders_of({"data": "data", **m})}

    def _metadata(self, path: str, name: str) -> list[dict[str, Any]]:
        return storage.retry_unsettled(lambda: storage.undamaged(self.sparkSession, path, name))

    def _write(self, path: str, params: Mapping[str, Any], content: Content | None, mode: str) -> dict[str, Any]:
        """Write the statistics, then the metadata, which is returned."""
        spark = self.sparkSession
        metadata: dict[str, Any] = {
            **params,
            "timestamp": int(time.time() * 1000),
            "sparkVersion": spark.version,
            "formatVersion": TABLE_VERSION if isinstance(content, SavedTable) else FORMAT_VERSION,
        }
        if content is not None:
            metadata["data"] = storage.new_folder()
            place = f"{path}/{metadata['data']}"
            if isinstance(content, SavedTable):
                metadata |= saved_tables.write_table(place, content.table, content.names)
                if content.total is not None:
                    metadata["total"] = storage.new_folder()
                    total = StatisticTable.of_one(spark, content.total)
                    place = f"{path}/{metadata['total']}"
                    metadata["totalChecksum"] = saved_tables.write_table(place, total, ())
            else:
                metadata["numFeatures"] = len(content)
                metadata["dataChecksum"] = storage.checksum_of(content)
                storage.write_statistic(spark, place, content)
        # As it will be read: JSON has neither tuples nor integers for keys.
        metadata = json.loads(json.dumps(metadata))
        metadata["checksum"] = storage.checksum(metadata)
        for name in reversed(METADATA) if self.shouldOverwrite else METADATA[:1]:
            storage.write_metadata(spark, f"{path}/{name}", metadata, mode)
        return metadata


class StageReader(MLReader[Any]):
    """Reads a stage, with one clear error for each way in which a path can be unusable."""

    def __init__(self, stage: type[Saved] | None = None) -> None:
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

    def _table(self, path: str, metadata: Mapping[str, Any], form: Form) -> SavedTable:
        """Return a table of statistics by key, and the statistics of all keys if they were saved."""
        spark, total = self.sparkSession, None
        table = saved_tables.read_table(spark, path, metadata, form)
        if "total" in metadata:
            of_all = {**metadata, "data": metadata["total"], **storage.typed_entry(metadata, "totalChecksum", dict)}
            total = saved_tables.read_table(spark, path, of_all, replace(form, names=(), types=())).row()
        return SavedTable(table, form.names, total)

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
        if type(version) is not int or not 1 <= version <= TABLE_VERSION:
            raise PersistenceError(
                f"'{path}' has format version {version}; this version of sparkscale reads up to {TABLE_VERSION}. "
                "Upgrade sparkscale."
            )
        if (version > 1 or "checksum" in metadata) and metadata.get("checksum") != storage.checksum(metadata):
            raise PersistenceError(f"'{path}': the metadata was changed or damaged after it was saved. Save it again.")
        try:
            form = stage_class._saved_form(metadata)
            content: Any = None
            if isinstance(form, Form):
                content = self._table(path, metadata, form)
            elif form is not None:
                content = storage.read_statistic(self.sparkSession, path, metadata, form)
            stage = stage_class._of_header(metadata)
            stage._restore(metadata, content)
        except PersistenceError:
            raise
        except (MalformedError, TypeError, ValueError) as failure:  # of ours, of a Param's type, of an array's shape
            raise PersistenceError(f"'{path}': the metadata is not what sparkscale saves: {failure}.") from failure
        return stage


def _taken(path: str) -> PersistenceError:
    return PersistenceError(
        f"'{path}' already exists, with something in it. Save elsewhere, or use write().overwrite()."
    )
