"""A stand-in for the session that saves and loads: folders in memory, written step by step as Spark writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pyarrow as pa
from pyspark.errors import AnalysisException

# When the power may go while a folder is written.
MOMENTS = ("before the step", "when the step has removed the old folder", "when the step has written half")
BEFORE, REMOVED, HALF = MOMENTS


class Store:
    """Folders by their paths, each a text or a table: ``stage.write().session(store).save("m")``."""

    version = "4.0.0"

    def __init__(self) -> None:
        self.folders: dict[str, str | pa.Table | None] = {}  # None is a table of which half is written
        self._steps, self._last, self._moment = 0, 0, BEFORE

    @contextmanager
    def interrupted(self, step: int, moment: str) -> Iterator[None]:
        """Let the n-th folder that is written from here on be the last."""
        self._steps, self._last, self._moment = 0, step, moment
        try:
            yield
        finally:
            self._last = 0

    # What the library calls of a session.

    @property
    def read(self) -> Reader:
        return Reader(self.folders)

    def createDataFrame(self, rows: Sequence[tuple[Any, ...]], schema: Any) -> Writer:
        return Writer(self, rows, schema)

    def put(self, path: str, content: str | pa.Table, mode: str) -> None:
        """Write a folder, unless it is there already or the power goes."""
        self._steps += 1
        moment = self._moment if self._steps == self._last else None
        if moment != BEFORE:
            if path in self.folders and mode == "error":
                raise AnalysisException(f"[PATH_ALREADY_EXISTS] Path {path} already exists.")
            self.folders.pop(path, None)
        if moment is None:
            self.folders[path] = content
            return
        if moment == HALF:
            self.folders[path] = content[:-9] if isinstance(content, str) else None
        raise OSError("the power went")


@dataclass
class Reader:
    """What ``session.read`` is, and what it returns."""

    folders: dict[str, str | pa.Table | None]
    lines: Sequence[tuple[str]] = ()
    table: pa.Table | None = None
    schema: str = "value string"

    def text(self, patterns: Sequence[str]) -> Reader:
        paths = [path for pattern in patterns for path in self.folders if fnmatchcase(path, pattern)]
        if not paths:
            raise AnalysisException(f"[PATH_NOT_FOUND] Path does not exist: {patterns[0]}.")
        texts = [text for path in paths if isinstance(text := self.folders[path], str)]
        return Reader(self.folders, [(line,) for text in texts for line in text.splitlines()])

    def parquet(self, path: str) -> Reader:
        if path not in self.folders:
            raise AnalysisException(f"[PATH_NOT_FOUND] Path does not exist: {path}.")
        return Reader(self.folders, table=self.folders[path])

    def collect(self) -> Sequence[tuple[str]]:
        return self.lines

    def toArrow(self) -> pa.Table:
        if self.table is None:
            raise OSError("no Parquet file")
        return self.table


@dataclass
class Writer:
    """What ``session.createDataFrame`` returns, and its ``write``."""

    store: Store
    rows: Sequence[tuple[Any, ...]]
    schema: Any
    how: str = "error"

    def coalesce(self, partitions: int) -> Writer:
        return self

    @property
    def write(self) -> Writer:
        return self

    def mode(self, how: str) -> Writer:
        return Writer(self.store, self.rows, self.schema, how)

    def text(self, path: str) -> None:
        self.store.put(path, "".join(f"{line}\n" for (line,) in self.rows), self.how)

    def parquet(self, path: str) -> None:
        columns = zip(self.schema.names, zip(*self.rows, strict=True), strict=True)
        self.store.put(path, pa.table({name: pa.array(list(cells)) for name, cells in columns}), self.how)
