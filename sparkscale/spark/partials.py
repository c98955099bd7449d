"""Partial statistics on their way to the driver: rows of few features, merged in the order of the partitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, DataType, DoubleType, IntegerType, StructType

from sparkscale.errors import SizeMismatchError, marked
from sparkscale.spark import sql
from sparkscale.spark.arrow import Group, mismatch
from sparkscale.statistics import CoMoments, Fold, Mergeable, Statistic

__all__ = [
    "Partial",
    "collect",
    "merge_on_driver",
    "merge_on_executors",
    "merged",
    "of_row",
    "refuse_sizes",
    "rows_of",
    "schema",
    "tiles",
    "to_batch",
]

Array = npt.NDArray[np.float64]

# Features in a row that goes to another executor. Spark puts 10,000 rows into an Arrow batch, whatever their size: of
# these, 140 MB at most. What the driver collects is little, and faster in one piece.
CHUNK = 256
TILE = 32  # rows and columns of a matrix in such a row
FAN_IN = 2048  # partitions whose partial statistics one task merges
ALL = 1 << 30  # of a matrix that is those of all: its tiles are tasks enough, and the driver collects it but once


@dataclass(frozen=True, eq=False)
class Partial:
    """What some rows say of some features of a group of columns.

    Parameters
    ----------
    partition : int
        The first partition that it stems from.
    group : int
        Which group; the number of groups for what all of them have together.
    start : int
        The first of these features among the group's.
    size : int
        Number of features of the whole group; 0 while no row has told.
    nulls : float
        Number of rows that were null altogether; told once, with the first features.
    statistic : Mergeable or None
        Of the other rows, if there were any.
    """

    partition: int
    group: int
    start: int
    size: int
    nulls: float
    statistic: Any | None


def schema(statistic: type[Mergeable], key: DataType | None = None) -> StructType:
    """Return the schema of partial statistics as rows, each of the key ``b`` if there is a type for it."""
    fields = StructType().add("b", key) if key is not None else StructType()
    for name in ("partition", "group", "start", "size"):
        fields.add(name, IntegerType())
    fields.add("nulls", DoubleType())
    for name in statistic.names():
        fields.add(name, ArrayType(DoubleType()))
    return fields


def to_batch(found: Partial, kind: type[Any], chunk: int | None = None) -> pa.RecordBatch:
    """Return a partial statistic as rows of ``chunk`` features, or as one row."""
    if chunk is None:
        return _to_rows([found], kind)
    whole = found.statistic or kind.missing(0, 0)
    starts = np.arange(0, max(len(whole), 1), chunk)
    ends = np.append(starts, len(whole))
    cells: dict[str, Any] = {
        "partition": pa.array(np.full(len(starts), found.partition), pa.int32()),
        "group": pa.array(np.full(len(starts), found.group), pa.int32()),
        "start": pa.array(found.start + starts, pa.int32()),
        "size": pa.array(np.full(len(starts), found.size), pa.int32()),
        "nulls": pa.array(np.where(starts == 0, found.nulls, 0.0)),
    }
    for name, values in whole.arrays().items():
        offsets = pa.array(ends if values.size else 0 * ends, pa.int32())
        cells[name] = pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))
    return pa.RecordBatch.from_pydict(cells)


def _to_rows(found: Sequence[Partial], kind: type[Any]) -> pa.RecordBatch:
    """Return partial statistics as a row each."""
    types = {
        "partition": pa.int32(),
        "group": pa.int32(),
        "start": pa.int32(),
        "size": pa.int32(),
        "nulls": pa.float64(),
    }
    cells: dict[str, Any] = {name: pa.array([getattr(f, name) for f in found], t) for name, t in types.items()}
    wholes = [f.statistic or kind.missing(0, 0) for f in found]
    for name in kind.names():
        values = [getattr(whole, name).ravel() for whole in wholes]
        if name != "count":  # by which the others find their length again
            values = [_shortened(v, len(whole)) for v, whole in zip(values, wholes, strict=True)]
        offsets = pa.array(np.cumsum([0, *map(len, values)]), pa.int32())
        cells[name] = pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(values)))
    return pa.RecordBatch.from_pydict(cells)


def _shortened(values: Array, features: int) -> Array:
    """Return the one value of an array that has the same for all features, as counts and weights mostly have."""
    bits = values.view(np.int64)
    return values[:1] if len(values) == features and (bits == bits[:1]).all() else values


def tiles(found: Partial, kind: type[Statistic], size: int | None) -> Iterator[pa.RecordBatch]:
    """Return what all groups have together as rows, each of a tile of the matrix, or as one row."""
    if size and isinstance(found.statistic, CoMoments):
        cut = (replace(found, start=place, statistic=tile) for place, tile in found.statistic.tiles(size))
        for _, row in groupby(cut, key=lambda tile: tile.start // found.size):
            yield _to_rows(list(row), kind)
    else:
        yield to_batch(found, kind)


def collect(df: DataFrame) -> list[dict[str, Any]]:
    """Bring rows of numbers and arrays to the driver, the arrays as NumPy's."""
    # PySpark 3.5 has no public way.
    batches = df.toArrow().to_batches() if hasattr(df, "toArrow") else df._collect_as_arrow()  # type: ignore[operator]
    return [row for batch in batches for row in rows_of(batch)]


def rows_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Return the rows of a batch, arrays as NumPy's."""
    columns = [
        np.split(c.flatten().to_numpy(zero_copy_only=False), np.cumsum(np.diff(c.offsets.to_numpy()))[:-1])
        if pa.types.is_list(c.type)
        else c.to_pylist()
        for c in batch.columns
    ]
    for cells in zip(*columns, strict=True) if batch.num_rows else ():
        yield dict(zip(batch.schema.names, cells, strict=True))


def of_row(row: dict[str, Any], kind: type[Mergeable]) -> Partial:
    """Return a row as the partial statistic that it is."""
    told = {name: row[name] for name in ("partition", "group", "start", "size", "nulls")}
    features = len(row["count"])
    arrays = {name: row[name] for name in kind.names()}
    found = kind.from_arrays({n: np.full(features, a[0]) if len(a) == 1 else a for n, a in arrays.items()})
    return Partial(**told, statistic=found if len(found) else None)


def merged(run: Iterable[Partial], parts: Sequence[Group]) -> Partial:
    """Merge what partitions say of the same features, in their order."""
    first, size, nulls, fold = None, 0, 0.0, Fold()
    for found in run:
        first = first or found
        if size and found.size and size != found.size:
            if found.group == len(parts):
                continue  # so is it in one of the groups, which can say which
            refuse_sizes(parts[found.group], size, found.size)
        size = size or found.size
        nulls += found.nulls
        if found.statistic is not None:
            fold.add(found.statistic)
    assert first is not None  # noqa: S101  # groupby makes no empty runs
    return Partial(first.partition, first.group, first.start, size, nulls, fold.result())


def refuse_sizes(group: Group, one: int, other: int) -> NoReturn:
    """Raise because rows of a column differ in length."""
    raise SizeMismatchError(marked(SizeMismatchError, mismatch(group.column, one, other)))


def merge_on_executors(df: DataFrame, parts: Sequence[Group], kind: type[Statistic]) -> DataFrame:
    """Merge the rows of every ``FAN_IN`` partitions; those of the same features meet in one task, in their order."""
    keys = ("task", "group", "start")
    fan_in = ALL if kind.joint else FAN_IN
    return (
        sql.select(df, "*", f"partition div {fan_in} AS task")
        .repartition(*keys)
        .sortWithinPartitions(*keys, "partition")
        .drop("task")
        .mapInArrow(partial(_merge_task, fan_in=fan_in, parts=parts, kind=kind), schema(kind))
    )


def _merge_task(
    batches: Iterator[pa.RecordBatch], *, fan_in: int, parts: Sequence[Group], kind: type[Statistic]
) -> Iterator[pa.RecordBatch]:
    found = (of_row(row, kind) for batch in batches for row in rows_of(batch))
    for _, run in groupby(found, key=lambda p: (p.partition // fan_in, p.group, p.start)):
        yield to_batch(merged(run, parts), kind)


def merge_on_driver(df: DataFrame, parts: Sequence[Group], kind: type[Statistic]) -> list[Partial]:
    """Collect partial statistics and merge them, one a group; none if there was no row."""
    found = [of_row(row, kind) for row in collect(df)]
    found.sort(key=lambda p: (p.group, p.start, p.partition))
    chunks = [merged(run, parts) for _, run in groupby(found, key=lambda p: (p.group, p.start))]
    return [_joined(list(run), parts, kind) for _, run in groupby(chunks, key=lambda p: p.group)]


def _joined(chunks: Sequence[Partial], parts: Sequence[Group], kind: type[Statistic]) -> Partial:
    """Put the features of one group beside each other."""
    first, told = chunks[0], [c.statistic for c in chunks if c.statistic is not None]
    whole: Statistic | None = kind.concat(told) if told and first.group < len(parts) else None
    if first.group == len(parts):
        tiles = [(c.start, c.statistic) for c in chunks if isinstance(c.statistic, CoMoments)]
        whole = CoMoments.of_tiles(tiles, first.size)
    return Partial(first.partition, first.group, 0, first.size, first.nulls, whole)
