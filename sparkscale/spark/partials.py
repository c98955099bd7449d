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
from sparkscale.spark import sql, tasks
from sparkscale.spark.arrow import Group, mismatch
from sparkscale.statistics import CoMoments, Fold, Mergeable, Statistic

__all__ = [
    "Partial",
    "collect",
    "collected",
    "merge",
    "merge_on_executors",
    "merged",
    "of_row",
    "refuse_sizes",
    "rows_of",
    "schema",
    "tiles",
    "to_batch",
    "to_batches",
    "too_much",
]

Array = npt.NDArray[np.float64]

# Features in a row that goes to another executor. Spark puts 10,000 rows into an Arrow batch, whatever their size: of
# these, 140 MB at most. What the driver collects is little, and faster in one piece.
CHUNK = 256
CHUNKS = 1 << 10  # in an Arrow batch, since they are copied on their way into one
TILE = 32  # rows and columns of a matrix in such a row
FAN_IN = 2048  # partitions whose partial statistics one task merges
TOO_MUCH = -1  # in place of the first feature: the partition has more than it may send to the driver
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


def too_much(partition: int) -> Partial:
    """Return what a partition sends that has more than it may send."""
    return Partial(partition, 0, TOO_MUCH, 0, 0.0, None)


def schema(key: DataType | None = None) -> StructType:
    """Return the schema of partial statistics as rows, each of the key ``b`` if there is a type for it.

    ``numbers`` holds the size of the group, the number of nulls, the length of each array of the statistic, and the
    arrays. One column for all, since each costs a task 0.3 ms: a fit of 400 partitions took 1.4 times as long with twelve.
    """
    fields = StructType().add("b", key) if key is not None else StructType()
    for name in ("partition", "group", "start"):
        fields.add(name, IntegerType())
    return fields.add("numbers", ArrayType(DoubleType()))


def to_batch(found: Partial, kind: type[Any]) -> pa.RecordBatch:
    """Return a partial statistic as one row."""
    return _to_rows([found], kind)


def to_batches(found: Partial, kind: type[Any], chunk: int | None) -> Iterator[pa.RecordBatch]:
    """Return a partial statistic as rows of ``chunk`` features, or as one row."""
    whole = found.statistic
    if chunk is not None and whole is not None and len(whole) > chunk:
        full = len(whole) // chunk * chunk
        arrays = whole.arrays().values()
        for slab in range(0, full, chunk * CHUNKS):
            end = min(slab + chunk * CHUNKS, full)
            cells = [values[slab:end].reshape(-1, chunk) for values in arrays if values.size]
            head = np.tile([found.size, 0.0, *(chunk if a.size else 0 for a in arrays)], ((end - slab) // chunk, 1))
            head[0, 1] = 0.0 if slab else found.nulls
            starts = found.start + np.arange(slab, end, chunk)
            yield _rows(found.partition, found.group, starts, [*np.column_stack([head, *cells])])
        rest = whole.split([full, len(whole) - full])[1]
        found = replace(found, start=found.start + full, nulls=0.0, statistic=rest)
        if not len(rest):
            return
    yield to_batch(found, kind)


def _to_rows(found: Sequence[Partial], kind: type[Any]) -> pa.RecordBatch:
    """Return partial statistics as a row each."""
    return _rows(
        [f.partition for f in found],
        [f.group for f in found],
        [f.start for f in found],
        [_numbers(f, kind) for f in found],
    )


def _rows(partition: Any, group: Any, start: Any, numbers: Sequence[Array]) -> pa.RecordBatch:
    offsets = np.cumsum([0, *map(len, numbers)])
    cells = [pa.array(np.broadcast_to(np.asarray(each, np.int32), len(numbers))) for each in (partition, group, start)]
    cells.append(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(np.concatenate(numbers))))
    return pa.RecordBatch.from_arrays(cells, ["partition", "group", "start", "numbers"])


def _numbers(found: Partial, kind: type[Any]) -> Array:
    whole = found.statistic or kind.missing(0, 0)
    arrays = {name: values.ravel() for name, values in whole.arrays().items()}
    # By the count the others find their length again.
    sent = [values if name == "count" else _shortened(values, len(whole)) for name, values in arrays.items()]
    return np.concatenate([[found.size, found.nulls], [len(values) for values in sent], *sent])


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
    names, numbers = kind.names(), row["numbers"]
    (size, nulls), lengths, values = np.split(numbers, [2, 2 + len(names)])
    arrays = np.split(values, np.cumsum(lengths[:-1].astype(np.int64)))
    features = len(arrays[0])  # of the count
    arrays = [np.full(features, a[0]) if len(a) == 1 else a for a in arrays]
    found = kind.from_arrays(dict(zip(names, arrays, strict=True))) if features else None
    return Partial(row["partition"], row["group"], row["start"], int(size), float(nulls), found)


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
    sorted_rows = (
        sql.select(df, "*", f"partition div {fan_in} AS task")
        .repartition(*keys)
        .sortWithinPartitions(*keys, "partition")
        .drop("task")
    )
    merge_task = partial(_merge_task, fan_in=fan_in, parts=parts, kind=kind)
    return tasks.map_in_arrow(sorted_rows, merge_task, schema())


def _merge_task(
    batches: Iterator[pa.RecordBatch], *, fan_in: int, parts: Sequence[Group], kind: type[Statistic]
) -> Iterator[pa.RecordBatch]:
    found = (of_row(row, kind) for batch in batches for row in rows_of(batch))
    for _, run in groupby(found, key=lambda p: (p.partition // fan_in, p.group, p.start)):
        yield to_batch(merged(run, parts), kind)


def collected(df: DataFrame, kind: type[Statistic]) -> list[Partial] | None:
    """Bring partial statistics to the driver; ``None`` if a partition has more than may go there."""
    found = [of_row(row, kind) for row in collect(df)]
    return None if any(p.start == TOO_MUCH for p in found) else found


def merge(found: Sequence[Partial], parts: Sequence[Group], kind: type[Statistic]) -> list[Partial]:
    """Merge partial statistics into one a group."""
    ordered = sorted(found, key=lambda p: (p.group, p.start, p.partition))
    chunks = [merged(run, parts) for _, run in groupby(ordered, key=lambda p: (p.group, p.start))]
    return [_joined(list(run), parts, kind) for _, run in groupby(chunks, key=lambda p: p.group)]


def _joined(chunks: Sequence[Partial], parts: Sequence[Group], kind: type[Statistic]) -> Partial:
    """Put the features of one group beside each other."""
    first, told = chunks[0], [c.statistic for c in chunks if c.statistic is not None]
    whole: Statistic | None = kind.concat(told) if told and first.group < len(parts) else None
    if first.group == len(parts):
        tiles = [(c.start, c.statistic) for c in chunks if isinstance(c.statistic, CoMoments)]
        whole = CoMoments.of_tiles(tiles, first.size)
    return Partial(first.partition, first.group, 0, first.size, first.nulls, whole)
