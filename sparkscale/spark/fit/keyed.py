"""Scan by key: the statistics of each key, across partitions.

Partitioning does not affect the result. Tasks compute on arrays that are indexed by key and feature, without a loop
over keys, since there may be as many keys as rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import DataType

from sparkscale.spark import gpu, tasks
from sparkscale.spark.arrow import numbered
from sparkscale.spark.columns import FeatureColumn
from sparkscale.spark.fit import batching, key_runs, partials
from sparkscale.spark.fit.blocks import Pool, add_batch
from sparkscale.spark.fit.decoding import stack_features
from sparkscale.spark.fit.key_runs import by_key, merged, slices, whole_keys
from sparkscale.spark.fit.merging import refuse_sizes
from sparkscale.spark.fit.partials import JOINT
from sparkscale.spark.fit.selection import Group, select
from sparkscale.statistics._reductions import run_starts

__all__ = ["KeyedPart", "KeyedScan", "iter_parts", "merge_by_key", "scan_by_key"]

Numbers = npt.NDArray[np.intp]

SENT_NUMBERS = 1 << 20  # in an Arrow batch
MERGED_NUMBERS = 1 << 18  # a task merges again at this many numbers plus twice those of the last merge


@dataclass(frozen=True, eq=False)
class KeyedPart:
    """The statistics of a group of columns by key.

    Parameters
    ----------
    keys : pyarrow.Array
        Distinct keys.
    size : int
        Number of features of the group; 0 if unknown.
    nulls : numpy.ndarray of float64, shape (n_keys,)
        Number of rows of each key in which the whole array or vector is null.
    places : numpy.ndarray of int, shape (n,)
        Which keys have a statistic.
    statistic : PerFeature or None
        The statistics of these keys, one row per key; ``None`` if there are none.
    """

    keys: pa.Array
    size: int
    nulls: npt.NDArray[np.float64]
    places: Numbers
    statistic: Any | None


def scan_by_key(
    df: DataFrame,
    groups: Sequence[Group],
    key_sql: str,
    key_type: DataType,
    statistic_class: type[Any],
    *,
    handle_invalid: str = "keep",
    weight: FeatureColumn | None = None,
    device: str = "cpu",
    pool: Pool,
) -> DataFrame:
    """Return partial statistics of keys as rows of ``partials.schema(key_type)``, all of a key in one partition, sorted.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        The data. All columns must be readable by SQL text.
    groups : sequence of Group
        The features.
    key_sql : str
        The keys as SQL text.
    key_type : pyspark.sql.types.DataType
        Their type, which may be a struct.
    statistic_class : type of InRows
        The statistic to compute.
    handle_invalid, weight, device : str, FeatureColumn or None, and str
        As in `scan.summarize`.
    pool : Pool
        How features are pooled into entries.
    """
    selected = select(df, groups, handle_invalid, weight, key_sql)
    scan = KeyedScan(groups, statistic_class, handle_invalid == "skip", device, pool)
    rows = tasks.map_in_arrow(selected, scan, partials.schema(key_type))
    return rows.repartition("b").sortWithinPartitions("b", "group", "partition", "start")


def merge_by_key(rows: DataFrame, groups: Sequence[Group], statistic_class: type[Any], key_type: DataType) -> DataFrame:
    """Return the statistics of each key from such rows; the groups of a key are in one partition, but not in order."""
    return tasks.map_in_arrow(rows, MergeByKey(groups, statistic_class), partials.schema(key_type))


class KeyedState:
    """The state of a task for a group of columns, by key."""

    def __init__(self, group: int, size: int | None) -> None:
        self.group, self.size = group, size
        self.keys: pa.Array | None = None  # of the current batch
        self._statistics: list[tuple[pa.Array, Any]] = []
        self._nulls: list[tuple[pa.Array, npt.NDArray[np.float64]]] = []
        self._merged = 0  # numbers after the last merge

    def add(self, statistic: Any, runs: Numbers) -> None:
        """Add the statistics of the runs of a block."""
        assert self.keys is not None  # noqa: S101  # set for each batch
        self._statistics.append((self.keys.take(pa.array(runs[run_starts(runs)])), statistic))
        if self.numbers > 2 * self._merged + MERGED_NUMBERS:
            self.merge()

    def merge(self) -> None:
        """Merge the statistics of each key."""
        if self._statistics:
            self._statistics = [merged(self._statistics)]
        self._merged = self.numbers

    def add_nulls(self, null: npt.NDArray[np.bool_], runs: Numbers) -> None:
        """Count rows in which the whole array or vector is null."""
        assert self.keys is not None  # noqa: S101
        if null.any():
            numbers, counts = np.unique(runs[null], return_counts=True)
            self._nulls.append((self.keys.take(pa.array(numbers)), counts.astype(np.float64)))

    @property
    def numbers(self) -> int:
        """How many numbers are in memory."""
        statistics: int = sum(s.held for _, s in self._statistics)
        return statistics + sum(len(counts) for _, counts in self._nulls)

    def rows(self, partition: int, order: int, statistic_class: type[Any]) -> Iterator[pa.RecordBatch]:
        """Return the state as rows, and reset it."""
        size = self.size or 0
        if self._statistics:
            keys, statistic = merged(self._statistics)
            for rows, arrays in statistic.row_arrays():
                step = max(1, SENT_NUMBERS // max(sum(array.shape[1] for array in arrays), 1))
                for start in range(0, len(rows), step):
                    some = slice(start, start + step)
                    sent = [array[some] for array in arrays]
                    yield partials.encode(
                        partition, self.group, order, size, 0.0, sent, keys.take(pa.array(rows[some]))
                    )
        for keys, counts in self._nulls:
            arrays = partials.no_arrays(statistic_class, len(keys))
            yield partials.encode(partition, self.group, order, size, counts, arrays, keys)
        self._statistics, self._nulls, self._merged = [], [], 0


def _exceed(states: Mapping[int, KeyedState], numbers: int) -> bool:
    return sum(state.numbers for state in states.values()) > numbers


@dataclass(frozen=True)
class KeyedScan:
    """A task that computes the statistics of each key in its partition."""

    groups: Sequence[Group]
    statistic_class: type[Any]
    skip: bool
    device: str
    pool: Pool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return partial statistics, keyed by ``b``."""
        partition, order = gpu.partition_id(), 0
        states = {k: KeyedState(k, group.column.size) for k, group in enumerate(self.groups)}
        if self.statistic_class.joint:
            states[JOINT] = KeyedState(JOINT, None)
        with gpu.device_of_task(self.device) as worker:
            for batch in worker.rebatch(batching.of_many_rows(batches)):
                keys, runs, ordered = by_key(batch)
                del batch
                for start, stop in self._ranges(runs, states):
                    for state in states.values():
                        state.keys = keys
                    self._add(states, ordered.slice(start, stop - start), runs[start:stop], worker)
                    if not _exceed(states, 2 * key_runs.MOST_NUMBERS):
                        continue
                    for state in states.values():
                        state.merge()
                    if _exceed(states, 3 * key_runs.MOST_NUMBERS // 2):
                        yield from self._rows(states, partition, order)
                        order += 1
        yield from self._rows(states, partition, order)

    def _add(self, states: Mapping[int, KeyedState], batch: pa.RecordBatch, runs: Numbers, worker: gpu.Cpu) -> None:
        """Add the statistics of rows that are sorted by key."""
        by_group = [states[k] for k in range(len(self.groups))]
        decoded = add_batch(by_group, batch, self.groups, self.statistic_class, self.skip, worker, self.pool, runs)
        sizes = [state.size for state in by_group if state.size]
        if JOINT not in states or len(sizes) < len(self.groups):  # then every row has a null
            return
        start, joint = 0, states[JOINT]
        for block in stack_features(decoded, self.groups, sizes, batch.num_rows, worker.rows(sum(sizes))):
            runs_of_block = runs[start : start + block.rows]
            joint.add(
                self.statistic_class.jointly().of(replace(block, weights=None, runs=runs_of_block)), runs_of_block
            )
            start += block.rows

    def _ranges(self, runs: Numbers, states: Mapping[int, KeyedState]) -> Iterator[tuple[int, int]]:
        """Return ranges of rows whose keys' statistics are not more than what a task may hold."""
        starts, place, keys = [*run_starts(runs).tolist(), len(runs)], 0, 1
        while place < len(starts) - 1:
            sizes = [state.size for k, state in states.items() if k != JOINT]
            # Of all features: before they are pooled, each key has statistics of every one.
            numbers = self.statistic_class.numbers(sum(size or 0 for size in sizes))
            keys = 2 * keys if None in sizes else len(starts)  # few, until a row shows each size
            keys = min(keys, max(1, key_runs.MOST_NUMBERS // max(numbers, 1)))
            end = min(place + keys, len(starts) - 1)
            yield starts[place], starts[end]
            place = end

    def _rows(self, states: Mapping[int, KeyedState], partition: int, order: int) -> Iterator[pa.RecordBatch]:
        for k, state in states.items():
            yield from state.rows(partition, order, partials.class_of(self.statistic_class, k))


@dataclass(frozen=True)
class MergeByKey:
    """A task that merges the statistics of each key from several partitions, in order."""

    groups: Sequence[Group]
    statistic_class: type[Any]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return one row per key and group."""
        for k, part in iter_parts(batches, self.groups, self.statistic_class):
            yield from _encoded(part, k, partials.class_of(self.statistic_class, k))


def _encoded(part: KeyedPart, group: int, statistic_class: type[Any]) -> Iterator[pa.RecordBatch]:
    """Return the statistics of keys as rows, one for each."""
    only_null = np.setdiff1d(np.arange(len(part.keys)), part.places)
    statistics = [] if part.statistic is None else part.statistic.row_arrays()
    with_places = ((part.places[rows], arrays) for rows, arrays in statistics)
    for places, arrays in (*with_places, (only_null, partials.no_arrays(statistic_class, len(only_null)))):
        if len(places):
            keys = part.keys.take(pa.array(places))
            yield partials.encode(0, group, 0, part.size, part.nulls[places], arrays, keys)


def iter_parts(
    batches: Iterator[pa.RecordBatch], groups: Sequence[Group], statistic_class: type[Any]
) -> Iterator[tuple[int, KeyedPart]]:
    """Return the statistics of complete keys, by group, the joint one last. No key is split over several parts.

    The rows are sorted by key.
    """
    sizes = {k: group.column.size or 0 for k, group in enumerate(groups)}
    if statistic_class.joint:
        sizes[JOINT] = 0

    def merged_parts(batch: pa.RecordBatch) -> Iterator[tuple[int, KeyedPart]]:
        numbers, keys = numbered(batch.column("b"))
        group_of_row = batch.column("group").to_numpy()
        for k in [*sizes]:
            rows = np.flatnonzero(group_of_row == k)
            group_rows = batch.take(pa.array(rows))
            for size in partials.distinct_sizes(group_rows):
                if k != JOINT and sizes[k] not in (0, size):
                    refuse_sizes(groups[k], sizes[k], size)
                sizes[k] = size
            nulls, places, statistic = partials.decode(group_rows, partials.class_of(statistic_class, k))
            key_nulls = np.bincount(numbers[rows], weights=nulls, minlength=len(keys)).astype(np.float64)
            if statistic is not None:
                key_numbers = numbers[rows[places]]
                statistic, places = statistic.merge_rows(key_numbers), key_numbers[run_starts(key_numbers)]
            yield k, KeyedPart(keys, sizes[k], key_nulls, places, statistic)

    def compacted(key_rows: pa.RecordBatch) -> list[pa.RecordBatch]:
        return [
            row
            for k, part in merged_parts(key_rows)
            for row in _encoded(part, k, partials.class_of(statistic_class, k))
        ]

    for batch in whole_keys(slices(batches), compacted):
        yield from merged_parts(batch)
