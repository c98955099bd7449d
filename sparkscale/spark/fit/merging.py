"""Merges of partial statistics, in the order of the partitions: on executors, and on the driver."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NoReturn

import pyarrow as pa
from pyspark.sql import DataFrame

from sparkscale.errors import SizeMismatchError, tag_error
from sparkscale.spark import arrow, sql, tasks
from sparkscale.spark.fit.decoding import mismatch
from sparkscale.spark.fit.partials import JOINT, OVER_LIMIT, Partial, class_of, of_row, schema, to_batch
from sparkscale.spark.fit.selection import Group
from sparkscale.statistics import Fold, Statistic

__all__ = ["collect_partials", "merge", "merge_on_executors", "merge_run", "refuse_sizes"]

FAN_IN = 2048  # number of partitions whose statistics one task merges
# For a matrix: all partitions, since its tiles give enough tasks, and the driver then collects it only once.
JOINT_FAN_IN = 1 << 30


def merge_run(run: Iterable[Partial], groups: Sequence[Group]) -> Partial:
    """Merge the statistics of the same features from several partitions, in order."""
    first, size, nulls, fold = None, 0, 0.0, Fold()
    for part in run:
        first = first or part
        if size and part.size and size != part.size:
            if part.group == JOINT:
                continue  # the mismatch is also reported for a group, with its column
            refuse_sizes(groups[part.group], size, part.size)
        size = size or part.size
        nulls += part.nulls
        if part.statistic is not None:
            fold.add(part.statistic)
    assert first is not None  # noqa: S101  # groupby makes no empty runs
    return Partial(first.partition, first.group, first.start, size, nulls, fold.result())


def refuse_sizes(group: Group, one: int, other: int) -> NoReturn:
    """Raise SizeMismatchError for a column whose rows differ in length."""
    raise SizeMismatchError(tag_error(SizeMismatchError, mismatch(group.column, one, other)))


def merge_on_executors(df: DataFrame, groups: Sequence[Group], statistic_class: type[Statistic]) -> DataFrame:
    """Merge the rows of every ``FAN_IN`` partitions, in order: one task for each chunk of features."""
    keys = ("task", "group", "start")
    fan_in = JOINT_FAN_IN if statistic_class.joint else FAN_IN
    sorted_rows = (
        sql.select(df, "*", f"partition div {fan_in} AS task")
        .repartition(*keys)
        .sortWithinPartitions(*keys, "partition")
        .drop("task")
    )
    merge_task = functools.partial(_merge_task, fan_in=fan_in, groups=groups, statistic_class=statistic_class)
    return tasks.map_in_arrow(sorted_rows, merge_task, schema())


def _merge_task(
    batches: Iterator[pa.RecordBatch], *, fan_in: int, groups: Sequence[Group], statistic_class: type[Statistic]
) -> Iterator[pa.RecordBatch]:
    parts = (of_row(row, statistic_class) for batch in batches for row in arrow.iter_rows(batch))
    for _, run in groupby(parts, key=lambda part: (part.partition // fan_in, part.group, part.start)):
        yield to_batch(merge_run(run, groups), statistic_class)


def collect_partials(df: DataFrame, statistic_class: type[Statistic]) -> list[Partial] | None:
    """Collect partial statistics; ``None`` if those of a partition exceed the limit for the driver."""
    parts = [of_row(row, statistic_class) for row in arrow.collect(df)]
    return None if any(part.start == OVER_LIMIT for part in parts) else parts


def merge(parts: Sequence[Partial], groups: Sequence[Group], statistic_class: type[Statistic]) -> dict[int, Partial]:
    """Merge partial statistics into one per group."""
    ordered = sorted(parts, key=lambda part: (part.group, part.start, part.partition))
    chunks = [merge_run(run, groups) for _, run in groupby(ordered, key=lambda part: (part.group, part.start))]
    return {group: _joined(list(run), statistic_class) for group, run in groupby(chunks, key=lambda part: part.group)}


def _joined(chunks: Sequence[Partial], statistic_class: type[Statistic]) -> Partial:
    """Concatenate the features of one group."""
    first, statistics = chunks[0], [c.statistic for c in chunks if c.statistic is not None]
    starts = [c.start for c in chunks if c.statistic is not None]
    joined = class_of(statistic_class, first.group).of_chunks
    whole: Any = joined(starts, statistics, first.size) if statistics else None
    return Partial(first.partition, first.group, 0, first.size, first.nulls, whole)
