"""A stand-in for the session that saves and loads: folders in memory, written step by step as Spark writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.errors import AnalysisException

# When the power may go while a folder is written.
MOMENTS = ("before the step", "when the step has removed the old folder", "when the step has written half")
BEFORE, REMOVED, HALF = MOMENTS


class Store:
    """Folders by their paths, each of one file, a text or Parquet: ``stage.write().session(store).save("m")``."""

    version = "4.0.0"

    def __init__(self) -> None:
        self.folders: dict[str, str | bytes] = {}
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

    def put(self, path: str, content: str | bytes | None, mode: str) -> None:
        """Write a folder, with nothing in it for ``None``, unless it is there already or the power goes."""
        self._steps += 1
        moment = self._moment if self._steps == self._last else None
        if self._last and self._steps > self._last:
            raise OSError("the power is gone")
        if moment != BEFORE:
            if path in self.folders and mode == "error":
                raise AnalysisException(f"[PATH_ALREADY_EXISTS] Path {path} already exists.")
            self.folders.pop(path, None)
        if moment in (None, HALF) and content is not None:
            self.folders[path] = content if moment is None else content[:-9]
        if moment is not None:
            raise OSError("the power went")


@dataclass(frozen=True)
class Reader:
    """What ``session.read`` is, and what it returns."""

    folders: dict[str, str | bytes]
    columns: Any = None
    paths: Sequence[str] = ()
    options: dict[str, str] = field(default_factory=dict)

    def schema(self, columns: Any) -> Reader:
        return replace(self, columns=columns)

    def option(self, name: str, value: str) -> Reader:
        return replace(self, options={**self.options, name: value})

    def text(self, patterns: Sequence[str]) -> Reader:
        below = self.options.get("recursiveFileLookup") == "true"
        wanted = [literal(pattern) for pattern in patterns]
        paths = [p for w in wanted for p in self.folders if p == w or (below and p.startswith(f"{w}/"))]
        if not paths:
            raise AnalysisException(f"[PATH_NOT_FOUND] Path does not exist: {patterns[0]}.")
        return replace(self, paths=paths)

    def parquet(self, pattern: str) -> Reader:
        return self.text([pattern])

    def inputFiles(self) -> list[str]:
        return [f"store:/{path}/part-0" for path in self.paths]

    def collect(self) -> Sequence[tuple[str]]:
        texts = [text for path in self.paths if isinstance(text := self.folders[path], str)]
        return [(line,) for text in texts for line in text.splitlines()]

    def toArrow(self) -> pa.Table:
        (path,) = self.paths
        content = self.folders[path]
        table = pq.read_table(BytesIO(content if isinstance(content, bytes) else content.encode()))
        kinds = {f.name: pa.int64() if f.name == "start" else pa.list_(pa.float64()) for f in self.columns}
        cells = {n: table[n].cast(k) if n in table.column_names else pa.nulls(len(table), k) for n, k in kinds.items()}
        return pa.table(cells)


def literal(pattern: str) -> str:
    """Return the one path that a pattern matches."""
    assert not re.search(r"(?<!\\)[*?{}\[\]]", pattern.replace("\\\\", "")), f"{pattern} may match other paths"
    return re.sub(r"\\(.)", r"\1", pattern)


@dataclass(frozen=True)
class Writer:
    """What ``session.createDataFrame`` returns, and its ``write``."""

    store: Store
    rows: Sequence[tuple[Any, ...]]
    schema: Any
    how: str = "error"

    def coalesce(self, partitions: int) -> Writer:
        return self

    def option(self, name: str, value: str) -> Writer:
        return self

    def partitionBy(self, column: str) -> Writer:
        return self

    @property
    def write(self) -> Writer:
        return self

    def mode(self, how: str) -> Writer:
        return replace(self, how=how)

    def text(self, path: str) -> None:
        self.store.put(path, "".join(f"{line}\n" for (line,) in self.rows) or None, self.how)

    def parquet(self, path: str) -> None:
        columns = zip(self.schema.names, zip(*self.rows, strict=True), strict=True)
        file = BytesIO()
        pq.write_table(pa.table({name: pa.array(list(cells)) for name, cells in columns}), file)
        self.store.put(path, file.getvalue(), self.how)
