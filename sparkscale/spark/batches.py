"""Statistics of mini-batches: each batch's moments, wherever its rows lie, and their average in the batches' order.

A batch is what a column says it is. Partitions and Arrow batches are how the rows happen to come, and mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, DoubleType, StructType

from sparkscale.errors import BatchError, RangeOverflowError, SizeMismatchError, marked
from sparkscale.layout import Layout
from sparkscale.spark import arrow, gpu, partials, tasks
from sparkscale.spark.arrow import Group
from sparkscale.spark.columns import FeatureColumn, KeyColumn
from sparkscale.spark.expression import failure
from sparkscale.spark.frame import Frame
from sparkscale.spark.jobs import of_jobs
from sparkscale.spark.partials import Partial
from sparkscale.spark.summarize import Seen, Summary, add_batch, ordered, partition_id
from sparkscale.statistics import Moments, RunningMoments, Statistic

__all__ = ["Batches", "key_text"]

NUMBERS = 1 << 22  # held by a task before what it has goes on its way
LEAST = 2  # values of a channel that have a variance


def key_text(key: KeyColumn) -> str:
    """Return a row's batch as SQL text; null and NaN make the job fail."""
    null = failure(
        BatchError,
        f"Batch column '{key.name}' is ",
        f"string({key.plain})",
        ": every row must say which batch it is of. Fill the column, or leave those rows out.",
    )
    return f"CASE WHEN {key.sql} IS NULL THEN {null} ELSE {key.sql} END"


@dataclass(frozen=True)
class Batches:
    """The mini-batches of some columns.

    Parameters
    ----------
    columns : sequence of FeatureColumn
        The features.
    key : KeyColumn
        The column that tells a row's batch, and by its order that of the batches.
    layout : Layout or None
        How arrays and vectors hold channels; ``None`` if each feature is one.
    handle_invalid : {"keep", "skip", "error", "keepNaN"}
        Whether rows with an invalid value are dropped, or which make the job fail.
    weight : FeatureColumn or None
        Row weights.
    device : {"cpu", "auto", "gpu"}
        Where tasks compute the moments.
    """

    columns: Sequence[FeatureColumn]
    key: KeyColumn
    layout: Layout | None
    handle_invalid: str
    weight: FeatureColumn | None
    device: str

    @property
    def parts(self) -> tuple[Group, ...]:
        """The columns as they travel."""
        return arrow.groups(self.columns)

    def summarize(self, df: DataFrame, kind: type[RunningMoments], of_batch: Callable[[Any], Any]) -> Summary | None:
        """Average the statistics of all batches, in their order, in one scan.

        Parameters
        ----------
        df : pyspark.sql.DataFrame
            The data.
        kind : type of RunningMoments
            What is made.
        of_batch : callable
            Makes it of one batch's moments.

        Returns
        -------
        Summary or None
            Of the channels; ``None`` if there is no row.

        Raises
        ------
        BatchError
            If a row is of no batch, or a batch has fewer than two valid values in a channel.
        """
        frame = Frame(df)
        batches = self.readable(frame)
        # What meets in one task is a row a batch: the moments of its channels.
        moments = batches.moments(frame.df).repartition(1).sortWithinPartitions("group", "b")
        found = tasks.map_in_arrow(moments, _Average(self.parts, kind, of_batch), partials.schema())
        with of_jobs():
            rows = partials.collect(found)
        made = sorted((partials.of_row(row, kind) for row in rows), key=lambda p: p.group)
        return ordered(made, self.parts) if made else None

    def readable(self, frame: Frame) -> Batches:
        """Let SQL text read all columns; see `Frame.read`."""
        columns = frame.read([*self.columns, *([self.weight] if self.weight else [])])
        (key,) = frame.read([self.key])
        weight = columns.pop() if self.weight else None
        return replace(self, columns=columns, key=key, weight=weight)

    def moments(self, df: DataFrame) -> DataFrame:
        """Return one row a batch and group of columns: the moments of the batch's channels. All are `readable`."""
        schema = partials.schema(self.key.type)
        skip = self.handle_invalid == "skip"
        selected = arrow.select(df, self.parts, self.handle_invalid, self.weight, key_text(self.key))
        within = _Within(self.parts, self.layout, skip, NUMBERS, self.device)
        rows = tasks.map_in_arrow(selected, within, schema)
        rows = rows.repartition("b").sortWithinPartitions("b", "group", "partition")
        return tasks.map_in_arrow(rows, _Across(self.parts, self.layout, skip), schema)

    def normalizing(self, df: DataFrame, of_batch: Callable[[Moments], tuple[Any, Any]]) -> DataFrame:
        """Return one row a batch: ``b``, and of each group ``k`` the arrays ``c{k}``, ``s{k}`` that ``of_batch`` makes."""
        schema = StructType().add("b", self.key.type)
        for name in (f"{part}{k}" for k in range(len(self.parts)) for part in "cs"):
            schema.add(name, ArrayType(DoubleType()))
        rows = self.moments(df).sortWithinPartitions("b", "group")
        return tasks.map_in_arrow(rows, _Normalizing(of_batch), schema)


def pooled(found: Statistic, group: Group, layout: Layout | None) -> Statistic:
    """Take the places of each channel together."""
    if layout is None or group.column.kind == "scalar" or not isinstance(found, Moments):
        return found
    try:
        layout.check(group.column.name, len(found))
    except SizeMismatchError as failed:
        raise SizeMismatchError(marked(SizeMismatchError, str(failed))) from None
    return found.pooled(layout.features())


def _keyed(batch: pa.RecordBatch, key: Any, kind: pa.DataType) -> pa.RecordBatch:
    keys = pa.array([key] * batch.num_rows, kind)
    return pa.RecordBatch.from_arrays([keys, *batch.columns], names=["b", *batch.schema.names])


@dataclass(frozen=True)
class _Within:
    """Makes the moments of each batch within a partition."""

    parts: Sequence[Group]
    layout: Layout | None
    skip: bool
    most: int  # numbers held
    device: str

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        partition = partition_id()
        held: dict[Any, list[Seen]] = {}
        kind = None
        with gpu.device_of_task(self.device) as worker:
            for batch in worker.gathered(arrow.rows_of(batches)):
                kind = batch.schema.field("b").type
                for key, rows in _by_key(batch):
                    if key not in held:
                        held[key] = [Seen(group.column.size) for group in self.parts]
                    add_batch(held[key], rows, self.parts, Moments, self.skip, worker, self._pooled)
                numbers = sum(len(seen.fold) for groups in held.values() for seen in groups)
                if numbers > self.most:
                    yield from self._told(held, partition, kind)
                    held = {}
        yield from self._told(held, partition, kind)

    def _pooled(self, found: Statistic, group: Group) -> Statistic:
        return pooled(found, group, self.layout)

    def _told(self, held: dict[Any, list[Seen]], partition: int, kind: pa.DataType) -> Iterator[pa.RecordBatch]:
        for key, groups in held.items():
            for k, seen in enumerate(groups):
                yield _keyed(partials.to_batch(seen.partial(partition, k), Moments), key, kind)


def _by_key(batch: pa.RecordBatch) -> Iterator[tuple[Any, pa.RecordBatch]]:
    """Return the rows of each mini-batch in an Arrow batch, in their order."""
    codes = batch.column("b").dictionary_encode()
    numbers = codes.indices.to_numpy()
    if np.any(np.diff(numbers) < 0):
        order = np.argsort(numbers, kind="stable")
        batch, numbers = batch.take(pa.array(order)), numbers[order]
    ends = np.searchsorted(numbers, np.arange(len(codes.dictionary)), side="right")
    for key, start, end in zip(codes.dictionary.to_pylist(), [0, *ends[:-1]], ends, strict=True):
        yield key, batch.slice(start, end - start)


@dataclass(frozen=True)
class _Across:
    """Merges what partitions say of the same batch, in their order."""

    parts: Sequence[Group]
    layout: Layout | None
    skip: bool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for key, kind, run in _runs(batches):
            found = partials.merged((partials.of_row(row, Moments) for row in run), self.parts)
            if self.skip and (found.statistic is None or not found.statistic.count.any()):
                continue  # no row of the batch is left
            yield _keyed(partials.to_batch(self._complete(found, key), Moments), key, kind)

    def _complete(self, found: Partial, key: Any) -> Partial:
        """Add the rows that were null altogether, and refuse a batch that has no variance."""
        column, whole = self.parts[found.group].column, found.statistic
        if found.size and found.nulls:
            nulls = pooled(Moments.missing(found.size, found.nulls), self.parts[found.group], self.layout)
            whole = nulls if whole is None else whole.merge(nulls)
        few = np.zeros(1, dtype=np.intp) if whole is None else np.flatnonzero(whole.count < LEAST)
        if len(few):
            values = 0 if whole is None else int(whole.count[few[0]])
            scalars = self.parts[found.group].scalars
            place = f"'{scalars[few[0]].name}'" if scalars else f"'{column.name}', channel {few[0]}"
            message = (
                f"Batch {key!r} holds {values} valid value(s) of column {place}: a batch "
                f"needs at least {LEAST} in each channel to have a variance. Join small batches, or leave them out."
            )
            raise BatchError(marked(BatchError, message))
        return replace(found, statistic=whole, nulls=0.0)


@dataclass(frozen=True)
class _Average:
    """Averages batches in their order."""

    parts: Sequence[Group]
    kind: type[RunningMoments]
    of_batch: Callable[[Any], Any]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows = (partials.of_row(row, Moments) for batch in batches for row in partials.rows_of(batch))
        for _, run in groupby(rows, key=lambda p: p.group):
            made = reduce(self._then, (replace(p, statistic=self.of_batch(_known(p))) for p in run))
            yield partials.to_batch(made, self.kind)

    def _then(self, one: Partial, later: Partial) -> Partial:
        if one.size != later.size:
            partials.refuse_sizes(self.parts[one.group], one.size, later.size)
        return replace(one, statistic=_known(one).merge(_known(later)))


@dataclass(frozen=True)
class _Normalizing:
    """Puts what normalizes the groups of a batch into one row."""

    of_batch: Callable[[Moments], tuple[Any, Any]]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for key, kind, run in _runs(batches, by_group=False):
            made: dict[str, Any] = {"b": pa.array([key], kind)}
            for k, row in enumerate(run):
                center, scale = self.of_batch(_known(partials.of_row(row, Moments)))
                if not (np.isfinite(center).all() and np.isfinite(scale).all()):
                    message = (
                        f"The mean or variance of batch {key!r} is not representable as a double. Bring the values to "
                        "another unit first."
                    )
                    raise RangeOverflowError(marked(RangeOverflowError, message))
                made[f"c{k}"], made[f"s{k}"] = pa.array([center]), pa.array([scale])
            yield pa.RecordBatch.from_pydict(made)


def _known(found: Partial) -> Any:
    assert found.statistic is not None  # noqa: S101  # made sure of for each batch
    return found.statistic


def _runs(
    batches: Iterator[pa.RecordBatch], by_group: bool = True
) -> Iterator[tuple[Any, pa.DataType, Iterator[dict[str, Any]]]]:
    """Return the rows of each mini-batch, or of each of its groups; they come sorted."""
    rows = ((row, batch.schema.field("b").type) for batch in batches for row in partials.rows_of(batch))
    for _, run in groupby(rows, key=lambda r: (r[0]["b"], r[0]["group"] if by_group else 0)):
        first, kind = next(run)
        yield first["b"], kind, (row for row in (first, *(r for r, _ in run)))
