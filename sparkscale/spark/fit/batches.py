"""Mini-batches: the moments of each one, across partitions, and their average in the order of the batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, DoubleType, StructType

from sparkscale.errors import BatchError, RangeOverflowError, tag_error
from sparkscale.layout import Layout
from sparkscale.spark import arrow, tasks
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.expression import failure
from sparkscale.spark.fit import partials
from sparkscale.spark.fit.blocks import Pool
from sparkscale.spark.fit.keyed import KeyedPart, iter_parts, merge_by_key, scan_by_key
from sparkscale.spark.fit.partials import Partial
from sparkscale.spark.fit.scan import Summary, in_column_order
from sparkscale.spark.fit.selection import Group, column_groups
from sparkscale.spark.frame import Frame
from sparkscale.spark.jobs import translate_job_errors
from sparkscale.spark.keys import KeyColumn
from sparkscale.statistics import Moments, RunningMoments

__all__ = ["Batches", "key_text"]

LEAST_VALUES = 2  # of a channel in a batch, to have a variance


def key_text(key: KeyColumn) -> str:
    """Return the batch key of a row as SQL text; null and NaN make the job fail."""
    null = failure(
        BatchError,
        f"Batch column '{key.name}' is ",
        f"string({key.plain})",
        ": every row must belong to a batch. Fill the column, or drop those rows.",
        key.type.simpleString(),
    )
    return f"CASE WHEN {key.sql} IS NULL THEN {null} ELSE {key.sql} END"


@dataclass(frozen=True)
class Batches:
    """Mini-batches of some columns.

    Parameters
    ----------
    columns : sequence of FeatureColumn
        The features.
    key : KeyColumn
        The column that identifies the batch of a row; batches are processed in its sort order.
    layout : Layout or None
        How arrays and vectors contain channels; ``None`` if each feature is a channel.
    handle_invalid : {"keep", "skip", "error", "keepNaN"}
        Whether rows with an invalid value are dropped, or which invalid values make the job fail.
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
    def groups(self) -> tuple[Group, ...]:
        """The columns, grouped as they are sent to workers."""
        return column_groups(self.columns)

    @property
    def skip(self) -> bool:
        """Whether rows with an invalid value are dropped."""
        return self.handle_invalid == "skip"

    def summarize(
        self, df: DataFrame, statistic_class: type[RunningMoments], of_batches: Callable[[Any], Any]
    ) -> Summary | None:
        """Average the statistics of all batches, in order, in one scan.

        Parameters
        ----------
        df : pyspark.sql.DataFrame
            The data.
        statistic_class : type of RunningMoments
            The class of the average.
        of_batches : callable
            Computes the average from the moments of batches, one row per batch, in order.

        Returns
        -------
        Summary or None
            The average of each channel; ``None`` if there is no row.

        Raises
        ------
        BatchError
            If a row belongs to no batch, or a batch has fewer than two valid values in a channel.
        """
        frame = Frame(df)
        batches = self.readable(frame)
        # One task averages all batches; it reads one row per batch, with the moments of its channels.
        moments = batches.moments(frame.df).repartition(1).sortWithinPartitions("b", "group")
        average = _Average(batches.groups, batches.pool, self.skip, statistic_class, of_batches)
        rows = tasks.map_in_arrow(moments, average, partials.schema())
        with translate_job_errors():
            averages = [partials.of_row(row, statistic_class) for row in arrow.collect(rows)]
        return in_column_order(sorted(averages, key=lambda a: a.group), batches.groups) if averages else None

    def readable(self, frame: Frame) -> Batches:
        """Make all columns readable by SQL text; see `Frame.read`."""
        columns = frame.read([*self.columns, *([self.weight] if self.weight else [])])
        (key,) = frame.read([self.key])
        weight = columns.pop() if self.weight else None
        return replace(self, columns=columns, key=key, weight=weight)

    @property
    def pool(self) -> Pool:
        """How features are pooled into channels."""
        return Pool(self.layout)

    def moments(self, df: DataFrame) -> DataFrame:
        """Return the moments of each batch's channels, by group of columns. The columns must be `readable`."""
        rows = scan_by_key(
            df,
            self.groups,
            key_text(self.key),
            self.key.type,
            Moments,
            handle_invalid=self.handle_invalid,
            weight=self.weight,
            device=self.device,
            pool=self.pool,
        )
        return merge_by_key(rows, self.groups, Moments, self.key.type)

    def scales(self, df: DataFrame, of_batch: Callable[[Moments], tuple[Any, Any]]) -> DataFrame:
        """Return one row per batch: key ``b``, and for each group ``k`` arrays ``c{k}``, ``s{k}`` from ``of_batch``."""
        schema = StructType().add("b", self.key.type)
        for name in (f"{letter}{k}" for k in range(len(self.groups)) for letter in "cs"):
            schema.add(name, ArrayType(DoubleType()))
        rows = self.moments(df).sortWithinPartitions("b", "group")
        return tasks.map_in_arrow(rows, _Scales(self.groups, self.pool, self.skip, of_batch), schema)


@dataclass(frozen=True)
class _BatchTask:
    """Base of tasks that read the moments of complete batches."""

    groups: Sequence[Group]
    pool: Pool
    skip: bool

    def _with_nulls(self, part: KeyedPart, k: int) -> tuple[pa.Array, Moments]:
        """Return batch keys and moments, null rows included; refuse a batch that is too small to have a variance."""
        group, keys = self.groups[k], part.keys
        statistic, size = part.statistic, part.size or 1
        if statistic is None:
            statistic = self.pool.missing(Moments, size, 0.0, group) if part.size else Moments.missing(size, 0)
        moments = self.pool.with_nulls(statistic.scatter(part.places, len(keys)), part.nulls, size)
        if self.skip:  # drop batches without a row left
            nonempty = np.flatnonzero(moments.count.any(axis=1))
            keys, moments = keys.take(pa.array(nonempty)), moments.take(nonempty)
        too_small = np.argwhere(moments.count < LEAST_VALUES)
        if len(too_small):
            batch, entry = (int(n) for n in too_small[0])
            place = f"'{group.scalars[entry].name}'" if group.scalars else f"'{group.column.name}', channel {entry}"
            message = (
                f"Batch {keys[batch].as_py()!r} holds {int(moments.count[batch, entry])} valid value(s) of column {place}: "
                f"a batch needs at least {LEAST_VALUES} in each channel to have a variance. Merge small batches, or "
                "drop them."
            )
            raise BatchError(tag_error(BatchError, message))
        return keys, moments


@dataclass(frozen=True)
class _Average(_BatchTask):
    """Averages batches in order."""

    statistic_class: type[RunningMoments]
    of_batches: Callable[[Any], Any]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        averages: dict[int, Partial] = {}
        for k, part in iter_parts(batches, self.groups, Moments):
            keys, moments = self._with_nulls(part, k)
            if len(keys):
                average = self.of_batches(moments)
                if k in averages:
                    average = averages[k].statistic.merge(average)  # type: ignore[union-attr]  # set above
                averages[k] = Partial(0, k, 0, part.size, 0.0, average)
        for average in averages.values():
            yield partials.to_batch(average, self.statistic_class)


@dataclass(frozen=True)
class _Scales(_BatchTask):
    """Puts the centers and scales of all groups of a batch into one row."""

    of_batch: Callable[[Moments], tuple[Any, Any]]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        columns: dict[str, Any] = {}
        for k, part in iter_parts(batches, self.groups, Moments):
            keys, moments = self._with_nulls(part, k)
            center, scale = self.of_batch(moments)
            overflowing = np.flatnonzero(~(np.isfinite(center) & np.isfinite(scale)).all(axis=1))
            if len(overflowing):
                message = (
                    f"The mean or variance of batch {keys[int(overflowing[0])].as_py()!r} is not representable as a double. "
                    "Convert the values to another unit first."
                )
                raise RangeOverflowError(tag_error(RangeOverflowError, message))
            columns |= {"b": keys, f"c{k}": _lists(center), f"s{k}": _lists(scale)}
            if k == len(self.groups) - 1 and len(keys):
                yield pa.RecordBatch.from_pydict(columns)


def _lists(rows: npt.NDArray[np.float64]) -> pa.Array:
    offsets = pa.array(np.arange(len(rows) + 1) * rows.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(rows).ravel()))
